"""Near-duplicate captions, the whole stage: Septet beside Daft and datatrove.

    python -m benchmarks.near_dup [--quick] [--long] [--rows N] [--rounds N] [--only NAME …]

Captions of 10.8 words on average, English and Chinese, a fifth of them planted copies of five kinds
(exact, case, a word replaced, appended, two swapped), a tenth of which are of 200 hot captions.
Each runs in a process of its own from one Parquet file to the rows that stay; imports and Septet's
compilation (kept on disk after the first run) are not counted. Ratios are of captions a CPU second,
for other work on a machine disturbs these less; wall seconds and peak memory stand beside them.

- `hybrid`: Daft's signatures (128, single words), then 16 bands of 8 by numpy and scipy's connected
  components. `daft`: the same bands by Daft's group-by and join alone. `datatrove`: its four
  stages (14 bands of 8, pairs of words), on fewer rows, compared by the row. For Chinese, Daft is
  given spaces between characters, without which a caption is one word to it.
- Recall: of the copies (all of a group but one), how many are gone. Lost: of the groups, how many
  are gone whole. Both hold for ours and are printed for all.
- `stage`: ours through a build's own passes on the local runner, two workers, shuffles on disk;
  with the peak memory of each process.
- `growth`: time a caption at 0.2 M and 2 M (`--long`: 10 M) captions.

Needs `make peers` and, for the peers' names, no network.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.near_dup.made import KINDS, Made, made_captions

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PIECE = 2_000_000
"""The number of captions that are made at once; copies are of captions of the same piece."""
PEERS = {"hybrid": "daft", "daft": "daft", "datatrove": "datatrove"}
LANGUAGES = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class Spent:
    """What one run took, and how well it did."""

    rows: int
    seconds: float
    cpu: float
    peak_mb: int
    recall: float
    lost: float

    @property
    def rate(self) -> float:
        """Captions a CPU second."""
        return self.rows / self.cpu


def written(folder: Path, rows: int, language: str) -> tuple[Path, Made]:
    """The captions as a Parquet file, and what is known of them."""
    path = folder / f"{language}-{rows}.parquet"
    groups, kinds, first = [], [], 0
    with pq.ParquetWriter(path, pa.schema([("caption", pa.string())])) as out:
        for piece, start in enumerate(range(0, rows, PIECE)):
            made = made_captions(min(PIECE, rows - start), language, piece=piece)
            out.write_table(pa.table({"caption": made.captions}), row_group_size=65_536)
            groups.append(made.group + first)
            kinds.append(made.kind)
            first += made.group.max() + 1
    return path, Made(None, np.concatenate(groups), np.concatenate(kinds))


def run(name: str, path: Path, made: Made, language: str) -> Spent:
    """Run one in a process of its own.

    Raises:
        SystemExit: it failed; shows what it said.
    """
    gone = path.parent / "gone.npy"
    peer = PEERS.get(name)
    python = str(ROOT / ".venv" / "peers" / peer / "bin" / "python") if peer else sys.executable
    command = [python, str(HERE / f"run_{name}.py"), str(path), str(gone), language]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1",
                   "DAFT_PROGRESS_BAR": "0"}  # fmt: skip
    ended = subprocess.run(
        command, cwd=path.parent, env=environment, capture_output=True, text=True
    )
    if ended.returncode or not gone.exists():
        raise SystemExit(f"{name} ended with status {ended.returncode}:\n{ended.stderr[-3000:]}")
    *said, last = ended.stdout.splitlines()
    print(*said, sep="\n", end="\n" if said else "", flush=True)
    told = json.loads(last)
    recall, lost = quality(np.load(gone), made)
    gone.unlink()
    return Spent(len(made.group), told["seconds"], told["cpu"], told["peak_mb"], recall, lost)


def quality(gone: np.ndarray, made: Made) -> tuple[float, float]:
    """Recall of the copies, and the share of groups that are gone whole.

    Args:
        gone: Numbers of the rows that are dropped.
        made: What is known of the rows.
    """
    groups = made.group.max() + 1
    sizes = np.bincount(made.group, minlength=groups)
    dropped = np.bincount(made.group[gone], minlength=groups)
    copies = (sizes - 1).sum()
    return float(np.minimum(dropped, sizes - 1).sum() / copies), float((dropped == sizes).mean())


def show(name: str, language: str, spent: list[Spent]) -> None:
    first = spent[0]
    walls = ", ".join(f"{one.seconds:.1f}" for one in spent)
    print(
        f"{name:<10}{LANGUAGES[language]:<9}{first.rows:>10,} rows: {walls} s; "
        f"{statistics.median(one.rate for one in spent) / 1e3:,.1f} k captions a CPU second, "
        f"peak {first.peak_mb:,} MB, recall {first.recall:.3f}, lost {100 * first.lost:.3f} %",
        flush=True,
    )


def compare(peer: str, language: str, rows: int, rounds: int, folder: Path) -> list[float]:
    """Run both in turns; prints what they took, and returns the ratios of the rounds."""
    path, made = written(folder, rows, language)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run("septet", path, made, language))
        theirs.append(run(peer, path, made, language))
    show("septet", language, ours)
    show(peer, language, theirs)
    path.unlink()
    return [a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]


def show_kinds(rows: int, language: str, folder: Path) -> None:
    """Recall by kind of copy, of those that are not of hot captions or gone with them."""
    path, made = written(folder, rows, language)
    gone_path = folder / "gone.npy"
    command = [sys.executable, str(HERE / "run_septet.py"), str(path), str(gone_path), language]
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    gone = np.zeros(rows, bool)
    gone[np.load(gone_path)] = True
    sizes = np.bincount(made.group)
    dropped = np.bincount(made.group[gone], minlength=len(sizes))
    pairs = sizes[made.group] == 2  # a base and one copy of it: one of the two goes
    told = [
        f"{kind} {np.mean(dropped[made.group[pairs & (made.kind == i)]] > 0):.3f}"
        for i, kind in enumerate(KINDS)
    ]
    print(f"recall by kind, {LANGUAGES[language]}: {', '.join(told)}", flush=True)
    path.unlink()
    gone_path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    names = [*PEERS, "stage", "growth", "kinds"]
    parser.add_argument("--quick", action="store_true", help="20,000 captions, one round")
    parser.add_argument("--long", action="store_true", help="growth to 10 M captions")
    parser.add_argument("--rows", type=int, help="captions (2,000,000)")
    parser.add_argument("--rounds", type=int, help="rounds (3)")
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    options = parser.parse_args()
    rows = options.rows or (20_000 if options.quick else 2_000_000)
    rounds = options.rounds or (1 if options.quick else 3)
    print(f"Python {sys.version.split()[0]}, load before: {os.getloadavg()[0]:.1f} on "
          f"{os.cpu_count()} cores", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for peer in PEERS:
            if peer in options.only:
                here = (
                    min(rows, 5_000 if options.quick else 20_000) if peer == "datatrove" else rows
                )
                once = 1 if peer == "daft" and not options.quick else rounds
                name = {"hybrid": "daft_hybrid"}.get(peer, peer)
                for language in ["en"] if peer == "datatrove" else LANGUAGES:
                    ratios = sorted(compare(peer, language, here, once, folder))
                    suffix = "" if language == "en" else f"_{language}"
                    print(f"ratio near_dup_vs_{name}{suffix} {statistics.median(ratios):.2f} "
                          f"({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)  # fmt: skip
        if "kinds" in options.only:
            for language in LANGUAGES:
                show_kinds(min(rows, 200_000), language, folder)
        if "growth" in options.only:
            sizes = [rows // 10, rows, *([5 * rows] if options.long else [])]
            for size in sizes:
                path, known = written(folder, size, "en")
                spent = run("septet", path, known, "en")
                show("septet", "en", [spent])
                print(f"growth: {1e6 * spent.cpu / size:.2f} µs of CPU a caption, "
                      f"{1e6 * spent.seconds / size:.2f} µs of time", flush=True)  # fmt: skip
                path.unlink()
        if "stage" in options.only:
            for language in LANGUAGES:
                path, known = written(folder, rows, language)
                show("stage", language, [run("stage", path, known, language)])
                path.unlink()
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
