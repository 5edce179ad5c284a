"""Samples that were removed from a corpus leave a run's order, and nothing else changes in it."""

from pathlib import Path

import pytest

import septet
from septet.preprocess.shards.reader import Corpus
from septet.trainers.measures.parts import parts
from tests.pipelines.takedown.corpora import taken_down
from tests.trainers.lines import line_run
from tests.trainers.test_loader import Texts, WithCodes, epoch, numbers, with_codes
from tests.trainers.test_small_runs import done


def take_down(folder: Path, *of: int, compact: bool = False) -> Corpus:
    """The corpus of numbers without some of them."""
    listed = folder.parent / "keys.txt"
    listed.write_text("\n".join(f"{i:032x}" for i in of))
    assert taken_down(folder, ids=listed).removed == len(of)
    if compact:
        _, done = septet.remove(folder, compact=True)
        assert done and done.samples == len(of)
    return Corpus(str(folder))


@pytest.mark.parametrize("compact", [False, True])
def test_others_take_the_places_of_removed_samples(tmp_path, compact):
    whole, rows = epoch(Texts(), numbers(tmp_path / "corpus", 60), 60)
    before = [int(row["number"]) for row in rows]
    gone = set(range(25, 40))
    source, rows = epoch(Texts(), take_down(tmp_path / "corpus", *gone, compact=compact), 60)
    after = [int(row["number"]) for row in rows]
    assert not gone & set(after) and source.health.bad == 0
    assert (source.digests, source.order_digest) == (whole.digests, whole.order_digest)
    assert all(new == old for new, old in zip(after, before, strict=True) if old not in gone)
    assert [line for line in source.told() if "removed" in line] == [
        f"texts: 15 samples of the order were removed from {tmp_path}/corpus: others take their "
        "places"
    ]


@pytest.mark.parametrize("compact", [False, True])
def test_a_column_that_some_lack_changes_nothing_of_that(tmp_path, compact):
    whole, _ = epoch(WithCodes(), with_codes(tmp_path / "corpus"), 40)
    source, rows = epoch(
        WithCodes(), take_down(tmp_path / "corpus", 0, 1, 2, 31, compact=compact), 40
    )
    assert source.digests == whole.digests
    assert {int(row["number"]) for row in rows} == {i for i in range(60) if i % 3} - {1, 2, 31}
    assert "texts: 3 samples of the order were removed" in next(iter(list(source.told())[1:]))


def test_measures_are_taken_without_removed_samples(tmp_path):
    numbers(tmp_path / "corpus", 30)
    corpus = take_down(tmp_path / "corpus", 3, 4)
    (part,) = parts(Texts(), "texts", corpus, 30, 28, drawn=True)
    assert sorted(part.batch.data["number"].tolist()) == sorted({*range(30)} - {3, 4})


@pytest.mark.parametrize("compact", [False, True])
def test_a_run_goes_on_and_says_how_many_samples_left_its_order(tmp_path, compact):
    folder = tmp_path / "corpus"
    done(line_run(numbers(folder, 20), tmp_path / "run"))
    said = done(line_run(take_down(folder, 7, 8, compact=compact), tmp_path / "run"))
    assert "resuming after step 2" in said
    assert "2 samples of the order were removed" in said
