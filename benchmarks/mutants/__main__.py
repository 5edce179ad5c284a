"""Draw, try out, write down."""

import argparse
import datetime
import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.mutants.changes import Change, changed, changes_of
from benchmarks.mutants.forks import Copy, preload
from benchmarks.mutants.page import section, verdict
from benchmarks.mutants.reach import BUDGET, Reach, record
from benchmarks.mutants.rooms import MARKS, ROOTS, find_files, find_tests

TITLES = {
    "data": "`pipelines/`, `preprocess/`, `schemas/`, without columns",
    "trainers": "`trainers/`: engine, loader, and what the models share",
}
SAMPLES = {"data": 320, "trainers": 210}
"""How many changes are drawn unless `--sample` says."""

HEAD = f"""# Small changes that tests notice

Written by `make mutants` from `docs/mutants.jsonl`. A change counts as noticed when a test of its
own room fails or does not end (`benchmarks/mutants/rooms.py` says which tests are whose). Tests run
quick ones first, at most {BUDGET:.0f} seconds of them for one change, and of trainers none that is
marked slow: what only another one would notice counts as not noticed. Tests were written for what a
sample showed, so less of another seed's is noticed.
"""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("what", choices=sorted(ROOTS))
    parser.add_argument("--sample", type=int, help="how many changes")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--minutes", type=float, default=60, help="stop after so long")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="files or folders to draw from")
    parser.add_argument("--again", action="store_true", help="try again what was not noticed")
    parser.add_argument("--results", type=Path, default=Path("docs/mutants.jsonl"))
    parser.add_argument("--page", type=Path, default=Path("docs/mutants.md"))
    options = parser.parse_args()
    options.sample = options.sample or SAMPLES[options.what]
    preload(options.what)
    drawn = draw(find_files(options.what, options.only), options.seed, options.sample)
    known = read(options.results)
    todo = [
        change
        for change in drawn
        if change.key not in known or (options.again and verdict(known[change.key]) == "missed")
    ]
    print(f"{len(drawn)} changes drawn, {len(todo)} to try", flush=True)
    try_all(todo, known, options)
    current = {c.key: c for path in find_files(options.what, []) for c in changes_of(path)}
    known = {
        key: {**result, **(vars(current[key]) if key in current else {})}
        for key, result in read(options.results).items()
        if key in current or result["what"] != options.what
    }
    options.results.write_text("".join(json.dumps(r) + "\n" for r in known.values()))
    if not options.only:
        options.page.write_text(whole(list(known.values()), options.seed))
    results = [known[change.key] for change in drawn if change.key in known]
    counts = Counter(map(verdict, results))
    print(f"{len(results)} tried, {dict(counts)}: {counts['noticed'] / max(1, len(results)):.1%}")
    return 0


def whole(results: list[dict], seed: int) -> str:
    """The page."""
    text = HEAD
    for what, title in TITLES.items():
        if of_it := [result for result in results if result["what"] == what]:
            sample = max(SAMPLES[what], len(of_it))
            command = f"python -m benchmarks.mutants {what} --seed {seed} --sample {sample}"
            text += "\n" + section(title, of_it, command, sample)
    return text


def commit() -> str:
    """The commit that the code is of, in short."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def draw(paths: list[str], seed: int, count: int) -> list[Change]:
    """A sample of the changes of all files, each equally likely.

    Each change has its own random number, so that a change of the code takes out and adds only what
    it touches.
    """
    drawn = {change.key: change for path in paths for change in changes_of(path)}

    def number(key: str) -> bytes:
        return hashlib.sha256(f"{seed}:{key}".encode()).digest()

    return [drawn[key] for key in sorted(drawn, key=number)[:count]]


def read(path: Path) -> dict[str, dict]:
    """Results by key; the last one counts."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {result["key"]: result for result in map(json.loads, lines)}


def try_all(todo: list[Change], known: dict[str, dict], options: argparse.Namespace) -> None:
    """Record what the tests reach, then try each change; stops when the time is over. A change that
    was tried before keeps its first outcome."""
    end = time.monotonic() + 60 * options.minutes
    when = {"date": str(datetime.date.today()), "commit": commit()}
    copies = [Copy() for _ in range(options.jobs)]
    reach = Reach()
    files = list(dict.fromkeys(test for change in todo for test in find_tests(change.path)))

    def prepare(number: int) -> None:
        for told in record(files[number :: options.jobs], MARKS[options.what], copies[number]):
            print(told, flush=True)
            if time.monotonic() > end:
                return

    def work(number: int) -> None:
        for change in todo[number :: options.jobs]:
            if time.monotonic() > end:
                return
            tests = reach.tests(change, find_tests(change.path))
            start = time.monotonic()
            with copies[number].changed(change.path, changed(change)):
                outcome = copies[number].run_tests(tests)
            result = {"key": change.key, "what": options.what, **vars(change), "outcome": outcome}
            result |= when
            if before := known.get(change.key):
                result["first"] = before.get("first", before["outcome"])
            with options.results.open("a") as out:
                out.write(json.dumps(result) + "\n")
            where = f"{change.path}:{change.line} {change.kind}: {change.before}"
            print(
                f"{outcome:8}{time.monotonic() - start:5.1f} s {len(tests):4} {where}", flush=True
            )

    try:
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(prepare, range(options.jobs)))
            list(pool.map(work, range(options.jobs)))
    finally:
        for one in copies:
            one.remove()


if __name__ == "__main__":
    sys.exit(main())
