"""T5 in the form of mT5: its sizes and how its weights begin."""

import pytest
import torch

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


def test_weights_begin_by_their_numbers_of_inputs():
    """Mesh TensorFlow's rule: queries also undo the scale that scores do not have, the table of
    words has variance 1, and positions begin like keys."""
    s = T5Settings(width=160, inner=640, heads=4, head_width=10, layers=1, words=500)
    of_width = 160**-0.5
    expected = {
        "q": 1600**-0.5, "k": of_width, "v": of_width, "o": 40**-0.5, "wi_0": of_width,
        "wi_1": of_width, "wo": 640**-0.5, "relative": of_width, "words": 1.0, "head": of_width,
    }  # fmt: skip
    torch.manual_seed(0)
    found = set()
    for name, x in T5(s).named_parameters():
        if x.ndim > 1:
            part = name.split(".")[-2]
            assert float(x.detach().std()) == pytest.approx(expected[part], rel=0.15), name
            assert float(x.detach().mean()) == pytest.approx(0, abs=0.2 * expected[part]), name
            found.add(part)
        else:
            assert (x == 1).all(), name
    assert found == expected.keys()


def test_weights_begin_as_those_of_transformers():
    """But for the head, which begins as any layer of so many inputs."""
    import transformers  # It takes seconds, and the tests above do without.

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
