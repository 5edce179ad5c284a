"""A small random mT5, ours and that of `transformers` on the same weights."""

from typing import Any

import torch
from torch import Tensor, nn

from septet.trainers.nets.mt5 import mt5_config, to_mt5
from septet.trainers.nets.t5 import PAD, T5, T5Settings

END, WORDS = 1, 60
SMALL = T5Settings(width=32, inner=64, heads=4, head_width=8, layers=2, words=WORDS)


def mt5(settings: T5Settings = SMALL) -> T5:
    """Random weights, large enough that some words are much likelier than others."""
    torch.manual_seed(0)
    module = T5(settings).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0 if "relative" in name or name == "words.weight" else 2.0)
        module.head.weight.normal_(std=2.4 / settings.width**0.5)
        module.head.weight[PAD] = -module.head.weight[END]
    return module


def published(mine: T5) -> Any:
    """Theirs."""
    import transformers

    told = mt5_config(mine.settings)
    config = transformers.MT5Config(
        **{k: v for k, v in told.items() if k not in ("architectures", "model_type")},
    )
    theirs = transformers.MT5ForConditionalGeneration(config)
    theirs.lm_head.weight = nn.Parameter(torch.empty_like(theirs.lm_head.weight))
    theirs.config.tie_word_embeddings = False
    missing, unexpected = theirs.load_state_dict(to_mt5(mine.state_dict()), strict=False)
    assert not unexpected and all(name.endswith("embed_tokens.weight") for name in missing)
    return theirs.eval()


def sources(rows: int, longest: int = 9, words: int = WORDS) -> dict[str, Tensor]:
    """Rows of different lengths, padded."""
    draw = torch.Generator().manual_seed(7)
    ids = torch.randint(2, words, (rows, longest), generator=draw)
    lengths = torch.randint(2, longest + 1, (rows,), generator=draw)
    return {"ids": ids * (torch.arange(longest) < lengths[:, None])}
