"""The stage filter: text rules and language identification; one task for each input."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.text.rules import RULES_VERSION, apply_rules
from septet.schemas import tables
from septet.schemas.recipe import Filter

_BATCH = 8192
_SHOWN = 300


class FilterStage(Stage):
    """The stage that drops pairs whose caption fails a rule, and finds the language of the
    others."""

    name = "filter"
    version = RULES_VERSION
    sections = ("filter",)
    reads = ("candidates",)
    gives = ("filtered",)
    by_input = True

    def keys(self) -> Sequence[Key]:
        """The keys of the inputs."""
        return self.givers["candidates"].keys()

    def passes(self) -> Iterator[Pass]:
        """One pass over the inputs' candidates."""
        task = FilterTask(
            self.parts("filtered"), self.rejects, self.input("candidates"), self.recipe.filter
        )
        yield Pass("filter", task.outputs(self.keys()), lambda todo: map_tasks(task, todo))


class FilterTask(Task):
    """The task that filters the candidates of one input."""

    stage = "filter"

    def __init__(self, output: Parts, rejects: Parts, candidates: Parts, settings: Filter):
        self.output, self.rejects = output, rejects
        self.candidates, self.settings = candidates, settings

    def run(self, key: Key) -> Counts:
        """Write the rows that passed and the rejects."""
        with (
            files.open_read(self.candidates.path(key)) as file,
            self.results(key, tables.FILTERED) as results,
        ):
            for batch in pq.ParquetFile(file).iter_batches(_BATCH):
                results.counts.rows_in += len(batch)
                rows = pa.Table.from_batches([batch])
                has_text = pc.is_valid(rows["caption"])
                results.keep(_without_language(rows.filter(pc.invert(has_text))))
                for passed, rejected in guarded_rules(rows.filter(has_text), self.settings):
                    results.keep(passed)
                    results.reject(rejected)
        return results.counts


def guarded_rules(rows: pa.Table, settings: Filter) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Apply the rules; a row on which a rule itself fails becomes a reject (`rule_error`)."""
    try:
        yield apply_rules(rows, settings)
    except Exception as error:
        if len(rows) > 1:
            half = len(rows) // 2
            yield from guarded_rules(rows.slice(0, half), settings)
            yield from guarded_rules(rows.slice(half), settings)
            return
        value = f"{type(error).__name__}: {error}"[:_SHOWN]
        lost = rows.append_column("reason", pa.array(["rule_error"]))
        yield _without_language(rows.slice(0, 0)), lost.append_column("value", pa.array([value]))


def _without_language(rows: pa.Table) -> pa.Table:
    """The images without a text, which pass: the rules are about texts."""
    for field in list(tables.FILTERED)[len(tables.CANDIDATES) :]:
        rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows
