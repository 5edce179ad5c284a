"""A corpus's columns as the report shows them: figures, and some values drawn.

Boxes are drawn upon images, graphs as arcs over their nodes, images beside the sample's own.
"""

import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from septet.pipelines.report.gallery import caption_of, find_image, image_uri, open_image
from septet.pipelines.report.readable import one_line, share
from septet.preprocess.columns.base import Column, Drawing
from septet.preprocess.columns.counts import shown_counts
from septet.preprocess.columns.members import unpack
from septet.preprocess.columns.reader import (
    ColumnShardReader,
    column_names,
    column_shards,
    is_stale,
    read_manifest,
)
from septet.preprocess.columns.registry import ColumnError, stored_column
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.views import split_view
from septet.schemas.columns import ColumnManifest
from septet.schemas.layout import column_tar

SIDE = 192
"""Pixels of a drawn image's longer side."""
_SHOWN = 6
_TRIED = 200
_MOST_MARKS = 40
_MOST_NODES = 24
_MOST_BYTES = 14_000
_TEXT_CHARS = 600


@dataclass(frozen=True)
class MarkView:
    """A box, in pixels of the drawn image."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class EdgeView:
    """An arc between two nodes: an SVG path, and the place of its label."""

    path: str
    x: float
    y: float
    label: str


@dataclass(frozen=True)
class ValueView:
    """The value of one sample, drawn."""

    key: str
    caption: str
    image: str | None
    width: int
    height: int
    marks: list[MarkView] = field(default_factory=list)
    nodes: list[tuple[float, str]] = field(default_factory=list)
    """Height and text of each node."""
    edges: list[EdgeView] = field(default_factory=list)
    beside: str | None = None
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ColumnView:
    """One column with its figures and some of its values."""

    name: str
    kind: str
    values: int
    samples: int
    share: str
    bytes: int
    reasons: list[tuple[str, int]]
    languages: list[tuple[str, int, int]]
    """Of a column that refuses some languages: each with its values and samples."""
    rows: list[tuple[str, int, int, list[tuple[str, int]]]]
    """Of each file of many rows that it read: rows that are used, rows given, and how many are
    not used, by reason."""
    settings: str
    stale: bool
    """Whether it was made from other shards than the corpus has."""
    shown: list[ValueView]


def column_views(corpus: Corpus, live: Mapping[str, Column], seed: int) -> list[ColumnView]:
    """The views of all complete columns of a corpus.

    Args:
        corpus: The corpus.
        live: Columns whose models are loaded or may be, by name; others are made from their
            manifest's settings, and draw without models.
        seed: The seed of the draw of samples.
    """
    views = []
    for name in column_names(corpus.path):
        manifest = shown_counts(corpus, read_manifest(corpus.path, name))
        column = live.get(name) or _from_manifest(manifest)
        views.append(
            ColumnView(
                name=name,
                kind=manifest.kind,
                values=manifest.values,
                samples=manifest.samples,
                share=share(manifest.values, manifest.samples),
                bytes=manifest.bytes,
                reasons=sorted(manifest.reasons.items(), key=lambda item: (-item[1], item[0])),
                languages=_languages(manifest),
                rows=_rows(manifest),
                settings=", ".join(f"{k}: {v}" for k, v in manifest.settings.items()),
                stale=is_stale(corpus, manifest),
                shown=_values(corpus, manifest, column, seed),
            )
        )
    return views


def _languages(manifest: ColumnManifest) -> list[tuple[str, int, int]]:
    if "language_not_supported" not in manifest.reasons:
        return []
    told = [(one, n["values"], n["samples"]) for one, n in manifest.languages.items()]
    return sorted(told, key=lambda row: (-row[2], row[0]))


def _rows(manifest: ColumnManifest) -> list[tuple[str, int, int, list[tuple[str, int]]]]:
    told = []
    for name, counts in manifest.rows.items():
        unused = sorted((why, n) for why, n in counts.items() if why not in ("given", "used"))
        told.append((name, counts["used"], counts["given"], unused))
    return told


def trusted_columns(path: str, trusted: Collection[str]) -> dict[str, Column]:
    """The columns of a corpus, by name, whose classes (`module:Class`) the user has named. Only
    these classes are imported.

    Raises:
        ColumnError: a class cannot be imported, or the manifest's settings do not fit it.
    """
    path = split_view(path)[0]
    manifests = [read_manifest(path, name) for name in column_names(path)] if trusted else []
    return {
        manifest.name: stored_column(manifest, trusted)
        for manifest in manifests
        if manifest.kind in trusted
    }


def _from_manifest(manifest: ColumnManifest) -> Column | None:
    try:
        return stored_column(manifest)
    except ColumnError:
        return None


def _values(
    corpus: Corpus, manifest: ColumnManifest, column: Column | None, seed: int
) -> list[ValueView]:
    generator = np.random.default_rng(seed)
    draw = generator.choice(len(corpus), min(_TRIED, len(corpus)), replace=False)
    # Of a corpus that was built anew some shards may be others, or more; `septet check` says so.
    made = column_shards(corpus.path, manifest.name)
    views: list[ValueView] = []
    for index in draw:
        number, row = corpus.locate(int(index))
        base = corpus.shards[number]
        if number >= len(made) or made[number].base_sha256 != base.tar_sha256:
            continue
        if made[number].tar != column_tar(manifest.name, base.tar):
            continue
        with ColumnShardReader(corpus, manifest.name, number) as reader:
            data = reader.value(row)
        if data:
            views.append(_view(corpus, number, row, data, manifest, column))
        if len(views) == _SHOWN:
            break
    return views


def _view(
    corpus: Corpus,
    number: int,
    row: int,
    data: bytes,
    manifest: ColumnManifest,
    column: Column | None,
) -> ValueView:
    sample = corpus.shard(number).read(row)
    try:
        drawing = column.drawing(data) if column else None
        lines = list(drawing.lines) if drawing else [_as_text(data, manifest)]
    except Exception as error:  # a damaged value must not keep the rest from being shown
        drawing, lines = None, [f"cannot be drawn: {type(error).__name__}: {error}"]
    drawing = drawing or Drawing()
    image, width, height = _image(sample)
    nodes, edges = _graph(drawing)
    return ValueView(
        key=corpus.shard(number).key(row),
        caption=one_line(caption_of({}, sample)),
        image=image,
        width=width,
        height=height,
        marks=[
            MarkView(
                round(x0 * width, 1), round(y0 * height, 1),
                round((x1 - x0) * width, 1), round((y1 - y0) * height, 1), one_line(m.label, 40),
            )
            for m in drawing.marks[:_MOST_MARKS] for x0, y0, x1, y1 in [m.box]
        ],
        nodes=nodes,
        edges=edges,
        beside=_beside(drawing.image),
        lines=[one_line(line, _TEXT_CHARS) for line in lines],
    )  # fmt: skip


def _graph(drawing: Drawing) -> tuple[list[tuple[float, str]], list[EdgeView]]:
    """Lay out a graph: nodes in one line downwards, edges as arcs to their right."""
    heights = [14.0 + 24.0 * i for i in range(min(len(drawing.nodes), _MOST_NODES))]
    nodes = [(y, one_line(text, 24)) for y, text in zip(heights, drawing.nodes, strict=False)]
    edges = []
    for begin, label, end in drawing.edges:
        if max(begin, end) >= len(heights):
            continue
        y0, y1 = heights[begin], heights[end]
        reach = 112 + 14 * abs(begin - end)
        path = f"M 92 {y0:g} C {reach} {y0:g} {reach} {y1:g} 92 {y1:g}"
        edges.append(EdgeView(path, reach - 6, (y0 + y1) / 2, one_line(label, 24)))
    return nodes, edges


def _image(sample: Mapping[str, bytes]) -> tuple[str | None, int, int]:
    found = find_image(sample)
    if not found:
        return None, SIDE, SIDE
    try:
        image = open_image(found[1], SIDE)
    except ValueError:
        return None, SIDE, SIDE
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _webp(image), image.width, image.height


def _beside(png: bytes | None) -> str | None:
    if png is None:
        return None
    image = open_image(png, SIDE)
    if max(image.size) < SIDE:  # code maps are a pixel a code
        scale = SIDE // max(image.size)
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    image.thumbnail((SIDE, SIDE))
    return _webp(image)


def _webp(image: Image.Image) -> str:
    for quality in (80, 60, 40, 20):
        out = io.BytesIO()
        image.save(out, "WEBP", quality=quality, method=4)
        if out.tell() <= _MOST_BYTES:
            break
    return image_uri(out.getvalue())


def _as_text(data: bytes, manifest: ColumnManifest) -> str:
    value = unpack(data, manifest.member)
    if manifest.member.kind == "json":
        return json.dumps(value, ensure_ascii=False)
    if manifest.member.kind == "text":
        return str(value)
    arrays = value if isinstance(value, dict) else {"": value}
    return "; ".join(
        f"{name} {array.dtype}{list(array.shape)}: {np.array2string(array, threshold=8)}".strip()
        for name, array in arrays.items()
    )
