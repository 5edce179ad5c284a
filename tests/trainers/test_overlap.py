"""A held-out corpus that shares samples with one that is trained on is refused."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from septet.preprocess.shards import heads
from septet.preprocess.shards.reader import Corpus
from septet.trainers.loader import overlap
from septet.trainers.loader.overlap import refuse_overlap
from tests.trainers.corpora import write_corpus

PER_SHARD = 10


def corpus(folder: Path, numbers: Iterable[int], sorted_keys: bool = True) -> Corpus:
    """Samples with these numbers as keys; without order in the manner of one that was indexed."""
    write_corpus(folder, [(f"{i:032x}", {"txt": b"x"}) for i in numbers], PER_SHARD)
    if not sorted_keys:
        _, shards = heads.read_corpus(str(folder))
        heads.write_corpus(
            str(folder), list(shards), name="scenes", septet="test", sorted_keys=False
        )
    return Corpus(str(folder))


@pytest.mark.parametrize("sorted_keys", [True, False])
@pytest.mark.parametrize("shared", [0, 45, 99])
def test_one_sample_in_both_is_found_wherever_it_stands(tmp_path, shared, sorted_keys):
    trained = corpus(tmp_path / "trained", range(100), sorted_keys)
    other = corpus(tmp_path / "other", range(2000, 2010))
    held_out = corpus(tmp_path / "held", [shared, *range(1000, 1020)])
    message = rf"held overlaps .*/trained, .* both have sample {shared:032x}\. Build one corpus"
    with pytest.raises(ValueError, match=message):
        refuse_overlap(held_out, [other, trained])
    refuse_overlap(held_out, [other])
    refuse_overlap(corpus(tmp_path / "apart", range(1000, 1020)), [trained])


@pytest.mark.parametrize("sorted_keys", [True, False])
def test_a_large_corpus_is_looked_up_by_samples_of_all_of_it(tmp_path, sorted_keys):
    """A third of it, at its end, is trained on."""
    trained = corpus(tmp_path / "trained", range(200, 300), sorted_keys)
    held_out = corpus(tmp_path / "held", range(300))
    with pytest.raises(ValueError, match="overlaps"):
        refuse_overlap(held_out, [trained])
    refuse_overlap(Corpus(str(write_corpus(tmp_path / "empty", []))), [trained])


def test_shards_whose_keys_lie_elsewhere_are_not_read(tmp_path):
    trained = corpus(tmp_path / "trained", range(100))
    held_out = corpus(tmp_path / "held", [45, *range(1000, 1020)])
    for number, shard in enumerate(trained.shards):
        if number != 4:  # 40 to 49
            (tmp_path / "trained" / shard.sidecar).unlink()
    with pytest.raises(ValueError, match="overlaps"):
        refuse_overlap(held_out, [Corpus(str(tmp_path / "trained"))])


@pytest.mark.parametrize("shared,found", [(19, True), (20, False)])
def test_of_a_corpus_without_order_so_many_shards_are_read(tmp_path, monkeypatch, shared, found):
    monkeypatch.setattr(overlap, "MOST_SHARDS", 2)
    trained = corpus(tmp_path / "trained", range(100), sorted_keys=False)
    held_out = corpus(tmp_path / "held", [shared, *range(1000, 1020)])
    if found:
        with pytest.raises(ValueError, match="overlaps"):
            refuse_overlap(held_out, [trained])
    else:
        refuse_overlap(held_out, [trained])
