"""Runs on views: some of a corpus's samples, by their ids."""

import numpy as np
import pytest

import septet
from septet.preprocess.shards.reader import Corpus
from septet.trainers.commands.train import _parse
from septet.trainers.loader.overlap import refuse_overlap
from tests.trainers.corpora import write_corpus
from tests.trainers.test_loader import Texts, WithCodes, epoch, numbers, with_codes


def view_of(corpus: Corpus, *wanted: int) -> Corpus:
    """The view that holds some numbers."""
    path = f"{corpus.path}/some.npy"
    np.save(path, np.array([(0, i) for i in sorted(wanted)], "u8,u8"))
    return Corpus(f"{corpus.path}@{path}")


def test_an_epoch_of_a_view_has_its_samples_each_once(tmp_path):
    whole = numbers(tmp_path, 100)
    view = view_of(whole, *range(10, 50), 99)
    source, rows = epoch(Texts(), view, 41)
    assert sorted(int(row["number"]) for row in rows) == [*range(10, 50), 99]
    assert list(source.told()) == []
    assert source.digests != epoch(Texts(), whole, 100)[0].digests
    other, _ = epoch(Texts(), view_of(whole, *range(10, 51)), 41)
    assert other.digests != source.digests


def test_a_view_and_a_column_that_some_lack(tmp_path):
    corpus = with_codes(tmp_path)
    view = view_of(corpus, *range(30))
    source, rows = epoch(WithCodes(), view, 20)
    assert sorted(int(row["number"]) for row in rows) == [i for i in range(30) if i % 3]
    assert source.kept[0].dropped == 10
    optional, _ = epoch(WithCodes(optional=True), view, 30)
    assert dict(optional.lacking) == {"codes": 10}


def test_what_is_held_out_does_not_overlap_the_rest(tmp_path):
    write_corpus(tmp_path, [(f"{i:016x}{0:016x}", {"txt": b"text"}) for i in range(100)], 30)
    septet.curate(tmp_path, "train", split={"val": 0.3})
    train, held = (Corpus(f"{tmp_path}@{name}") for name in ("train", "train-val"))
    assert len(train) + len(held) == 100 and 10 < len(held) < 50
    refuse_overlap(held, [train])
    with pytest.raises(ValueError, match="@train-val overlaps"):
        refuse_overlap(held, [Corpus(str(tmp_path))])


def test_a_view_may_have_a_weight_and_a_stream(tmp_path):
    numbers(tmp_path, 10)
    septet.curate(tmp_path, "some")
    for text, expected in (
        (f"{tmp_path}@some", (None, f"{tmp_path}@some", 1.0)),
        (f"{tmp_path}@some@2.5", (None, f"{tmp_path}@some", 2.5)),
        (f"{tmp_path}@2.5", (None, f"{tmp_path}", 2.5)),
        (f"texts={tmp_path}@some@2", ("texts", f"{tmp_path}@some", 2.0)),
    ):
        assert _parse(text, ["texts"]) == expected
