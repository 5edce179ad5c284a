"""Batches for training: Septet's loader beside others.

    python -m benchmarks.loader [--quick]

All read the same eight shards of 512 x 384 JPEGs (about 40 kB each, with txt and json), page cache
hot, batches of 64. "read" hands out raw bytes on one thread, webdataset beside it; "decode" makes
images of 224 px, Septet as its trainers do with two threads, webdataset in two processes with
simplejpeg and OpenCV's area resize, the fastest that general libraries have. "same_decode" is the
same Septet, the others with its very function in two processes: webdataset, and those of litdata,
MosaicML streaming and energon that `make peers` has installed, each from its own format. "bare
work" is that function alone on two threads, the floor of a loader on a CPU. "regions"
is what ERNIE-ViL reads, on one thread: the caption, and a column of 36 regions of 2,048 float16
each; webdataset reads the shards' tars beside the column's. Both hand out what is asked for and
nothing else. Clocks start when each process has given a batch. Septet shuffles the whole corpus and
checks every member's CRC-32; the others read in stored order. Rounds are interleaved, ratios are
medians of the rounds' paired ratios. "resume" is the time to the first batch in the middle of the
tenth epoch over that of a fresh start. "small_shards" reads shards of 1,000 samples of 4 kB beside
shards of 10,000, the same 100,000 samples, on one thread.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import torch
import webdataset as wds
from torch import nn
from torch.utils.data import DataLoader

from septet.preprocess.columns.base import Column, Item, NoValue, Value
from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.columns import ArrayFormat, MemberFormat
from septet.trainers.inputs import images
from septet.trainers.loader.batches import Loader, Progress
from septet.trainers.loader.source import Health, Source
from septet.trainers.task import Batch, Draw, Row, Stream, SubBatch, Task
from tests.corpora import run_annotation
from tests.trainers.corpora import write_corpus

BATCH = 64
WORKERS = 2
INSTALLED = Path(__file__).parents[1] / ".venv" / "peers"
PEERS = {"litdata": "litdata", "mosaicml-streaming": "streaming", "megatron-energon": "energon"}
"""Packages, and their modules in `benchmarks.loader_peers`."""
SIDE = 224


def noise_jpegs(count: int) -> list[bytes]:
    """Images with about the spectrum of photographs (1/f in amplitude, a little steeper)."""
    draw = np.random.default_rng(0)
    height, width = 384, 512
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    falloff = np.maximum(np.hypot(fy, fx), 1 / width) ** -1.4
    found = []
    for _ in range(count):
        spectrum = np.fft.fft2(draw.standard_normal((3, height, width))) * falloff
        image = np.fft.ifft2(spectrum).real.transpose(1, 2, 0)
        image = 128 + 48 * (image - image.mean()) / image.std()
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        found.append(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    return found


def view(data: bytes) -> np.ndarray:
    """As Septet's trainers make it."""
    image = images.decode(data, SIDE)
    return images.crop(image, (0, 0, image.shape[1], image.shape[0]), SIDE)


def area_view(data: bytes) -> np.ndarray:
    """As other libraries do it fastest."""
    image = simplejpeg.decode_jpeg(data, "RGB")
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


class Regions(Column):
    """Features of 36 regions, of noise: what ERNIE-ViL reads of an image."""

    version = 1
    member = MemberFormat(
        ext="regions.f16",
        kind="raw",
        arrays={"features": ArrayFormat(dtype="float16", shape=(36, 2048))},
    )

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """Noise of the key."""
        draws = [np.random.default_rng(int(item.key, 16)) for item in items]
        return [Value(d.random((36, 2048), np.float32).astype("<f2").tobytes()) for d in draws]


class Reading(Task):
    """A task without a model: rows are sizes (nothing of a sample is touched) or decoded images."""

    def __init__(self, decodes: bool, regions: bool = False):
        stream = Stream(("txt",), ("regions",)) if regions else Stream(("jpg", "txt"))
        self.loss_weights: dict[str, float] = {}
        self.streams = {"pairs": replace(stream, distinct=BATCH)}
        self._decodes = decodes
        self._image = "regions" if regions else "jpg"

    def plan(self, seed: int, step: int) -> list[SubBatch]:
        """One batch."""
        return [SubBatch.of("pairs", BATCH)]

    def read(self, stream: str, sample: Sample, draw: Draw | None) -> Row:
        """Pixels, or the size alone."""
        if self._decodes:
            return {"pixels": view(sample["jpg"])}
        return {"size": np.array(len(sample[self._image]) + len(sample["txt"]))}

    def build(self) -> nn.Module:
        """No model."""
        return nn.Identity()

    def blocks(self, module: nn.Module) -> list[nn.Module]:
        """No layers."""
        return []

    def example(self, kind: str, rows: int) -> Batch:
        """Sizes of nothing."""
        return Batch(kind, {"size": torch.zeros(rows, dtype=torch.int64)})

    def forward(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Nothing."""
        return {}


def septet(task: Reading, folder: Path, workers: int, progress: Progress) -> Iterator[int]:
    corpus = Corpus(str(folder))
    source = Source("pairs", task, [(corpus, 1.0)], 0, 2**17, Health(0.0))
    loader = Loader(task, {"pairs": source}, seed=0, progress=progress, workers=workers)
    try:
        for step in itertools.islice(loader, len(corpus) // BATCH):
            yield len(step.sub_batches[0][0])
    finally:
        loader.close()


def bare_work(jpegs: Sequence[bytes]) -> Iterator[int]:
    """The same pixels by the same function on as many threads, of bytes that are there already."""
    chunks = [jpegs[begin : begin + 8] for begin in range(0, len(jpegs), 8)]
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(lambda chunk: len([view(data) for data in chunk]), chunks)


def tars(folder: Path, *members: str) -> wds.WebDataset:
    """Those members of a folder's tars, in stored order."""
    paths = sorted(str(path) for path in folder.rglob("*.tar"))
    return wds.WebDataset(
        paths, shardshuffle=False, select_files=lambda name: name.endswith(members)
    )


def webdataset(folder: Path) -> Iterator[int]:
    for sample in tars(folder / "shards", ".jpg", ".txt"):
        assert sample["jpg"] and sample["txt"]
        yield 1


def webdataset_images(folder: Path, look: Callable[[bytes], np.ndarray]) -> Iterator[int]:
    dataset = tars(folder / "shards", ".jpg", ".txt")
    batches = dataset.to_tuple("jpg").map_tuple(look).batched(BATCH, partial=False)
    for (pixels,) in DataLoader(batches, batch_size=None, num_workers=WORKERS):
        yield len(pixels)


def webdataset_regions(folder: Path) -> Iterator[int]:
    base = tars(folder / "shards", ".txt")
    column = tars(folder / "columns" / "regions", ".f16")
    for sample, value in zip(base, column, strict=True):
        assert sample["__key__"] == value["__key__"]
        assert sample["txt"] and value["regions.f16"]
        yield 1


def cpu_seconds() -> float:
    """CPU time of this process and of children that ended."""
    own, ended = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


clock = time.perf_counter
"""What rates are by."""


def rate(source: Callable[[], Iterator[int]]) -> float:
    """Samples a second once each worker has given a batch: the start of processes is left out,
    and what they made meanwhile; of CPU time it is not, as theirs is known when they end."""
    batches = source()
    for _ in range(WORKERS):
        next(batches)
    begin = clock()
    samples = sum(batches)
    return samples / (clock() - begin)


class Peer:
    """A loader in a process of its own; see `benchmarks.loader_peers`."""

    def __init__(self, name: str, corpus: Path, store: Path):
        path = os.pathsep.join([str(INSTALLED / name), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loader_peers", name, str(corpus), str(store)],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self._process.args)} ended: {self._process.wait()}")  # type: ignore[arg-type]
        return line

    def rate(self) -> float:
        """Samples a second of an epoch."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Compared:
    """Ways to do the same; rates of rounds in turns."""

    def __init__(self, ways: dict[str, Callable[[], float]]):
        self._ways = ways
        self._found: dict[str, list[float]] = {name: [] for name in ways}

    def run(self, rounds: int) -> None:
        """Do all rounds."""
        for _ in range(rounds):
            for name, way in self._ways.items():
                self._found[name].append(way())

    @property
    def medians(self) -> dict[str, float]:
        """Of each way's rates."""
        return {name: statistics.median(found) for name, found in self._found.items()}

    @property
    def ratios(self) -> dict[str, float]:
        """Medians of the first's rate over the others', round by round."""
        ours, *others = self._found
        return {
            name: statistics.median(
                a / b for a, b in zip(self._found[ours], self._found[name], strict=True)
            )
            for name in others
        }


def shards_of(samples: int) -> tuple[list[tuple[str, dict[str, bytes]]], int]:
    """A corpus of 100,000 small samples, and how many a shard has: more shards than were ever kept
    open at once, all of which a shuffle window touches."""
    content = bytes(4000)
    pairs = [(f"{i:032x}", {"jpg": content, "txt": b"a caption " * 6}) for i in range(100_000)]
    return pairs, samples


def first_batch(folder: Path, progress: Progress) -> float:
    begin = time.perf_counter()
    next(septet(Reading(True), folder, WORKERS, progress))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a corpus a quarter the size")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="samples a second of CPU time, for machines that do other work; without the peers "
        "that have a process of their own",
    )
    options = parser.parse_args()
    quick = options.quick
    if options.cpu:
        global clock
        clock = cpu_seconds
    cv2.setNumThreads(1)  # Each decoding thread or process has a core of its own.
    samples, rounds = (1024, 3) if quick else (4096, 7)
    jpegs = noise_jpegs(20 if quick else 100)
    with tempfile.TemporaryDirectory() as place:
        pairs = [
            (f"{i:032x}", {"jpg": jpegs[i % len(jpegs)], "txt": b"a caption " * 6, "json": b"{}"})
            for i in range(samples)
        ]
        folder = write_corpus(Path(place), pairs, samples // 8)
        run_annotation(folder, "benchmarks.loader:Regions", name="regions")
        size = sum(map(len, jpegs)) / len(jpegs)
        print(f"{samples} samples, {size / 1000:.0f} kB a JPEG, {rounds} rounds")
        start = Progress()
        reading = Compared(
            {
                "septet": lambda: rate(lambda: septet(Reading(False), folder, 0, start)),
                "webdataset": lambda: rate(lambda: webdataset(folder)),
            }
        )
        regions = Compared(
            {
                "septet": lambda: rate(lambda: septet(Reading(False, True), folder, 0, start)),
                "webdataset": lambda: rate(lambda: webdataset_regions(folder)),
            }
        )
        peers = {
            name: Peer(name, folder, Path(place) / name)
            for name in PEERS
            if not options.cpu and (INSTALLED / name).exists()
        }
        decoding = Compared(
            {
                "septet": lambda: rate(lambda: septet(Reading(True), folder, WORKERS, start)),
                "bare work": lambda: rate(lambda: bare_work([p["jpg"] for _, p in pairs])),
                "webdataset by area": lambda: rate(lambda: webdataset_images(folder, area_view)),
                "webdataset": lambda: rate(lambda: webdataset_images(folder, view)),
                **{name: peer.rate for name, peer in peers.items()},
            }
        )
        for name, compared in (("read", reading), ("regions", regions), ("images", decoding)):
            compared.run(rounds)
            rates = (f"{who} {speed:,.0f}/s" for who, speed in compared.medians.items())
            print(f"{name:<9}" + "   ".join(rates))
        for peer in peers.values():
            peer.close()
        small = write_corpus(Path(place) / "small", *shards_of(1000))
        large = write_corpus(Path(place) / "large", *shards_of(10_000))
        sizes = Compared(
            {
                "shards of 1,000": lambda: rate(lambda: septet(Reading(False), small, 0, start)),
                "shards of 10,000": lambda: rate(lambda: septet(Reading(False), large, 0, start)),
            }
        )
        sizes.run(rounds)
        far = Progress(10**4, {"pairs": 9 * samples + samples // 2})
        first_batch(folder, start)
        found = [(first_batch(folder, far), first_batch(folder, start)) for _ in range(2 * rounds)]
        late, cold = (statistics.median(side) for side in zip(*found, strict=True))
        print(f"first batch: resumed {late * 1000:.0f} ms, cold {cold * 1000:.0f} ms")
        same = decoding.ratios
        ratios = {
            "loader_read": reading.ratios,
            "loader": {"bare_work": same.pop("bare work")},
            "loader_decode": {"webdataset": same.pop("webdataset by area")},
            "loader_same_decode": same,
            "regions_read": regions.ratios,
            "loader_small_shards": {"large": sizes.ratios["shards of 10,000"]},
        }
        for name, by_peer in ratios.items():
            for peer_name, ratio in by_peer.items():
                print(f"ratio {name}_vs_{peer_name.replace('-', '_')} {ratio:.2f}")
        print(f"ratio resume_vs_cold {statistics.median(a / b for a, b in found):.2f}")


if __name__ == "__main__":
    main()
