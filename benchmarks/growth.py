"""How a build grows: time a row and memory from 10,000 to 4,000,000 rows, and what a second worker
gives.

    python -m benchmarks.growth [--quick] [--rows N …] [--peer PATH] [--builds N …] [--rounds N]
                                [--fetched N …]

Rows: a list of text rows in one Parquet file (no image is fetched) goes through source, filter,
and both passes of dedup on the local runner; `--rows` chooses the sizes. Prints seconds, µs a row
and the peak RSS of the driver and of its largest worker. `--peer` runs another checkout beside it
(such as f40f809, whose driver held in memory all that it grouped), on the same files.

Builds: `septet build`, the whole command, of 200 and of 5,000 images from one local server, with
one worker and with two, in turns; the ratios are medians of the rounds'. Each prints how many cores
the build kept busy before, in and after the fetch; the server is a process beside it.

Fetched (only where asked for: a million rows take most of an hour): `septet build`, the whole
command with two workers, of lists of so many URLs at 16 hosts of loopback, all of which answer
small images; time a row, and the peak RSS of the driver and of the largest worker.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.image_server import HOSTS
from benchmarks.images import made_image

ROOT = Path(__file__).resolve().parents[1]
SIZES = [10_000, 100_000, 1_000_000, 4_000_000]
QUICK = [10_000, 50_000]
ROW_GROUP = 50_000
TICKS = os.sysconf("SC_CLK_TCK")
IMAGES = 50
WORDS = """
a the old new red harbour bridge mountain street market winter evening small boat train river garden
church window painted wooden stone people walking under along beside view from of in with and near
quiet busy bright morning light photograph north coast
"""

# Runs in a process of its own, with either checkout's code: today's rooms are under `septet`.
STAGES = """
import importlib, json, os, sys, time
from pathlib import Path
from rich.console import Console
room = "septet." if Path("septet/pipelines").exists() else ""
def load(name):
    return importlib.import_module(room + name)
recipe, corpus, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
build = load("pipelines.build")
parsed = load("schemas.recipe_file").parse_recipe(Path(recipe).read_text(), recipe)
progress = load("pipelines.progress").BuildProgress(Console(quiet=True))
runner = load("pipelines.runners").make_runner("local", workers, [], corpus)
if hasattr(runner, "__enter__"):
    runner.__enter__()
start = time.monotonic()
runner.check()
stages = build.resolve(parsed, str(Path(recipe).parent), corpus)
seconds = {}
for stage in stages[:3]:
    begun = time.monotonic()
    counts = build._run_stage(stage, runner, progress).counts
    seconds[stage.name] = round(time.monotonic() - begun, 2)
whole = time.monotonic() - start
kept = getattr(counts, "rows_out", None) or getattr(counts, "given", 0)
getattr(runner, "close", lambda: None)()
print(json.dumps({"seconds": whole, "stages": seconds, "kept": kept}))
"""


def make_list(folder: Path, rows: int) -> Path:
    """One Parquet file of `rows` rows of text, and the recipe over it."""
    folder.mkdir(parents=True)
    words = np.array(WORDS.split())
    schema = pa.schema([("url", pa.string()), ("caption", pa.string())])
    random = np.random.default_rng(1)
    with pq.ParquetWriter(folder / "list.parquet", schema, compression="zstd") as writer:
        for start in range(0, rows, ROW_GROUP):
            numbers = range(start, min(start + ROW_GROUP, rows))
            chosen = words[random.integers(0, len(words), (len(numbers), 12))]
            captions = [
                f"{' '.join(row)}, number {n}" for n, row in zip(numbers, chosen, strict=True)
            ]
            urls = [f"https://images{n % 977}.example.com/2019/{n}-640x480.jpg" for n in numbers]
            writer.write_table(pa.table([urls, captions], schema=schema))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: growth\nsources: [{kind: list, paths: [list.parquet]}]\nfilter: {languages: [en]}\n"
    )
    return recipe


def family(leader: int) -> dict[int, list[str]]:
    """A process and all its descendants that live now: of each what its `stat` says behind its
    name (proc_pid_stat(5), from field 3 on)."""
    stats: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(") ")[2].split()
    ours = {leader}
    while more := {pid for pid, stat in stats.items() if int(stat[1]) in ours} - ours:
        ours |= more
    return {pid: stats[pid] for pid in ours if pid in stats}


def looked_at(leader: int) -> dict[int, tuple[int, float]]:
    """Peak RSS in MB and CPU seconds of a process and all its descendants that live now."""
    found: dict[int, tuple[int, float]] = {}
    for pid, stat in family(leader).items():
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak = sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
            found[pid] = peak // 1024, (int(stat[11]) + int(stat[12])) / TICKS
    return found


def run_rows(code: Path, recipe: Path, workers: int) -> dict:
    """Seconds, figures and peaks of source, filter and dedup over a list, with one checkout."""
    with tempfile.TemporaryDirectory(dir=recipe.parent) as corpus:
        command = [sys.executable, "-c", STAGES, str(recipe), f"{corpus}/c", str(workers)]
        process = subprocess.Popen(
            command, cwd=code, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(code)},
        )  # fmt: skip
        most: dict[int, int] = {}
        cpu: dict[int, float] = {}
        while process.poll() is None:
            for pid, (peak, seconds) in looked_at(process.pid).items():
                most[pid] = max(most.get(pid, 0), peak)
                cpu[pid] = max(cpu.get(pid, 0), seconds)
            time.sleep(0.2)
        assert process.stdout is not None
        out = process.stdout.read()
    if process.returncode:
        return {"status": process.returncode, "driver": most.get(process.pid, 0)}
    driver = most.pop(process.pid)
    worker = max(most.values(), default=0)
    return {**json.loads(out), "driver": driver, "worker": worker, "cpu": sum(cpu.values())}


def show_rows(label: str, rows: int, workers: int, found: dict) -> None:
    if "status" in found:
        print(f"{label:<8}{rows:>10,} rows, {workers} worker(s): ended with status "
              f"{found['status']}, driver {found['driver']} MB", flush=True)  # fmt: skip
        return
    print(
        f"{label:<8}{rows:>10,} rows, {workers} worker(s): {found['seconds']:7.1f} s, "
        f"{1e6 * found['seconds'] / rows:6.1f} µs a row (CPU {found['cpu']:.1f} s), "
        f"peak RSS driver {found['driver']} MB, largest worker {found['worker']} MB, "
        f"kept {found['kept']:,}  {found['stages']}",
        flush=True,
    )


@contextmanager
def server(images: Path) -> Iterator[int]:
    """The port of a server of a folder's images, a process of its own."""
    command = [sys.executable, "-m", "benchmarks.image_server", str(images)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def run_build(folder: Path, images: int, port: int, workers: int) -> float:
    """Seconds of `septet build` of so many images, the whole command; prints them by stage."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rows = [
        json.dumps({"url": f"http://127.0.0.1:{port}/{n}.jpg", "caption": f"An image, number {n}"})
        for n in range(images)
    ]
    (folder / "list.jsonl").write_text("\n".join(rows))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "name: growth\nsources: [{kind: list, paths: [list.jsonl]}]\n"
        f"fetch: {{allowed_hosts: ['127.0.0.1:{port}'], per_host: 16}}\n"
        "curate: {identical_images: keep_all}\nwrite: {samples_per_shard: 1000}\n"
    )
    command = [sys.executable, "-m", "septet", "build", str(recipe), "--out", str(folder / "c"),
               "--workers", str(workers)]  # fmt: skip
    start = time.monotonic()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=said, stderr=said
        )
        spent = phases(process, folder / "c")
    seconds = time.monotonic() - start
    told = (folder / "said").read_text()
    assert process.returncode == 0 and f"{images:,} samples" in told, told
    stages = json.loads((folder / "c/stats/build.json").read_text())["stages"]
    by_stage = {one["stage"]: round(one["seconds"], 1) for one in stages}
    a_pair = {one["stage"]: round(1000 * one["cpu_seconds"] / images, 3) for one in stages}
    busy = ", ".join(f"{name} {wall:.1f} s at {cpu / wall:.2f}" for name, wall, cpu in spent)
    print(f"{images:,} images, {workers} worker(s): {seconds:.1f} s  {by_stage}")
    print(f"    cores busy: {busy}")
    print(f"    CPU ms an image, of tasks: {a_pair}", flush=True)
    return seconds


def run_fetched(folder: Path, rows: int, port: int, workers: int) -> dict:
    """Seconds, peaks and stages of `septet build`, the whole command, of a list of URLs."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    schema = pa.schema([("url", pa.string()), ("caption", pa.string())])
    with pq.ParquetWriter(folder / "list.parquet", schema, compression="zstd") as writer:
        for start in range(0, rows, ROW_GROUP):
            numbers = range(start, min(start + ROW_GROUP, rows))
            urls = [f"http://{HOSTS[n % len(HOSTS)]}:{port}/{n}.jpg" for n in numbers]
            captions = [f"A photograph of the harbour, number {n}" for n in numbers]
            writer.write_table(pa.table([urls, captions], schema=schema))
    recipe = folder / "recipe.yaml"
    allowed = [f"{host}:{port}" for host in HOSTS]
    recipe.write_text(
        "name: growth\nsources: [{kind: list, paths: [list.parquet]}]\n"
        f"fetch: {{allowed_hosts: {json.dumps(allowed)}, per_host: 8, opt_out_files: []}}\n"
        "image: {image_size: 64}\ncurate: {min_side: 16, identical_images: keep_all}\n"
    )
    command = [sys.executable, "-m", "septet", "build", str(recipe), "--out", str(folder / "c"),
               "--workers", str(workers)]  # fmt: skip
    most: dict[int, int] = {}
    start_time = time.monotonic()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=said, stderr=said
        )
        cpu: dict[int, float] = {}
        while process.poll() is None:
            for pid, (peak, seconds) in looked_at(process.pid).items():
                most[pid] = max(most.get(pid, 0), peak)
                cpu[pid] = max(cpu.get(pid, 0), seconds)
            time.sleep(0.2)
    seconds = time.monotonic() - start_time
    told = (folder / "said").read_text()
    assert process.returncode == 0 and f"{rows:,} samples" in told, told
    stages = json.loads((folder / "c/stats/build.json").read_text())["stages"]
    driver = most.pop(process.pid)
    by_stage = {one["stage"]: round(one["seconds"], 1) for one in stages}
    return {"seconds": seconds, "stages": by_stage, "driver": driver,
            "worker": max(most.values()), "cpu": sum(cpu.values()), "kept": rows}  # fmt: skip


def phases(process: subprocess.Popen, corpus: Path) -> list[tuple[str, float, float]]:
    """Wait for a build; its seconds and CPU seconds before the fetch, in it, and after it."""
    cpu: dict[int, float] = {}
    marks: list[tuple[float, float]] = [(time.monotonic(), 0.0)]
    reached = [
        lambda: any(corpus.glob("store/*/0*")),
        lambda: any(corpus.glob("stages/done/fetch-*.json")),
    ]
    while process.poll() is None:
        for pid, (_, seconds) in looked_at(process.pid).items():
            cpu[pid] = max(cpu.get(pid, 0), seconds)
        if len(marks) <= len(reached) and reached[len(marks) - 1]():
            marks.append((time.monotonic(), sum(cpu.values())))
        time.sleep(0.05)
    marks.append((time.monotonic(), sum(cpu.values())))
    return [
        (name, end[0] - begin[0], end[1] - begin[1])
        for name, begin, end in zip(("before", "fetch", "after"), marks, marks[1:], strict=False)
    ]


def rows_part(options: argparse.Namespace, folder: Path) -> None:
    found: dict[tuple[int, int], dict] = {}
    for rows in options.rows:
        recipe = make_list(folder / str(rows), rows)
        for workers in (2, 1) if rows == options.compared else (2,):
            found[rows, workers] = run_rows(ROOT, recipe, workers)
            show_rows("now", rows, workers, found[rows, workers])
        if options.peer:
            show_rows("peer", rows, 2, run_rows(options.peer, recipe, 2))
        shutil.rmtree(folder / str(rows))

    def a_row(rows: int) -> float:
        return found[rows, 2]["seconds"] / rows

    small, large = (
        min(r for r in options.rows if r > 10_000 or len(options.rows) == 1),
        max(options.rows),
    )
    print(
        f"ratio time_per_row_{_short(large)}_vs_{_short(small)} {a_row(large) / a_row(small):.2f}"
    )
    if (options.compared, 1) in found:
        one, two = (found[options.compared, workers]["seconds"] for workers in (1, 2))
        print(f"ratio workers_2_vs_1_one_list {one / two:.2f}")
    most = max(max(one["driver"], one["worker"]) for one in found.values())
    print(f"peak RSS of any process: {most} MB")


def builds_part(options: argparse.Namespace, folder: Path) -> None:
    served = folder / "served"
    served.mkdir()
    for n in range(IMAGES):
        (served / f"{n:03d}.jpg").write_bytes(made_image(640, 480, n))
    with server(served) as port:
        for images in options.builds:
            ratios = []
            for _ in range(options.rounds):
                one, two = (run_build(folder / "build", images, port, w) for w in (1, 2))
                ratios.append(two / one)
            name = "small_build" if images <= 200 else f"build_{images}"
            print(f"ratio {name}_workers_2_vs_1 {statistics.median(ratios):.2f}", flush=True)


def fetched_part(options: argparse.Namespace, folder: Path) -> None:
    served = folder / "small"
    served.mkdir()
    for n in range(IMAGES):
        (served / f"{n:03d}.jpg").write_bytes(made_image(64, 48, n))
    a_row: dict[int, float] = {}
    most = 0
    with server(served) as port:
        for rows in sorted(options.fetched):
            found = run_fetched(folder / "fetched", rows, port, 2)
            show_rows("fetched", rows, 2, found)
            a_row[rows] = found["seconds"] / rows
            most = max(most, found["worker"], found["driver"])
            shutil.rmtree(folder / "fetched")
    small, large = min(a_row), max(a_row)
    ratio = a_row[large] / a_row[small]
    print(f"ratio fetched_per_row_{_short(large)}_vs_{_short(small)} {ratio:.2f}")
    print(f"peak RSS of any process of these builds: {most} MB")


def _short(rows: int) -> str:
    return f"{rows // 10**6}m" if rows >= 10**6 else f"{rows // 1000}k"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--rows", type=int, nargs="*", help=f"sizes of lists ({SIZES})")
    parser.add_argument("--compared", type=int, help="the size that is run with one worker, too")
    parser.add_argument("--peer", type=Path, help="another checkout, run on the same lists")
    parser.add_argument("--builds", type=int, nargs="*", help="images of builds (200 5000)")
    parser.add_argument("--rounds", type=int, help="builds of each kind (3; quick: 1)")
    parser.add_argument("--fetched", type=int, nargs="*", default=[], help="URLs of whole builds")
    options = parser.parse_args()
    if options.rows is None:
        options.rows = QUICK if options.quick else SIZES
    if options.compared is None:
        options.compared = max((r for r in options.rows if r <= 10**6), default=0)
    if options.builds is None:
        options.builds = [200] if options.quick else [200, 5000]
    options.rounds = options.rounds or (1 if options.quick else 3)
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as name:
        if options.rows:
            rows_part(options, Path(name))
        if options.builds:
            builds_part(options, Path(name))
        if options.fetched:
            fetched_part(options, Path(name))
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
