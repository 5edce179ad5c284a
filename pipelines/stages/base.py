"""What all stages share: fingerprints, folders, tasks, and how a task's work runs under Beam.

A stage reads the files of the stage before and writes files of its own, one main output a task,
below `stages/<name>-<fingerprint>/`. A task whose main output is there is whole and is not done
again; so a stage that was killed goes on where it stopped, on any runner.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Graph
from septet.preprocess import files
from septet.schemas import tables
from septet.schemas.reasons import require_known
from septet.schemas.recipe import Recipe

DONE = "done.json"


@dataclass(frozen=True)
class Input:
    """An input file: where it is, how the manifest calls it, and which source it belongs to."""

    path: str
    label: str
    source: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class Pass:
    """One Beam pipeline of a stage: `tasks` main outputs appear in `folder`."""

    label: str
    folder: str
    tasks: int
    graph: Graph

    def finished(self) -> int:
        """How many of the outputs are there."""
        return len(outputs_in(self.folder))


class Stage(ABC):
    """One stage of a build.

    Args:
        corpus: The corpus folder.
        recipe: The resolved recipe.
        inputs: All input files, in the recipe's order.
        previous: The stage before, None for the first.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised when the code changes what the stage writes."""
    sections: ClassVar[tuple[str, ...]]
    """Sections of the recipe that decide the stage's output."""

    def __init__(
        self, corpus: str, recipe: Recipe, inputs: tuple[Input, ...], previous: "Stage | None"
    ):
        self.corpus, self.recipe, self.inputs, self.previous = corpus, recipe, inputs, previous
        self.fingerprint: str = digest_of(
            self.name, self.version, self.settings(), previous.fingerprint if previous else None
        )
        self.folder = files.join(corpus, "stages", f"{self.name}-{self.fingerprint}")

    def settings(self) -> dict[str, Any]:
        """The settings that decide the output, as plain data."""
        return {section: self.recipe.resolved()[section] for section in self.sections}

    @property
    @abstractmethod
    def output(self) -> str:
        """The folder of the stage's main outputs, which the next stage reads."""

    @abstractmethod
    def passes(self) -> Iterator[Pass]:
        """The stage's pipelines, in order; each is asked for when those before are whole."""

    def prepare(self) -> None:  # noqa: B027
        """Called once before the first pass of a stage that was never begun."""

    def numbers(self) -> list[int]:
        """Numbers of the main outputs that are there."""
        return numbers_in(self.output)

    def done(self) -> Counts | None:
        """The stage's figures if it is whole, else None."""
        path = files.join(self.folder, DONE)
        return Counts.from_dict(json.loads(files.read_bytes(path))) if files.exists(path) else None

    def finish(self) -> Counts:
        """Add up the tasks' figures and mark the stage as whole."""
        counts = read_counts([numbered(self.output, number) for number in self.numbers()])
        files.write_bytes(files.join(self.folder, DONE), json.dumps(counts.to_dict()).encode())
        return counts


def digest_of(*parts: Any) -> str:
    """16 hex digits that change when any of the parts (plain data) does."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8, person=b"septet.stage").hexdigest()


def numbered(folder: str, number: int, suffix: str = "parquet") -> str:
    """The file of a task in a folder."""
    return files.join(folder, f"{number:05d}.{suffix}")


def outputs_in(folder: str) -> list[str]:
    """Names of the task outputs in a folder, sorted."""
    return [name for name in files.list_folder(folder) if name.endswith(".parquet")]


def numbers_in(folder: str) -> list[int]:
    """Numbers of the task outputs in a folder, ascending."""
    return sorted(int(name.removesuffix(".parquet")) for name in outputs_in(folder))


def read_counts(paths: list[str]) -> Counts:
    """The sum of the figures in the footers of task outputs."""
    total = Counts()
    with ThreadPoolExecutor(16) as pool:
        for _, metadata in pool.map(files.read_table_metadata, paths):
            total.add(Counts.from_metadata(metadata))
    return total


class Work(ABC):
    """What a worker does for one task of a stage; shipped to workers, so plain data only."""

    stage: ClassVar[str]
    folder: str
    output: str

    def setup(self) -> None:  # noqa: B027
        """Called once in each worker process before the first task."""

    def path(self, number: int) -> str:
        """The task's main output, written last."""
        return numbered(self.output, number)

    @contextmanager
    def results(self, number: int, schema: pa.Schema) -> Iterator["Results"]:
        """The task's main output and rejects, open for writing; whole when the block ends."""
        with (
            files.open_atomic(self.path(number)) as out,
            files.open_atomic(numbered(files.join(self.folder, "rejects"), number)) as lost,
            files.TableSink(out, schema) as kept,
            files.TableSink(lost, tables.REJECTS) as rejects,
        ):
            results = Results(self.stage, kept, rejects)
            yield results
            results.close()


class Results:
    """Where a task puts what it keeps and what it drops; counts both."""

    def __init__(self, stage: str, kept: files.TableSink, rejects: files.TableSink):
        self.counts = Counts()
        self._stage, self._kept, self._rejects = stage, kept, rejects

    def keep(self, table: pa.Table) -> None:
        """Rows that go on to the next stage."""
        self._kept.write(table)
        self.counts.given += len(table)

    def reject(self, table: pa.Table) -> None:
        """Rows that do not, with a `reason` and any other columns of `REJECTS`.

        Raises:
            UnknownReasonError: a reason that `septet.schemas.reasons` does not know.
        """
        if not len(table):
            return
        reasons, numbers = _value_counts(table["reason"])
        require_known(reasons)
        for reason, count in zip(reasons, numbers, strict=True):
            self.counts.rejected[reason] += count
        columns = [
            pa.repeat(pa.scalar(self._stage), len(table))
            if field.name == "stage"
            else table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in tables.REJECTS
        ]
        self._rejects.write(pa.table(columns, schema=tables.REJECTS))

    def close(self) -> None:
        """Write the footers."""
        self._rejects.close()
        self._kept.close(self.counts.to_metadata())


def _value_counts(column: pa.ChunkedArray) -> tuple[list[str], list[int]]:
    counted = column.value_counts()
    return counted.field("values").to_pylist(), counted.field("counts").to_pylist()


def to_ipc(table: pa.Table) -> bytes:
    """A table of text rows as bytes, for a shuffle."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes) -> pa.Table:
    """The inverse of `to_ipc`."""
    return pa.ipc.open_stream(data).read_all()
