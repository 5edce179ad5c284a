"""What is drawn of a sample: boxes over its image, and values of columns as tables.

A corpus may come from a stranger. So no class that it names is made or imported: what a value is
drawn as goes by the name of its column's kind, where that is one of Septet's own, and else by the
form of its bytes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from septet.pipelines.browse.graphs import Graph, lay_out
from septet.pipelines.report import readable
from septet.preprocess.columns.members import unpack, unpack_arrays
from septet.preprocess.columns.reader import (
    ColumnShardReader,
    column_names,
    is_stale,
    read_manifest,
)
from septet.preprocess.regions.labels import name_of
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.text.json_depth import parse_json
from septet.schemas.columns import ColumnManifest, MemberFormat

MOST_BOXES = 300
"""The most boxes of a layer."""
MOST_VIEWS = 4
"""The most views of an image whose codes are shown."""
_MOST_ROWS = 100
_MOST_HEADS = 8
_LABEL_CHARS = 200
_CELL_CHARS = 500
_MOST_CODES = 64
_MOST_BYTES = 16 * 2**20
"""A larger value of a column is told, and not read."""


@dataclass(frozen=True)
class Box:
    """A box over an image: its place in percent of the image's sides, and what it is said to be."""

    left: float
    top: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Layer:
    """Boxes that are shown and hidden together."""

    name: str
    boxes: list[Box]
    given: int
    """How many there are; at most 300 of them are in `boxes`."""


@dataclass(frozen=True)
class ValueTable:
    """A value of a column as a table of texts."""

    name: str
    heads: list[str]
    """Over the rows; none where the first text of a row is its name."""
    rows: list[list[str]]
    given: int
    """How many rows there are; at most 100 of them are in `rows`."""
    graph: Graph | None = None
    """The same as a graph."""


@dataclass(frozen=True)
class Coded:
    """A column's image codes: its name, how many views there are, and their grid."""

    name: str
    views: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Drawn:
    """What is drawn of a sample."""

    layers: list[Layer] = field(default_factory=list)
    tables: list[ValueTable] = field(default_factory=list)
    codes: list[Coded] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Columns whose values cannot be shown, each with a sentence that says why."""


Labelled = tuple[Any, Any]
"""A box that may be none, and its label."""


def draw(corpus: Corpus, shard: int, row: int, facts: Mapping[str, Any]) -> Drawn:
    """Draw a sample: what its metadata hold, and its values of the corpus's columns.

    Args:
        corpus: The corpus.
        shard: The number of its shard.
        row: Its row there.
        facts: Its row of the sidecar.
    """
    drawn = Drawn()
    for source in ("extra", "annotations"):
        for name, found in _of_metadata(facts.get(source)):
            drawn.layers.append(layer_of(f"{source}.{name}", found))
    for name in column_names(corpus.path):
        try:
            _draw_column(corpus, name, shard, row, drawn)
        except Exception as error:  # what a stranger stored must not keep the rest from being shown
            told = str(error) if isinstance(error, ValueError | OSError) else type(error).__name__
            drawn.problems.append((name, readable.one_line(f"cannot be shown: {told}")))
    layers = [one for one in drawn.layers if one.given]
    return Drawn(layers, drawn.tables, drawn.codes, drawn.problems)


def read_value(corpus: Corpus, name: str, shard: int, row: int) -> tuple[ColumnManifest, bytes]:
    """The head of a column and a sample's value there, empty where it has none.

    Raises:
        ValueError: the column is of another build, or the value too large.
        OSError: it cannot be read.
    """
    manifest = read_manifest(corpus.path, name)
    if is_stale(corpus, manifest):
        raise ValueError(
            "it was made from other shards than the corpus has; annotate again makes it anew"
        )
    with ColumnShardReader(corpus, name, shard) as reader:
        if (size := reader.size(row)) > _MOST_BYTES:
            raise ValueError(
                f"a value of {readable.size(size)}, at most {readable.size(_MOST_BYTES)}"
            )
        return manifest, reader.value(row)


def _draw_column(corpus: Corpus, name: str, shard: int, row: int, drawn: Drawn) -> None:
    manifest, data = read_value(corpus, name, shard, row)
    if not data:
        return
    if manifest.kind in _BOXES:
        drawn.layers.append(layer_of(name, _BOXES[manifest.kind](data, manifest.member)))
    if manifest.kind == "codes":
        drawn.codes.append(Coded(name, *codes_of(data).shape))
    elif manifest.kind not in _BOXES:
        heads, rows = _TABLES.get(manifest.kind, _as_table)(data, manifest.member)
        shown = [[as_text(cell, _CELL_CHARS) for cell in one] for one in rows[:_MOST_ROWS]]
        heads = [as_text(head, _LABEL_CHARS) for head in heads]
        graph = _graph(data) if manifest.kind == "scene-graphs" else None
        drawn.tables.append(ValueTable(name, heads, shown, len(rows), graph))


def as_text(value: Any, most: int = 20_000) -> str:
    """A value of any kind as text that is safe to show, cut at `most` characters."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        value = value.hex()
    if isinstance(value, float):
        value = f"{value:.6g}"
    text = str(value)
    return readable.clean(text if len(text) <= most else text[: most - 1] + "…")


def layer_of(name: str, found: Sequence[Labelled]) -> Layer:
    """A layer of those boxes that are some."""
    boxes = [box for box in (_box(*one) for one in found) if box]
    return Layer(name, boxes[:MOST_BOXES], len(boxes))


def _box(corners: Any, label: Any) -> Box | None:
    """A box of normalised corners, clipped to the image; None where it is none or has no area."""
    if not isinstance(corners, list) or len(corners) != 4:
        return None
    if not all(isinstance(side, int | float) and abs(side) < 1e9 for side in corners):
        return None
    x0, y0, x1, y1 = (min(max(float(side), 0.0), 1.0) * 100 for side in corners)
    if x1 <= x0 or y1 <= y0:
        return None
    return Box(x0, y0, x1 - x0, y1 - y0, as_text("" if label is None else label, _LABEL_CHARS))


def _of_metadata(value: Any) -> Iterator[tuple[str, list[Labelled]]]:
    """The boxes that metadata hold, by kind."""
    try:
        told = parse_json(value) if isinstance(value, str) else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return
    boxes, labels = told.get("boxes"), told.get("labels")
    if isinstance(boxes, list):
        if not isinstance(labels, list) or len(labels) != len(boxes):
            labels = [None] * len(boxes)
        yield "boxes", [*zip(boxes, labels, strict=True)]
    phrases = told.get("phrases")
    if isinstance(phrases, list):
        some = [one for one in phrases if isinstance(one, dict)]
        yield "phrases", [(one.get("box"), one.get("phrase")) for one in some]


def _json(data: bytes) -> Any:
    """What JSON of a stranger holds."""
    return parse_json(data.decode())


def _listed(value: Any, *names: str) -> list[list[Any]]:
    """Lists of an object, of equal length.

    Raises:
        ValueError: it is none, or has no such lists; names what was expected.
    """
    found = [value.get(name) for name in names] if isinstance(value, dict) else []
    lists = [one for one in found if isinstance(one, list)]
    if len(lists) < len(names):
        raise ValueError(f"expected an object with the lists {', '.join(names)}")
    if len({len(one) for one in lists}) > 1:
        raise ValueError(f"expected {' and '.join(names)} of equal length")
    return lists


def _boxes(data: bytes, member: MemberFormat) -> list[Labelled]:
    return [*zip(*_listed(_json(data), "boxes", "labels"), strict=True)]


def _phrases(data: bytes, member: MemberFormat) -> list[Labelled]:
    return [*zip(*_listed(_json(data), "boxes", "phrases"), strict=True)]


def _lines(data: bytes, member: MemberFormat) -> list[Labelled]:
    (lines,) = _listed(_json(data), "lines")
    return [(one.get("box"), one.get("text")) for one in lines if isinstance(one, dict)]


def _regions(data: bytes, member: MemberFormat) -> list[Labelled]:
    arrays = unpack_arrays(data)
    classes = member.notes.get("classes")
    names = [str(one) for one in classes] if isinstance(classes, list) else []
    boxes = arrays["boxes"].tolist()
    labels = [str(number) for number in range(len(boxes))]
    if "labels" in arrays:
        labels = [name_of(int(label), names) for label in arrays["labels"]]
    if "scores" in arrays:
        scores = arrays["scores"].tolist()
        labels = [f"{one} {score:.2f}" for one, score in zip(labels, scores, strict=True)]
    return [*zip(boxes, labels, strict=True)]


def _patches(data: bytes, member: MemberFormat) -> list[Labelled]:
    """The pieces of an image, of each of which a vector is kept."""
    grid = member.notes.get("grid")
    if not isinstance(grid, list) or len(grid) != 2 or not all(one in range(1, 33) for one in grid):
        raise ValueError(f"expected a grid of rows and columns, found {as_text(grid, 80)}")
    rows, columns = grid
    return [
        ([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], f"patch {y * columns + x}")
        for y in range(rows)
        for x in range(columns)
    ]


def _views(data: bytes, member: MemberFormat) -> list[Labelled]:
    """The parts of an image whose codes are kept."""
    arrays = unpack_arrays(data)
    width, height = arrays["size"].tolist()
    flips = arrays["flips"].tolist()
    return [
        ([x0 / width, y0 / height, x1 / width, y1 / height], f"view {n}{' flipped' * bool(flip)}")
        for n, ((x0, y0, x1, y1), flip) in enumerate(
            zip(arrays["boxes"].tolist(), flips, strict=True)
        )
    ]


def codes_of(data: bytes) -> NDArray[np.uint16]:
    """The codes [views, rows, columns] of a value of `codes`.

    Raises:
        ValueError: it has none, or a grid of more than 64 x 64.
    """
    codes = unpack_arrays(data).get("codes")
    if codes is None or codes.ndim != 3 or codes.dtype != np.uint16:
        raise ValueError("expected codes uint16 [views, rows, columns]")
    if not 0 < max(codes.shape[1:]) <= _MOST_CODES:
        raise ValueError(f"a grid of {codes.shape[1]} x {codes.shape[2]} codes")
    return codes


Table = tuple[list[str], list[list[Any]]]
"""Heads and rows."""


def _triples(data: bytes, member: MemberFormat) -> Table:
    """A scene graph as triples; a thing of which nothing is said stands alone."""
    graph = SceneGraph.from_json(_json(data))
    things = [thing.text for thing in graph.objects]
    rows: list[list[Any]] = [
        *([things[one.subject], one.lemma, things[one.object]] for one in graph.relations),
        *([things[one.object], one.kind, one.lemma] for one in graph.attributes),
        *([things[one.object], "number", one.value] for one in graph.numbers),
        *([one.text, one.why, ""] for one in graph.unasserted),
    ]
    told = {end for one in graph.relations for end in (one.subject, one.object)}
    told |= {one.object for one in graph.attributes} | {one.object for one in graph.numbers}
    rows += [[thing, "", ""] for number, thing in enumerate(things) if number not in told]
    return ["subject", "relation", "object"], rows


def _graph(data: bytes) -> Graph:
    """A scene graph as it is drawn: what is said of a thing stands below its name, and what is not
    asserted apart."""
    graph = SceneGraph.from_json(_json(data))
    notes: list[list[str]] = [[] for _ in graph.objects]
    for number in graph.numbers:
        notes[number.object].append(as_text(number.value, 20))
    for one in graph.attributes:
        notes[one.object].append(one.lemma)
    things = [
        (as_text(thing.text, _LABEL_CHARS), as_text(", ".join(note), _LABEL_CHARS), False)
        for thing, note in zip(graph.objects, notes, strict=True)
    ]
    things += [(as_text(one.text, _LABEL_CHARS), one.why, True) for one in graph.unasserted]
    relations = [
        (one.subject, as_text(one.lemma, _LABEL_CHARS), one.object) for one in graph.relations
    ]
    return lay_out(things, relations)


def _as_table(data: bytes, member: MemberFormat) -> Table:
    """A value by the form of its bytes: JSON and text as they are, arrays by type and shape."""
    if member.kind == "json":
        return _of_json(_json(data))
    value = unpack(data, member)
    if member.kind == "text":
        return [], [[value]]
    arrays = value if isinstance(value, dict) else {next(iter(member.arrays)): value}
    shapes = [
        [name, str(one.dtype), " × ".join(map(str, one.shape))] for name, one in arrays.items()
    ]
    return ["array", "type", "shape"], shapes


def _of_json(value: Any) -> Table:
    """JSON as rows: a list of objects by their keys, lists of equal length side by side, any other
    object by its keys, a list by its items."""
    if isinstance(value, dict) and len(value) == 1:
        (only,) = value.values()
        value = only if isinstance(only, list) and only else value
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        heads = [*dict.fromkeys(key for one in value for key in one)][:_MOST_HEADS]
        return heads, [[one.get(head, "") for head in heads] for one in value]
    if isinstance(value, dict):
        lists = [one for one in value.values() if isinstance(one, list)]
        if 1 < len(lists) == len(value) <= _MOST_HEADS and len({*map(len, lists)}) == 1:
            return [*value], [[*row] for row in zip(*lists, strict=True)]
        return [], [[key, one] for key, one in value.items()]
    return [], [[one] for one in value] if isinstance(value, list) else [[value]]


_BOXES: dict[str, Callable[[bytes, MemberFormat], list[Labelled]]] = {
    "boxes": _boxes, "phrases": _phrases, "ocr": _lines, "regions": _regions, "patches": _patches,
    "codes": _views,
}  # fmt: skip
_TABLES = {"scene-graphs": _triples}
