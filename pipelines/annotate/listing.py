"""The list of a column's shards, made by workers: each reads the sidecars of some finished
shards."""

import json
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from septet.pipelines.annotate.work import open_corpus
from septet.pipelines.report.statistics import chunks
from septet.pipelines.stages.counts import Counts
from septet.preprocess import files
from septet.preprocess.shards.sidecar import sample_languages
from septet.schemas.columns import COLUMN_SHARD_LIST, ColumnShard
from septet.schemas.layout import TAR_FOOTER, column_sidecar, column_tar
from septet.schemas.manifest import Shard

_LANGUAGES = b"languages"
"""The footer's key of the counts by language."""
_SHARDS_A_RUN = 32
"""Least number of shards that a task looks at: their sidecars are read whole, for the digest."""


class ListWork:
    """The task that writes the rows of the list for a run of shards. Plain data, shipped to
    workers.

    Args:
        corpus: The corpus folder.
        manifest_sha256: Digest of its head.
        name: The column.
        shards: The number of shards of the corpus.
        folder: The folder that gets the rows, for `rows`.
    """

    stage = "annotate"

    def __init__(self, corpus: str, manifest_sha256: str, name: str, shards: int, folder: str):
        self.corpus, self.manifest_sha256, self.name = corpus, manifest_sha256, name
        self.runs, self.folder = chunks(shards, _SHARDS_A_RUN), folder

    def setup(self) -> None:
        """Nothing to load."""

    def path(self, number: int) -> str:
        """The file with the rows of one run."""
        return files.join(self.folder, f"{number}.parquet")

    def run(self, number: int) -> Counts:
        """Write the rows of one run, with the sum of the shards' figures in the footer."""
        shards = open_corpus(self.corpus, self.manifest_sha256).shards
        rows, total = [], Counts()
        samples: Counter[str] = Counter()
        values: Counter[str] = Counter()
        for i in self.runs[number]:
            row, counts = self._listed(shards[i])
            rows.append(row.model_dump())
            total.add(counts)
            for language, has_value in self._languages(shards[i]):
                samples[language] += 1
                values[language] += has_value
        table = pa.Table.from_pylist(rows, COLUMN_SHARD_LIST)
        told = {_LANGUAGES.decode(): json.dumps([samples, values])}
        files.write_table(self.path(number), table, metadata=total.to_metadata() | told)
        return total

    def _languages(self, base: Shard) -> Iterator[tuple[str, bool]]:
        """The language of each sample of a shard, and whether it has a value."""
        where = files.join(self.corpus, column_sidecar(self.name, base.tar))
        reasons = files.read_table(where, ["reason"])["reason"]
        known = sample_languages(files.join(self.corpus, base.sidecar), base.samples)
        yield from zip(known.to_pylist(), reasons.is_null().to_pylist(), strict=True)

    def _listed(self, base: Shard) -> tuple[ColumnShard, Counts]:
        sidecar = column_sidecar(self.name, base.tar)
        where = files.join(self.corpus, sidecar)
        rows, footer = files.read_table_metadata(where)
        tar = json.loads(footer[TAR_FOOTER.encode()])
        shard = ColumnShard(
            tar=column_tar(self.name, base.tar),
            sidecar=sidecar,
            samples=rows,
            bytes=tar["bytes"],
            tar_sha256=tar["sha256"],
            sidecar_sha256=files.sha256(where),
            base_sha256=base.tar_sha256,
        )
        return shard, Counts.from_metadata(footer)

    def rows(self) -> Iterator[ColumnShard]:
        """Read the rows of all runs, in the order of the corpus's shards."""
        for number in range(len(self.runs)):
            for row in files.read_table(self.path(number)).to_pylist():
                yield ColumnShard(**row)

    def languages(self) -> dict[str, dict[str, int]]:
        """How many samples each language has, and how many of them have values, in all runs."""
        samples: Counter[str] = Counter()
        values: Counter[str] = Counter()
        for number in range(len(self.runs)):
            _, footer = files.read_table_metadata(self.path(number))
            some, of_them = json.loads(footer[_LANGUAGES])
            samples.update(some)
            values.update(of_them)
        return {one: {"samples": samples[one], "values": values[one]} for one in sorted(samples)}
