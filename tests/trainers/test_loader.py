import cProfile
import itertools
import json
import pstats
import threading
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from septet.preprocess.shards.blocks import BlockCache
from septet.preprocess.shards.reader import Corpus, ShardReader
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.kept import read_tombstones
from septet.trainers.loader.members import StorageError
from septet.trainers.loader.source import Health, Source, TooManyBadSamplesError
from septet.trainers.task import Batch, SampleError, Stream, SubBatch, Task
from tests.corpora import run_annotation
from tests.object_store import object_store, upload
from tests.pipelines.annotate.columns_to_test import HERE
from tests.trainers.corpora import scenes_corpus, write_corpus


class Texts(Task):
    """Reads captions' bytes; alternates between batches of 12 and, in every third step, a second
    sub-batch of 4."""

    def __init__(self, distinct=1):
        self.loss_weights = {"none": 1.0}
        self.streams = {"texts": Stream(("txt",), distinct=distinct)}

    def plan(self, seed, step):
        return [SubBatch.of("texts", 12)] + [SubBatch.of("texts", 4)] * (step % 3 == 2)

    def read(self, stream, sample, draw):
        if b"broken" in sample["txt"]:
            raise SampleError("broken")
        number = int(sample["txt"])
        return {"number": np.int64(number), "noise": draw().random(2)}

    def build(self):
        return nn.Identity()

    def blocks(self, module):
        return []

    def example(self, stream, rows):
        return Batch(stream, {"number": torch.zeros(rows, dtype=torch.int64)})

    def counts(self, batch):
        return {}

    def forward(self, module, batch):
        return {}


@pytest.fixture(scope="module")
def store():
    with object_store() as url:
        yield url


def numbers(folder, n=100, broken=(), per_shard=30):
    samples = [
        (f"{i:032x}", {"txt": b"broken" if i in broken else str(i).encode()}) for i in range(n)
    ]
    return Corpus(str(write_corpus(folder, samples, per_shard)))


def load(task, corpora, steps, *, progress=None, health=None, rank=0, world=1, **options):
    health = health or Health(0.01)
    corpora = corpora if isinstance(corpora, list) else [(corpora, 1.0)]
    source = Source("texts", task, corpora, 7, 40, health)
    loader = Loader(
        task, {"texts": source}, seed=7, progress=progress or Progress(), rank=rank, world=world,
        **options,
    )  # fmt: skip
    found = list(itertools.islice(loader, steps))
    loader.close()
    return found


def rows(steps, of="number"):
    return [
        torch.cat([batch.data[of] for batch in sub]).tolist()
        for s in steps
        for sub in s.sub_batches
    ]


def test_an_epoch_loses_and_doubles_nothing(tmp_path):
    corpus = numbers(tmp_path, 120)
    seen = list(itertools.chain(*rows(load(Texts(), corpus, 18))))  # 18 * 12 + 6 * 4 = 2 epochs
    assert Counter(seen) == dict.fromkeys(range(120), 2)
    assert set(seen[:120]) == set(range(120)) and seen[:120] != seen[120:]


@pytest.mark.parametrize("n,weights", [
    (100, None), (24, None), (23, None), (12, None), (100, (0.5, 0.5)), (1000, (0.99, 0.01)),
])  # fmt: skip
def test_no_step_holds_a_sample_twice_alone_or_in_a_mix(tmp_path, n, weights):
    """Batches do not begin with epochs, here, and steps differ in size."""
    corpora = [(numbers(tmp_path / "a", n), (weights or (1.0,))[0])]
    if weights:
        small = [(f"{i:032x}", {"txt": str(10**6 + i).encode()}) for i in range(40)]
        corpora.append((Corpus(str(write_corpus(tmp_path / "b", small))), weights[1]))
    steps = load(Texts(distinct=16), corpora, 60) if n >= 16 else load(Twelve(), corpora, 60)
    by_step = [[n for sub in rows([step]) for n in sub] for step in steps]
    assert all(len(set(step)) == len(step) for step in by_step)
    seen = Counter(n for step in by_step for n in step if n < 10**6)
    assert max(seen.values()) - min(seen.values()) <= 1  # Each epoch has every sample once.


class Twelve(Texts):
    def __init__(self):
        super().__init__(distinct=12)

    def plan(self, seed, step):
        return [SubBatch.of("texts", 12)]


def test_replaced_samples_are_in_no_batch_twice(tmp_path):
    corpus = numbers(tmp_path, 100, broken=range(0, 100, 3))
    source = Source("texts", Twelve(), [(corpus, 1.0)], 7, 40, Health(0.9))
    for epoch in range(3):
        for batch in range(8):
            at = 100 * epoch + 12 * batch
            found = [int(row["number"]) for row, _ in source.rows(range(at, at + 12))]
            assert len(set(found)) == 12 and all(n % 3 for n in found)
    dead = frozenset(f"{i:032x}" for i in range(100))
    none = Source("texts", Twelve(), [(corpus, 1.0)], 7, 40, Health(0.0), tombstones=dead)
    with pytest.raises(TooManyBadSamplesError, match="has no sample left for stream 'texts'"):
        list(none.rows(range(1)))


def test_rows_of_several_streams_are_the_next_of_each():
    sub = SubBatch("both", {"a": 3, "none": 0, "b": 5})
    pieces = Loader._pieces(SimpleNamespace(_seed=7), sub, {"a": 10, "b": 100}, (0, 0))
    found = list(pieces(0, 8))
    assert all(len(positions) == 1 for _, positions in found)
    places = sorted((stream, positions.start) for stream, positions in found)
    assert places == [("a", i) for i in (10, 11, 12)] + [("b", i) for i in range(100, 105)]
    assert (
        [*pieces(0, 3), *pieces(3, 8)]
        == found
        != list(Loader._pieces(SimpleNamespace(_seed=7), sub, {"a": 10, "b": 100}, (0, 1))(0, 8))
    )
    alone = Loader._pieces(SimpleNamespace(_seed=7), SubBatch.of("a", 9), {"a": 10}, (0, 0))
    assert list(alone(2, 5)) == [("a", range(12, 15))]


@pytest.mark.parametrize(("corpora", "distinct", "hint"), [
    (1, 1, "give one that has some"),
    (1, 12, "lower train.global_batch"),
    (2, 12, "lower its weight"),
])  # fmt: skip
def test_too_few_samples_say_what_to_do(tmp_path, corpora, distinct, hint):
    few = numbers(tmp_path / "few", 0 if distinct == 1 else 5)
    many = numbers(tmp_path / "many", 100)
    mix = [(few, 1.0), (many, 1.0)][:corpora]
    with pytest.raises(ValueError, match=f"build a larger corpus, or {hint}"):
        Source("texts", Texts(distinct), mix, 7, 40, Health(0.01))


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_read_in_threads_where_there_are_any(tmp_path, workers):
    threads = set()

    class Where(Texts):
        def read(self, stream, sample, draw):
            threads.add(threading.current_thread().name.partition("_")[0])
            return super().read(stream, sample, draw)

    load(Where(), numbers(tmp_path), 3, workers=workers)
    assert threads == {"decode" if workers else "MainThread"}


@pytest.mark.parametrize("workers,prefetch", [(0, 1), (1, 1), (2, 3)])
def test_threads_do_not_change_what_is_read(tmp_path, workers, prefetch):
    corpus = numbers(tmp_path)
    base = load(Texts(), corpus, 12, workers=0)
    other = load(Texts(), corpus, 12, workers=workers, prefetch=prefetch)
    assert rows(base) == rows(other) and rows(base, "noise") == rows(other, "noise")
    assert [s.after for s in base] == [s.after for s in other]


@pytest.mark.parametrize("world,micro", [(2, None), (4, None), (2, 2), (1, 4)])
def test_ranks_and_micro_batches_share_the_same_global_order(tmp_path, world, micro):
    corpus = numbers(tmp_path)
    whole = rows(load(Texts(), corpus, 6))
    parts = [
        rows(load(Texts(), corpus, 6, rank=r, world=world, micro_batch=micro)) for r in range(world)
    ]
    joined = [list(itertools.chain(*(part[i] for part in parts))) for i in range(len(whole))]
    assert joined == whole


def test_resume_goes_on_exactly_from_a_few_numbers(tmp_path):
    corpus = numbers(tmp_path)
    whole = load(Texts(), corpus, 15)
    for k in (1, 7, 14):
        state = json.loads(json.dumps(whole[k - 1].after.__dict__))
        rest = load(Texts(), corpus, 15 - k, progress=Progress(**state), world=1, workers=1)
        assert rows(rest) == rows(whole[k:]) and rows(rest, "noise") == rows(whole[k:], "noise")
        assert len(json.dumps(state)) < 100


def test_resume_far_on_costs_no_more_than_a_start(tmp_path):
    corpus = numbers(tmp_path, 3000, per_shard=500)

    def calls(progress):
        """Of Python functions, until the first batch is there."""
        profile = cProfile.Profile()
        profile.runcall(load, Texts(), corpus, 1, progress=progress, workers=0)
        return pstats.Stats(profile).total_calls

    calls(Progress())  # What is cached, is.
    assert calls(Progress(10**6, {"texts": 10**9 + 7})) < 2 * calls(Progress())


def test_draws_differ_by_epoch_and_sample(tmp_path):
    corpus = numbers(tmp_path, 48)
    noise = {}
    for step in load(Texts(), corpus, 8):
        for sub in step.sub_batches:
            data = sub[0].data
            for number, value in zip(data["number"], data["noise"], strict=True):
                noise.setdefault(int(number), set()).add(tuple(value.tolist()))
    assert len(set().union(*noise.values())) == sum(len(v) for v in noise.values())
    assert max(len(v) for v in noise.values()) >= 2


def test_mixed_corpora_keep_their_weights(tmp_path):
    a = numbers(tmp_path / "a", 40)
    b = Corpus(str(write_corpus(tmp_path / "b", [(f"{i:032x}", {"txt": str(1000 + i).encode()})
                                                  for i in range(40)])))  # fmt: skip
    seen = list(itertools.chain(*rows(load(Texts(), [(a, 3.0), (b, 1.0)], 75))))[:1000]
    assert sum(number < 1000 for number in seen) == 750


def test_bad_samples_are_replaced_counted_and_reported(tmp_path):
    corpus = numbers(tmp_path / "corpus", 100, broken={5, 50})
    report = tmp_path / "skipped.jsonl"
    health = Health(0.05, report)
    seen = rows(load(Texts(), corpus, 6, health=health))
    assert all(len(row) in (12, 4) for row in seen)
    assert not {5, 50} & set(itertools.chain(*seen))
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["key"] for line in lines} <= {f"{5:032x}", f"{50:032x}"}
    assert health.bad == len(lines) >= 1 and lines[0]["reason"] == "broken"
    again = rows(load(Texts(), corpus, 6, workers=1))
    assert again == seen


def test_too_many_bad_samples_stop(tmp_path):
    corpus = numbers(tmp_path, 100, broken=set(range(30)))
    with pytest.raises(TooManyBadSamplesError, match=r"max_bad_samples=0\.01"):
        load(Texts(), corpus, 20)


def test_a_flipped_bit_is_found_by_its_checksum(tmp_path):
    corpus = numbers(tmp_path / "corpus", 24)
    tar = tmp_path / "corpus/shards/00000.tar"
    data = bytearray(tar.read_bytes())
    data[512] ^= 1  # the first sample's caption, "0" becomes "1"
    tar.write_bytes(data)
    health = Health(0.5, tmp_path / "skipped.jsonl")
    seen = list(itertools.chain(*rows(load(Texts(), corpus, 2, health=health, workers=0))))
    assert 0 not in seen and health.bad == 1
    assert "checksum" in (tmp_path / "skipped.jsonl").read_text()


def test_a_fault_of_the_program_is_not_skipped(tmp_path):
    class Faulty(Texts):
        def read(self, stream, sample, draw):
            return {"number": sample["no such member"]}

    with pytest.raises(KeyError):
        load(Faulty(), numbers(tmp_path), 1)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shape,dtype", [((1,), np.int64), ((), np.int32)])
def test_rows_of_one_batch_have_one_shape_and_type(tmp_path, workers, shape, dtype):
    class Uneven(Texts):
        def read(self, stream, sample, draw):
            odd = int(sample["txt"]) % 2
            return {"number": np.zeros(shape, dtype) if odd else np.int64(0)}

    with pytest.raises(ValueError, match="rows of one batch differ in 'number'"):
        load(Uneven(), numbers(tmp_path), 1, workers=workers)


def test_a_corpus_smaller_than_a_batch_is_an_error(tmp_path):
    small, large = numbers(tmp_path / "a", 5), numbers(tmp_path / "b", 3000)
    with pytest.raises(ValueError, match=r"has 5 samples .* may hold 12 of them.*global_batch"):
        load(Texts(distinct=12), small, 1)
    with pytest.raises(ValueError, match=r"has 5 samples .*may hold 12 of them.*lower its weight"):
        load(Texts(distinct=12), [(small, 0.5), (large, 0.5)], 1)
    # In a mix it is enough to have what its weight gives a batch at most.
    load(Texts(distinct=12), [(small, 0.002), (large, 0.998)], 1)
    with pytest.raises(ValueError, match="has 0 samples"):
        load(Texts(), Corpus(str(write_corpus(tmp_path / "c", []))), 1)


def test_a_read_that_fails_is_tried_again_and_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("septet.trainers.loader.members.PAUSES", (0.001, 0.001, None))
    corpus = numbers(tmp_path, 100)
    expected = rows(load(Texts(), corpus, 6))
    calls = itertools.count(1)

    def shaky(reader, size, offset, before=ShardReader._pread):
        if next(calls) % 7 == 5:
            raise TimeoutError("connection reset")
        return before(reader, size, offset)

    monkeypatch.setattr(ShardReader, "_pread", shaky)
    health = Health(0.01, tmp_path / "skipped.jsonl")
    assert rows(load(Texts(), corpus, 6, health=health, workers=0)) == expected
    assert health.bad == 0 and next(calls) > 90
    assert not (tmp_path / "skipped.jsonl").exists()

    def gone(reader, size, offset):
        raise TimeoutError("connection reset")

    monkeypatch.setattr(ShardReader, "_pread", gone)
    with pytest.raises(
        StorageError, match=r"shards/0000.\.tar cannot be read, tried 3 times: Time"
    ):
        load(Texts(), corpus, 1)


def test_no_bad_sample_is_forgiven_where_none_may_be(tmp_path):
    health = Health(0.0)
    with pytest.raises(TooManyBadSamplesError):
        health.skip({"reason": "x", "shard": "s", "key": "k"})
    few = Health(0.01)
    for _ in range(10):
        few.skip({"reason": "x", "shard": "s", "key": "k"})


def test_uneven_shares_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="shared evenly by 5 ranks"):
        load(Texts(), numbers(tmp_path), 1, world=5)


class WithCodes(Texts):
    """Texts with a column that has no value for multiples of three."""

    def __init__(self, optional=False):
        columns = ((), ("codes",)) if optional else (("codes",), ())
        self.streams = {"texts": Stream(("txt",), *columns)}

    def read(self, stream, sample, draw):
        code = np.frombuffer(sample["codes"] or bytes(2), "u1")
        return {"number": np.int64(sample["txt"]), "code": code}


def with_codes(folder, n=60):
    corpus = numbers(folder, n)
    run_annotation(folder, f"{HERE}:Bytes", name="codes")
    return corpus


def epoch(task, corpus, samples, **options):
    source = Source("texts", task, [(corpus, 1.0)], 7, 40, Health(0.01), **options)
    assert source.samples == [samples]
    return source, [row for row, _ in source.rows(range(samples))]


def test_samples_without_a_value_leave_the_order(tmp_path):
    source, rows = epoch(WithCodes(), with_codes(tmp_path), 40)
    assert sorted(int(row["number"]) for row in rows) == [i for i in range(60) if i % 3]
    assert all((row["code"] == row["number"]).all() for row in rows)
    assert source.health.bad == 0 and source.kept[0].dropped == 20


def test_an_optional_column_may_lack_a_value(tmp_path):
    corpus = with_codes(tmp_path)
    source, rows = epoch(WithCodes(optional=True), corpus, 60)
    assert all((row["code"] == (row["number"] if row["number"] % 3 else 0)).all() for row in rows)
    assert source.digests == epoch(Texts(), corpus, 60)[0].digests
    assert source.lacking == {"codes": 20}
    source, rows = epoch(WithCodes(optional=True), corpus, 40, complete_only=True)
    assert not source.lacking
    assert all(row["number"] % 3 for row in rows)


def test_what_a_stream_does_not_name_is_not_read(tmp_path, monkeypatch):
    """Images are destroyed, and every byte that is read is looked at: none is an image's."""
    samples = [
        (f"{i:032x}", {"jpg": b"p" * 5000, "txt": str(i).encode(), "json": b"{}"})
        for i in range(60)
    ]
    folder = write_corpus(tmp_path, samples, 30)
    run_annotation(folder, f"{HERE}:Bytes", name="codes")
    for tar in (folder / "shards").glob("*.tar"):
        tar.write_bytes(tar.read_bytes().replace(b"p" * 5000, b"q" * 5000))
    read = []

    def spied(reader, size, offset, before=ShardReader._pread):
        data = before(reader, size, offset)
        read.append((reader.tar, data))
        return data

    monkeypatch.setattr(ShardReader, "_pread", spied)
    source, rows = epoch(WithCodes(optional=True), Corpus(str(folder)), 60)
    assert len(rows) == 60 and source.health.bad == 0
    assert len(read) == 100  # 60 captions and 40 values: the other 20 are empty.
    assert not any(b"q" in data for _, data in read)
    base = [data for tar, data in read if "/shards/" in tar]
    assert sorted(int(data) for data in base) == list(range(60))  # The captions and nothing else.
    # It would have been found: a stream with images meets wrong checksums.
    with pytest.raises(TooManyBadSamplesError, match="member jpg does not have its checksum"):
        images = Texts()
        images.streams = {"texts": Stream(("jpg", "txt"))}
        epoch(images, Corpus(str(folder)), 60)


def test_a_column_is_checked_before_it_is_read(tmp_path):
    class Choosy(WithCodes):
        def check_column(self, name, manifest):
            raise ValueError(f"{name} of kind {manifest.kind} does not fit")

    with pytest.raises(ValueError, match=r"codes of kind .*Bytes does not fit"):
        load(Choosy(), with_codes(tmp_path), 1)


def test_tombstones_are_never_read(tmp_path):
    corpus = numbers(tmp_path / "corpus", 60)
    (tmp_path / "dead.txt").write_text("\n".join(f"{i:032x}" for i in range(25, 40)) + "\n\n")
    dead = read_tombstones(str(tmp_path / "dead.txt"))
    source, rows = epoch(Texts(), corpus, 60, tombstones=dead)
    seen = [int(row["number"]) for row in rows]
    assert not set(seen) & set(range(25, 40)) and source.health.bad == 0
    # All others stay where they are: a run under way goes on.
    whole, rows = epoch(Texts(), corpus, 60)
    assert whole.digests == source.digests
    before = [int(row["number"]) for row in rows]
    assert [n for n, old in zip(seen, before, strict=True) if old == n] == [
        n for n in before if n not in range(25, 40)
    ]
    with pytest.raises(ValueError, match="there is no such file"):
        read_tombstones(str(tmp_path / "nothing.txt"))


def test_a_missing_or_stale_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no complete column 'codes' .*septet annotate"):
        load(WithCodes(), numbers(tmp_path / "a"), 1)
    with_codes(tmp_path / "b")
    other = numbers(tmp_path / "c", 61)
    (tmp_path / "b/columns").rename(tmp_path / "c/columns")
    with pytest.raises(ValueError, match="made from other shards"):
        load(WithCodes(), other, 1)


def test_scene_corpora_read_back(tmp_path):
    corpus = Corpus(str(scenes_corpus(tmp_path, 3, 10)))
    assert len(corpus) == 10 and set(corpus[0]) == {"png", "txt", "json"}


def test_a_corpus_in_an_object_store(tmp_path, store):
    samples = [(f"{i:032x}", {"txt": str(i).encode()}) for i in range(100)]
    folder = write_corpus(tmp_path / "corpus", samples, 30)
    run_annotation(folder, f"{HERE}:Bytes", name="bytes")
    url = upload(folder, f"{store}/numbers")
    cache = BlockCache(tmp_path / "cache", 16 * 2**14, 2**14)

    class WithColumn(Texts):
        def __init__(self):
            super().__init__()
            self.streams = {"texts": Stream(("txt",), ("bytes",))}

        def read(self, stream, sample, draw):
            return super().read(stream, sample, draw) | {"twice": np.int64(sample["bytes"][0])}

    local = load(WithColumn(), Corpus(str(folder)), 12)
    remote = load(WithColumn(), Corpus(url, cache=cache), 12, readahead=4)
    assert rows(remote) == rows(local) and rows(remote, "twice") == rows(local, "twice")
    assert rows(remote, "noise") == rows(local, "noise")
    middle = load(WithColumn(), Corpus(url, cache=cache), 5, progress=local[6].after, readahead=4)
    assert rows(middle) == rows(local[7:])
    cache.close()
    # Without a cache each sample is a request.
    assert rows(load(WithColumn(), Corpus(url), 1)) == rows(local[:1])
