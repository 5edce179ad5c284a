"""dedup: filtered pairs to shard plans, without exact duplicates and repetition.

Two passes. The survey counts distinct pairs, which gives the number of shards, and finds captions
that stand beside too many images; it shuffles hashes. The plan brings all pairs of a shard
together; it shuffles tables of text rows. Images move in neither.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from septet.pipelines.stages.base import (
    Pass,
    Results,
    Stage,
    Work,
    from_ipc,
    numbered,
    read_counts,
    to_ipc,
)
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import shuffle_tasks
from septet.pipelines.stages.source import SourceStage
from septet.preprocess import files
from septet.preprocess.dedup import dedup_pairs, frequent_captions
from septet.preprocess.text.ids import bucket_of, split_ids, url_hash
from septet.schemas import tables
from septet.schemas.recipe import Dedup

_PAIRS_A_SURVEY_BUCKET = 1_000_000
_ROWS_A_PIECE = 4096
_HASHES_A_PIECE = 32_768

_SURVEY = pa.schema([("caption_hash", pa.uint64()), ("images", pa.int64())])


class DedupStage(Stage):
    """See the module."""

    name = "dedup"
    version = 1
    sections = ("dedup", "write")

    @property
    def output(self) -> str:
        """Shard plans: the rows of each shard, by ascending id."""
        return files.join(self.folder, "plans")

    def passes(self) -> Iterator[Pass]:
        """The survey, then the plan."""
        assert self.previous is not None and isinstance(self.previous.previous, SourceStage)
        pairs, places = self.previous.output, self.previous.previous.places
        numbers = self.previous.numbers()
        rows = (self.previous.done() or Counts()).given
        survey = files.join(self.folder, "survey")
        buckets = max(1, -(-rows // _PAIRS_A_SURVEY_BUCKET))
        groups = list(range(buckets))
        work = SurveyWork(self.folder, survey, self.recipe.dedup)
        graph = shuffle_tasks(SplitHashes(pairs, buckets), numbers, work, groups)
        yield Pass("dedup: survey", survey, buckets, graph)

        distinct = read_counts([numbered(survey, group) for group in groups]).other["pairs"]
        shards = max(1, -(-distinct // self.recipe.write.samples_per_shard))
        plan = PlanWork(self.folder, self.output, survey, buckets, self.recipe.dedup)
        graph = shuffle_tasks(SplitRows(pairs, places, shards), numbers, plan, list(range(shards)))
        yield Pass("dedup: plan", self.output, shards, graph)


class SplitHashes:
    """A part's distinct (caption hash, URL hash) pairs, by range of the caption hash."""

    stage = "split"

    def __init__(self, pairs: str, buckets: int):
        self.pairs, self.buckets = pairs, buckets

    def setup(self) -> None:
        """Nothing is loaded."""

    def split(self, number: int) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, little-endian uint64 pairs)."""
        ids = files.read_table(numbered(self.pairs, number), ["id"])["id"]
        urls, captions = split_ids(ids)
        distinct = np.unique(np.stack([captions, urls], axis=1), axis=0)
        for bucket, rows in _groups(bucket_of(distinct[:, 0], self.buckets)):
            for start in range(0, len(rows), _HASHES_A_PIECE):
                piece = distinct[rows[start : start + _HASHES_A_PIECE]]
                yield bucket, piece.astype("<u8").tobytes()


class SurveyWork(Work):
    """Finds the captions of one bucket that are repeated too often, and counts distinct pairs."""

    stage = "survey"

    def __init__(self, folder: str, output: str, settings: Dedup):
        self.folder, self.output, self.settings = folder, output, settings

    def run(self, number: int, parts: list[bytes]) -> Counts:
        """Write the bucket's frequent captions."""
        pairs = np.frombuffer(b"".join(parts), "<u8").astype(np.uint64).reshape(-1, 2)
        hashes, images, distinct = frequent_captions(pairs, self.settings.images_per_caption)
        counts = Counts()
        counts.other["pairs"] = distinct
        table = pa.table({"caption_hash": hashes, "images": images}, schema=_SURVEY)
        files.write_table(self.path(number), table, metadata=counts.to_metadata())
        return counts


class SplitRows:
    """A part's rows and image places, by shard."""

    stage = "split"

    def __init__(self, pairs: str, places: str, shards: int):
        self.pairs, self.places, self.shards = pairs, places, shards

    def setup(self) -> None:
        """Nothing is loaded."""

    def split(self, number: int) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, Arrow stream of rows)."""
        pairs = files.read_table(numbered(self.pairs, number))
        yield from self._pieces(pairs, split_ids(pairs["id"])[0])
        places = files.read_table(numbered(self.places, number))
        urls = [url_hash(url) for url in places["image_url"].to_pylist()]
        yield from self._pieces(places, np.array(urls, np.uint64))

    def _pieces(self, table: pa.Table, urls: np.ndarray) -> Iterator[tuple[int, bytes]]:
        for shard, rows in _groups(bucket_of(urls, self.shards)):
            for start in range(0, len(rows), _ROWS_A_PIECE):
                yield shard, to_ipc(table.take(rows[start : start + _ROWS_A_PIECE]))


class PlanWork(Work):
    """Makes one shard's plan."""

    stage = "dedup"

    def __init__(self, folder: str, output: str, survey: str, buckets: int, settings: Dedup):
        self.folder, self.output = folder, output
        self.survey, self.buckets, self.settings = survey, buckets, settings

    def setup(self) -> None:
        """Load the captions to be dropped: few, for they are those of many images."""
        parts = [files.read_table(numbered(self.survey, i)) for i in range(self.buckets)]
        often = pa.concat_tables(parts)
        self._often = often["caption_hash"].to_numpy()  # buckets are ranges: ascending
        self._images = often["images"].to_numpy()

    def run(self, number: int, parts: list[bytes]) -> Counts:
        """Write the shard's plan and rejects."""
        found = [from_ipc(part) for part in parts]
        pairs = [table for table in found if "caption" in table.column_names]
        places = [table for table in found if "caption" not in table.column_names]
        with self.results(number, tables.PLANNED) as results:
            self._plan(
                pa.concat_tables([tables.FILTERED.empty_table(), *pairs]),
                pa.concat_tables([tables.IMAGE_PLACES.empty_table(), *places]),
                results,
            )
        return results.counts

    def _plan(self, pairs: pa.Table, places: pa.Table, results: Results) -> None:
        results.counts.taken = len(pairs)
        kept, rejected = dedup_pairs(pairs, self.settings, self._often, self._images)
        results.reject(rejected)
        # The same image may lie in several inputs: the first in (path, offset) serves.
        first = places.sort_by([("path", "ascending"), ("offset", "ascending")])
        where = dict(
            zip(
                reversed(first["image_url"].to_pylist()),
                reversed(list(zip(first["path"].to_pylist(), first["offset"].to_pylist(),
                                  strict=True))),
                strict=True,
            )
        )  # fmt: skip
        found = [where.get(url, (None, None)) for url in kept["image_url"].to_pylist()]
        kept = kept.append_column("image_path", pa.array([at[0] for at in found], pa.string()))
        kept = kept.append_column("image_offset", pa.array([at[1] for at in found], pa.int64()))
        results.keep(kept)


def _groups(buckets: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Row numbers of each bucket that has rows, in their order."""
    if not len(buckets):
        return
    order = np.argsort(buckets, kind="stable")
    present, starts = np.unique(buckets[order], return_index=True)
    for bucket, rows in zip(present, np.split(order, starts[1:]), strict=True):
        yield int(bucket), rows
