"""A trial of the stages that come after the text rules, on a sample: what `balance`, `dedup` and
`curate` would drop of it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.rules.images_at_hand import at_hand, image_losses
from septet.pipelines.sources.base import ImageLocation
from septet.pipelines.stages.balance import (
    BalanceStage,
    by_kind,
    count_hits,
    draw_rows,
    located_entries,
)
from septet.pipelines.stages.curate import compared
from septet.pipelines.stages.earlier import (
    EARLIER,
    earlier_settings,
    earlier_shards,
    same_samples,
)
from septet.preprocess.dedup import dedup_samples, frequent_captions
from septet.preprocess.text.ids import caption_hashes, split_ids
from septet.schemas.recipe import Curate, Dedup, Recipe


@dataclass
class LaterDrops:
    """The rows of a sample that a stage drops for one reason, those left after it, and examples,
    each with its value."""

    stage: str
    reason: str
    count: int
    left: int
    examples: list[tuple[str, str]]


class Later:
    """A trial of the later stages.

    Args:
        recipe: A parsed recipe.
        folder: Where its relative paths start.
        rows: A sample's rows that pass the filter, of `septet.schemas.tables.FILTERED`.
        places: Where the inputs hold images of these, by URL.
        most_images: The most images to read.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: str,
        rows: pa.Table,
        places: Mapping[str, ImageLocation],
        most_images: int,
    ):
        self._recipe, self._folder, self._rows = recipe, folder, rows
        self._places, self._most_images = places, most_images
        self._images = self._read = 0
        """How many images there are when images are judged, and how many of them are read."""

    def tried(self, most: int) -> list[LaterDrops]:
        """What these stages drop, with so many distinct examples for each reason at most."""
        found = []
        left = len(self._rows)
        for stage, lost in self._losses():
            for reason, count in _in_order(lost["reason"]):
                left -= count
                mine = lost.filter(pc.equal(lost["reason"], reason)).sort_by("id")
                shown = zip(mine["value"].to_pylist(), mine["caption"].to_pylist(), strict=True)
                examples = dict.fromkeys(
                    (str(value or ""), str(text or "")) for value, text in shown
                )
                found.append(LaterDrops(stage, reason, count, left, list(examples)[:most]))
        return found

    def _losses(self) -> Iterator[tuple[str, pa.Table]]:
        """The rows that each stage drops, with `reason` and `value`."""
        recipe, folder, rows = self._recipe, self._folder, self._rows
        if BalanceStage.asked_for(recipe):
            balance = located_entries(recipe.balance, folder)
            rows, lost = draw_rows(rows, balance, by_kind(count_hits(rows, balance)))
            yield "balance", lost
        if recipe.dedup.against:
            rows, lost = _without_earlier(rows, recipe, folder)
            yield "dedup", lost
        rows, lost = _deduplicated(rows, recipe.dedup)
        yield "dedup", lost
        chosen = at_hand(rows, self._places, self._most_images if _of_images(recipe) else 0)
        self._images = pc.count_distinct(rows["image_url"].drop_null()).as_py()
        self._read = len(chosen)
        for stage, lost in image_losses(recipe, folder, rows, chosen) if chosen else ():
            rows = rows.filter(pc.invert(pc.is_in(rows["id"], value_set=lost["id"])))
            yield stage, lost
        if recipe.curate.near_text == "everywhere":
            yield "curate", _near(rows, recipe.curate)

    def untried(self) -> list[str]:
        """Settings of the recipe that drop rows and were not tried, or on some images only, and
        why."""
        recipe, near_text = self._recipe, self._recipe.curate.near_text
        needs = "it asks what an image is, and none is fetched"
        part = f"tried on {self._read:,} of {self._images:,} images, which the inputs hold"
        found = []
        if self._read < self._images or not self._images:
            found = [f"{name}: {part if self._read else needs}" for name in _of_images(recipe)]
        if recipe.decontaminate.against:
            found.append("decontaminate.against: evaluation sets are not read")
        if near_text not in ("off", "everywhere"):
            found.append(f"curate.near_text: {near_text}: {needs}")
        if recipe.dedup.against and (near_text != "off" or recipe.curate.near_images):
            found.append("what is near to a sample of dedup.against: only equal ones are tried")
        return found


def _of_images(recipe: Recipe) -> list[str]:
    """The settings of a recipe that drop rows for what their images are."""
    curate = recipe.curate
    asked = {
        "curate.min_bytes": curate.min_bytes,
        "curate.min_side": curate.min_side,
        "curate.min_pixels": curate.min_pixels,
        "curate.max_aspect_ratio": curate.max_aspect_ratio,
        "curate.formats": curate.formats,
        "curate.identical_images": curate.identical_images != "keep_all",
        "curate.near_images": curate.near_images,
    }
    return [name for name, value in asked.items() if value]


def _without_earlier(rows: pa.Table, recipe: Recipe, folder: str) -> tuple[pa.Table, pa.Table]:
    """The rows that no earlier corpus has, and those that one has."""
    against = recipe.dedup.against
    earlier_settings(against, folder, None)  # an error that names the setting
    anchors = split_ids(rows["id"])[0]
    found = [np.empty(0, EARLIER)]
    for shard in earlier_shards(against, folder):
        ids = shard.ids()
        found.append(ids[np.isin(ids["anchor"], anchors)])
    whole_images = recipe.curate.identical_images == "keep_one"
    reasons, values = same_samples(rows, np.concatenate(found), whole_images, against)
    theirs = pc.is_valid(reasons)
    lost = rows.append_column("reason", reasons).append_column("value", values).filter(theirs)
    return rows.filter(pc.invert(theirs)), lost


def _deduplicated(rows: pa.Table, settings: Dedup) -> tuple[pa.Table, pa.Table]:
    hashes = np.stack([caption_hashes(rows), *split_ids(rows["id"])], axis=1)
    frequent, images, _ = frequent_captions(hashes, settings.images_per_caption)
    return dedup_samples(rows, settings, frequent, images)


def _near(rows: pa.Table, settings: Curate) -> pa.Table:
    """The rows for whose caption a near one is kept. Images are not known yet, so that of near
    captions the longest is best."""
    from septet.preprocess.near_duplicates.captions import Limits, near_captions  # only here: Numba

    rows = rows.filter(pc.is_valid(rows["caption"]))
    for side in ("original_width", "original_height"):
        rows = rows.append_column(side, pa.nulls(len(rows), pa.int32()))
    found = compared(rows, settings.near_text)
    ranks = np.empty(len(found), np.int64)
    order = pc.sort_indices(found, [("better", "descending"), ("id", "ascending")]).to_numpy()
    ranks[order] = np.arange(len(found))
    kept, near = near_captions(found["caption"], ranks, Limits.of(settings.near_text_similarity))
    goes = np.flatnonzero((kept != np.arange(len(kept))) & rows["annotations"].is_null().to_numpy())
    captions = rows["caption"].take(pa.array(kept[goes])).to_pylist()
    values = [
        f"similarity {one:.2f} to: {caption}"
        for one, caption in zip(near[goes].tolist(), captions, strict=True)
    ]
    lost = rows.take(pa.array(goes)).append_column("value", pa.array(values, pa.string()))
    return lost.append_column("reason", pa.repeat("near_duplicate_text", len(lost)))


def _in_order(reasons: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Reasons and their counts, in the order in which rows are held to them."""
    from septet.schemas.reasons import REASONS

    places = list(REASONS)
    counted = Counter(reasons.to_pylist())
    return sorted(counted.items(), key=lambda item: places.index(item[0]))
