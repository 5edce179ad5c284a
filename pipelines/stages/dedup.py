"""dedup: filtered pairs to shard plans, without exact duplicates and repetition.

Two passes. The survey counts distinct pairs, which gives the number of shards, and finds captions
that stand beside too many images; it shuffles hashes. The plan brings all pairs of a shard
together; it shuffles tables of text rows. Images move in neither.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import Split, shuffle_tasks
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Results, Task
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
    """Drops duplicates and repetition, and plans the shards."""

    name = "dedup"
    version = 2
    sections = ("dedup", "write")
    reads = ("filtered", "image_locations")
    gives = ("plans",)

    def keys(self) -> Sequence[Key]:
        """Numbers of the shards."""
        return range(len(self.require_done().rows_out))

    def passes(self) -> Iterator[Pass]:
        """The survey, then the plan."""
        filtered, locations = self.input("filtered"), self.input("image_locations")
        giver = self.givers["filtered"]
        rows, keys = giver.require_done().counts.rows_out, giver.keys()
        buckets = max(1, -(-rows // _PAIRS_A_SURVEY_BUCKET))
        survey = SurveyTask(self.parts("survey"), self.recipe.dedup)
        first = Pass(
            "dedup: survey",
            survey.outputs(range(buckets)),
            lambda todo: shuffle_tasks(SplitHashes(filtered, buckets), keys, survey, todo),
        )
        yield first

        distinct = first.poll().other["pairs"]
        shards = max(1, -(-distinct // self.recipe.write.samples_per_shard))
        plan = PlanTask(
            self.parts("plans"), self.rejects, survey.output, buckets, self.recipe.dedup
        )
        yield Pass(
            "dedup: plan",
            plan.outputs(range(shards)),
            lambda todo: shuffle_tasks(SplitRows(filtered, locations, shards), keys, plan, todo),
        )


class SplitHashes(Split):
    """A part's distinct (caption hash, URL hash) pairs, by range of the caption hash."""

    stage = "split"

    def __init__(self, pairs: Parts, buckets: int):
        self.pairs, self.buckets = pairs, buckets

    def split(self, key: Key) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, little-endian uint64 pairs)."""
        ids = files.read_table(self.pairs.path(key), ["id"])["id"]
        urls, captions = split_ids(ids)
        distinct = np.unique(np.stack([captions, urls], axis=1), axis=0)
        for bucket, rows in _groups(bucket_of(distinct[:, 0], self.buckets)):
            for start in range(0, len(rows), _HASHES_A_PIECE):
                piece = distinct[rows[start : start + _HASHES_A_PIECE]]
                yield bucket, piece.astype("<u8").tobytes()


class SurveyTask(Task):
    """Finds the captions of one bucket that are repeated too often, and counts distinct pairs."""

    stage = "survey"

    def __init__(self, output: Parts, settings: Dedup):
        self.output, self.settings = output, settings

    def run(self, bucket: int, parts: list[bytes]) -> Counts:
        """Write the bucket's frequent captions."""
        pairs = np.frombuffer(b"".join(parts), "<u8").astype(np.uint64).reshape(-1, 2)
        hashes, images, distinct = frequent_captions(pairs, self.settings.images_per_caption)
        counts = Counts()
        counts.other["pairs"] = distinct
        table = pa.table({"caption_hash": hashes, "images": images}, schema=_SURVEY)
        files.write_table(self.path(bucket), table, metadata=counts.to_metadata())
        return counts


class SplitRows(Split):
    """A part's rows and image locations, by shard."""

    stage = "split"

    def __init__(self, pairs: Parts, locations: Parts, shards: int):
        self.pairs, self.locations, self.shards = pairs, locations, shards

    def split(self, key: Key) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, Arrow stream of rows)."""
        pairs = files.read_table(self.pairs.path(key))
        yield from self._pieces(pairs, split_ids(pairs["id"])[0])
        places = files.read_table(self.locations.path(key))
        urls = [url_hash(url) for url in places["image_url"].to_pylist()]
        yield from self._pieces(places, np.array(urls, np.uint64))

    def _pieces(self, table: pa.Table, urls: np.ndarray) -> Iterator[tuple[int, bytes]]:
        for shard, rows in _groups(bucket_of(urls, self.shards)):
            for start in range(0, len(rows), _ROWS_A_PIECE):
                yield shard, to_ipc(table.take(rows[start : start + _ROWS_A_PIECE]))


class PlanTask(Task):
    """Makes one shard's plan."""

    stage = "dedup"

    def __init__(self, output: Parts, rejects: Parts, survey: Parts, buckets: int, settings: Dedup):
        self.output, self.rejects = output, rejects
        self.survey, self.buckets, self.settings = survey, buckets, settings

    def setup(self) -> None:
        """Load the captions to be dropped: few, for they are those of many images."""
        parts = [files.read_table(self.survey.path(i)) for i in range(self.buckets)]
        often = pa.concat_tables(parts)
        self._often = often["caption_hash"].to_numpy()  # buckets are ranges: ascending
        self._images = often["images"].to_numpy()

    def run(self, shard: int, parts: list[bytes]) -> Counts:
        """Write the shard's plan and rejects."""
        found = [from_ipc(part) for part in parts]
        pairs = [table for table in found if "caption" in table.column_names]
        places = [table for table in found if "caption" not in table.column_names]
        with self.results(shard, tables.PLANNED) as results:
            self._plan(
                pa.concat_tables([tables.FILTERED.empty_table(), *pairs]),
                pa.concat_tables([tables.IMAGE_PLACES.empty_table(), *places]),
                results,
            )
        return results.counts

    def _plan(self, pairs: pa.Table, places: pa.Table, results: Results) -> None:
        results.counts.rows_in = len(pairs)
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
