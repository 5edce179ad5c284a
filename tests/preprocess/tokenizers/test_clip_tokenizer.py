import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.preprocess.tokenizers.clip import CONTEXT, END, PAD, START, clip_tokenizer

open_clip_tokenizer = pytest.importorskip("open_clip.tokenizer")

CAPTIONS = [
    "",
    " ",
    "!",
    "a photo of a cat",
    "A small RED circle left of a large blue square.",
    "it's we're you'll I'd they've I'm don't 'S",
    "3,141.59 kg at 20°C — 100% «émigré» naïve façade",
    "&amp;lt;b&amp;gt; &nbsp; &eacute;",
    "schÃ¶n l’été",
    "猫と犬の写真 한국어 текст по-русски عربى हिन्दी",
    "👩‍👩‍👧‍👦 🏳️‍🌈 z̷a̷l̷g̷o̷",
    "tabs\tand\nnew\r\nlines\u2003and\u00a0spaces\u200b",
    "<|endoftext|> <|startoftext|>",
    "ﬁﬂ ſ 'ſ İ Ǆ ²³¼ Ⅷ",
    "x" * 300,
    " ".join(f"word{i}" for i in range(200)),
    "\x00\x01\x7f\x85 \ufffd \U0010ffff",
]


@pytest.fixture(scope="module")
def peer():
    return open_clip_tokenizer.SimpleTokenizer()


@pytest.mark.parametrize("text", CAPTIONS)
def test_equals_open_clip(peer, text):
    assert clip_tokenizer().encode(text) == peer.encode(text)
    assert np.array_equal(clip_tokenizer()([text]), peer([text]).numpy())
    assert np.array_equal(clip_tokenizer()([text], 16), peer([text], 16).numpy())


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_equals_open_clip_on_any_text(text):
    peer = open_clip_tokenizer._tokenizer
    assert clip_tokenizer().encode(text) == peer.encode(text)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.integers(2, 90))
def test_one_start_one_end_then_padding(text, context):
    row = clip_tokenizer()([text], context)[0]
    end = int(np.flatnonzero(row == END)[0])
    assert row[0] == START and (row == END).sum() == 1 and row.argmax() == end
    assert (row[end + 1 :] == PAD).all()


def test_decodes_what_it_encoded():
    tokenizer = clip_tokenizer()
    row = tokenizer(["a photo of two naïve cats"])[0]
    assert row.shape == (CONTEXT,)
    assert tokenizer.decode(row[: row.argmax() + 1].tolist()) == "a photo of two naïve cats"


def test_too_short_a_context_is_an_error():
    with pytest.raises(ValueError, match="no room"):
        clip_tokenizer()(["a"], 1)
