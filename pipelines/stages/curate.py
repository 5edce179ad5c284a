"""The stage curate: thresholds on images, and identical and similar images across all shards;
shuffles ids and hashes, and thumbnails of images whose hashes are near."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.barred import (
    BarredLists,
    as_removed,
    barred_lists,
    barred_settings,
    read_barred,
)
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.earlier import (
    EarlierShard,
    earlier_settings,
    earlier_shards,
    sample_name,
)
from septet.pipelines.stages.evaluation import (
    EvaluationPasses,
    Hits,
    evaluation_digests,
    hits_by_set,
    pieces_of,
)
from septet.pipelines.stages.graphs import Regroup, Split, shuffle_tasks
from septet.pipelines.stages.located import HASHES, with_images
from septet.pipelines.stages.near_images import NearImages, read_records
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import Results, Task
from septet.pipelines.store.looks import with_appearance
from septet.preprocess import files
from septet.preprocess.dedup import better_of, caption_measures
from septet.preprocess.domains import registered_domain
from septet.preprocess.identical_images import (
    CANDIDATE,
    WINNER,
    candidates,
    earlier_candidates,
    group_of,
    losers,
    replaced_by,
)
from septet.preprocess.near_duplicates.images import LOST
from septet.preprocess.rules.apply import as_text
from septet.preprocess.rules.tally import Tally
from septet.preprocess.text.figure_numbers import without_figure_numbers
from septet.preprocess.text.ids import bucket_of, by_bucket, split_ids, url_hash
from septet.schemas import tables
from septet.schemas.cuts import CUTS
from septet.schemas.recipe import Curate

_IMAGES_A_BUCKET = 1_000_000
_ROWS_A_PIECE = 65_536
_TEXTS, _EVERYWHERE = 1, 2
_NEAR_TEXT_VERSION, _LOOKS_VERSION = 2, 2
"""Raised when near captions, or images that look alike, are others than before: corpora that do not
ask for them stay."""

_KEPT = pa.schema([("id", pa.string())])
_IDENTICAL, _NEAR = b"I", b"N"


class CurateStage(Stage):
    """The stage that drops images that fail a threshold, and images that another sample has."""

    name = "curate"
    version = 6
    sections = ("curate", "decontaminate")
    reads = ("plans", "fetched")
    gives = ("kept",)

    def settings(self) -> dict[str, Any]:
        """Those of the recipe, digests of evaluation sets and the versions of near captions and
        looks; which samples were removed, and what earlier corpora there are, where any are."""
        folder = self.context.folder
        sets = evaluation_digests(self.recipe.decontaminate.against, folder)
        changed: dict[str, Any] = {"decontaminate": sets} if sets else {}
        if self.recipe.curate.near_text != "off":
            changed["near_text_version"] = _NEAR_TEXT_VERSION
        if sets or self.recipe.curate.near_images:
            changed["looks_version"] = _LOOKS_VERSION
        changed |= earlier_settings(self.recipe.dedup.against, folder, self.corpus)
        return super().settings() | changed | barred_settings(self.corpus)

    def keys(self) -> Sequence[Key]:
        """Numbers of the shards."""
        return self.givers["plans"].keys()

    def passes(self) -> Iterator[Pass]:
        """The passes of near-duplicate images, where they are wanted; then one with two shuffles:
        by image digest, and back by shard; then those that find near-duplicate captions, where the
        recipe asks for them."""
        shards = self.keys()
        against = self.recipe.dedup.against
        earlier = earlier_shards(against, self.context.folder)
        images = self.givers["fetched"].require_done().counts.rows_out
        images += sum(one.samples for one in earlier)
        buckets = max(1, -(-images // _IMAGES_A_BUCKET))
        settings = self.recipe.curate
        near_text = settings.near_text != "off"
        task = CurateTask(
            self.parts("compared" if near_text else "kept"),
            self.parts("compared_rejects") if near_text else self.rejects,
            self.input("plans"),
            self.input("fetched"),
            settings,
            self.corpus,
            barred_lists(self.corpus),
            against=tuple(against),
        )
        if sets := self.recipe.decontaminate.against:
            hits = Hits(self.parts("evaluation_hits"), self.parts("evaluation_slots"))
            evaluation = EvaluationPasses(
                self.parts("evaluation_sets"),
                hits,
                pieces_of(sets, self.context.folder),
                task.compared_with_sets,
                self.recipe.image,
            )
            yield from evaluation.passes(shards)
            task = task.with_hits(hits)
        lost: list[str] = []
        if settings.near_images:
            near = NearImages(
                self.parts, task.shown, [*shards, *earlier], images, settings.near_images_radius,
                task.distinct_captions,
            )  # fmt: skip
            yield from near.passes()
            lost = [near.lost.path(bucket) for bucket in range(near.buckets)]

        steps = (SplitDigests(task, buckets), FindIdentical())
        first = Pass(
            "curate",
            task.outputs(shards),
            lambda todo: shuffle_tasks(steps, [*shards, *lost, *earlier], task, todo),
        )
        yield first
        if near_text:
            from septet.pipelines.stages.near_text import near_passes  # only here: Numba

            first.poll()
            rows = {shard: first.rows_out[shard] for shard in shards}
            yield from near_passes(self, task, rows, earlier)


class CurateTask(Task):
    """The task that decides what one shard keeps."""

    stage = "curate"

    def __init__(
        self,
        output: Parts,
        rejects: Parts,
        plans: Parts,
        fetched: Parts,
        settings: Curate,
        corpus: str,
        barred: BarredLists,
        hits: Hits | None = None,
        against: tuple[str, ...] = (),
    ):
        self.output, self.rejects = output, rejects
        self.plans, self.fetched, self.settings = plans, fetched, settings
        self.corpus, self.barred, self.hits, self.against = corpus, barred, hits, against

    def with_hits(self, hits: Hits) -> "CurateTask":
        """The same, with the samples that hold evaluation images or texts told."""
        return CurateTask(
            self.output, self.rejects, self.plans, self.fetched, self.settings, self.corpus,
            self.barred, hits, self.against,
        )  # fmt: skip

    def judged(self, shard: int, shown: bool = False, tally: Tally | None = None) -> pa.Table:
        """The shard's samples whose image was fetched, and those without one, with `reason` (null:
        passed) and `value`, by ascending id; where they are to be `shown`, with what they look
        like. What the thresholds measure is counted in `tally`."""
        plan = files.read_table(
            self.plans.path(shard),
            ["id", "image_url", "caption", "page_url", "source", "extra", "annotations",
             "language_score", "image_hash"],
        )  # fmt: skip
        barred = read_barred(self.barred)
        columns = ["image_url", "reason", "value", *HASHES, "original_bytes", "original_width",
                   "original_height", "format"]  # fmt: skip
        if shown or len(barred.looks):
            images = with_appearance(files.read_table(self.fetched.path(shard)), self.corpus)
            images = images.select([*columns, "width", "height", "phash", "thumbnail"])
        else:
            images = files.read_table(self.fetched.path(shard), columns)
        rows = with_images(plan, images, images.column_names[1:])
        rows = rows.filter(pc.is_null(rows["reason"])).drop_columns(["reason", "value"])
        judged = judge(rows, self.settings, tally or Tally())
        if self.hits is not None:
            judged = self.hits.judge(judged, shard)
        return barred.judge(judged)

    def compared_with_sets(self, shard: int) -> pa.Table:
        """The samples that pass the thresholds, with what their images look like."""
        rows = self.judged(shard, shown=True)
        return rows.filter(pc.is_null(rows["reason"]))

    def passed(self, shard: int, shown: bool = False) -> pa.Table:
        """The samples that pass the thresholds and have an image."""
        rows = self.judged(shard, shown)
        return rows.filter(pc.and_(pc.is_null(rows["reason"]), pc.is_valid(rows["sha256"])))

    def shown(self, shard: int) -> pa.Table:
        """`passed`, with what the images look like."""
        return self.passed(shard, shown=True)

    @property
    def distinct_captions(self) -> bool:
        """Whether one sample is kept of each caption of an image."""
        return self.settings.identical_images == "keep_distinct_captions"

    def run(self, shard: int, parts: list[bytes]) -> Counts:
        """Write the ids of the samples that stay, and the rejects."""
        schema = _KEPT if self.settings.near_text == "off" else tables.COMPARED
        with self.results(shard, schema) as results:
            rows = self.judged(shard, tally=results.counts.tally)
            results.counts.rows_in = len(rows)
            lost = rows.filter(pc.is_valid(rows["reason"]))
            is_removed = pc.equal(lost["reason"], "removed")
            results.reject(lost.filter(pc.invert(is_removed)))
            results.counts.other.update(hits_by_set(lost))
            results.reject(as_removed(lost.filter(is_removed)))
            rows = rows.filter(pc.is_null(rows["reason"]))
            if self.settings.identical_images != "keep_all":
                winners = np.frombuffer(_of_kind(parts, _IDENTICAL), WINNER)
                has_image = pc.is_valid(rows["sha256"])
                replaced = iter(
                    replaced_by(rows.filter(has_image), winners, self.distinct_captions)
                )
                others = [next(replaced) if has else None for has in has_image.to_pylist()]
                kept = [sample_name(*one, self.against) if one else None for one in others]
                rows = _without(rows, kept, "duplicate_image", results)
            lost_records = np.frombuffer(_of_kind(parts, _NEAR), LOST)
            if near := stand_ins(lost_records, self.against):
                kept = [near.get(id_) for id_ in rows["id"].to_pylist()]
                rows = _without(rows, kept, "near_duplicate_image", results)
            results.keep(
                rows
                if self.settings.near_text == "off"
                else compared(rows, self.settings.near_text)
            )
        return results.counts


def _of_kind(parts: list[bytes], kind: bytes) -> bytes:
    return b"".join(part[1:] for part in parts if part[:1] == kind)


def _without(rows: pa.Table, values: list[str | None], reason: str, results: Results) -> pa.Table:
    """Reject rows that have a value; returns the others."""
    rows = rows.drop_columns(["reason", "value"])
    rows = rows.append_column("value", pa.array(values, pa.string()))
    lost = rows.filter(pc.is_valid(rows["value"]))
    results.reject(lost.append_column("reason", pa.repeat(reason, len(lost))))
    rows = rows.filter(pc.is_null(rows["value"]))
    return rows.append_column("reason", pa.nulls(len(rows), pa.string()))


def stand_ins(lost: np.ndarray, names: Sequence[str] = ()) -> dict[str, str]:
    """By the id of each sample that goes for a near-duplicate image: the id of the one that stays,
    and the bits in which their hashes differ.

    Args:
        lost: `LOST` records.
        names: Of the earlier corpora.
    """
    said = {}
    for one in lost:
        kept = sample_name(one["kept_anchor"], one["kept_rest"], int(one["corpus"]), names)
        said[f"{one['anchor']:016x}{one['rest']:016x}"] = f"{kept}, {one['bits']} bits"
    return said


def compared(rows: pa.Table, near_text: str) -> pa.Table:
    """The rows of `tables.COMPARED` of samples; `near_text` as in the recipe's `curate`."""
    has_image = rows["image_url"].is_valid().to_numpy()
    scopes = np.full(len(rows), _TEXTS, np.uint64)
    if near_text == "same_image":
        scopes[has_image] = split_ids(rows["id"])[0][has_image]
    elif near_text == "same_domain":
        hosts = [urlsplit(url).hostname or "" for url in rows["image_url"].drop_null().to_pylist()]
        scopes[has_image] = [url_hash(registered_domain(host)) for host in hosts]
    else:
        scopes[has_image] = _EVERYWHERE
    sides = (rows[f"original_{side}"].cast(pa.int64()) for side in ("width", "height"))
    pixels = pc.multiply(*sides).fill_null(0).to_numpy()
    annotated = rows["annotations"].is_valid().to_numpy()
    better = better_of(annotated, pixels, caption_measures(rows)[0])
    captions = without_figure_numbers(rows["caption"].combine_chunks())
    table = {"id": rows["id"], "caption": captions, "scope": scopes, "better": better}
    return pa.table(table, schema=tables.COMPARED)


def judge(rows: pa.Table, settings: Curate, tally: Tally) -> pa.Table:
    """Judge rows by the thresholds: adds `reason` and `value`, both null where a row passes them
    all.

    Args:
        rows: With `original_bytes`, `original_width`, `original_height` and `format`; null where
            there is no image, which passes.
        settings: The recipe's `curate` section.
        tally: Where to count what was measured, of the images that pass too.
    """
    short = pc.min_element_wise(rows["original_width"], rows["original_height"])
    long = pc.max_element_wise(rows["original_width"], rows["original_height"])
    ratio = pc.divide(pc.cast(long, pa.float64()), pc.cast(short, pa.float64()))
    pixels = pc.multiply(pc.cast(long, pa.int64()), pc.cast(short, pa.int64()))
    formats = rows["format"]
    reason = value = pa.chunked_array([pa.nulls(len(rows), pa.string())])
    for name, setting, failed, measured in (
        ("too_few_bytes", "min_bytes", pc.less(rows["original_bytes"], settings.min_bytes),
         rows["original_bytes"]),
        ("too_small", "min_side", pc.less(short, settings.min_side), short),
        ("too_few_pixels", "min_pixels", pc.less(pixels, settings.min_pixels), pixels),
        ("aspect_ratio", "max_aspect_ratio",
         pc.greater(ratio, settings.max_aspect_ratio or np.inf), ratio),
        ("other_format", "formats", _others(formats, settings.formats), formats),
    ):  # fmt: skip
        seen = pc.and_(pc.is_valid(measured), pc.is_null(reason))
        if setting in CUTS["curate"] and getattr(settings, setting):
            values, beyond = (one.filter(seen).to_numpy() for one in (measured, failed))
            tally.count_values("curate", setting, values, beyond)
        fresh = pc.and_(failed.fill_null(False), pc.is_null(reason))
        value = pc.if_else(fresh, as_text(measured), value)
        reason = pc.if_else(fresh, pa.scalar(name), reason)
    return rows.append_column("reason", reason).append_column("value", value)


def _others(found: pa.ChunkedArray, kept: Sequence[str] | None) -> pa.ChunkedArray:
    """Whether each format is none of those to be kept."""
    if kept is None:
        return pa.chunked_array([pa.repeat(False, len(found))])
    return pc.and_(pc.is_valid(found), pc.invert(pc.is_in(found, value_set=pa.array(kept))))


class SplitDigests(Split):
    """The step that sends the best samples of a shard's images to the buckets of the images, and
    the samples that go for near-duplicate images on the way to their shards."""

    stage = "digests"

    def __init__(self, task: CurateTask, buckets: int):
        self.task, self.buckets = task, buckets

    def split(self, task: int | str | EarlierShard) -> Iterable[tuple[int, bytes]]:
        """Yield (bucket, kind and records); the task is a shard, one of an earlier corpus, or a
        path of `LOST` records."""
        if isinstance(task, str):
            lost = read_records(task, LOST)
            for start in range(0, len(lost), _ROWS_A_PIECE):
                piece = lost[start : start + _ROWS_A_PIECE]
                yield start // _ROWS_A_PIECE % self.buckets, _NEAR + piece.tobytes()
            return
        if self.task.settings.identical_images == "keep_all":
            return
        if isinstance(task, EarlierShard):
            theirs = task.read()
            theirs = theirs.filter(pc.is_valid(theirs["sha256"]))
            found = earlier_candidates(theirs, task.corpus, self.task.distinct_captions)
        else:
            found = candidates(self.task.passed(task), task, self.task.distinct_captions)
        for bucket, rows in by_bucket(bucket_of(group_of(found), self.buckets)):
            for start in range(0, len(rows), _ROWS_A_PIECE):
                piece = found[rows[start : start + _ROWS_A_PIECE]]
                yield bucket, _IDENTICAL + piece.tobytes()


class FindIdentical(Regroup):
    """The step that finds samples of an image that another shard's sample beats, and tells the
    shards which samples go."""

    stage = "identical"

    def regroup(self, bucket: int, parts: list[bytes]) -> Iterable[tuple[int, bytes]]:
        """Yield (shard, kind and `WINNER` or `LOST` records)."""
        for shard, winners in losers(np.frombuffer(_of_kind(parts, _IDENTICAL), CANDIDATE)):
            yield shard, _IDENTICAL + winners.tobytes()
        lost = np.frombuffer(_of_kind(parts, _NEAR), LOST)
        for shard, rows in by_bucket(lost["shard"].astype(np.int64)):
            yield shard, _NEAR + lost[rows].tobytes()
