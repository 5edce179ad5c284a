"""The stage source: from inputs to candidate pairs, and the places of the images that the inputs
hold."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import attrgetter
from typing import Any

import pyarrow as pa

from septet.pipelines.sources.base import (
    AGENT,
    Found,
    ImageLocation,
    Input,
    InputError,
    Pair,
    Source,
)
from septet.pipelines.sources.table import SOURCES
from septet.pipelines.sources.values import scrub
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage, digest_of
from septet.pipelines.stages.tasks import Results, Task, attempt
from septet.preprocess import files
from septet.preprocess.http.opt_out import agent_token
from septet.preprocess.memory import keep_freed_memory
from septet.preprocess.text.ids import sample_id
from septet.schemas import tables
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import SourceSettings

_BATCH = 8192
_SHOWN = 300


class SourceStage(Stage):
    """The stage that reads the inputs: candidate pairs, and the places of the images that the
    inputs hold."""

    name = "source"
    version = 4
    sections = ("sources",)
    gives = ("candidates", "image_locations")

    @property
    def by_input(self) -> bool:
        """True: an input is read alone."""
        return True

    def settings(self) -> dict[str, Any]:
        """None: each task's key has those of its own source."""
        return {}

    def keys(self) -> list[Key]:
        """A key for each slice of an input. What is named twice with the same settings is read
        once."""
        return list(self._inputs())

    def _inputs(self) -> dict[Key, Input]:
        sources, agent = self.recipe.sources, agent_token(self.recipe.fetch.user_agent)
        parts = [
            replace(part, agent=agent) if hasattr(sources[part.source], "opt_out") else part
            for part in self.context.inputs
        ]
        return {task_key(sources[part.source], part): part for part in parts}

    def passes(self) -> Iterator[Pass]:
        """One pass over the slices."""
        task = SourceTask(
            self.parts("candidates"),
            self.parts("image_locations"),
            self.rejects,
            self._inputs(),
            tuple(self.recipe.sources),
        )
        yield Pass("source", task.outputs(self.keys()), lambda todo: map_tasks(task, todo))


def task_key(settings: SourceSettings, part: Input) -> Key:
    """The fingerprint of all that decides what a slice gives: its input, its bounds, its
    settings, the agent whose opt-outs are kept to."""
    identity = SOURCES[settings.kind].identity(settings)
    # Where it is the usual one the key is that of before there were others: no corpus is redone.
    agent = [part.agent] if part.agent != AGENT else []
    return digest_of(identity, part.label, part.digest, list(part.slice), *agent)


class SourceTask(Task):
    """The task that reads one slice of an input."""

    stage = "source"
    apart = True

    def __init__(
        self,
        candidates: Parts,
        image_locations: Parts,
        rejects: Parts,
        inputs: dict[Key, Input],
        sources: tuple[SourceSettings, ...],
    ):
        self.output, self.image_locations, self.rejects = candidates, image_locations, rejects
        self.inputs, self.sources = inputs, sources

    def setup(self) -> None:
        """Keep the memory of pages for other pages."""
        keep_freed_memory()

    def run(self, key: Key) -> Counts:
        """Write the slice's pairs, image locations and rejects. Where an earlier attempt crashed
        or was killed, each page is parsed apart, so that one that crashes the parser is lost
        alone."""
        with attempt(f"{self.path(key)}.begun") as again:
            return self._run(key, replace(self.inputs[key], apart=again))

    def _run(self, key: Key, part: Input) -> Counts:
        settings = self.sources[part.source]
        with (
            self.results(key, tables.CANDIDATES) as results,
            files.open_atomic(self.image_locations.path(key)) as out,
            files.TableSink(out, tables.IMAGE_LOCATIONS) as sink,
        ):
            rows = _Rows(part, results, sink)
            for found in read_slice(SOURCES[settings.kind], settings, part, results.counts.other):
                rows.put(found)
            rows.flush()
        return results.counts


def read_slice(
    source: Source, settings: SourceSettings, part: Input, counts: Any
) -> Iterator[Found]:
    """Read all that a slice holds. No record can end it; a broken input ends it as the settings
    say.

    Raises:
        InputError: the input cannot be read on, and `on_broken_input` is `stop`.
    """
    records = iter(source.records(settings, part, counts))
    number = 0
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except FileNotFoundError as error:
            raise InputError(
                f"{part.label} is not there any more: put it back, or take it out of the recipe"
            ) from error
        except Exception as error:
            where = f"{part.label}: stopped after {source.unit} {number}{_of_slice(part)}"
            message = f"{where}: {_described(error)}"
            if settings.on_broken_input == "stop":
                raise InputError(
                    f"{message}. With `on_broken_input: reject` in the source, what came before "
                    "is kept"
                ) from error
            yield Rejected("input_broken", message.removeprefix(f"{part.label}: "))
            return
        number += 1
        yield from _guarded(source, settings, part, record, counts)


def _guarded(
    source: Source, settings: SourceSettings, part: Input, record: Any, counts: Any
) -> Iterable[Found]:
    """Read one record; whatever reading it raises becomes a loss of its own."""
    if isinstance(record, Rejected):
        return [record]
    try:
        return list(source.read(settings, part, record, counts))
    except RejectedError as error:
        return [error.rejected]
    except Exception as error:
        return [Rejected("record_error", _described(error))]


def _of_slice(part: Input) -> str:
    return f" of slice {part.number + 1} of {part.slices}" if part.slices > 1 else ""


def _described(error: Exception) -> str:
    message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return scrub(message)[:_SHOWN]


class _Rows:
    """A buffer of rows on their way into a task's files, some thousand at a time."""

    def __init__(self, source: Input, results: Results, locations: files.TableSink):
        self._input, self._results, self._locations = source, results, locations
        self._rows: dict[str, list[dict[str, Any]]] = {"pairs": [], "rejects": [], "locations": []}

    def put(self, found: Found) -> None:
        """Add a row. Text that no file can store is mended here, where all rows enter."""
        if isinstance(found, Pair):
            self._results.counts.rows_in += 1
            self._add("pairs", **candidate(found, self._input))
        elif isinstance(found, Rejected):
            self._results.counts.rows_in += 1
            self._add("rejects", source=self._input.label, **_scrubbed(found))
        else:
            self._add_location(found)

    def _add_location(self, found: ImageLocation) -> None:
        row = {name: getattr(found, name) for name in found.__slots__}
        self._add("locations", **row, digest=self._input.digest if found.name is None else None)

    def _add(self, kind: str, **row: Any) -> None:
        rows = self._rows[kind]
        rows.append(row)
        if len(rows) >= _BATCH:
            self._flush(kind)

    def _flush(self, kind: str) -> None:
        rows, self._rows[kind] = self._rows[kind], []
        if not rows:
            return
        if kind == "pairs":
            self._results.keep(pa.Table.from_pylist(rows, tables.CANDIDATES))
        elif kind == "locations":
            self._locations.write(pa.Table.from_pylist(rows, tables.IMAGE_LOCATIONS))
        else:
            self._results.reject(pa.Table.from_pylist(rows, _REJECTS))

    def flush(self) -> None:
        """Write what is left."""
        for kind in self._rows:
            self._flush(kind)


def candidate(pair: Pair, part: Input) -> dict[str, Any]:
    """The row of `septet.schemas.tables.CANDIDATES` of a pair of an input."""
    row = _scrubbed(pair)
    id_ = sample_id(row["image_url"], row["caption"], row["annotations"])
    return {"id": id_, "source": part.label, **row}


_REJECTS = pa.schema(
    [field for field in tables.REJECTS if field.name not in ("id", "stage", "rule")]
)


_PAIR = Pair._fields
_REJECTED = tuple(Rejected.__slots__)
_values_of_rejected = attrgetter(*_REJECTED)


def _scrubbed(row: Pair | Rejected) -> dict[str, Any]:
    if isinstance(row, Pair):
        values = dict(zip(_PAIR, row, strict=True))
    else:
        values = dict(zip(_REJECTED, _values_of_rejected(row), strict=True))
    for name, value in values.items():
        if value is not None and not value.isascii():
            values[name] = scrub(value)
    return values
