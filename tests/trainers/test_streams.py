"""Forward passes that hold rows of several streams, rows that differ in length, corpora that differ
in columns, side files."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from septet.preprocess.shards.reader import Corpus
from septet.schemas.versioned import ManifestError
from septet.trainers.draws import generator
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.side import Lines
from septet.trainers.loader.source import Health, Source
from septet.trainers.task import Batch, Lengths, Stream, SubBatch, Task
from tests.corpora import run_annotation
from tests.pipelines.annotate.columns_to_test import HERE
from tests.trainers.corpora import write_corpus

KINDS = ("captions", "qa", "grounding")
LENGTHS = {"ids": Lengths((8, 16, 32, 64), pad=7)}


class Mixed(Task):
    """Three kinds of text in one forward pass, in shares that vary by step."""

    loss_weights = {"none": 1.0}  # noqa: RUF012

    def __init__(self, total=48, lengths=None, **stream):
        self.total = total
        self.streams = {
            k: Stream(("txt",), tokens=3, lengths=lengths or {}, **stream) for k in KINDS
        }

    kinds = ("answers",)

    def plan(self, seed, step):
        shares = generator("kind", seed, step).multinomial(self.total, [0.7, 0.3, 0.0])
        return [SubBatch("answers", dict(zip(KINDS, map(int, shares), strict=True)))]

    def read(self, stream, sample, draw):
        number = int(sample["txt"])
        row = {"number": np.int64(number), "of": np.int64(KINDS.index(stream))}
        if self.streams[stream].lengths:
            n = 1 + int(64 * draw().random() ** 4)
            row["ids"] = np.full(n, number, np.int64)
        return row

    def build(self):
        return nn.Identity()

    def blocks(self, module):
        return []

    def example(self, kind, rows):
        return Batch(kind, {})

    def counts(self, batch):
        return {}

    def forward(self, module, batch):
        return {}


def corpora(folder, n=60):
    """One each stream; numbers tell which a sample is of."""
    return {
        kind: Corpus(
            str(
                write_corpus(
                    folder / kind,
                    [(f"{i:032x}", {"txt": str(1000 * at + i).encode()}) for i in range(n)],
                )
            )
        )
        for at, kind in enumerate(KINDS)
    }


def load(task, given, steps, progress=None, **options):
    sources = {k: Source(k, task, [(c, 1.0)], 3, 40, Health(0.0)) for k, c in given.items()}
    loader = Loader(task, sources, seed=3, progress=progress or Progress(), **options)
    found = list(itertools.islice(loader, steps))
    loader.close()
    return found


def numbers(step):
    return torch.cat([batch.data["number"] for batch in step.sub_batches[0]]).tolist()


@pytest.mark.parametrize("world,micro", [(1, None), (3, 8), (4, None), (2, 4)])
def test_one_pass_holds_rows_of_several_streams(tmp_path, world, micro):
    task, given = Mixed(), corpora(tmp_path)
    parts = [
        load(task, given, 6, rank=r, world=world, micro_batch=micro, workers=r % 3)
        for r in range(world)
    ]
    seen = Counter()
    for step in range(6):
        whole = list(itertools.chain(*(numbers(part[step]) for part in parts)))
        assert len(whole) == 48
        planned = task.plan(3, step)[0].rows
        of = Counter(KINDS[n // 1000] for n in whole)
        assert of == {k: n for k, n in planned.items() if n} and "grounding" not in of
        assert [n // 1000 for n in whole] != sorted(n // 1000 for n in whole)
        batch = parts[0][step].sub_batches[0][0]
        assert batch.kind == "answers" and batch.tokens == 3 * len(batch)
        assert (batch.data["of"] == batch.data["number"] // 1000).all()
        seen.update(whole)
    alone = load(task, given, 6)
    assert [numbers(s) for s in alone] == [
        list(itertools.chain(*(numbers(part[i]) for part in parts))) for i in range(6)
    ]
    consumed = {k: n for k, n in parts[0][5].after.consumed.items() if n}
    assert consumed == Counter(KINDS[n // 1000] for n in seen.elements())
    rest = load(task, given, 3, progress=alone[2].after)
    assert [numbers(s) for s in rest] == [numbers(s) for s in alone[3:]]


@pytest.mark.parametrize("window", [50, 10**6])
@pytest.mark.parametrize("parts", [1, 2])
def test_streams_over_one_corpus_share_no_more_samples_than_chance(tmp_path, parts, window):
    """100 rows of each of two streams a step, of 1,000 samples: 10 in common by chance."""
    names = [f"{i:032x}" for i in range(1000)]
    mix = [
        (Corpus(str(write_corpus(tmp_path / str(i), [(n, {"txt": b"1"}) for n in part], 20))), 0.5)
        for i, part in enumerate(np.array_split(names, parts))
    ]
    one, other = (Source(k, Mixed(), mix, 3, window, Health(0.0)) for k in ("captions", "qa"))
    assert one.digests == other.digests and one.order_digest != other.order_digest
    seen = [[found.key(p) for p in range(4000)] for found in (one, other)]
    assert all(set(Counter(keys).values()) == {4} for keys in seen)
    shared = [len(set(a) & set(b)) for a, b in zip(*(cut(keys) for keys in seen), strict=True)]
    assert np.mean(shared) == pytest.approx(10, abs=6)


def cut(keys, rows=100):
    return [keys[i : i + rows] for i in range(0, len(keys), rows)]


@pytest.mark.parametrize("plan,message", [
    ([SubBatch("nope", {"qa": 4})], "`plan` gave rows of nope; its kinds are answers"),
    ([SubBatch("answers", {"qa": 4, "x": 4})], "`plan` gave rows of x; .* streams captions, qa"),
    ([SubBatch("answers", {"qa": -1})], "rows of answers"),
    ([SubBatch("answers", {"qa": 0})], "Mixed: step 0 has no rows"),
    ([], "has no rows"),
])  # fmt: skip
def test_a_plan_that_cannot_be_is_told(tmp_path, plan, message):
    task = Mixed()
    task.plan = lambda seed, step: plan
    with pytest.raises(ValueError, match=message):
        load(task, corpora(tmp_path), 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_that_differ_in_length_come_in_buckets(tmp_path, workers):
    task, given = Mixed(480, LENGTHS), corpora(tmp_path, 600)
    seen, places, real, shapes = [], 0, 0, set()
    for step in load(task, given, 4, micro_batch=16, workers=workers):
        (batches,) = step.sub_batches
        assert [len(batch) for batch in batches] == [16] * 30
        for batch in batches:
            ids, expected = batch.data["ids"], batch.data["number"]
            whole = (ids == expected[:, None]) | (expected[:, None] == 7)
            lengths = whole.sum(1)
            assert ((ids == expected[:, None]) | (ids == 7)).all()
            assert ids.shape[1] == next(b for b in LENGTHS["ids"].buckets if b >= lengths.max())
            places, real = places + ids.numel(), real + batch.tokens - 3 * len(batch)
            shapes.add(tuple(ids.shape))
            seen += expected.tolist()
    assert len(shapes) <= 4 and real / places > 0.6
    assert sorted(seen) == sorted(
        n for s in load(task, given, 4, workers=workers) for n in numbers(s)
    )


def test_rows_that_stay_together_are_the_same_groups_however_many_ranks_there_are(tmp_path):
    lengths = {"ids": Lengths((8, 16, 32, 64), pad=-1)}  # No number is taken for padding.
    task, given = Mixed(48, lengths, together=4), corpora(tmp_path)

    def groups(world, micro):
        """The groups of a step over all ranks, and how long the longest row of each is."""
        found = []
        for rank in range(world):
            (step,) = load(task, given, 1, rank=rank, world=world, micro_batch=micro)
            for batch in step.sub_batches[0]:
                rows = batch.data["number"].tolist()
                long = (batch.data["ids"] == batch.data["number"][:, None]).sum(1)
                found += [
                    (tuple(rows[i : i + 4]), int(long[i : i + 4].max()))
                    for i in range(0, len(rows), 4)
                ]
        return found

    alone = groups(1, None)
    assert [longest for _, longest in alone] == sorted(longest for _, longest in alone)
    assert sorted(groups(3, 8)) == sorted(groups(1, 12)) == sorted(alone)
    with pytest.raises(ValueError, match=r"16 rows of answers, 2 at once, .* groups of 4 rows"):
        groups(3, 2)
    with pytest.raises(ValueError, match=r"6 rows of answers, 6 at once, .* groups of 4 rows"):
        groups(8, None)


def test_lengths_that_do_not_fit_are_told(tmp_path):
    given = corpora(tmp_path)
    with pytest.raises(ValueError, match=r"'ids' is \[\d+\]; the stream's lengths allow 2"):
        load(Mixed(48, {"ids": Lengths((2,))}), given, 4)
    with pytest.raises(ValueError, match=r"has lengths of \['words'\]; a row has \['ids', 'num"):
        load(Mixed(48, {"words": Lengths((2,))}), given, 1)
    pooled = Mixed(48, LENGTHS)
    pooled.pooled = ("image",)
    with pytest.raises(ValueError, match="cannot be pooled"):
        load(pooled, given, 1)


class Knowing(Mixed):
    """Reads which corpus a sample is of, and a column that some corpora have."""

    kinds = ("texts",)

    def __init__(self):
        self.streams = {"texts": Stream(("txt",), optional=("codes",))}

    def plan(self, seed, step):
        return [SubBatch.of("texts", 10)]

    def read(self, stream, sample, draw):
        assert sample.key == f"{int(sample['txt']) % 1000:032x}"
        code = sample["codes"][0] if sample["codes"] else 255
        return {
            "number": np.int64(sample["txt"]),
            "code": np.int64(code),
            "of": np.int64(sample.corpus == "other"),
        }


def test_a_column_may_be_absent_from_some_corpora_of_a_mix(tmp_path):
    given = corpora(tmp_path)
    run_annotation(tmp_path / "captions", f"{HERE}:Bytes", name="codes")
    other = tmp_path / "qa/corpus.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"name": "other"}))
    mix = [(given["captions"], 0.5), (Corpus(str(tmp_path / "qa")), 0.5)]
    source = Source("texts", Knowing(), mix, 3, 40, Health(0.0))
    assert source.lacking == {"codes": 20 + 60}
    for row, _ in source.rows(range(200)):
        number = int(row["number"])
        assert row["of"] == number // 1000
        has = number < 1000 and number % 3
        assert row["code"] == (number if has else 255)
    with pytest.raises(ManifestError, match="no complete column 'codes'"):
        Source("texts", Knowing(), [(given["qa"], 1.0)], 3, 40, Health(0.0))
    with pytest.raises(ManifestError, match="no complete column 'codes'"):
        Source("texts", Knowing(), mix, 3, 40, Health(0.0), complete_only=True)


def test_side_files_are_handed_over_and_part_of_the_digest(tmp_path):
    opened = {}

    class Drawing(Knowing):
        def __init__(self):
            self.streams = {"texts": Stream(("txt",), side_files=("captions.txt",))}

        def open(self, stream, side):
            opened.update({(stream, each.corpus): each.lines("captions.txt") for each in side})

    def source():
        return Source("texts", Drawing(), [(given["qa"], 1.0)], 3, 40, Health(0.0))

    given = corpora(tmp_path)
    with pytest.raises(ValueError, match=r"captions.txt: the task draws from this side file"):
        source()
    (tmp_path / "qa/captions.txt").write_text("a dog\nzwei Hünde\n\nlast")
    first = source().digests
    (lines,) = opened.values()
    assert list(lines) == ["a dog", "zwei Hünde", "", "last"] and lines[-1] == "last"
    assert lines[1:3] == ["zwei Hünde", ""] and opened.keys() == {("texts", "scenes")}
    with pytest.raises(IndexError):
        lines[4]
    (tmp_path / "qa/captions.txt").write_text("a cat\n")
    assert source().digests != first
    assert list(Lines(str(tmp_path / "qa/captions.txt"))) == ["a cat"]
    (tmp_path / "empty.txt").write_bytes(b"")
    assert list(Lines(str(tmp_path / "empty.txt"))) == []
