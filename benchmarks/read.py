"""Reading samples back: Septet's indexed reader beside webdataset and plain tarfile.

    python -m benchmarks.read [--quick]

All three read the same shards (70 kB image + txt + json a sample), page cache hot, one thread, raw
bytes without decoding, interleaved. Septet reads in a random order, the peers in the tar's order,
which is all that they can do. Ratios are medians of the rounds' paired ratios.
"""

import argparse
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import webdataset as wds

from septet.preprocess import files
from septet.preprocess.shards.heads import write_corpus
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas import tables
from septet.schemas.manifest import Shard

IMAGE_BYTES = 70_000
SHARDS = 8


def make_corpus(folder: Path, samples: int) -> Corpus:
    """A corpus of random bytes in the layout of a build."""
    random_bytes = np.random.default_rng(0).bytes(IMAGE_BYTES + samples)
    shards = []
    for number in range(SHARDS):
        tar, sidecar = f"{number:05d}.tar", f"{number:05d}.parquet"
        keys = [f"{i:032x}" for i in range(number, samples, SHARDS)]
        with files.open_atomic(str(folder / tar)) as out:
            writer = ShardWriter(out)
            rows = []
            for i, key in enumerate(keys):
                members = {"jpg": random_bytes[i : i + IMAGE_BYTES], "txt": b"a caption " * 8,
                           "json": b'{"width": 256, "height": 256}'}  # fmt: skip
                rows.append({"key": key, "members": writer.add(key, members)})
            size, digest = writer.close()
        files.write_table(str(folder / sidecar), pa.Table.from_pylist(rows, tables.SHARD_INDEX))
        shards.append(Shard(tar=tar, sidecar=sidecar, samples=len(keys), bytes=size,
                            tar_sha256=digest, sidecar_sha256=files.sha256(str(folder / sidecar)),
                            first_key=keys[0], last_key=keys[-1]))  # fmt: skip
    write_corpus(str(folder), shards, name="bench", septet="0", sorted_keys=False)
    return Corpus(str(folder))


def read_septet(corpus: Corpus) -> Iterator[int]:
    order = list(range(len(corpus)))
    random.Random(0).shuffle(order)
    for index in order:
        yield len(corpus[index]["jpg"])


def read_webdataset(corpus: Corpus) -> Iterator[int]:
    tars = [str(Path(corpus.path) / shard.tar) for shard in corpus.shards]
    for sample in wds.WebDataset(tars, shardshuffle=False):
        yield len(sample["jpg"])


def read_tarfile(corpus: Corpus) -> Iterator[int]:
    for shard in corpus.shards:
        with tarfile.open(Path(corpus.path) / shard.tar) as tar:
            for info in tar:
                content = tar.extractfile(info)
                data = content.read() if content else b""
                if info.name.endswith(".jpg"):
                    yield len(data)


def rate(reader: Callable[[Corpus], Iterator[int]], corpus: Corpus) -> float:
    """Samples a second of one whole read; checks that all bytes came."""
    start = time.perf_counter()
    total = count = 0
    for size in reader(corpus):
        total, count = total + size, count + 1
    seconds = time.perf_counter() - start
    if (count, total) != (len(corpus), len(corpus) * IMAGE_BYTES):
        raise RuntimeError(f"{reader.__name__} read {count} samples of {len(corpus)}")
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    quick = parser.parse_args().quick
    samples, rounds = (2_000, 5) if quick else (4_000, 11)
    readers = {"septet": read_septet, "webdataset": read_webdataset, "tarfile": read_tarfile}
    rates: dict[str, list[float]] = {name: [] for name in readers}
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder), samples)
        for reader in readers.values():
            rate(reader, corpus)  # page cache, sidecars, imports
        for _ in range(rounds):
            for name, reader in readers.items():
                rates[name].append(rate(reader, corpus))
    print(f"{samples} samples of {IMAGE_BYTES} bytes in {SHARDS} shards, {rounds} rounds")
    print(f"{'reader':<12}{'median samples/s':>18}{'best':>12}")
    for name, values in rates.items():
        print(f"{name:<12}{statistics.median(values):>18,.0f}{max(values):>12,.0f}")
    for peer in ("webdataset", "tarfile"):
        ratios = [a / b for a, b in zip(rates["septet"], rates[peer], strict=True)]
        print(f"ratio read_vs_{peer} {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
