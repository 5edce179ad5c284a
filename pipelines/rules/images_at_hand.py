"""A trial of the rules on images, on those of a sample that the inputs hold: nothing is fetched."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.sources.base import ImageLocation
from septet.pipelines.stages.curate import judge, stand_ins
from septet.pipelines.stages.earlier import sample_name
from septet.pipelines.store.locations import read_locations
from septet.preprocess.identical_images import WINNER, described, replaced_by
from septet.preprocess.images.process import ProcessedImage, process_image
from septet.preprocess.near_duplicates import images as near
from septet.preprocess.rules.tally import Tally
from septet.schemas.recipe import Curate, Recipe

_FACTS = pa.schema(
    [
        ("image_url", pa.string()), ("reason", pa.string()), ("value", pa.string()),
        ("sha256", pa.string()), ("original_bytes", pa.int64()), ("original_width", pa.int32()),
        ("original_height", pa.int32()), ("format", pa.string()), ("width", pa.int32()),
        ("height", pa.int32()), ("phash", pa.string()), ("thumbnail", pa.binary()),
    ]
)  # fmt: skip
"""What is known of an image that was read: why it is lost, or what it is."""


def at_hand(
    rows: pa.Table, places: Mapping[str, ImageLocation], most: int
) -> dict[str, ImageLocation]:
    """The places of a sample's images that the inputs hold, at most so many, those of the samples
    with the smallest ids."""
    urls = dict.fromkeys(rows.sort_by("id")["image_url"].to_pylist())
    return {url: places[url] for url in [url for url in urls if url in places][:most]}


def image_losses(
    recipe: Recipe, folder: str, rows: pa.Table, places: Mapping[str, ImageLocation]
) -> Iterator[tuple[str, pa.Table]]:
    """The rows that the stages fetch and curate drop for what their images are, with `reason` and
    `value`.

    Args:
        recipe: A parsed recipe.
        folder: Where its relative paths start.
        rows: A sample's rows, of `septet.schemas.tables.FILTERED`; those whose image is not among
            the places are left out.
        places: Where images are, by their URL.

    Raises:
        MissingInputError: an input cannot be opened.
    """
    facts = pa.Table.from_pylist(list(_facts(recipe, folder, places)), _FACTS)
    rows = rows.filter(pc.is_in(rows["image_url"], value_set=pa.array(places, pa.string())))
    which = pc.index_in(rows["image_url"], facts["image_url"].combine_chunks())
    for name in _FACTS.names[1:]:
        rows = rows.append_column(name, facts[name].take(which))
    for stage in ("fetch", "curate"):
        if stage == "curate":
            rows = judge(rows.drop_columns(["reason", "value"]), recipe.curate, Tally())
        yield stage, rows.filter(pc.is_valid(rows["reason"]))
        rows = rows.filter(pc.is_null(rows["reason"]))
    if recipe.curate.identical_images == "keep_all":
        return
    distinct = recipe.curate.identical_images == "keep_distinct_captions"
    kept = replaced_by(rows, np.empty(0, WINNER), distinct)
    names = [sample_name(*one, ()) if one else None for one in kept]
    rows, lost = _without(rows, names, "duplicate_image")
    yield "curate", lost
    if recipe.curate.near_images:
        said = _near(rows, recipe.curate, distinct)
        yield "curate", _without(rows, said, "near_duplicate_image")[1]


def _facts(
    recipe: Recipe, folder: str, places: Mapping[str, ImageLocation]
) -> Iterator[dict[str, Any]]:
    asked = [asdict(one) | {"digest": None} for one in places.values()]
    for got, _ in read_locations(asked, folder, recipe.fetch):
        if got.body is None:
            yield {"image_url": got.url, "reason": got.reason, "value": got.value}
            continue
        image = process_image(got.body, recipe.image)
        if not isinstance(image, ProcessedImage):
            yield {"image_url": got.url, "reason": image.reason, "value": image.value}
            continue
        looks = image.appearance
        yield {
            "image_url": got.url, "sha256": hashlib.sha256(got.body).hexdigest(),
            "original_bytes": len(got.body), "original_width": image.original_width,
            "original_height": image.original_height, "format": image.format,
            "width": image.width, "height": image.height, "phash": looks.phash,
            "thumbnail": looks.thumbnail,
        }  # fmt: skip


def _without(rows: pa.Table, values: list[str | None], reason: str) -> tuple[pa.Table, pa.Table]:
    """The rows that have no value, and those that have one, as lost."""
    found = pa.array(values, pa.string())
    lost = rows.drop_columns(["reason", "value"]).append_column("value", found)
    lost = lost.filter(pc.is_valid(found))
    lost = lost.append_column("reason", pa.repeat(reason, len(lost)))
    return rows.filter(pc.is_null(found)), lost


def _near(rows: pa.Table, settings: Curate, distinct: bool) -> list[str | None]:
    """For each row the sample that stays in its stead; None where none does."""
    found = near.members(rows, described(rows, 0, distinct)["caption"], 0)
    alike = near.pairs_beside_captions if distinct else near.pairs_within
    some = alike(near.hashed(found), settings.near_images_radius)
    pairs = np.concatenate([np.empty(0, near.PAIR), *some])
    edges = near.verify(near.show(pairs, found), found)
    _, lost, _ = near.decide(edges, near.free_ones(pairs, edges))
    said = stand_ins(lost)
    return [said.get(id_) for id_ in rows["id"].to_pylist()]
