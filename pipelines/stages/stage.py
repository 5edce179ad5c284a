"""Stages of a build: what each reads and gives, by name, and the fingerprints that follow.

A stage gives *artifacts*: folders below `stages/` with one file a task. A file is named by a
fingerprint of all that decides its content, so a task whose file is there is complete, in this
build and in every later one that asks for the same.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

from septet.pipelines.inputs import Input
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.folders import path_of
from septet.pipelines.stages.graphs import Graph
from septet.preprocess import files
from septet.schemas.layout import STAGES
from septet.schemas.recipe import Recipe

Key = int | str
"""The key that tells a task from the others of its stage: the fingerprint of an input, or a
number."""

_READERS = 32
_AHEAD = 1000
"""The number of threads that read footers."""


def read_counts(paths: Sequence[str]) -> Iterator[Counts]:
    """The figures in the footers of some tables, in their order; a thousand are read ahead."""
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(paths), _AHEAD):
            footers = pool.map(files.read_table_metadata, paths[start : start + _AHEAD])
            yield from (Counts.from_metadata(footer) for _, footer in footers)


def digest_of(*parts: Any) -> str:
    """16 hex digits that change when any of the parts (plain data) does."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8, person=b"septet.stage").hexdigest()


@dataclass(frozen=True)
class Parts:
    """The files of one artifact, one a task. Plain data, shipped to workers.

    `identity` is a digest of what all of the tasks share; it and a task's key name its file.
    """

    folder: str
    identity: str

    def path(self, key: Key) -> str:
        """The file of a task."""
        return path_of(self.folder, digest_of(self.identity, key) + ".parquet")


class Pass:
    """One graph of a stage, after which there is an output for every task.

    Args:
        label: Its name in logs and progress bars.
        outputs: The file of each task.
        graph: Makes the graph of the tasks that are not complete.
        news: Says how far tasks are that are under way, for passes of long tasks.
        warning: Says what goes wrong in them, None where nothing does.
        rows: The rows of all tasks together, where that is known before: progress is that of rows.
    """

    def __init__(
        self,
        label: str,
        outputs: Mapping[Any, str],
        graph: Callable[[list[Any]], Graph],
        news: Callable[[], str] | None = None,
        warning: Callable[[], str | None] | None = None,
        rows: int | None = None,
    ):
        self.label, self.outputs, self.graph = label, outputs, graph
        self.news, self.warning, self.rows = news, warning, rows
        self.rows_out: dict[Any, int] = {}
        """The rows that each task gave that `poll` has seen complete."""
        self._total = Counts()

    def todo(self) -> list[Any]:
        """Keys of the tasks that are not complete, in their order."""
        there = self._there()
        return [key for key, path in self.outputs.items() if path not in there]

    def poll(self) -> Counts:
        """Read the figures of the tasks completed since the last call; returns those of all."""
        there = self._there()
        fresh = [
            key for key, path in self.outputs.items() if key not in self.rows_out and path in there
        ]
        for key, counts in zip(fresh, read_counts([self.outputs[k] for k in fresh]), strict=True):
            self.rows_out[key] = counts.rows_out
            self._total.add(counts)
        return self.total()

    def total(self) -> Counts:
        """The figures of the tasks that `poll` has seen complete."""
        return Counts.sum([self._total])

    def _there(self) -> set[str]:
        return files.paths_in(path.rpartition("/")[0] for path in self.outputs.values())


@dataclass
class Done:
    """The figures of a complete stage: of all its tasks together, and the rows that each task
    gave."""

    counts: Counts
    rows_out: list[int] = field(default_factory=list)

    def to_json(self) -> bytes:
        """The figures as they are stored."""
        return json.dumps({"counts": self.counts.to_dict(), "rows_out": self.rows_out}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Done":
        """The inverse of `to_json`."""
        stored = json.loads(data)
        return cls(Counts.from_dict(stored["counts"]), stored["rows_out"])


@dataclass(frozen=True)
class Context:
    """The facts of a build that all stages know: the corpus folder, the recipe, the folder where
    its relative paths start, all inputs in the recipe's order, and how many tasks run at once (None
    where a cluster decides), which decides nothing of the corpus."""

    corpus: str
    recipe: Recipe
    folder: str
    inputs: tuple[Input, ...]
    workers: int | None = None


class Stage(ABC):
    """One stage of a build.

    Args:
        context: The facts of the build.
        givers: The stage that gives each artifact of `reads`.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised when the code changes what the stage writes."""
    sections: ClassVar[tuple[str, ...]] = ()
    """Sections of the recipe that decide the stage's output."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Artifacts that the stage reads."""
    gives: ClassVar[tuple[str, ...]] = ()
    """Artifacts that the stage gives; figures are in the footers of the first."""

    def __init__(self, context: Context, givers: "Mapping[str, Stage]"):
        self.context, self.givers = context, givers
        self.corpus, self.recipe = context.corpus, context.recipe
        before = [
            giver.identity if self.by_input else giver.fingerprint for giver in givers.values()
        ]
        self.identity: str = digest_of(self.name, self.version, self.settings(), before)
        """A digest of what all tasks of the stage share."""
        self._done: Done | None = None

    @classmethod
    def asked_for(cls, recipe: Recipe) -> bool:
        """Whether a build of the recipe has this stage."""
        return True

    @property
    def by_input(self) -> bool:
        """Whether a task depends on one input alone, so that another input leaves it as it is."""
        return False

    @property
    def fingerprint(self) -> str:
        """A digest of all that decides the stage's output."""
        return digest_of(self.identity, list(self.keys())) if self.by_input else self.identity

    def settings(self) -> dict[str, Any]:
        """The settings that decide the output, as plain data."""
        return {section: self.recipe.resolved()[section] for section in self.sections}

    def parts(self, artifact: str) -> Parts:
        """The files of an artifact that the stage gives (or keeps for itself)."""
        return Parts(files.join(self.corpus, STAGES, artifact), self.identity)

    @property
    def rejects(self) -> Parts:
        """The reject rows of each task."""
        return self.parts("rejects")

    def input(self, artifact: str) -> Parts:
        """The files of an artifact that the stage reads."""
        return self.givers[artifact].parts(artifact)

    @abstractmethod
    def keys(self) -> Sequence[Key]:
        """Keys of the stage's tasks, in order. Where they depend on what stages before gave, these
        must be complete."""

    @abstractmethod
    def passes(self) -> Iterator[Pass]:
        """The stage's passes, in order; each is asked for when those before are complete. The
        last one's outputs are the stage's."""

    def prepare(self) -> None:  # noqa: B027
        """Called before the passes of a stage that is not complete."""

    def done(self) -> Done | None:
        """The stage's figures if it is complete, else None."""
        if self._done is None and files.exists(self._done_path):
            self._done = Done.from_json(files.read_bytes(self._done_path))
        return self._done

    def require_done(self) -> Done:
        """The figures of a stage that must be complete by now."""
        done = self.done()
        assert done is not None, f"stage {self.name} is not complete"
        return done

    def finish(self, last: Pass) -> Done:
        """Add up the figures of the last pass's tasks, and mark the stage as complete."""
        last.poll()
        rows_out = [last.rows_out[key] for key in last.outputs]
        return self.mark(Done(last.total(), rows_out))

    def mark(self, done: Done) -> Done:
        """Mark the stage as complete."""
        files.write_bytes(self._done_path, done.to_json())
        self._done = done
        return done

    def current_files(self) -> Iterator[str]:
        """Paths of all files below `stages/` that a complete stage needs or gives."""
        yield self._done_path
        for artifact in (*self.gives, "rejects"):
            parts = self.parts(artifact)
            yield from (parts.path(key) for key in self.keys())

    @property
    def _done_path(self) -> str:
        return files.join(self.corpus, STAGES, "done", f"{self.name}-{self.fingerprint}.json")
