"""Threads of a loader: how they share a step's rows, and that they end with it."""

import threading
import time

import pytest

from septet.trainers.loader.batches import _CHUNK, Loader, Progress, _chunks
from septet.trainers.loader.source import Health, Source
from septet.trainers.task import SubBatch
from tests.trainers.test_loader import Texts, numbers


class Watched(Texts):
    """Two chunks of rows a step, but of the first; what is done while a number is read is given."""

    def __init__(self, while_read):
        super().__init__()
        self.while_read = while_read

    def plan(self, seed, step):
        return [SubBatch.of("texts", 16 if step else 2)]

    def read(self, stream, sample, draw):
        self.while_read(int(sample["txt"]))
        return super().read(stream, sample, draw)


def loader(task, corpus, step=0, **options):
    source = Source("texts", task, [(corpus, 1.0)], 7, 40, Health(0.0))
    return Loader(task, {"texts": source}, seed=7, progress=Progress(step), **options)


def threads():
    return [t for t in threading.enumerate() if t.name.startswith(("decode", "scout"))]


def test_the_rows_of_a_step_are_read_by_several_threads(tmp_path):
    """Each row is read while another thread reads one: alone a thread would wait in vain."""
    meeting = threading.Barrier(2)
    steps = loader(
        Watched(lambda number: meeting.wait(60)), numbers(tmp_path), 1, workers=2, prefetch=1
    )
    try:
        for _ in range(3):
            assert len(next(steps).sub_batches[0][0]) == 16
    finally:
        meeting.abort()
        steps.close()


def test_a_loader_that_is_closed_reads_no_more_and_leaves_no_thread(tmp_path):
    """Once the rows are read that threads are within; what was planned ahead is dropped."""
    corpus = numbers(tmp_path)
    first = next(loader(Watched(lambda number: None), corpus, workers=0))
    begin = first.sub_batches[0][0].data["number"].tolist()
    before, read, gate = threads(), [], threading.Event()

    def held(number):
        read.append(number)
        if number not in begin:
            gate.wait(60)
            time.sleep(0.01)

    steps = loader(Watched(held), corpus, workers=2, prefetch=40, readahead=2)
    next(steps)
    closing = threading.Thread(target=steps.close)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    gate.set()
    closing.join(60)
    assert threads() == before
    assert len(read) < 2 + 40 * 16


def test_a_fault_in_one_thread_is_the_steps_and_what_is_left_of_it_is_not_read(tmp_path):
    """The other thread's chunk is under way and is read to its end."""
    corpus, read, failed = numbers(tmp_path), [], threading.Event()

    def faulty(number):
        read.append(number)
        if len(read) == 1:
            failed.set()
            raise KeyError("a fault of the program")
        failed.wait(60)
        time.sleep(0.05)

    task = Watched(faulty)
    task.plan = lambda seed, step: [SubBatch.of("texts", 10 * _CHUNK)]
    steps = loader(task, corpus, workers=2, prefetch=0)
    try:
        with pytest.raises(KeyError, match="a fault of the program"):
            next(steps)
    finally:
        steps.close()
    assert len(read) <= 1 + _CHUNK


def test_a_loader_without_threads_is_closed_too(tmp_path):
    steps = loader(Watched(lambda number: None), numbers(tmp_path), workers=0)
    next(steps)
    steps.close()


def test_a_thread_takes_so_many_rows_at_once_in_however_many_pieces():
    """Of one stream they are one piece, of several each row may be its own."""
    n = _CHUNK
    whole = list(_chunks([("a", range(5, 5 + 2 * n + 3))], n))
    assert whole == [
        (0, [("a", range(5, 5 + n))]),
        (n, [("a", range(5 + n, 5 + 2 * n))]),
        (2 * n, [("a", range(5 + 2 * n, 8 + 2 * n))]),
    ]
    single = [("ab"[i % 2], range(i, i + 1)) for i in range(2 * n + 3)]
    cut = list(_chunks(single, n))
    assert cut == [(0, single[:n]), (n, single[n : 2 * n]), (2 * n, single[2 * n :])]
    assert list(_chunks([("a", range(4)), ("b", range(n))], n)) == [
        (0, [("a", range(4)), ("b", range(n))])
    ]
    assert not list(_chunks([], n))
