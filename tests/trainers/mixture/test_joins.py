"""Rows that are made of several samples."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from septet.preprocess.shards.reader import Corpus
from septet.trainers.draws import generator
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.source import Health, Source
from septet.trainers.loader.tally import Counted, Tally, tally_figures
from septet.trainers.measures.parts import parts
from septet.trainers.task import Languages, Lengths, Stream, SubBatch
from tests.trainers.mixture.small import Dealt, language_of, numbers

JOINS, ROOM = 4, 5


class Joined(Dealt):
    """A row holds numbers' digits until there are `ROOM`, of four numbers at most; a last number
    that does not fit loses its end. The first says what was drawn for the row."""

    kinds = ("texts",)

    def __init__(self, total=8, languages=None):
        super().__init__(total)
        lengths = {"digits": Lengths((ROOM + 1,), -1)}
        self.streams = {
            "texts": Stream(("txt",), lengths=lengths, joins=JOINS, languages=languages)
        }
        self.read_numbers = []

    def plan(self, seed, step):
        return [SubBatch("texts", {"texts": self.total + step % 2 * 4})]

    def read(self, stream, sample, draw):
        number = int(super().read("vqa", sample, draw)["number"])
        self.read_numbers.append(number)
        return {"digits": np.array([*map(int, str(number))])}

    def join(self, stream, rows, draw):
        found = [int(draw().integers(10))]
        for row in rows:
            found += row["digits"].tolist()
            if len(found) > ROOM:
                break
        return {"digits": np.array(found[: ROOM + 1])}, ["cut"] if len(found) > ROOM + 1 else []


def source(corpora, task, share=0.0):
    mix = corpora if isinstance(corpora, list) else [(corpora, 1.0)]
    return Source("texts", task, mix, 3, 40, Health(share))


def rows_of(found, positions):
    """Digits of rows, and what is counted."""
    rows = list(found.rows(positions))
    tally = Tally(itertools.chain(*(counted for _, counted in rows)))
    return [row["digits"].tolist() for row, _ in rows], tally


def test_a_row_is_filled_by_the_samples_at_its_place_and_no_more_are_read(tmp_path):
    corpus, task = numbers(tmp_path, 60, column=False), Joined()
    found = source(corpus, task)
    for position in (0, 1, 14, 15, 40):  # An epoch has fifteen rows.
        del task.read_numbers[:]
        (row,), tally = rows_of(found, range(position, position + 1))
        places = [found.locate(position, number) for number in range(JOINS)]
        samples = [7 * place.shard + place.row for place in places]
        assert {place.epoch for place in places} == {position // 15}
        texts = [*map(str, samples)]
        taken = next(n for n in range(1, 5) if n == 4 or len("".join(texts[:n])) >= ROOM)
        assert task.read_numbers == samples[:taken]
        told = "".join(texts[:taken])
        drawn = generator("join", 3, "texts", position).integers(10)
        assert row == [drawn, *map(int, told[:ROOM])]
        assert tally == Counter(
            {Counted("task", "texts"): 1, Counted("joined", "texts"): taken - 1}
            | ({Counted("outcome", "cut"): 1} if len(told) > ROOM else {})
        )
    assert tally_figures(tally, ["texts"])["joined/texts"] == taken - 1


def test_an_epoch_joins_no_sample_twice(tmp_path):
    task = Joined()
    found = source(numbers(tmp_path, 60, column=False), task)
    for epoch in range(2):
        del task.read_numbers[:]
        rows_of(found, range(15 * epoch, 15 * epoch + 15))
        assert len(set(task.read_numbers)) == len(task.read_numbers) > 30


def test_a_sample_that_cannot_be_used_is_counted_and_another_is_joined(tmp_path):
    corpus = numbers(tmp_path, 60, column=False, broken={3, 4, 5, 6})
    rows, tally = rows_of(source(corpus, Joined(), share=0.5), range(15))
    assert tally[Counted("outcome", "unusable")] > 0 and tally[Counted("task", "texts")] == 15
    assert tally[Counted("joined", "texts")] >= 15 and all(len(row) > 4 for row in rows)


def test_a_row_is_of_one_corpus_and_of_one_language(tmp_path):
    one = numbers(tmp_path / "one", 60, column=False)
    task = Joined(languages=Languages(math.inf))
    found, spoken = source(one, task), Counter()
    for position in range(300):
        del task.read_numbers[:]
        rows_of(found, range(position, position + 1))
        languages = {language_of(number) for number in task.read_numbers}
        assert len(languages) == 1
        spoken += Counter(languages)
    assert all(abs(n - 100) < 20 for n in spoken.values()) and len(spoken) == 3
    other, task = numbers(tmp_path / "other", 90, column=False), Joined()
    both = source([(one, 0.5), (other, 0.5)], task)
    shares = Counter()
    for position in range(1000):
        parts_of_row = {both.locate(position, number).part for number in range(JOINS)}
        assert len(parts_of_row) == 1
        shares += Counter(parts_of_row)
    assert shares == {0: 500, 1: 500}


@pytest.mark.parametrize("step", [1, 5])
def test_rows_after_resume_and_on_other_ranks_are_those_of_one_run(tmp_path, step):
    corpus = numbers(tmp_path, 60, column=False)

    def steps(progress, count, rank=0, world=1):
        task = Joined()
        with_workers = 2 * (rank == 0)
        loader = Loader(
            task, {"texts": source(corpus, task)}, seed=3, progress=progress, rank=rank,
            world=world, workers=with_workers,
        )  # fmt: skip
        found = [next(loader) for _ in range(count)]
        loader.close()
        return found

    def told(found):
        return [sorted(map(tuple, s.sub_batches[0][0].data["digits"].tolist())) for s in found]

    whole = steps(Progress(), 8)
    assert [len(each) for each in told(whole)] == [8, 12] * 4
    assert told(steps(whole[step - 1].after, 8 - step)) == told(whole)[step:]
    ranks = [told(steps(whole[step - 1].after, 8 - step, rank, 4)) for rank in range(4)]
    together = [sorted(itertools.chain(*each)) for each in zip(*ranks, strict=True)]
    assert together == told(whole)[step:]


def test_measures_join_each_sample_alone(tmp_path):
    task = Joined()
    (part,) = parts(task, "texts", Corpus(str(numbers(tmp_path, 20, column=False).path)), 9, 9)
    rows = part.batch.data["digits"].tolist()
    assert sorted(row[1] for row in rows) == list(range(9)) and task.read_numbers == [*range(9)]
    assert len(rows[0]) == ROOM + 1 and set(rows[0][2:]) == {-1}
