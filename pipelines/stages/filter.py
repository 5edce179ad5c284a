"""filter: text rules and language identification; one task an input file."""

from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from septet.pipelines.stages.base import Pass, Stage, Work, numbered
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.preprocess import files
from septet.preprocess.text.rules import RULES_VERSION, apply_rules
from septet.schemas import tables
from septet.schemas.recipe import Filter

_BATCH = 8192


class FilterStage(Stage):
    """See the module."""

    name = "filter"
    version = RULES_VERSION
    sections = ("filter",)

    @property
    def output(self) -> str:
        """Pairs that passed."""
        return files.join(self.folder, "pairs")

    def passes(self) -> Iterator[Pass]:
        """One pass over the parts of the source stage."""
        assert self.previous is not None
        numbers = self.previous.numbers()
        work = FilterWork(self.folder, self.output, self.previous.output, self.recipe.filter)
        yield Pass("filter", self.output, len(numbers), map_tasks(work, numbers))


class FilterWork(Work):
    """Filters one part."""

    stage = "filter"

    def __init__(self, folder: str, output: str, pairs: str, settings: Filter):
        self.folder, self.output, self.pairs, self.settings = folder, output, pairs, settings

    def run(self, number: int) -> Counts:
        """Write the part's passed rows and rejects."""
        with (
            fsspec.open(numbered(self.pairs, number), "rb") as file,
            self.results(number, tables.FILTERED) as results,
        ):
            for batch in pq.ParquetFile(file).iter_batches(_BATCH):
                results.counts.taken += len(batch)
                passed, rejected = apply_rules(pa.Table.from_batches([batch]), self.settings)
                results.keep(passed)
                results.reject(rejected)
        return results.counts
