"""The stage dedup: from filtered samples to shard plans, without exact duplicates and repetition.

Two passes, and a small one between them where the survey is large. The survey finds captions that
stand beside too many images, and counts the samples that have others, which gives the number of
shards; it shuffles hashes. The plan brings the samples of a range of shards together, and a worker
writes the plans of its range one by one; it shuffles text rows. Images move in neither.

No worker's memory depends on an input's size: parts are read in batches, and what goes into the
shuffle is sent on whenever enough has gathered.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.stages.barred import (
    BarredLists,
    as_removed,
    barred_lists,
    barred_settings,
    read_barred,
)
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.earlier import (
    EARLIER,
    EarlierShard,
    earlier_settings,
    earlier_shards,
    same_samples,
)
from septet.pipelines.stages.graphs import Split, map_tasks, shuffle_tasks
from septet.pipelines.stages.ipc import from_ipc, to_ipc
from septet.pipelines.stages.stage import Done, Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Results, Task
from septet.preprocess import files
from septet.preprocess.dedup import (
    combine_captions,
    dedup_samples,
    distinct_rows,
    frequent_captions,
)
from septet.preprocess.text.ids import (
    bucket_of,
    by_bucket,
    caption_hashes,
    split_ids,
    url_hash,
)
from septet.schemas import tables
from septet.schemas.recipe import Dedup

_SAMPLES_A_SURVEY_BUCKET = 2_000_000
_ROWS_READ = 65_536
_ROWS_GATHERED = 262_144
"""The number of rows that are gathered before they are sent: more make larger pieces, and take 0.1
GB a 300,000."""
_ROWS_A_RANGE = 500_000
_RANGES = 64
"""The least number of ranges, as soon as there are so many shards: they are work for as many
workers."""

_SURVEY = pa.schema([("caption_hash", pa.uint64()), ("images", pa.int64())])
_PLANNED_SHARDS = pa.schema([("shard", pa.int64()), ("rows_out", pa.int64())])
_ROWS, _LOCATIONS, _EARLIER = b"R", b"L", b"E"


class DedupStage(Stage):
    """The stage that drops duplicates and repetition, and plans the shards."""

    name = "dedup"
    version = 4
    sections = ("dedup", "write")
    reads = ("filtered", "image_locations")
    gives = ("plans",)

    def settings(self) -> dict[str, Any]:
        """Those of the recipe; which samples were removed, and what earlier corpora there are,
        where any are."""
        settings = super().settings()
        against = settings["dedup"].pop("against")
        if against:
            earlier = earlier_settings(against, self.context.folder, self.corpus)
            settings |= earlier | {"identical_images": self.recipe.curate.identical_images}
            settings["shards_planned"] = "of what is left"  # not of all, as once
        return settings | barred_settings(self.corpus)

    def keys(self) -> Sequence[Key]:
        """Numbers of the shards."""
        return range(len(self.require_done().rows_out))

    def passes(self) -> Iterator[Pass]:
        """The survey, then the plan."""
        filtered, locations = self.input("filtered"), self.input("image_locations")
        giver = self.givers["filtered"]
        rows, keys = giver.require_done().counts.rows_out, giver.keys()
        earlier = earlier_shards(self.recipe.dedup.against, self.context.folder)
        rows += sum(one.samples for one in earlier)
        buckets = max(1, -(-rows // _SAMPLES_A_SURVEY_BUCKET))
        most = self.recipe.dedup.images_per_caption
        survey = SurveyTask(self.parts("survey"), most)
        first = Pass(
            "dedup: survey",
            survey.outputs(range(buckets)),
            lambda todo: shuffle_tasks(
                SplitHashes(filtered, buckets, most), [*keys, *earlier], survey, todo
            ),
        )
        yield first

        surveyed = first.poll()
        self._measured = surveyed.tally
        shards = max(1, -(-surveyed.other["samples"] // self.recipe.write.samples_per_shard))
        width = shards_a_range(rows, shards)
        frequent = [survey.path(i) for i in range(buckets) if first.rows_out[i]]
        if len(frequent) > 1:  # one file, for every range of shards reads all
            gather = GatherTask(self.parts("frequent"), frequent)
            yield Pass("dedup: frequent", gather.outputs([0]), lambda todo: map_tasks(gather, todo))
            frequent = [gather.path(0)]
        plan = PlanTask(
            self.parts("planned_ranges"),
            self.parts("plans"),
            self.rejects,
            frequent,
            (shards, width),
            self.recipe.dedup,
            barred_lists(self.corpus),
            self.recipe.curate.identical_images == "keep_one",
        )
        yield Pass(
            "dedup: plan",
            plan.outputs(range(-(-shards // width))),
            lambda todo: shuffle_tasks(
                SplitRows(filtered, locations, shards, width),
                [*zip(keys, self.givers["image_locations"].keys(), strict=True), *earlier],
                plan,
                todo,
            ),
        )

    def finish(self, last: Pass) -> Done:
        """Mark the stage as complete, with the figures of the shards of each range."""
        counts = last.poll()
        counts.tally.add(self._measured)
        with ThreadPoolExecutor() as pool:
            ranges = pool.map(files.read_table, last.outputs.values())
            rows_out = [rows for one in ranges for rows in one["rows_out"].to_pylist()]
        return self.mark(Done(counts, rows_out))


def shards_a_range(rows: int, shards: int) -> int:
    """The number of neighbouring shards that one task plans.

    Args:
        rows: The number of rows in all, duplicates included.
        shards: The number of shards.
    """
    return max(1, min(shards // _RANGES, _ROWS_A_RANGE * shards // max(1, rows)))


def _batches(path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read a Parquet file, some ten thousand rows at a time."""
    with files.open_read(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS_READ, columns=columns):
            yield pa.Table.from_batches([batch])


class SplitHashes(Split):
    """The step that sends the distinct (caption, anchor, rest) hashes of a part, or of a shard of
    an earlier corpus, to the bucket of the caption's."""

    stage = "split"

    def __init__(self, samples: Parts, buckets: int, most: int | None):
        self.samples, self.buckets, self.most = samples, buckets, most

    def split(self, key: Key | EarlierShard) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, kind and little-endian uint64 triples)."""
        if isinstance(key, EarlierShard):
            theirs = key.read(["key", "url", "caption", "annotations"])
            yield from self._pieces(_hashes(theirs), _EARLIER)
            return
        gathered: list[np.ndarray] = []
        columns = ["id", "image_url", "caption", "annotations"]
        for rows in _batches(self.samples.path(key), columns):
            gathered.append(_hashes(rows))
            if sum(map(len, gathered)) >= 4 * _ROWS_GATHERED:
                gathered = [combine_captions(np.concatenate(gathered), self.most)]
                if len(gathered[0]) >= 2 * _ROWS_GATHERED:
                    yield from self._pieces(gathered.pop(), _ROWS)
        if gathered:
            yield from self._pieces(combine_captions(np.concatenate(gathered), self.most), _ROWS)

    def _pieces(self, distinct: np.ndarray, kind: bytes) -> Iterator[tuple[int, bytes]]:
        for bucket, rows in by_bucket(bucket_of(distinct[:, 0], self.buckets)):
            for start in range(0, len(rows), _ROWS_READ):
                piece = distinct[rows[start : start + _ROWS_READ]]
                yield bucket, kind + piece.astype("<u8").tobytes()


def _hashes(rows: pa.Table) -> np.ndarray:
    """The hashes of rows' captions, anchors and rests, uint64 [n, 3]."""
    return np.stack([caption_hashes(rows), *split_ids(rows["id"])], axis=1)


class SurveyTask(Task):
    """The task that finds the frequent captions of one bucket, and counts the samples that have
    others and that no earlier corpus has: so many are to fill the shards."""

    stage = "survey"

    def __init__(self, output: Parts, most: int | None):
        self.output, self.most = output, most

    def run(self, bucket: int, parts: list[bytes]) -> Counts:
        """Write the bucket's frequent captions."""
        rows, earlier = (
            np.frombuffer(b"".join(one[1:] for one in parts if one[:1] == kind), "<u8")
            .astype(np.uint64)
            .reshape(-1, 3)
            for kind in (_ROWS, _EARLIER)
        )
        counts = Counts(rows_in=len(rows))
        hashes, images, samples = frequent_captions(rows, self.most, counts.tally)
        counts.rows_out = len(hashes)
        counts.other["samples"] = samples - _common(rows, earlier, hashes)
        table = pa.table({"caption_hash": hashes, "images": images}, schema=_SURVEY)
        files.write_table(self.path(bucket), table, metadata=counts.to_metadata())
        return counts


def _common(rows: np.ndarray, earlier: np.ndarray, frequent: np.ndarray) -> int:
    """How many distinct triples are among both, but for those of frequent captions."""
    if not len(earlier):
        return 0
    mine, theirs = (distinct_rows(some[~np.isin(some[:, 0], frequent)]) for some in (rows, earlier))
    return len(mine) + len(theirs) - len(distinct_rows(np.concatenate([mine, theirs])))


class GatherTask(Task):
    """The task that brings the frequent captions of all buckets together, in the order of their
    hashes."""

    stage = "frequent"

    def __init__(self, output: Parts, survey: list[str]):
        self.output, self.survey = output, survey

    def run(self, key: Key) -> Counts:
        """Copy the files one after the other."""
        with files.open_atomic(self.path(key)) as out, files.TableSink(out, _SURVEY) as sink:
            for path in self.survey:
                sink.write(files.read_table(path))
            counts = Counts(rows_in=sink.rows, rows_out=sink.rows)
            sink.close(counts.to_metadata())
        return counts


class SplitRows(Split):
    """The step that sends an input's rows and image locations to ranges of shards; a task is the
    keys of both."""

    stage = "split"

    def __init__(self, samples: Parts, locations: Parts, shards: int, width: int):
        self.samples, self.locations = samples, locations
        self.shards, self.width = shards, width

    def split(self, task: tuple[Key, Key] | EarlierShard) -> Iterable[tuple[int, bytes]]:
        """Yield (range, kind and rows) of a part's samples and image locations, whose keys are
        given; of a shard of an earlier corpus, ids."""
        if isinstance(task, EarlierShard):
            found = task.ids()
            for number, rows in by_bucket(bucket_of(found["anchor"], self.shards) // self.width):
                yield number, _EARLIER + found[rows].tobytes()
            return
        samples, locations = task
        for rows in _gathered(_batches(self.samples.path(samples))):
            yield from self._pieces(rows, split_ids(rows["id"])[0], _ROWS, tables.FILTERED)
        for rows in _gathered(_batches(self.locations.path(locations))):
            urls = np.array([url_hash(url) for url in rows["image_url"].to_pylist()], np.uint64)
            yield from self._pieces(rows, urls, _LOCATIONS, tables.IMAGE_LOCATIONS)

    def _pieces(
        self, table: pa.Table, anchors: np.ndarray, kind: bytes, schema: pa.Schema
    ) -> Iterator[tuple[int, bytes]]:
        table = table.cast(schema)
        for number, rows in by_bucket(bucket_of(anchors, self.shards) // self.width):
            for start in range(0, len(rows), _ROWS_READ):
                piece = table.take(rows[start : start + _ROWS_READ])
                yield number, kind + to_ipc(piece, schema)


def _gathered(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in fewer, larger tables."""
    waiting: list[pa.Table] = []
    for table in batches:
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROWS_GATHERED:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


class PlanTask(Task):
    """The task that makes the plans of a range of shards.

    Args:
        output: A list of the range's shards, written when all their plans are there.
        plans: The plans.
        rejects: The files of each shard's rejects.
        frequent: Files of frequent captions.
        shards: How many there are, and how many are in a range.
        settings: The recipe's `dedup` section.
        barred: The lists of what is not to come back.
        whole_images: Whether an image that an earlier corpus has goes whatever its caption.
    """

    stage = "dedup"

    def __init__(
        self,
        output: Parts,
        plans: Parts,
        rejects: Parts,
        frequent: list[str],
        shards: tuple[int, int],
        settings: Dedup,
        barred: BarredLists,
        whole_images: bool = False,
    ):
        self.output, self.plans, self.rejects = output, plans, rejects
        self.frequent, self.settings, self.barred = frequent, settings, barred
        self.shards, self.width = shards
        self.whole_images = whole_images

    def run(self, number: int, parts: list[bytes]) -> Counts:
        """Write the plans and rejects of the range's shards, then the list of the shards."""
        rows = _received(parts, _ROWS, tables.FILTERED)
        locations = _received(parts, _LOCATIONS, tables.IMAGE_LOCATIONS)
        earlier = b"".join(part[1:] for part in parts if part[:1] == _EARLIER)
        rows, known = self._without(rows, np.frombuffer(earlier, EARLIER))
        frequent = self._frequent_among(rows)
        where = _first_locations(locations)
        of_shard, known_of_shard = (
            dict(by_bucket(bucket_of(split_ids(some["id"])[0], self.shards)))
            for some in (rows, known)
        )
        nothing = np.array([], np.int64)
        here = range(number * self.width, min((number + 1) * self.width, self.shards))
        total, rows_out = Counts(), []
        for shard in here:
            mine = rows.take(of_shard.get(shard, nothing))
            theirs = known.take(known_of_shard.get(shard, nothing))
            with self.results(shard, tables.PLANNED, self.plans) as results:
                self._plan(mine, frequent, where, results)
                results.reject(theirs)
                results.counts.rows_in += len(theirs)
            total.add(results.counts)
            rows_out.append(results.counts.rows_out)
        table = pa.table({"shard": list(here), "rows_out": rows_out}, schema=_PLANNED_SHARDS)
        files.write_table(self.path(number), table, metadata=total.to_metadata())
        return total

    def _without(self, rows: pa.Table, earlier: np.ndarray) -> tuple[pa.Table, pa.Table]:
        """The rows that no earlier corpus has, and the others, by id, with a reason and a value.
        Samples that were removed are no one's."""
        if not len(earlier):
            return rows, rows.slice(0, 0)
        reasons, values = same_samples(rows, earlier, self.whole_images, self.settings.against)
        theirs = pc.and_not(pc.is_valid(reasons), read_barred(self.barred).samples(rows))
        told = rows.append_column("reason", reasons).append_column("value", values).filter(theirs)
        order = [(name, "ascending") for name in ("id", "page_url", "source", "extra")]
        return rows.filter(pc.invert(theirs)), told.sort_by(order)

    def _frequent_among(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """The hashes and image counts of the frequent captions that any row has."""
        captions = np.unique(caption_hashes(rows))
        hashes, images = [np.array([], np.uint64)], [np.array([], np.int64)]
        for frequent in chain.from_iterable(map(_batches, self.frequent)):  # ascending
            found = frequent["caption_hash"].to_numpy()
            here = np.isin(found, captions, assume_unique=True)
            hashes.append(found[here])
            images.append(frequent["images"].to_numpy()[here])
        return np.concatenate(hashes), np.concatenate(images)

    def _plan(
        self,
        rows: pa.Table,
        frequent: tuple[np.ndarray, np.ndarray],
        where: pa.Table,
        results: Results,
    ) -> None:
        results.counts.rows_in = len(rows)
        barred = read_barred(self.barred).samples(rows)
        results.reject(as_removed(rows.filter(barred)))
        rows = rows.filter(pc.invert(barred))
        if again := repeated_within_pages(rows):
            results.counts.other["pairs repeated within a page"] += again
        kept, rejected = dedup_samples(rows, self.settings, *frequent, results.counts.tally)
        results.reject(rejected)
        at = pc.index_in(kept["image_url"], value_set=where["image_url"].combine_chunks())
        found = where.take(at)
        for name in found.column_names[1:]:
            kept = kept.append_column(f"image_{name}", found[name])
        results.keep(kept)


def repeated_within_pages(rows: pa.Table) -> int:
    """The number of rows whose pair stands on their page already."""
    on_pages = rows.filter(pc.is_valid(rows["page_url"])).select(["id", "page_url"])
    return len(on_pages) - len(on_pages.group_by(["id", "page_url"]).aggregate([]))


def _received(parts: list[bytes], kind: bytes, schema: pa.Schema) -> pa.Table:
    tables_ = [from_ipc(part[1:], schema) for part in parts if part[:1] == kind]
    return pa.concat_tables([schema.empty_table(), *tables_]).combine_chunks()


def _first_locations(locations: pa.Table) -> pa.Table:
    """The place where each image is read: the first input by name, where several hold it."""
    ordered = locations.sort_by(
        [(name, "ascending") for name in ("input", "offset", "row", "name", "digest")]
    ).combine_chunks()
    codes = pa.array(ordered["image_url"].to_pylist(), pa.string()).dictionary_encode().indices
    return ordered.take(np.unique(codes.to_numpy(), return_index=True)[1])
