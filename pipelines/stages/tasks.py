"""The base class of tasks, which workers run for a stage, and their results."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

import pyarrow as pa

from septet.pipelines.stages.counts import Counts, under_way
from septet.pipelines.stages.stage import Key, Parts
from septet.preprocess import files
from septet.schemas import tables
from septet.schemas.reasons import require_known


class Task(ABC):
    """The work for one task of a stage. Plain data, for it is shipped to workers.

    A subclass has `run(key)`, or `run(key, parts)` where a shuffle brings the parts; it returns
    what it counted.
    """

    stage: ClassVar[str]
    apart: ClassVar[bool] = False
    """Whether it runs in a process of its own even where it is alone: it hands bytes of strangers
    to decoders, which may crash."""
    output: Parts
    rejects: Parts

    def setup(self) -> None:  # noqa: B027
        """Called once in each worker process before the first task."""

    def path(self, key: Key) -> str:
        """The task's main output, written last."""
        return self.output.path(key)

    def outputs(self, keys: Iterable[Key]) -> dict[Key, str]:
        """The main output of each task."""
        return {key: self.path(key) for key in keys}

    @contextmanager
    def results(
        self, key: Key, schema: pa.Schema, output: Parts | None = None
    ) -> Iterator["Results"]:
        """The task's output (the main one unless another is given) and rejects, open for writing;
        complete when the block ends."""
        path = self.path(key) if output is None else output.path(key)
        with (
            files.open_atomic(path) as out,
            files.open_atomic(self.rejects.path(key)) as lost,
            files.TableSink(out, schema) as kept,
            files.TableSink(lost, tables.REJECTS) as rejects,
        ):
            results = Results(self.stage, kept, rejects)
            with under_way(results.counts):
                yield results
            results.close()


class SendingTask(Task):
    """A task in front of a shuffle: it writes its file, then sends on what is in it. Where the file
    is there already it only sends.

    A subclass has `run(key)` and `sent(key)`.
    """

    @abstractmethod
    def run(self, key: Key) -> Counts:
        """Write the file of one task."""

    @abstractmethod
    def sent(self, key: Key) -> Iterable[tuple[int, bytes]]:
        """Yield (group, bytes) of what is in the file."""

    def split(self, key: Key) -> Iterable[tuple[int, bytes]]:
        """Yield (group, bytes) for one task."""
        if not files.exists(self.path(key)):
            self.run(key)
        yield from self.sent(key)


@contextmanager
def attempt(mark: str, until_done: bool = False) -> Iterator[bool]:
    """An attempt at a task, with a file that marks it until it ends.

    Gives whether an earlier attempt never ended: its process was killed, or it crashed.

    Args:
        mark: The file.
        until_done: Whether an attempt that raises an error counts as one that never ended.
    """
    died, done = files.exists(mark), False
    files.write_bytes(mark, b"")
    try:
        yield died
        done = True
    finally:
        if done or not until_done:
            with suppress(OSError):
                files.remove(mark)


class Results:
    """The output of a task: the rows that it keeps and those that it drops, and the counts of
    both."""

    def __init__(self, stage: str, kept: files.TableSink, rejects: files.TableSink):
        self.counts = Counts()
        self._stage, self._kept, self._rejects = stage, kept, rejects

    def keep(self, table: pa.Table) -> None:
        """Add rows that go on to the next stage."""
        self._kept.write(table)
        self.counts.rows_out += len(table)

    def reject(self, table: pa.Table) -> None:
        """Add rows that do not, with a `reason` and any other columns of `REJECTS`.

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
