"""Which small changes of the code do the tests of its own room not notice? (`make mutants`)

    python -m benchmarks.mutants --sample 300 --minutes 60 --jobs 2

Changes are drawn at random from `pipelines/`, `preprocess/` and `schemas/`: a comparison turned, an
operator exchanged, `and` for `or`, a `not` taken away, a whole number by one, a truth value, a
condition that is never true. Each is made in a copy of the repository, where the tests of the
changed file's room run, within a time limit. Results are appended to a file of JSON lines, so a run
that was stopped goes on; a change whose file is the same is not tried again. The table is written
from it to docs/mutants.md, with the reasons that people gave for changes that nothing can notice
(`why`, edited by hand in the JSON lines).

mutmut and cosmic-ray try every change of a file, with one set of tests for all; a sample over many
rooms, each with its own tests, needs a session a room in both.
"""

import argparse
import ast
import concurrent.futures
import contextlib
import copy
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOTS = ("pipelines", "preprocess", "schemas")
OUTSIDE = ("preprocess/annotators/", "preprocess/columns/", "preprocess/boxes/",
           "preprocess/codes/", "preprocess/ocr/", "preprocess/questions/", "preprocess/regions/",
           "preprocess/scene_graphs/", "preprocess/synthetic/", "preprocess/tokenizers/",
           "pipelines/annotate/")  # fmt: skip
"""Columns have tests that run models, minutes each; they are drawn with `--only`."""

TESTS = (
    ("preprocess/members.py", ["tests/preprocess/warc", "tests/preprocess/lists"]),
    ("preprocess/identical_images.py", ["tests/preprocess/test_dedup.py"]),
    ("preprocess/domains.py", ["tests/preprocess/test_urls.py"]),
    ("preprocess/", ["tests/preprocess/{room}", "tests/preprocess/test_{stem}.py"]),
    ("pipelines/sources/", ["tests/pipelines/sources", "tests/pipelines/test_inputs.py"]),
    ("pipelines/store/", ["tests/pipelines/store", "tests/pipelines/test_fetch_store.py"]),
    ("pipelines/stages/", ["tests/pipelines/stages", "tests/pipelines/test_kinds_of_samples.py",
                           "tests/pipelines/test_hostile.py"]),
    ("pipelines/check.py", ["tests/pipelines/test_stranger.py", "tests/test_golden.py"]),
    ("pipelines/input_cache.py", ["tests/pipelines/test_inputs.py",
                                  "tests/pipelines/test_inputs_in_builds.py"]),
    ("pipelines/", ["tests/pipelines/{room}", "tests/pipelines/test_{stem}.py"]),
    ("pipelines/", ["tests/pipelines/test_build.py", "tests/pipelines/test_cli.py"]),
    ("schemas/", ["tests/schemas", "tests/preprocess/shards"]),
)  # fmt: skip
"""The tests of a file's room: those that exist of the first entry that fits and has any."""

NOT_RUN = "not killed_at_any_moment and not worker_counts_make_no_difference and not browser"
"""Tests of minutes that hold no single line."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult, ast.Mod: ast.FloorDiv, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A change: in which file, of which node (as `ast.walk` counts), and what it becomes."""

    path: str
    node: int
    line: int
    kind: str
    before: str
    after: str

    @property
    def key(self) -> str:
        """Names the change as long as its file is the same."""
        digest = hashlib.sha256(Path(self.path).read_bytes()).hexdigest()[:12]
        return f"{self.path}:{digest}:{self.node}:{self.kind}"


def change(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The changes of one node, each with its kind."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[op, *_]) if type(op) in COMPARISONS:
            new.ops[0] = COMPARISONS[type(op)]()
            yield "comparison turned", new
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            new.op = OPERATORS[type(op)]()
            yield "operator exchanged", new
        case ast.AugAssign(op=op) if type(op) in OPERATORS:
            new.op = OPERATORS[type(op)]()
            yield "operator exchanged", new
        case ast.BoolOp(op=op):
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "and / or", new
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not taken away", operand
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "sign", operand
        case ast.Constant(value=bool(value)):
            yield "truth value", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "number + 1", ast.Constant(value + 1)
        case ast.If() | ast.IfExp() | ast.While():
            new.test = ast.Constant(False)
            yield "condition never true", new


def _skipped(tree: ast.Module) -> set[int]:
    """Nodes of annotations, which nothing runs."""
    roots: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            roots.append(node.returns)
        if isinstance(node, ast.arg | ast.AnnAssign):
            roots.append(node.annotation)
    return {id(below) for root in roots if root is not None for below in ast.walk(root)}


def mutants_of(path: str) -> list[Mutant]:
    """All changes of a file."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    skipped = _skipped(tree)
    return [
        Mutant(path, number, node.lineno, kind, _shown(node), _shown(new))
        for number, node in enumerate(ast.walk(tree))
        if id(node) not in skipped
        for kind, new in change(node)
    ]


def _shown(node: ast.AST) -> str:
    return ast.unparse(node).split("\n")[0][:100]


def mutated(mutant: Mutant) -> str:
    """The file's text with the change made."""
    tree = ast.parse(Path(mutant.path).read_text(encoding="utf-8"))
    wanted = list(ast.walk(tree))[mutant.node]
    (new,) = (new for kind, new in change(wanted) if kind == mutant.kind)

    class Exchange(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is wanted else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Exchange().visit(tree)))


def find_tests(path: str) -> list[str]:
    """The tests of a file's room; none where nobody wrote any."""
    names = {"room": Path(path).parts[1], "stem": Path(path).stem}
    for prefix, targets in TESTS:
        found = [target.format(**names) for target in targets]
        found = [target for target in found if Path(target).exists()]
        if path.startswith(prefix) and found:
            return found
    return []


_FORKS = multiprocessing.get_context("forkserver")
"""Tests run in forks of a process that has imported what takes long, and nothing of Septet."""
_FORKS.set_forkserver_preload(
    ["aiohttp", "apache_beam", "fsspec", "hypothesis", "numpy", "PIL.Image", "pyarrow.parquet",
     "pydantic", "pytest", "rich.console", "selectolax.lexbor", "simplejpeg", "webdataset", "yaml"]
)  # fmt: skip


def _run_tests(folder: str, tests: list[str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, folder)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    import pytest

    options = ["-q", "-x", "-p", "no:cacheprovider", "-c", "pyproject.toml", "-k", NOT_RUN]
    sys.exit(pytest.main([*options, *tests]))


class Copy:
    """A copy of the repository in which files are changed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        for name in names.splitlines():
            if Path(name).exists() or Path(name).is_symlink():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(name, target, follow_symlinks=False)

    def run(self, tests: list[str], limit: float) -> str:
        """`passed`, `failed` or `timeout`."""
        process = _FORKS.Process(target=_run_tests, args=(str(self.folder), tests))
        process.start()
        process.join(limit)
        outcome = {None: "timeout", 0: "passed"}.get(process.exitcode, "failed")
        assert process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return outcome

    def try_out(self, mutant: Mutant, limit: float) -> str:
        """Run the tests of the changed file's room."""
        path = self.folder / mutant.path
        before = path.read_bytes()
        path.write_text(mutated(mutant), encoding="utf-8")
        # A cached module is known by size and second of change: two changes may share both.
        for cached in path.parent.glob(f"__pycache__/{path.stem}.*"):
            cached.unlink()
        try:
            return self.run(find_tests(mutant.path), limit)
        finally:
            path.write_bytes(before)
            for cached in path.parent.glob(f"__pycache__/{path.stem}.*"):
                cached.unlink()

    def remove(self) -> None:
        """Take the copy away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def table(results: list[dict]) -> str:
    """The results as a page."""
    rooms: dict[str, Counter[str]] = {}
    for result in results:
        room = "/".join(Path(result["path"]).parent.parts[:2])
        rooms.setdefault(room, Counter())[_verdict(result)] += 1
    whole = sum(rooms.values(), Counter())
    lines = [
        "# Small changes that tests notice\n",
        "Written by `make mutants` (`benchmarks/mutants.py`) from `docs/mutants.jsonl`.\n",
        "| room | changed | noticed | no difference | not noticed |",
        "|---|---|---|---|---|",
    ]
    for room, counts in [*sorted(rooms.items()), ("**all**", whole)]:
        cells = [sum(counts.values()), counts["noticed"], counts["equal"], counts["missed"]]
        lines.append(f"| {room} | " + " | ".join(map(str, cells)) + " |")
    lines.append("\n## Not noticed\n")
    for result in results:
        if result["outcome"] == "passed":
            why = f": {result['why']}" if result.get("why") else ""
            lines.append(
                f"- `{result['path']}:{result['line']}` {result['kind']}: `{result['before']}` → "
                f"`{result['after']}`{why}"
            )
    return "\n".join(lines) + "\n"


def _verdict(result: dict) -> str:
    if result["outcome"] != "passed":
        return "noticed"
    return "equal" if result.get("why") else "missed"


def main() -> int:
    """Draw, try out, write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sample", type=int, default=300, help="how many changes")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--minutes", type=float, default=60, help="stop after so long")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="files or folders to draw from")
    parser.add_argument("--results", type=Path, default=Path("docs/mutants.jsonl"))
    parser.add_argument("--page", type=Path, default=Path("docs/mutants.md"))
    options = parser.parse_args()
    paths = [
        str(path)
        for root in options.only or ROOTS
        for path in ([Path(root)] if root.endswith(".py") else sorted(Path(root).rglob("*.py")))
        if options.only or not str(path).startswith(OUTSIDE)
    ]
    drawn = [mutant for path in paths for mutant in mutants_of(path)]
    random.Random(options.seed).shuffle(drawn)
    drawn = drawn[: options.sample]
    known = {}
    if options.results.exists():
        known = {r["key"]: r for r in map(json.loads, options.results.read_text().splitlines())}
    todo = [mutant for mutant in drawn if mutant.key not in known]
    print(f"{len(drawn)} changes drawn from {len(paths)} files, {len(todo)} to try", flush=True)
    _try_all(todo, known, options)
    results = [known[mutant.key] for mutant in drawn if mutant.key in known]
    options.results.write_text("".join(json.dumps(r) + "\n" for r in known.values()))
    options.page.write_text(table(results))
    counts = Counter(map(_verdict, results))
    share = (counts["noticed"] + counts["equal"]) / max(1, len(results))
    print(f"{len(results)} tried, {dict(counts)}: {share:.1%} noticed or without a difference")
    return 0


def _try_all(todo: list[Mutant], known: dict[str, dict], options: argparse.Namespace) -> None:
    end = time.monotonic() + 60 * options.minutes
    copies = [Copy() for _ in range(options.jobs)]
    try:
        limits: dict[str, float] = {}
        for path in sorted({mutant.path for mutant in todo}):
            tests = " ".join(find_tests(path))
            if tests and tests not in limits:
                start = time.monotonic()
                if copies[0].run(tests.split(), 900) != "passed":
                    raise SystemExit(f"{tests}: do not pass as they are")
                limits[tests] = 20 + 4 * (time.monotonic() - start)

        def work(number: int) -> None:
            for mutant in todo[number :: options.jobs]:
                if time.monotonic() > end:
                    return
                limit = limits.get(" ".join(find_tests(mutant.path)))
                outcome = copies[number].try_out(mutant, limit) if limit else "passed"
                known[mutant.key] = {"key": mutant.key, **vars(mutant), "outcome": outcome}
                with options.results.open("a") as out:
                    out.write(json.dumps(known[mutant.key]) + "\n")
                where = f"{mutant.path}:{mutant.line}"
                print(f"{outcome:8}{where} {mutant.kind}: {mutant.before}", flush=True)

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(work, range(options.jobs)))
    finally:
        for one in copies:
            one.remove()


if __name__ == "__main__":
    sys.exit(main())
