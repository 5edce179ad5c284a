"""Evaluation sets, as passes of the stage curate: their images and texts are read once, then the
samples of each shard are compared with them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.sources.listing import list_files, listing_digest
from septet.pipelines.sources.paths import locate
from septet.pipelines.stages.counts import EVALUATION_HITS, Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.near_images import Samples
from septet.pipelines.stages.stage import Key, Parts, Pass
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.evaluation.images import find_images, listed, shown_of
from septet.preprocess.evaluation.texts import TextHit, TextIndex, slots_of_hits
from septet.preprocess.images.process import ProcessedImage, process_image
from septet.preprocess.lists.lines import ListError
from septet.preprocess.lists.rows import kind_of, read_rows
from septet.schemas.decontaminate import EvaluationList
from septet.schemas.layout import is_image
from septet.schemas.recipe import Image

_FILES_A_TASK = 500
_MAX_BYTES = 50 * 2**20
_TEXT_SHOWN = 120

_IMAGES = pa.schema(
    [("set", pa.string()), ("item", pa.string()), ("phash", pa.string()), ("aspect", pa.float64()),
     ("thumbnail", pa.binary())]
)  # fmt: skip
_TEXTS = pa.schema([("set", pa.string()), ("text", pa.string())])
_TOKENS = pa.list_(pa.string())
_HITS = pa.schema(
    [("id", pa.string()), ("reason", pa.string()), ("value", pa.string()), ("text", pa.int64()),
     ("lacking", _TOKENS), ("extra", _TOKENS)]
)  # fmt: skip
"""Hits of one shard; of texts, what `TextHit` says of them."""
_SLOTS = pa.schema([("text", pa.int64()), ("token", pa.string())])


class EvaluationError(ValueError):
    """Raised when an evaluation set cannot be used; says what to do."""


def evaluation_digests(sets: Sequence[EvaluationList], folder: str) -> list[dict[str, Any]]:
    """The evaluation sets as settings of a stage, with digests of what they hold.

    Raises:
        EvaluationError: a folder or list is not there.
    """
    found = []
    for one in sets:
        digests = {}
        for what in ("images", "texts"):
            label = getattr(one, what)
            if label is not None:
                digests[what] = _digest(one, what, locate(label, folder))
        found.append({"name": one.name, "text_col": one.text_col, **digests})
    return found


def _digest(one: EvaluationList, what: str, path: str) -> str:
    try:
        if what == "images" and _is_folder(path):
            return listing_digest(path)[1]
        return files.content_digest(path)[1]
    except OSError as error:
        raise EvaluationError(
            f"decontaminate: {what} of {one.name}: {path} cannot be read "
            f"({error.strerror or error}); put it there, or take the set out of the recipe"
        ) from error


def _is_folder(path: str) -> bool:
    if files.is_local(path):
        return files.local_path(path).is_dir()
    fs, plain = files.file_system(path)
    return bool(fs.isdir(plain))


@dataclass(frozen=True)
class Piece:
    """A piece of an evaluation set that one task reads: some images of a folder (`names`), a list
    of hashes (`kind` hashes), or a list of texts (`kind` texts)."""

    set: str
    kind: str
    path: str
    column: str
    names: tuple[str, ...] = ()


def pieces_of(sets: Sequence[EvaluationList], folder: str) -> list[Piece]:
    """Cut evaluation sets into pieces, in their order."""
    found = []
    for one in sets:
        if one.images is not None:
            path = locate(one.images, folder)
            if _is_folder(path):
                names = [e.name for e in list_files(path) if is_image(e.name.rpartition(".")[2])]
                for start in range(0, len(names), _FILES_A_TASK):
                    some = tuple(names[start : start + _FILES_A_TASK])
                    found.append(Piece(one.name, "images", path, "", some))
            else:
                found.append(Piece(one.name, "hashes", path, "phash"))
        if one.texts is not None:
            found.append(Piece(one.name, "texts", locate(one.texts, folder), one.text_col))
    return found


@dataclass(frozen=True)
class Hits:
    """What shards hold of evaluation sets, as files: hits by shard, and the slots that the captions
    of all shards show (see `preprocess.evaluation.texts`)."""

    found: Parts
    slots: Parts

    def judge(self, rows: pa.Table, shard: int) -> pa.Table:
        """Give rows of a shard that have no reason that of their hit.

        Args:
            rows: With `id`, `reason` and `value`.
            shard: Its number.
        """
        hits = files.read_table(self.found.path(shard))
        slots = _read_slots(self.slots.path(0))
        stays = [
            not hit.replaced or slots.isdisjoint((hit.number, token) for token in hit.lacking)
            for hit in _text_hits(hits)
        ]
        hits = hits.filter(pa.array(stays, pa.bool_()))
        if not len(hits):
            return rows
        at = pc.index_in(rows["id"], value_set=hits["id"].combine_chunks())
        fresh = pc.and_(pc.is_valid(at), pc.is_null(rows["reason"]))
        for name in ("reason", "value"):
            column = pc.if_else(fresh, hits[name].take(at), rows[name])
            rows = rows.set_column(rows.column_names.index(name), name, column)
        return rows


def hits_by_set(rejects: pa.Table) -> Counter[str]:
    """How many rejects are of each evaluation set, by its key in `Counts.other`."""
    lost = rejects.filter(pc.starts_with(rejects["reason"], "evaluation_"))
    names = [value.partition(": ")[0] for value in lost["value"].to_pylist()]
    return Counter(f"{EVALUATION_HITS} {name}" for name in names)


def _text_hits(hits: pa.Table) -> Iterator[TextHit]:
    for number, lacking, extra in zip(
        *(hits[name].to_pylist() for name in ("text", "lacking", "extra")), strict=True
    ):
        yield TextHit(-1 if number is None else number, 1.0, tuple(lacking or ()),
                      tuple(extra or ()))  # fmt: skip


@lru_cache(maxsize=1)
def _read_slots(path: str) -> frozenset[tuple[int, str]]:
    table = files.read_table(path)
    return frozenset(zip(table["text"].to_pylist(), table["token"].to_pylist(), strict=True))


class EvaluationPasses:
    """The passes that compare all shards with evaluation sets.

    Args:
        sets: The parts of the sets that are read.
        hits: What is found.
        pieces: See `pieces_of`.
        samples: The samples that take part, with captions and, where they have an image, what it
            looks like.
        image: The recipe's section: evaluation images are resized as the corpus's are.
    """

    def __init__(
        self, sets: Parts, hits: Hits, pieces: Sequence[Piece], samples: Samples, image: Image
    ):
        self._read = ReadTask(sets, tuple(pieces), image)
        numbers = range(len(pieces))
        self._numbers = numbers
        self._find = FindTask(hits.found, [self._read.path(number) for number in numbers], samples)
        self._slots = hits.slots

    def passes(self, shards: Sequence[Key]) -> Iterator[Pass]:
        """Read the sets, find what shards hold of them, then which of that are templates."""
        read, find = self._read, self._find
        slots = SlotsTask(self._slots, [find.path(shard) for shard in shards])
        yield Pass(
            "curate: evaluation sets",
            read.outputs(self._numbers),
            lambda todo: map_tasks(read, todo),
        )
        yield Pass("curate: evaluation", find.outputs(shards), lambda todo: map_tasks(find, todo))
        yield Pass("curate: templates", slots.outputs([0]), lambda todo: map_tasks(slots, todo))


class ReadTask(Task):
    """The task that reads a piece of an evaluation set."""

    stage = "curate"
    apart = True

    def __init__(self, output: Parts, pieces: tuple[Piece, ...], image: Image):
        self.output, self.pieces, self.image = output, pieces, image

    def run(self, number: int) -> Counts:
        """Write its images, or its texts; images that cannot be decoded are counted."""
        piece, counts = self.pieces[number], Counts()
        if piece.kind == "images":
            rows = [self._described(piece, name, counts) for name in piece.names]
            table = pa.Table.from_pylist([row for row in rows if row], _IMAGES)
        elif piece.kind == "hashes":
            table = _hashes(piece)
        else:
            texts = [{"set": piece.set, "text": str(text)} for text in _column(piece) if text]
            table = pa.Table.from_pylist(texts, _TEXTS)
        counts.rows_in += len(table)
        counts.rows_out += len(table)
        files.write_table(self.path(number), table, metadata=counts.to_metadata())
        return counts

    def _described(self, piece: Piece, name: str, counts: Counts) -> dict[str, Any] | None:
        with files.open_read(files.join(piece.path, name)) as file:
            data = file.read(_MAX_BYTES + 1)
        found = process_image(data, self.image) if len(data) <= _MAX_BYTES else None
        if not isinstance(found, ProcessedImage):
            counts.other["evaluation_images_not_decoded"] += 1
            return None
        return {
            "set": piece.set, "item": name, "phash": found.appearance.phash,
            "aspect": float(np.log(found.width / found.height)),
            "thumbnail": found.appearance.thumbnail,
        }  # fmt: skip


def _hashes(piece: Piece) -> pa.Table:
    if piece.path.endswith(".npy"):
        with files.open_read(piece.path) as file:
            numbers = np.load(file, allow_pickle=False)
        if numbers.dtype != np.uint64 or numbers.ndim != 1:
            raise EvaluationError(
                f"decontaminate: {piece.path}: expected uint64 [n], found {numbers.dtype} "
                f"{list(numbers.shape)}"
            )
        phashes = [f"{number:016x}" for number in numbers.tolist()]
    else:
        phashes = [str(value).lower() for value in _column(piece) if value]
        wrong = next((one for one in phashes if not _is_hash(one)), None)
        if wrong is not None:
            raise EvaluationError(
                f"decontaminate: {piece.path}: expected hashes of 16 hex digits, found {wrong!r}"
            )
    rows = [{"set": piece.set, "item": phash, "phash": phash} for phash in dict.fromkeys(phashes)]
    return pa.Table.from_pylist(rows, _IMAGES)


def _is_hash(text: str) -> bool:
    return len(text) == 16 and all(digit in "0123456789abcdef" for digit in text)


def _column(piece: Piece) -> Iterator[Any]:
    """The values of a list's column; rows that cannot be read are passed over."""
    try:
        kind = kind_of(piece.path)
        names = [piece.column] if kind == "txt" else None
        with files.open_read(piece.path) as file:
            for row in read_rows(file, kind, [piece.column], names=names):
                if row.error is None:
                    yield row.values[piece.column]
    except ListError as error:
        raise EvaluationError(f"decontaminate: {piece.path}: {error}") from error


class FindTask(Task):
    """The task that finds what one shard holds of the evaluation sets.

    Args:
        output: Hits: ids with a reason and a value.
        sets: What `ReadTask` has written.
        samples: See `EvaluationPasses`.
    """

    stage = "curate"

    def __init__(self, output: Parts, sets: list[str], samples: Samples):
        self.output, self.sets, self.samples = output, sets, samples

    def setup(self) -> None:
        """Read the sets."""
        _read_sets(tuple(self.sets))

    def run(self, shard: int) -> Counts:
        """Write the shard's hits."""
        sets, rows = _read_sets(tuple(self.sets)), self.samples(shard)
        ids = rows["id"].to_pylist()
        hits: dict[int, dict[str, Any]] = {}
        if sets.texts is not None:
            for number, text in enumerate(sets.texts.find(rows["caption"].to_pylist())):
                if text is not None:
                    label = f"{sets.text_labels[text.number]}, {int(100 * text.share)} %"
                    hits[number] = {
                        "reason": "evaluation_text", "value": label, "text": text.number,
                        "lacking": text.lacking, "extra": text.extra,
                    }  # fmt: skip
        if len(sets.images):
            there = np.flatnonzero(rows["phash"].is_valid().to_numpy())
            images = shown_of(rows.take(there))
            for number, image in zip(there.tolist(), find_images(sets.images, images), strict=True):
                if image is not None:
                    label = f"{sets.image_labels[image.number]}, {image.bits} bits"
                    hits[number] = {"reason": "evaluation_image", "value": label}
        found = [{"id": ids[number], **hit} for number, hit in sorted(hits.items())]
        counts = Counts(rows_in=len(rows), rows_out=len(found))
        table = pa.Table.from_pylist(found, _HITS)
        files.write_table(self.path(shard), table, metadata=counts.to_metadata())
        return counts


class SlotsTask(Task):
    """The task that learns from the hits of all shards where captions have several things in the
    place of one.

    Args:
        output: Slots: numbers of evaluation texts with a token.
        hits: What `FindTask` has written.
    """

    stage = "curate"

    def __init__(self, output: Parts, hits: list[str]):
        self.output, self.hits = output, hits

    def run(self, number: int) -> Counts:
        """Write the slots, in order."""
        found = slots_of_hits(
            hit for path in self.hits for hit in _text_hits(files.read_table(path))
        )
        rows = [{"text": text, "token": token} for text, token in sorted(found)]
        counts = Counts(rows_in=len(rows), rows_out=len(rows))
        table = pa.Table.from_pylist(rows, _SLOTS)
        files.write_table(self.path(number), table, metadata=counts.to_metadata())
        return counts


class _Sets:
    """Evaluation sets, ready to be compared with."""

    def __init__(self, tables: Sequence[pa.Table]):
        images = [table for table in tables if table.schema.equals(_IMAGES)]
        texts = [table for table in tables if table.schema.equals(_TEXTS)]
        joined = pa.concat_tables([_IMAGES.empty_table(), *images])
        self.images = listed(joined)
        names = zip(joined["set"].to_pylist(), joined["item"].to_pylist(), strict=True)
        self.image_labels = [f"{set_}: {item}" for set_, item in names]
        said = pa.concat_tables([_TEXTS.empty_table(), *texts])
        pairs = [*zip(said["set"].to_pylist(), said["text"].to_pylist(), strict=True)]
        self.text_labels = [f"{set_}: {text[:_TEXT_SHOWN]}" for set_, text in pairs]
        self.texts = TextIndex([text for _, text in pairs]) if pairs else None


@lru_cache(maxsize=1)
def _read_sets(paths: tuple[str, ...]) -> _Sets:
    return _Sets([files.read_table(path) for path in paths])
