"""A gallery of samples drawn from a corpus, with thumbnails."""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from septet.pipelines.ahead import map_ahead
from septet.pipelines.report.readable import one_line
from septet.pipelines.store.by_url import RejectedImages
from septet.preprocess import files
from septet.preprocess.images.decode import decode_rgb
from septet.preprocess.shards.reader import Corpus, Sample
from septet.schemas.layout import is_image
from septet.schemas.reasons import RejectedError

MAX_SIDE = 128
"""Pixels of a thumbnail's longer side."""

SHOWN = "curate"
"""The stage whose rejects have images in the fetch store: those before it fetch none."""
_MAX_PIXELS = 64_000_000
_MAX_BYTES = 6_144
_COLUMNS = ("key", "url", "caption", "language", "width", "height")


@dataclass(frozen=True)
class Card:
    """A sample in the gallery."""

    key: str
    caption: str
    language: str
    url: str
    width: int | None
    height: int | None
    """The height of the stored image, in pixels; `width` likewise."""
    thumbnail: str | None
    """A data URI; None where the image cannot be shown, then `problem` says why."""
    thumbnail_width: int
    thumbnail_height: int
    problem: str


def find_image(sample: Mapping[str, bytes]) -> tuple[str, bytes] | None:
    """The extension and bytes of a sample's image; None where it has none."""
    return next(((ext, sample[ext]) for ext in sample if is_image(ext)), None)


def open_image(data: bytes, around: int) -> Image.Image:
    """Decode an image of unknown origin as builds do, at reduced size where that is useful.

    Args:
        data: The file's bytes.
        around: The longer side that is wanted, in pixels; the result may be larger.

    Raises:
        ValueError: no image, a damaged one, or one of more than 64 megapixels.
    """
    try:
        return Image.fromarray(decode_rgb(data, _MAX_PIXELS, around, around))
    except RejectedError as error:
        raise ValueError(f"cannot be shown: {error}") from error


def thumbnail(data: bytes, side: int = MAX_SIDE) -> tuple[bytes, int, int]:
    """Make a WebP image of at most `side` pixels and 6 KiB; returns its bytes, width and height.

    Raises:
        ValueError: as `open_image`.
    """
    image = open_image(data, side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    for quality in (72, 50, 30, 10):
        out = io.BytesIO()
        image.save(out, "WEBP", quality=quality, method=4)
        if out.tell() <= _MAX_BYTES:
            break
    return out.getvalue(), image.width, image.height


def image_uri(data: bytes, kind: str = "webp") -> str:
    """An image as a URI that holds it, for pages that need no other file."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def reject_thumbnails(
    images: RejectedImages, rejects: Iterable[Mapping[str, Any]], side: int
) -> dict[str, tuple[str, int, int]]:
    """Thumbnails of the images of rejects that the fetch store has, by URL: a URI that holds it,
    width and height.

    Args:
        images: The images of a corpus's rejects.
        rejects: Of the stage `SHOWN`.
        side: Pixels of a thumbnail's longer side.
    """
    found = {}
    for url, image in images.find(rejects).items():
        with suppress(ValueError, OSError):
            data, width, height = thumbnail(images.read(image), side)
            found[url] = image_uri(data), width, height
    return found


def sample_cards(corpus: Corpus, most: int, seed: int) -> list[Card]:
    """Draw up to `most` samples evenly from a corpus, in its order; equal seeds draw equal samples.

    Raises:
        OSError: a tar is shorter than its sidecar says.
    """
    generator = np.random.default_rng(seed)
    draw = generator.choice(len(corpus), min(most, len(corpus)), replace=False)
    places = [corpus.locate(int(index)) for index in np.sort(draw)]
    drawn = (
        one
        for number, rows in groupby(places, key=lambda place: place[0])
        for one in _of_shard(corpus, number, [row for _, row in rows])
    )
    return list(map_ahead(lambda one: _card(*one), drawn))


def _of_shard(
    corpus: Corpus, number: int, rows: list[int]
) -> Iterator[tuple[dict[str, object], Sample]]:
    known = sidecar_columns(files.join(corpus.path, corpus.shards[number].sidecar))
    table = corpus.metadata(number, [name for name in _COLUMNS if name in known])
    shard = corpus.shard(number)
    for row, facts in zip(rows, table.take(pa.array(rows)).to_pylist(), strict=True):
        yield facts, shard.read(row)
    shard.close()


def sidecar_columns(path: str) -> list[str]:
    """The names of a sidecar's columns."""
    with files.open_read(path) as file:
        names: list[str] = pq.read_schema(file).names
    return names


def caption_of(facts: Mapping[str, object], sample: Sample) -> str:
    """A sample's caption: from its metadata, else its text member."""
    caption = facts.get("caption")
    if isinstance(caption, str):
        return caption
    return sample.get("txt", b"").decode("utf-8", "replace")


def _card(facts: dict[str, object], sample: Sample) -> Card:
    found = find_image(sample)
    uri, width, height, problem = None, 0, 0, "no image in the sample"
    if found:
        try:
            data, width, height = thumbnail(found[1])
            uri = image_uri(data)
            problem = ""
        except ValueError as error:
            problem = str(error)

    def side(name: str) -> int | None:
        value = facts.get(name)
        return int(value) if isinstance(value, (int, float)) and value == value else None

    return Card(
        key=str(facts["key"]),
        caption=one_line(caption_of(facts, sample)),
        language=one_line(str(facts.get("language") or ""), 20),
        url=one_line(str(facts.get("url") or ""), 200),
        width=side("width"),
        height=side("height"),
        thumbnail=uri,
        thumbnail_width=width,
        thumbnail_height=height,
        problem=problem,
    )
