import multiprocessing
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from septet.preprocess.shards.blocks import BlockCache
from septet.preprocess.shards.reader import Corpus
from tests.object_store import object_store, upload
from tests.trainers.corpora import write_corpus

BLOCK = 4096


class Counted(BlockCache):
    """Notes each request in a file, which processes share."""

    def __init__(self, log: Path, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._log = log

    def get(self, url: str, start: int, end: int) -> bytes:
        with self._log.open("a") as out:
            out.write(f"{url} {start}\n")
        return super().get(url, start, end)


def held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*"))


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with object_store() as url:
        yield url


@pytest.fixture(scope="module")
def content(store: str) -> bytes:
    data = np.random.default_rng(3).bytes(50 * BLOCK + 77)
    fs, plain = fsspec.url_to_fs(store)
    fs.pipe_file(f"{plain}/tar", data)
    return data


def test_ranges_are_the_files(store: str, content: bytes, tmp_path: Path) -> None:
    cache = Counted(tmp_path / "log", tmp_path / "cache", 64 * BLOCK, BLOCK)
    draw = random.Random(5)
    for _ in range(300):
        offset = draw.randrange(len(content))
        size = draw.choice([1, 100, BLOCK, 3 * BLOCK + 1, len(content)])
        size = min(size, len(content) - offset)
        assert cache.read(f"{store}/tar", "1", offset, size) == content[offset : offset + size]
    assert len((tmp_path / "log").read_text().splitlines()) == 51  # each block once
    again = Counted(tmp_path / "log", tmp_path / "cache", 64 * BLOCK, BLOCK)
    assert again.read(f"{store}/tar", "1", 0, len(content)) == content
    assert len((tmp_path / "log").read_text().splitlines()) == 51  # also for the next run
    again.read(f"{store}/tar", "2", 0, 10)
    assert len((tmp_path / "log").read_text().splitlines()) == 52  # another version is another file


def test_the_folder_stays_within_its_bound(store: str, content: bytes, tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "cache", 16 * BLOCK, BLOCK)
    draw = random.Random(5)
    for _ in range(120):
        number = draw.randrange(51)
        piece = content[number * BLOCK : number * BLOCK + 50]
        assert cache.read(f"{store}/tar", "1", number * BLOCK, 50) == piece
        assert held(tmp_path / "cache") <= 17 * BLOCK
    assert held(tmp_path / "cache") > 12 * BLOCK
    with pytest.raises(ValueError, match="at least 16 blocks"):
        BlockCache(tmp_path / "small", 15 * BLOCK, BLOCK)
    assert BlockCache(tmp_path / "usual", 128 * 2**20).block_bytes == 8 * 2**20
    with pytest.raises(ValueError, match="16 blocks of 8,388,608 bytes"):
        BlockCache(tmp_path / "usual", 128 * 2**20 - 1)


def test_a_block_that_a_power_cut_left_short_is_fetched_again(
    store: str, content: bytes, tmp_path: Path
) -> None:
    BlockCache(tmp_path / "cache", 64 * BLOCK, BLOCK).read(f"{store}/tar", "1", 0, 2 * BLOCK)
    for path in (tmp_path / "cache").glob("*/*"):
        os.truncate(path, 0)
    cache = BlockCache(tmp_path / "cache", 64 * BLOCK, BLOCK)
    assert cache.read(f"{store}/tar", "1", 10, 100) == content[10:110]
    with pytest.raises(OSError, match="ends within block 50"):
        cache.read(f"{store}/tar", "1", 50 * BLOCK, 100)


def _read_all(log: Path, folder: Path, url: str, size: int, seed: int) -> None:
    cache = Counted(log, folder, 64 * BLOCK, BLOCK)
    draw = random.Random(seed)
    for _ in range(200):
        cache.read(url, "1", draw.randrange(size - 200), 200)


def test_processes_and_threads_fetch_a_block_once(
    store: str, content: bytes, tmp_path: Path
) -> None:
    log, folder = tmp_path / "log", tmp_path / "cache"
    context = multiprocessing.get_context("spawn")
    given = (log, folder, f"{store}/tar", len(content))
    processes = [context.Process(target=_read_all, args=(*given, seed)) for seed in (1, 2)]
    threads = [threading.Thread(target=_read_all, args=(*given, seed)) for seed in (3, 4)]
    for one in (*processes, *threads):
        one.start()
    for one in (*processes, *threads):
        one.join()
    assert [process.exitcode for process in processes] == [0, 0]
    requests = log.read_text().splitlines()
    assert len(requests) == len(set(requests)) >= 50


def test_what_is_ahead_is_there_when_it_is_read(store: str, content: bytes, tmp_path: Path) -> None:
    cache = Counted(tmp_path / "log", tmp_path / "cache", 64 * BLOCK, BLOCK)
    for _ in range(3):
        cache.prefetch(f"{store}/tar", "1", 5 * BLOCK - 10, 20)
    cache.prefetch(f"{store}/nothing", "1", 0, 20)  # told when it is read
    cache._pool.shutdown(wait=True)
    before = (tmp_path / "log").read_text().splitlines()
    assert len(before) == 3
    assert cache.read(f"{store}/tar", "1", 5 * BLOCK - 10, 20) == content[5 * BLOCK - 10 :][:20]
    assert (tmp_path / "log").read_text().splitlines() == before
    with pytest.raises(OSError, match="nothing"):
        cache.read(f"{store}/nothing", "1", 0, 20)
    cache.close()


def test_what_another_process_removed_is_read_ahead_again(
    store: str, content: bytes, tmp_path: Path
) -> None:
    mine, other = (
        Counted(tmp_path / f"log-{n}", tmp_path / "cache", 16 * BLOCK, BLOCK) for n in "ab"
    )
    mine.read(f"{store}/tar", "1", 0, 4 * BLOCK)
    other.read(f"{store}/tar", "1", 4 * BLOCK, 46 * BLOCK)  # The first four had to go.
    mine.read(f"{store}/tar", "2", 0, 10)  # As it adds a block it looks at the folder.
    mine.prefetch(f"{store}/tar", "1", 0, 4 * BLOCK)
    mine._pool.shutdown(wait=True)
    asked = (tmp_path / "log-a").read_text().split()[1::2]
    assert [asked.count(str(n * BLOCK)) for n in range(4)] == [3, 2, 2, 2]  # version 2 asked too


def test_a_corpus_in_a_store(store: str, tmp_path: Path) -> None:
    samples = [
        (f"{i:032x}", {"jpg": os.urandom(i * 37 % 3000), "txt": str(i).encode()})
        for i in range(120)
    ]
    local = Corpus(str(write_corpus(tmp_path / "corpus", samples, per_shard=50)))
    url = upload(tmp_path / "corpus", f"{store}/scenes")
    cache = BlockCache(tmp_path / "cache", 64 * 16 * BLOCK, 16 * BLOCK)
    remote, plain = Corpus(url, cache=cache), Corpus(url)
    assert len(remote) == 120
    order = list(range(120))
    random.Random(1).shuffle(order)
    for i in order:
        assert remote[i] == local[i]
    assert plain[7] == local[7]
    assert held(tmp_path / "cache") == sum(shard.bytes for shard in local.shards)
