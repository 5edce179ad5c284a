"""What each stage of a build holds and opens, as rows grow.

    python -m benchmarks.holds [--rows N …] [--workers N] [--shard N]

`septet build`, the whole command, of lists of texts (no image is fetched, so what is left is what
Septet itself keeps of a pair). For each stage: the most resident memory of the driver and of a
worker, and the most files that one process had open, looked at twenty times a second; and the CPU
time of its tasks, as the build tells it. For each folder of the corpus that is then there: its
files, their bytes a row, the largest of them and the longest listing. What does not stay the same a
worker, or linear in all, breaks first. With few rows a shard (`--shard 10`) a small list stands for
the shards of a large one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.growth import ROOT, family, make_list

STAGES = ("source", "filter", "dedup", "fetch", "curate", "write", "report")
SIZES = [10_000, 100_000, 1_000_000]


@dataclass
class Held:
    """The most that was seen while one stage ran."""

    driver: int = 0
    """MB."""
    worker: int = 0
    files: int = 0
    cpu: float = 0.0
    """Seconds of the tasks, without the driver's own."""

    def see(self, resident: int, files: int, is_driver: bool) -> None:
        """Take a look at one process into account."""
        if is_driver:
            self.driver = max(self.driver, resident)
        else:
            self.worker = max(self.worker, resident)
        self.files = max(self.files, files)


def processes(leader: int) -> dict[int, tuple[int, int]]:
    """Resident MB and open files of a process and of its descendants."""
    found = {}
    for pid in family(leader):
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        found[pid] = pages * os.sysconf("SC_PAGE_SIZE") >> 20, files
    return found


def build(folder: Path, rows: int, workers: int, shard: int) -> tuple[dict[str, Held], float]:
    """What the stages of one build held, and its seconds; the corpus is `folder/c`."""
    recipe = make_list(folder, rows)
    recipe.write_text(
        "name: holds\nsources: [{kind: list, paths: [list.parquet], url_col: null}]\n"
        f"filter: {{languages: [en]}}\nwrite: {{samples_per_shard: {shard}}}\n"
    )
    command = [sys.executable, "-m", "septet", "build", str(recipe), "--out", str(folder / "c"),
               "--workers", str(workers)]  # fmt: skip
    held: dict[str, Held] = defaultdict(Held)
    done = folder / "c/stages/done"
    start = time.monotonic()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=said, stderr=said
        )
        while process.poll() is None:
            complete = {path.name.partition("-")[0] for path in done.glob("*.json")}
            stage = next((name for name in STAGES if name not in complete), STAGES[-1])
            for pid, (resident, files) in processes(process.pid).items():
                held[stage].see(resident, files, pid == process.pid)
            time.sleep(0.05)
    told = (folder / "said").read_text()
    assert process.returncode == 0 and f"{rows:,} samples" in told, told
    for one in json.loads((folder / "c/stats/build.json").read_text())["stages"]:
        held[one["stage"]].cpu = one["cpu_seconds"]
    return held, time.monotonic() - start


@dataclass
class Kept:
    """The files of one folder of a corpus, those of its subfolders too."""

    files: int = 0
    size: int = 0
    """Bytes."""
    largest: int = 0
    listing: int = 0
    """Entries of the folder that has most."""


def kept(corpus: Path) -> dict[str, Kept]:
    """What lies in each folder of a corpus; `.` has the files beside them."""
    found: dict[str, Kept] = defaultdict(Kept)
    for name, folders, files in os.walk(corpus):
        place = Path(name).relative_to(corpus)
        depth = 2 if place.parts[:1] == ("stages",) else 1
        one = found["/".join(place.parts[:depth]) or "."]
        sizes = [(Path(name) / file).stat().st_size for file in files]
        one.files += len(files)
        one.size += sum(sizes)
        one.largest = max(one.largest, *sizes, 0)
        one.listing = max(one.listing, len(files) + len(folders))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help=f"rows ({SIZES})")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard", type=int, default=10_000, help="samples a shard (10000)")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as name:
            held, seconds = build(Path(name) / "in", rows, options.workers, options.shard)
            print(f"\n{rows:,} rows, {options.shard:,} a shard, {options.workers} workers, "
                  f"{seconds:.0f} s")  # fmt: skip
            print(f"{'stage':22}{'driver':>10}{'worker':>10}{'open files':>12}"
                  f"{'CPU s':>8}{'ms a row':>10}")  # fmt: skip
            for stage in STAGES:
                if stage in held:
                    one = held[stage]
                    print(f"{stage:22}{one.driver:>7} MB{one.worker:>7} MB{one.files:>12}"
                          f"{one.cpu:>8.1f}{1000 * one.cpu / rows:>10.4f}")  # fmt: skip
            print(f"{'folder':22}{'files':>10}{'B a row':>10}{'largest kB':>12}{'listing':>10}")
            for place, lies in sorted(kept(Path(name) / "in/c").items()):
                print(f"{place:22}{lies.files:>10}{lies.size / rows:>10.1f}"
                      f"{lies.largest / 1000:>12.1f}{lies.listing:>10}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
