"""Checking and counting a large corpus: time and peak memory of `septet index`, `septet check` and
the statistics of a million samples.

    python -m benchmarks.samples [--samples N] [--peer PATH] [--folder PATH]

Makes a folder as img2dataset leaves it (tars of 10,000 samples, each a small JPEG and a text, and
Parquet files of captions and URLs beside them), indexes it and then works on it. `--peer` does the
same with another checkout, on a copy of the folder (hard links). `--folder` keeps the folder for
further calls. Statistics are counted on the local runner with two workers that run already, as a
build's report does it; code up to f40f809 counts them in one process, and so it is run. Imports are
not in the statistics' times.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.growth import ROOT, WORDS, looked_at

A_SHARD = 10_000

# Each runs in a process of its own, with either checkout's code: today's rooms are under `septet`.
_BEGIN = """
import importlib, json, sys, time
from pathlib import Path
from rich.console import Console
folder = sys.argv[1]
now = Path("septet/pipelines").exists()
def load(name):
    return importlib.import_module(("septet." if now else "") + name)
quiet = Console(quiet=True)
start = time.monotonic()
"""
_END = """
print(json.dumps({"seconds": time.monotonic() - start, "found": found}))
"""
WORK = {
    "index": """
found = load("pipelines.index").index_folder(folder, "many", quiet)
found = (found.manifest if now else found).samples
""",
    "check": """
check = load("pipelines.check").check_corpus
found = len(check(folder, False, quiet))
""",
    "statistics": """
statistics = load("pipelines.report.statistics")
if now:
    from benchmarks.samples import count_on_workers
    found, start = count_on_workers(folder, 2)
else:
    start = time.monotonic()
    found = statistics.corpus_statistics(folder).samples
""",
    "statistics in one process": """
statistics = load("pipelines.report.statistics")
start = time.monotonic()
found = statistics.corpus_statistics(folder).samples
""",
}


class CountShards:
    """The statistics of a run of shards, as `SurveyTask` counts them for a built corpus."""

    stage = "statistics"

    def __init__(self, corpus: str, runs: list[list[str]], folder: str):
        self.corpus, self.runs, self.folder = corpus, runs, folder

    def setup(self) -> None:
        """Nothing to load."""

    def path(self, number: int) -> str:
        """The figures of one run."""
        return f"{self.folder}/{number}.parquet"

    def run(self, number: int) -> None:
        """Count, and write the figures."""
        from septet.pipelines.report.statistics import shards_statistics
        from septet.pipelines.report.stored import write_statistics

        found = shards_statistics(self.corpus, self.runs[number])
        write_statistics(self.path(number), found, {})


def count_on_workers(corpus: str, workers: int) -> tuple[int, float]:
    """Statistics of a corpus on the local runner; returns how many samples were counted, and when
    that began: the workers had been started, as those of a build that comes to its report."""
    from septet.pipelines.report.statistics import corpus_statistics, shard_runs
    from septet.pipelines.report.stored import read_statistics
    from septet.pipelines.runners import make_runner
    from septet.pipelines.stages.graphs import map_tasks
    from septet.preprocess.shards.reader import Corpus

    with make_runner("local", workers) as runner, tempfile.TemporaryDirectory() as folder:
        runner.check()
        nothing = CountShards(corpus, [[]] * workers, f"{folder}/start")
        runner.run("start", map_tasks(nothing, range(workers)))
        start = time.monotonic()
        shards = Corpus(corpus).shards
        runs = [[shards[i].sidecar for i in run] for run in shard_runs(len(shards))]
        task = CountShards(corpus, runs, folder)
        runner.run("statistics", map_tasks(task, range(len(runs))))
        parts = (read_statistics(task.path(number)) for number in range(len(runs)))
        return corpus_statistics(corpus, found=parts).samples, start


def make_folder(folder: Path, samples: int) -> None:
    """Shards as img2dataset leaves them."""
    folder.mkdir(parents=True)
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 120, 40)).save(out, "JPEG", quality=60)
    jpeg = out.getvalue()
    words, random = np.array(WORDS.split()), np.random.default_rng(1)
    for start in range(0, samples, A_SHARD):
        numbers = range(start, min(start + A_SHARD, samples))
        chosen = words[random.integers(0, len(words), (len(numbers), 12))]
        texts = [f"{' '.join(row)}, number {n}" for n, row in zip(numbers, chosen, strict=True)]
        name = folder / f"{start // A_SHARD:05d}"
        with name.with_suffix(".tar").open("wb") as tar:
            for n, text in zip(numbers, texts, strict=True):
                for ext, data in (("jpg", jpeg), ("txt", text.encode())):
                    tar.write(_header(f"{n:09d}.{ext}", len(data)) + data + bytes(-len(data) % 512))
            tar.write(bytes(1024))
        sides = random.integers(200, 3000, (4, len(numbers)))
        table = pa.table(
            {
                "key": [f"{n:09d}" for n in numbers],
                "url": [f"https://images{n % 9_773}.example.com/2019/{n}.jpg" for n in numbers],
                "caption": texts,
                "status": ["success"] * len(numbers),
                **dict(zip(("width", "height", "original_width", "original_height"), sides,
                           strict=True)),
            }
        )  # fmt: skip
        pq.write_table(table, name.with_suffix(".parquet"))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def run(code: Path, work: str, folder: Path) -> dict:
    """Seconds, and peak RSS in MB of the largest process, of one kind of work."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BEGIN + WORK[work] + _END, str(folder)],
        cwd=code, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(code)},
    )  # fmt: skip
    most: dict[int, int] = {}
    while process.poll() is None:
        for pid, (peak, _) in looked_at(process.pid).items():
            most[pid] = max(most.get(pid, 0), peak)
        time.sleep(0.2)
    assert process.stdout is not None
    out = process.stdout.read()
    found = {"seconds": 0.0, "found": f"status {process.returncode}"}
    if process.returncode == 0:
        found = json.loads(out.splitlines()[-1])
    return {**found, "peak": max(most.values(), default=0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--peer", type=Path, help="another checkout, run on the same samples")
    parser.add_argument("--folder", type=Path, help="where the shards are, or are left")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = (options.folder or Path(name)) / str(options.samples)
        if not folder.exists():
            make_folder(folder, options.samples)
        found: dict[tuple[str, str], dict] = {}
        for label, code in {"now": ROOT, "peer": options.peer}.items():
            if code is None:
                continue
            mine = Path(name) / label
            shutil.copytree(folder, mine, copy_function=os.link)
            for work in WORK if label == "now" else [*WORK][:-1]:
                one = found[label, work] = run(code.resolve(), work, mine)
                print(f"{label:<6}{work:<28}{one['seconds']:8.1f} s, peak RSS {one['peak']} MB, "
                      f"found {one['found']}", flush=True)  # fmt: skip
            shutil.rmtree(mine)
    if options.peer:
        old, new = (found[label, "statistics"]["seconds"] for label in ("peer", "now"))
        print(f"ratio statistics_2_workers_vs_peer {new / old:.2f}")
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
