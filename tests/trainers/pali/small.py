"""A PaLI of a few thousand weights, the same halves of `transformers`, and batches for both."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from septet.trainers.nets.mt5 import mt5_config, to_mt5
from septet.trainers.nets.t5 import T5Settings
from septet.trainers.pali.model import Pali
from septet.trainers.pali.settings import PaliSettings, VitSettings
from septet.trainers.pali.vit_weights import siglip_config, to_siglip
from tests.trainers.test_clip import randomised

SMALL = PaliSettings(
    vision=VitSettings(width=48, inner=80, heads=4, layers=2, image_size=32, patch=8),
    language=T5Settings(width=40, inner=72, heads=3, head_width=16, layers=3, words=300),
    frozen="nothing",
)


def module(settings: PaliSettings = SMALL, seed: int = 1) -> Pali:
    torch.manual_seed(seed)
    return randomised(Pali(settings), seed)  # type: ignore[return-value]


def _config(kind: Any, told: dict[str, Any]) -> Any:
    return kind(**{k: v for k, v in told.items() if k not in ("architectures", "model_type")})


def mt5(mine: Pali) -> Any:
    """Theirs on the same weights. They tie the head to the table of words when they build, whatever
    the configuration says, so it is given one of its own."""
    config = _config(transformers.MT5Config, mt5_config(mine.settings.language))
    theirs = transformers.MT5ForConditionalGeneration(config)
    theirs.lm_head.weight = nn.Parameter(torch.empty_like(theirs.lm_head.weight))
    theirs.config.tie_word_embeddings = False
    aliases = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    told = theirs.load_state_dict(to_mt5(mine.language.state_dict()), strict=False)
    assert not told.unexpected_keys and set(told.missing_keys) <= aliases
    return theirs.eval()


def siglip(mine: Pali) -> Any:
    config = _config(transformers.SiglipVisionConfig, siglip_config(mine.settings.vision))
    theirs = transformers.SiglipVisionModel(config)
    named = to_siglip(mine.vision.state_dict())
    have = set(theirs.state_dict())
    if not any(name.startswith("vision_model.") for name in have):
        named = {name.removeprefix("vision_model."): x for name, x in named.items()}
    theirs.load_state_dict(named)  # Strict: no name is missing or too many.
    return theirs.eval()


def images(rows: int, settings: PaliSettings = SMALL) -> Tensor:
    """Values in [-1, 1], [rows, 3, P, P]."""
    draw = torch.Generator().manual_seed(3)
    side = settings.vision.image_size
    return torch.rand(rows, 3, side, side, generator=draw) * 2 - 1


def ids(rows: int, length: int, seed: int = 5, words: int = 300) -> Tensor:
    """Rows of different lengths, the first whole, padded with zeros."""
    draw = torch.Generator().manual_seed(seed)
    found = torch.randint(2, words, (rows, length), generator=draw)
    return found * (torch.arange(length) < length - 2 * torch.arange(rows)[:, None])
