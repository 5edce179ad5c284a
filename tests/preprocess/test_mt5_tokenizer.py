import io

import pytest
import sentencepiece

from septet.preprocess.tokenizers.mt5 import END, SENTINELS, UNKNOWN, Mt5Tokenizer

TEXTS = ["a small red circle", "ein kleiner roter Kreis", "一个小的红色圆形", "un círculo rojo 12"]


@pytest.fixture(scope="module")
def learnt() -> Mt5Tokenizer:
    return Mt5Tokenizer.learn(TEXTS * 20, 300, "small")


def published_form(pieces: int = 300, **more) -> bytes:
    """A model whose last pieces are the sentinels, the last one first, as in mT5's file."""
    out = io.BytesIO()
    options = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, **more}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20), model_writer=out, model_type="bpe", minloglevel=2,
        vocab_size=pieces - SENTINELS, character_coverage=1.0,
        required_chars="".join(map(chr, range(0x21, 0x7F))), **options,
    )  # fmt: skip
    found = out.getvalue()
    for k in reversed(range(SENTINELS)):
        # A piece as protobuf writes it: its text, score 0, type 4 (user defined).
        name = f"<extra_id_{k}>".encode()
        piece = b"\x0a" + bytes([len(name)]) + name + b"\x15" + bytes(4) + b"\x18\x04"
        found += b"\x0a" + bytes([len(piece)]) + piece
    return found


@pytest.mark.parametrize("text", [*TEXTS, "circle 999 red"])
def test_a_text_comes_back(learnt, text):
    ids = learnt.encode(text)
    assert learnt.decode([*ids, END, 5, 6]) == text
    assert max(ids) < len(learnt) - SENTINELS and UNKNOWN not in ids


def test_a_number_of_the_texts_is_a_piece_and_others_are_cut(learnt):
    (twelve,) = learnt.encode("12")
    assert learnt.encode("127") == [twelve, *learnt.encode("127")[1:]]
    assert len(learnt.encode("127")) == 2 and len(learnt.encode("77")) == 3


def test_sentinels_stand_at_the_end_the_first_one_last(learnt):
    assert [learnt.sentinel(k) for k in (0, 1, 99)] == [299, 298, 200] and len(learnt) == 300
    assert learnt.decode([learnt.sentinel(0), *learnt.encode("red"), 0]) == "red"


def test_in_the_published_form_they_are_pieces_that_no_text_gives():
    found = Mt5Tokenizer(published_form(), "published")
    assert len(found) == 300 and found.sentinel(0) == 299 and found.sentinel(99) == 200
    assert found._model.id_to_piece(299) == "<extra_id_0>"
    assert found._model.encode("a <extra_id_0>")[-1] == 299
    assert found.encode("a <extra_id_0>")[-1] == UNKNOWN


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r"x has <pad>, </s>, <unk> at \(-1, 2, 0\): expected"):
        Mt5Tokenizer(published_form(pad_id=-1, eos_id=2, unk_id=0, bos_id=1), "x")
    with pytest.raises(ValueError, match="x is no SentencePiece model"):
        Mt5Tokenizer(b"nothing", "x")
    with pytest.raises(ValueError, match="no such SentencePiece model: nowhere"):
        Mt5Tokenizer.load("nowhere")
