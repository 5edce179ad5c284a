"""The stage report: it writes lists of shards, statistics, rejects and funnel; then the corpus is
complete.

Workers read the sidecars and the rejects, in at most 1,024 tasks each whatever the corpus's size;
the driver adds up what they found.
"""

import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.ownership import remove_rejects
from septet.pipelines.report.statistics import (
    ShardStatistics,
    chunks,
    shard_runs,
    sidecar_statistics,
)
from septet.pipelines.report.stored import read_statistics, write_statistics
from septet.pipelines.sources.base import whole_inputs
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.shards.heads import write_corpus
from septet.preprocess.shards.removed import forget_older, listed_nowhere
from septet.schemas.layout import (
    FUNNEL,
    MANIFEST,
    STAGES,
    STATISTICS,
    TAR_FOOTER,
    reject_file,
    shard_sidecar,
    shard_tar,
)
from septet.schemas.manifest import SHARD_LIST, InputFile, Manifest, Shard
from septet.schemas.tables import REJECTS

_REJECTS_A_FILE = 8
"""Least number of tasks whose rejects come into one file: many tasks reject nothing."""


class ReportStage(Stage):
    """The stage that publishes the list of shards, statistics, rejects, funnel and the head."""

    name = "report"
    version = 4
    reads = ("shards",)
    gives = ("survey", "statistics")
    before: Sequence[Stage] = ()
    """All stages before, in order: what they rejected is brought together."""

    def settings(self) -> dict[str, Any]:
        """The whole recipe: the manifest holds it."""
        return {"recipe": self.recipe.resolved(), "septet": version("septet")}

    def keys(self) -> list[Key]:
        """The numbers of the runs of shards that are looked at together."""
        return list(range(len(self._runs())))

    def _runs(self) -> list[list[int]]:
        shards = list(map(int, self.givers["shards"].keys()))
        return [[shards[i] for i in run] for run in shard_runs(len(shards))]

    def prepare(self) -> None:
        """Remove the head, the statistics and, unless this stage has begun, the rejects of an
        earlier build."""
        begun = files.join(self.corpus, STAGES, "done", f"report-{self.fingerprint}.begun")
        files.remove(files.join(self.corpus, MANIFEST))
        files.remove(files.join(self.corpus, STATISTICS))
        if not files.exists(begun):
            remove_rejects(self.corpus)
            files.write_bytes(begun, b"")

    def passes(self) -> Iterator[Pass]:
        """One pass over the shards, and over what the stages before rejected."""
        task = SurveyTask(self.corpus, self._runs(), self.parts("survey"), self.parts("statistics"))
        found = [path for stage in self.before for path in map(stage.rejects.path, stage.keys())]
        runs = chunks(len(found), _REJECTS_A_FILE)
        rejects = RejectsTask(self.corpus, [[found[i] for i in run] for run in runs])
        both = PublishTask(task, rejects)
        keys: list[Key] = list(map(int, self.keys()))
        keys += [f"{rejects.stage} {run}" for run in range(len(runs))]
        outputs = {key: both.path(key) for key in keys}
        yield Pass("report", outputs, lambda todo: map_tasks(both, todo))

    def statistics(self) -> Iterator[ShardStatistics]:
        """The figures of each run of shards, in order."""
        parts = self.parts("statistics")
        return (read_statistics(parts.path(key)) for key in self.keys())

    def publish(self, figures: Sequence[Counts]) -> Manifest:
        """Write the funnel, the lists and, last, the head.

        Args:
            figures: Of the stages before, in their order.
        """
        funnel = [{"stage": stage.name, "unit": "pairs", **counts.to_dict()}
                  for stage, counts in zip(self.before, figures, strict=True)]  # fmt: skip
        files.write_bytes(
            files.join(self.corpus, FUNNEL),
            (json.dumps({"stages": funnel}, indent=1) + "\n").encode(),
        )
        removed = listed_nowhere(self.corpus)
        survey = self.parts("survey")
        shards = chain.from_iterable(
            files.read_table(survey.path(key)).to_pylist() for key in self.keys()
        )
        head = write_corpus(
            self.corpus,
            (Shard(**row) for row in shards),
            name=self.recipe.name,
            septet=version("septet"),
            recipe=self.recipe.resolved(),
            inputs=[
                InputFile(path=i.label, bytes=i.bytes, digest=i.digest)
                for i in whole_inputs(self.context.inputs)
            ],
            sorted_keys=True,
            counts={
                "candidates": figures[0].rows_in,
                "samples": figures[-1].rows_out,
                "rejects": sum(counts.rejected.total() for counts in figures),
            },
            removed=removed,
        )
        if removed is not None:
            forget_older(self.corpus, removed.path)
        return head


class SurveyTask(Task):
    """The task that reads a run of shards: their rows of the list of shards, and figures of their
    samples."""

    stage = "report"

    def __init__(self, corpus: str, runs: list[list[int]], output: Parts, statistics: Parts):
        self.corpus, self.runs = corpus, runs
        self.output, self.statistics = output, statistics

    def run(self, number: int) -> Counts:
        """Write the figures, then the rows of the list."""
        total, rows = ShardStatistics(), []
        for shard in self.runs[number]:
            total += sidecar_statistics(files.join(self.corpus, shard_sidecar(shard)))
            rows.append(listed(self.corpus, shard))
        counts = Counts(rows_in=total.samples, rows_out=total.samples)
        write_statistics(self.statistics.path(number), total, {})
        path = self.path(number)
        with files.open_atomic(path) as out, files.TableSink(out, SHARD_LIST) as sink:
            sink.write(pa.Table.from_pylist([row.model_dump() for row in rows], SHARD_LIST))
            sink.close(counts.to_metadata())
        return counts


def listed(corpus: str, number: int) -> Shard:
    """The row of the list of shards for a shard that was built."""
    path = files.join(corpus, shard_sidecar(number))
    rows, footer = files.read_table_metadata(path)
    tar = json.loads(footer[TAR_FOOTER.encode()])
    ends = pc.min_max(files.read_table(path, ["key"])["key"]).as_py()
    return Shard(
        tar=shard_tar(number),
        sidecar=shard_sidecar(number),
        samples=rows,
        bytes=tar["bytes"],
        tar_sha256=tar["sha256"],
        sidecar_sha256=files.sha256(path),
        first_key=ends["min"],
        last_key=ends["max"],
    )


class RejectsTask(Task):
    """The task that brings the reject rows of some tasks together in one file of the corpus."""

    stage = "rejects"

    def __init__(self, corpus: str, runs: list[list[str]]):
        self.corpus, self.runs = corpus, runs

    def path(self, key: Key) -> str:
        """The file, in its final place."""
        return files.join(self.corpus, reject_file(int(key)))

    def run(self, number: int) -> Counts:
        """Copy row group by row group, in the order of stages and tasks."""
        with files.open_atomic(self.path(number)) as out, files.TableSink(out, REJECTS) as sink:
            for path in self.runs[number]:
                if not files.exists(path):
                    continue
                with files.open_read(path) as file:
                    parquet = pq.ParquetFile(file)
                    for group in range(parquet.num_row_groups):
                        sink.write(parquet.read_row_group(group))
            counts = Counts(rows_in=sink.rows, rows_out=sink.rows)
            sink.close(counts.to_metadata())
        return counts


class PublishTask:
    """The tasks of both kinds, so that one pipeline runs them: numbers are runs of shards,
    `rejects NUMBER` are files of rejects. Plain data, shipped to workers."""

    stage = "report"

    def __init__(self, survey: SurveyTask, rejects: RejectsTask):
        self.survey, self.rejects = survey, rejects

    def setup(self) -> None:
        """Nothing to load."""

    def _task(self, key: Key) -> tuple[SurveyTask | RejectsTask, int]:
        if isinstance(key, int):
            return self.survey, key
        return self.rejects, int(key.removeprefix(f"{self.rejects.stage} "))

    def path(self, key: Key) -> str:
        """The task's main output."""
        task, number = self._task(key)
        return task.path(number)

    def run(self, key: Key) -> Counts:
        """Run one task."""
        task, number = self._task(key)
        return task.run(number)
