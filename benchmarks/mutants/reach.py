"""Which tests reach a line, and how long each takes: recorded once for each test file."""

import hashlib
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.context import ForkServerProcess
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
    """A pytest plugin: tells coverage which test runs, or which fixture of several tests is made,
    and keeps their CPU times."""

    def __init__(self, cover: coverage.Coverage):
        self._cover = cover
        self._since = _cpu()
        self.context = ""
        self.seconds: dict[str, float] = defaultdict(float)
        """By test or fixture."""
        self.users: dict[str, set[str]] = defaultdict(set)
        """The tests of each fixture that several share."""
        self.passed: dict[str, bool] = {}

    def _switch(self, context: str) -> None:
        now = _cpu()
        self.seconds[self.context] += now - self._since
        self._since, self.context = now, context
        self._cover.switch_context(context)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._switch(nodeid)

    def pytest_runtest_logfinish(self) -> None:
        self._switch("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        before = self.context
        if fixturedef.scope != "function":
            self._switch(f"{fixturedef.baseid}:{fixturedef.argname}")
        try:
            return (yield)
        finally:
            self._switch(before)

    def pytest_runtest_teardown(self, item: pytest.Function) -> None:
        for found in item._fixtureinfo.name2fixturedefs.values():
            if found[-1].scope != "function":
                self.users[f"{found[-1].baseid}:{found[-1].argname}"].add(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        passed = self.passed.get(report.nodeid, True)
        self.passed[report.nodeid] = passed and report.outcome == "passed"


def _cpu() -> float:
    """Seconds of this process and of those that it waited for. Of the clock a busy machine would
    take more."""
    return sum(os.times()[:4])


def _coverage(here: Path) -> coverage.Coverage:
    rooms = ("pipelines", "preprocess", "schemas", "trainers")
    include = [f"{here}/{room}/*" for room in rooms]
    return coverage.Coverage(data_file=None, include=include, config_file=False)


class _Covered:
    """What a process runs that a test starts; its lines are written to a folder."""

    def __init__(self, run: Callable[..., object], test: str, here: Path):
        self._run, self._test, self._here = run, test, here

    def __call__(self, *given: object, **options: object) -> None:
        cover = _coverage(self._here)
        cover.start()
        try:
            self._run(*given, **options)
        finally:
            cover.stop()
            data = cover.get_data()
            lines = {path: data.lines(path) for path in data.measured_files()}
            found = json.dumps({"test": self._test, "lines": lines, "seconds": _cpu()})
            (self._here / f"reached-{uuid.uuid4().hex}.json").write_text(found)


def _record(test: str, marks: str) -> int:
    """Run a test file's tests of these marks and write what they reach, here and in the ranks that
    they start, to reach.json."""
    here = Path.cwd()
    cover = _coverage(here)
    recorder = _Recorder(cover)
    begin: Any = ForkServerProcess.__init__

    def begin_covered(process: Any, *given: Any, target: Any = None, **options: Any) -> None:
        covered = target and _Covered(target, recorder.context, here)
        begin(process, *given, target=covered, **options)

    ForkServerProcess.__init__ = begin_covered  # type: ignore[assignment, method-assign]
    cover.start()
    pytest.main(
        ["-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "-k", NOT_RUN, "-m", marks, test],
        plugins=[recorder],
    )
    cover.stop()
    reached: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    data = cover.get_data()
    for path in data.measured_files():
        for line, tests in data.contexts_by_lineno(path).items():
            reached[path][line].update(tests)
    for file in here.glob("reached-*.json"):
        of_rank = json.loads(file.read_text())
        file.unlink()
        for path, found_lines in of_rank["lines"].items():
            for line in found_lines:
                reached[path][line].add(of_rank["test"])
        recorder.seconds[of_rank["test"]] += of_rank["seconds"]
    names = [name for name, passed in recorder.passed.items() if passed]
    number = {name: [i] for i, name in enumerate(names)}
    for fixture, users in recorder.users.items():
        number[fixture] = [i for name in users for i in number.get(name, [])]
    lines: dict[str, list[int]] = {}
    for path in filter(lambda name: name.endswith(".py"), reached):
        relative = Path(path).relative_to(here).as_posix()
        for part in parse(path).body:
            for line in range(part.lineno, (part.end_lineno or part.lineno) + 1):
                found = {i for name in reached[path][line] for i in number.get(name, [])}
                if found:
                    place = f"{relative}:{digest(part, with_docs=True)}:{line - part.lineno}"
                    lines[place] = sorted(found)
    seconds = {name: round(recorder.seconds[name], 3) for name in (*names, *recorder.users)}
    told = {
        "seconds": {name: seconds[name] for name in names},
        "shared": {
            name: {f: seconds[f] for f, users in recorder.users.items() if name in users}
            for name in names
        },
        "failed": sorted(recorder.passed.keys() - set(names)),
        "lines": lines,
    }
    Path("reach.json").write_text(json.dumps(told))
    return 0


def _place(test: str) -> Path:
    text = hashlib.sha256(Path(test).read_bytes()).hexdigest()[:8]
    return MAPS / f"{test.replace('/', '.')}.{text}.json"


def record(tests: Iterable[str], marks: str, copy: Copy) -> Iterator[str]:
    """Record the test files that are not recorded yet; tells what it does. One that takes longer
    than `_RECORD_SECONDS` has no tests that count."""
    MAPS.mkdir(parents=True, exist_ok=True)
    for test in tests:
        if not _place(test).exists():
            yield f"recording {test}"
            written = copy.folder / "reach.json"
            written.unlink(missing_ok=True)
            copy.run(_record, test, marks, limit=_RECORD_SECONDS)
            if not written.exists():
                written.write_text(json.dumps({"seconds": {}, "shared": {}, "lines": {}}))
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
        shared: dict[str, dict[str, float]] = {}
        for test in room:
            found = self._map(test)
            shared |= found.get("shared", {})
            seconds = list(found["seconds"].items())
            on_line = found["lines"].get(place, [])
            line |= dict(seconds[number] for number in on_line)
            file |= dict(seconds[number] for number in found["files"].get(change.path, ()))
            rest |= found["seconds"]
        chosen: dict[str, float] = {}
        made: set[str] = set()
        for tests in (line,) if line and not runs_at_import(change) else (file, rest):
            for name in _quick_first(tests, shared):
                fixtures = shared.get(name, {})
                cost = tests[name] + sum(x for f, x in fixtures.items() if f not in made)
                if name not in chosen and (not chosen or sum(chosen.values()) + cost <= BUDGET):
                    chosen[name] = cost
                    made.update(fixtures)
        return chosen


def _quick_first(tests: dict[str, float], shared: dict[str, dict[str, float]]) -> list[str]:
    files: dict[str, list[float]] = defaultdict(list)
    for name, seconds in tests.items():
        files[name.split("::")[0]].append(seconds)
    mean = {file: sum(all_) / len(all_) for file, all_ in files.items()}

    def rank(name: str) -> tuple:
        seconds = tests[name] + sum(shared.get(name, {}).values())
        file = name.split("::")[0]
        return seconds >= SLOW, mean[file], file, seconds

    return sorted(tests, key=rank)
