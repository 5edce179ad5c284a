import io

import pytest
import sentencepiece
import transformers

from septet.preprocess.synthetic.scenes import captions, make_scene
from septet.preprocess.tokenizers.xlmr import END, PAD, START, UNKNOWN, XlmrTokenizer

TEXTS = [text for i in range(200) for text in captions(make_scene(0, i))]


def model(**changes) -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=out, vocab_size=90, model_type="unigram",
        hard_vocab_limit=False, num_threads=1, minloglevel=2, **changes,
    )  # fmt: skip
    return out.getvalue()


@pytest.fixture(scope="module")
def unigram() -> bytes:
    return model()


def test_ids_are_those_of_transformers(unigram):
    """Which is given the model's pieces in fairseq's numbering, and does the rest by itself."""
    reader = sentencepiece.SentencePieceProcessor(model_proto=unigram)
    pieces = [(reader.id_to_piece(i), reader.get_score(i)) for i in range(3, len(reader))]
    special = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    theirs = transformers.XLMRobertaTokenizer(vocab=[*special, *pieces, ("<mask>", 0.0)])
    mine = XlmrTokenizer(unigram, "scenes")
    assert (theirs.bos_token_id, theirs.pad_token_id, theirs.eos_token_id) == (START, PAD, END)
    assert theirs.mask_token_id == mine.mask == len(mine) - 1 == len(theirs) - 1
    odd = ["", "  two   spaces", "Zebra! a red circle", "circlesquare", "a QUITE odd, line"]
    for text in TEXTS[:50] + odd:
        assert [START, *mine.encode(text), END] == theirs.encode(text), text


def test_texts_come_back_and_unknown_letters_are_one_id(unigram):
    mine = XlmrTokenizer(unigram, "scenes")
    assert all(mine.decode(mine.encode(text)) == text for text in TEXTS[:50])
    assert UNKNOWN in mine.encode("円") and START not in mine.encode("<s> </s>")
    ids = [START, *mine.encode("a star"), END, PAD, mine.mask]
    assert mine.decode(ids) == "a star"


def test_loads_files_and_refuses_what_is_no_such_model(unigram, tmp_path):
    (tmp_path / "m.spm").write_bytes(unigram)
    loaded = XlmrTokenizer.load(str(tmp_path / "m.spm"))
    assert loaded.encode(TEXTS[0]) == XlmrTokenizer(unigram, "x").encode(TEXTS[0])
    (tmp_path / "bad.spm").write_bytes(b"[PAD]\n[UNK]\n")
    with pytest.raises(ValueError, match=r"bad\.spm is no SentencePiece model"):
        XlmrTokenizer.load(str(tmp_path / "bad.spm"))
    with pytest.raises(ValueError, match="no such SentencePiece model"):
        XlmrTokenizer.load(str(tmp_path / "none.spm"))
    other = model(pad_id=0, unk_id=1, bos_id=2, eos_id=3)
    with pytest.raises(ValueError, match=r"at \(1, 2, 3\): expected \(0, 1, 2\)"):
        XlmrTokenizer(other, "mT5")


def test_a_learnt_one_is_a_function_of_its_texts():
    one, two = (XlmrTokenizer.learn(TEXTS, 256, "scenes") for _ in range(2))
    assert len(one) == 256 and all(one.encode(t) == two.encode(t) for t in TEXTS)
    assert len(one.encode("red")) == 1 and UNKNOWN not in one.encode("#~ Ab9")
