"""T5 in the form of mT5: its sizes and how its weights begin."""

import pytest
import torch
import transformers

from septet.trainers.nets.mt5 import mt5_config, to_mt5
from septet.trainers.nets.t5 import T5, T5Settings


def test_sizes_that_are_not_given_are_those_of_mt5_large():
    """Of google/mt5-large's config.json."""
    published = {
        "d_ff": 2816, "d_kv": 64, "d_model": 1024, "num_heads": 16, "num_layers": 24,
        "num_decoder_layers": 24, "relative_attention_num_buckets": 32, "vocab_size": 250112,
        "relative_attention_max_distance": 128, "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    }  # fmt: skip
    assert mt5_config(T5Settings()).items() >= published.items()


def test_weights_begin_as_those_of_transformers():
    """But for the head, which begins as any layer of so many inputs."""
    s = T5Settings(width=160, inner=96, heads=4, head_width=24, layers=1, words=500)
    told = mt5_config(s)
    config = transformers.MT5Config(
        **{name: x for name, x in told.items() if name not in ("architectures", "model_type")}
    )
    torch.manual_seed(0)
    theirs = transformers.MT5ForConditionalGeneration(config).state_dict()
    torch.manual_seed(0)
    mine = to_mt5(T5(s).state_dict())
    for name, x in mine.items():
        expected = s.width**-0.5 if name == "lm_head.weight" else float(theirs[name].std())
        assert x.shape == theirs[name].shape
        assert float(x.std()) == pytest.approx(expected, rel=0.15), name
        assert float(x.mean()) == pytest.approx(float(theirs[name].mean()), abs=0.1 * expected)
