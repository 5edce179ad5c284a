"""Which tests reach a line, and how long each takes: recorded once for each test file."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

from benchmarks.mutants.changes import Change, digest, parse, part_of, runs_at_import
from benchmarks.mutants.forks import NOT_RUN, Copy

MAPS = Path(".cache/mutants")

BUDGET = 15.0
"""Seconds of tests that one change may cost."""

_RECORD_SECONDS = 1200.0

SLOW = 5.0
"""Seconds from which on a test runs after all others."""


class _Recorder:
    """A pytest plugin: tells coverage which test runs, and keeps the tests' times."""

    def __init__(self, cover: coverage.Coverage):
        self._cover = cover
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._cover.switch_context(nodeid)

    def pytest_runtest_logfinish(self) -> None:
        self._cover.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.outcome != "passed":
            self.failed.add(report.nodeid)


def _record(test: str) -> int:
    """Run a test file and write what its tests reach to reach.json."""
    rooms = ("pipelines", "preprocess", "schemas", "trainers")
    here = Path.cwd()
    cover = coverage.Coverage(
        data_file=None, include=[f"{here}/{room}/*" for room in rooms], config_file=False
    )
    recorder = _Recorder(cover)
    cover.start()
    pytest.main(
        ["-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "-k", NOT_RUN, test],
        plugins=[recorder],
    )
    cover.stop()
    data = cover.get_data()
    names = [name for name in recorder.seconds if name not in recorder.failed]
    number = {name: i for i, name in enumerate(names)}
    lines: dict[str, list[int]] = {}
    for path in filter(lambda name: name.endswith(".py"), data.measured_files()):
        reached = data.contexts_by_lineno(path)
        relative = Path(path).relative_to(here).as_posix()
        for part in parse(path).body:
            for line in range(part.lineno, (part.end_lineno or part.lineno) + 1):
                found = sorted(number[name] for name in reached.get(line, []) if name in number)
                if found:
                    place = f"{relative}:{digest(part, with_docs=True)}:{line - part.lineno}"
                    lines[place] = found
    seconds = {name: round(recorder.seconds[name], 3) for name in names}
    reached_by = {"seconds": seconds, "failed": sorted(recorder.failed), "lines": lines}
    Path("reach.json").write_text(json.dumps(reached_by))
    return 0


def _place(test: str) -> Path:
    text = hashlib.sha256(Path(test).read_bytes()).hexdigest()[:8]
    return MAPS / f"{test.replace('/', '.')}.{text}.json"


def record(tests: Iterable[str], copy: Copy) -> Iterator[str]:
    """Record the test files that are not recorded yet; tells what it does. One that takes longer
    than `_RECORD_SECONDS` has no tests that count."""
    MAPS.mkdir(parents=True, exist_ok=True)
    for test in tests:
        if not _place(test).exists():
            yield f"recording {test}"
            written = copy.folder / "reach.json"
            written.unlink(missing_ok=True)
            copy.run(_record, test, limit=_RECORD_SECONDS)
            if not written.exists():
                written.write_text(json.dumps({"seconds": {}, "failed": [], "lines": {}}))
                log = (copy.folder / "mutants.log").read_text(errors="replace")
                yield f"{test} could not be recorded, its tests do not count:\n{log[-2000:]}"
            _place(test).write_bytes(written.read_bytes())


class Reach:
    """The recorded tests."""

    def __init__(self) -> None:
        self._maps: dict[str, dict[str, Any]] = {}

    def _map(self, test: str) -> dict[str, Any]:
        if test not in self._maps:
            self._maps[test] = json.loads(_place(test).read_text())
            files: dict[str, set[int]] = defaultdict(set)
            for where, numbers in self._maps[test]["lines"].items():
                files[where.split(":")[0]].update(numbers)
            self._maps[test]["files"] = files
        return self._maps[test]

    def tests(self, change: Change, room: list[str]) -> dict[str, float]:
        """The tests to run for a change, with their seconds, in the order to run them in.

        Those that reach its line; where none does (it runs in another process) or whichever was
        the first would (it runs at import), those that reach its file, and then all of the room.
        Quick files first, and what is slow last, up to the budget.
        """
        place = f"{change.path}:{digest(part_of(change), with_docs=True)}:{change.offset}"
        line: dict[str, float] = {}
        file: dict[str, float] = {}
        rest: dict[str, float] = {}
        for test in room:
            found = self._map(test)
            seconds = list(found["seconds"].items())
            on_line = found["lines"].get(place, [])
            line |= dict(seconds[number] for number in on_line)
            file |= dict(seconds[number] for number in found["files"].get(change.path, ()))
            rest |= found["seconds"]
        chosen: dict[str, float] = {}
        spent = 0.0
        for tests in (line,) if line and not runs_at_import(change) else (file, rest):
            for name, seconds_ in _quick_first(tests):
                if name not in chosen and (not chosen or spent + seconds_ <= BUDGET):
                    chosen[name] = seconds_
                    spent += seconds_
        return chosen


def _quick_first(tests: dict[str, float]) -> list[tuple[str, float]]:
    files: dict[str, list[float]] = defaultdict(list)
    for name, seconds in tests.items():
        files[name.split("::")[0]].append(seconds)
    mean = {file: sum(all_) / len(all_) for file, all_ in files.items()}

    def rank(entry: tuple[str, float]) -> tuple:
        name, seconds = entry
        file = name.split("::")[0]
        return seconds >= SLOW, mean[file], file, seconds

    return sorted(tests.items(), key=rank)
