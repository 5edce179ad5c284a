"""`septet curate`: a view of a corpus, chosen by what its sidecars and columns say of samples.

Nothing is computed anew or copied: sidecars are read, and ids written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from septet.pipelines.ahead import map_ahead
from septet.pipelines.derived import DERIVED, Derived
from septet.pipelines.views.expressions import Condition, ExpressionError, Share, Table, parse
from septet.preprocess import files
from septet.preprocess.columns.reader import column_names, is_stale, read_manifest
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.sidecar import SidecarError, open_sidecar, read_sidecar
from septet.preprocess.shards.views import is_name, key_ids, view_folder, write_view
from septet.schemas.layout import column_sidecar
from septet.schemas.view import VIEW, Kept, View

_NONE_OF = ("members",)


@dataclass(frozen=True)
class Field:
    """Where a field's values lie, in the base sidecars or in those of a column, and their type; or
    how they are worked out from those of base sidecars."""

    name: str
    column: str | None
    type: pa.DataType
    derived: Derived | None = None


class Fields:
    """The fields of a corpus's samples.

    Args:
        corpus: The corpus.
    """

    def __init__(self, corpus: Corpus):
        self._corpus = corpus
        self.known: dict[str, Field] = {}
        """The fields by the names under which conditions know them."""
        self._several: dict[str, list[str]] = {}
        """Facts that several columns have, and where."""
        self.damaged: dict[str, str] = {}
        """Columns of which nothing can be read, with the reason."""
        self.own: dict[str, pa.DataType] = {}
        """The types of what the base sidecars hold."""
        if not corpus.shards:
            return
        facts = {}
        for name in column_names(corpus.path):
            try:
                if is_stale(corpus, read_manifest(corpus.path, name)):
                    continue
                found = _fields(corpus, name)
            except (ValueError, OSError) as error:
                self.damaged[name] = str(error)
                continue
            for fact in found:
                if fact.name not in ("key", "members"):
                    facts[f"{name}.{fact.name}"] = Field(fact.name, name, fact.type)
        for spelled, field in facts.items():
            self.known.setdefault(spelled.replace(".", "_"), field)
            if field.name not in ("reason", "found"):
                self._several.setdefault(field.name, []).append(spelled)
        for fact, where in self._several.items():
            if len(where) == 1:
                self.known.setdefault(fact, facts[where[0]])
        own = _fields(corpus, None)
        self.known |= {
            one.name: Field(one.name, None, one.type) for one in own if one.name not in _NONE_OF
        }
        self.known |= facts
        self.own = {one.name: one.type for one in own}
        taken = {name.casefold() for name in self.own} | {*self._several}
        for name, derived in DERIVED.items():
            if name not in taken and derived.fits(self.own):
                self.known.setdefault(name, Field(name, None, derived.type, derived))

    def require(self, name: str) -> None:
        """Refuse a name that is no field.

        Raises:
            ExpressionError: it is none, or of several columns; names those that there are.
        """
        if name in self.known:
            return
        if name in self._several:
            raise ExpressionError(f"{name!r}: say which of {', '.join(self._several[name])}")
        lost = "".join(
            f"; its column {column} cannot be read: {why}" for column, why in self.damaged.items()
        )
        raise ExpressionError(
            f"{self._corpus.label} has no field {name!r}; it has: {', '.join(self.known)}{lost}"
        )

    def read(self, number: int, names: Sequence[str]) -> dict[str, pa.Array]:
        """The values of some fields, and `key`, of a shard's samples."""
        shard, rows = self._corpus.shards[number], self._corpus.rows(number)
        by_file: dict[str | None, list[str]] = {None: ["key"]}
        for name in names:
            field = self.known[name]
            made_of = [field.name]
            if field.derived:
                made_of = [one for one in field.derived.fields if one in self.own]
            by_file.setdefault(field.column, []).extend(made_of)
        tables = {}
        for column, wanted in by_file.items():
            path = shard.sidecar if column is None else column_sidecar(column, shard.tar)
            wanted = [*dict.fromkeys(wanted)]
            table = read_sidecar(files.join(self._corpus.path, path), wanted, shard.samples)
            tables[column] = table.take(rows)
        found = {"key": tables[None]["key"].combine_chunks()}
        for name in names:
            field, table = self.known[name], tables[self.known[name].column]
            if field.derived:
                found[name] = field.derived.of(
                    dict(zip(table.column_names, table.columns, strict=True)), len(table)
                )
            else:
                found[name] = table[field.name].combine_chunks()
        return found


def _fields(corpus: Corpus, column: str | None) -> list[pa.Field]:
    """The fields of the first sidecar that can be read, of the base or of a column.

    Raises:
        SidecarError: none can be read; says why not the first.
    """
    problem: Exception | None = None
    for shard in corpus.shards:
        name = shard.sidecar if column is None else column_sidecar(column, shard.tar)
        try:
            with open_sidecar(files.join(corpus.path, name), ["key"]) as parquet:
                return list(parquet.schema_arrow)
        except (SidecarError, OSError) as error:
            problem = problem or error
    raise SidecarError(str(problem))


@dataclass(frozen=True)
class Wish:
    """What a view is to hold."""

    name: str
    keep: tuple[str, ...] = ()
    by: str | None = None
    split: tuple[tuple[str, float], ...] = ()
    out: str | None = None
    """The folder for the views; the corpus's own where absent."""
    force: bool = False
    """Whether views of the same names that were chosen otherwise give way."""


def curate(path: str, wish: Wish, console: Console) -> list[View]:
    """Choose samples of a corpus, or of a view; returns the views that were written, the rest last.

    Args:
        path: The corpus, or PATH@VIEW.
        wish: What the view is to hold.
        console: The console for progress bars.

    Raises:
        ExpressionError: a condition that cannot be understood, or does not fit a field.
        ValueError: a name or a share that cannot be, or a name that another view has.
    """
    conditions = [parse(text) for text in wish.keep]
    _require(wish)
    corpus = Corpus(path, open_shards=1)
    _require_free(corpus, wish)
    fields = Fields(corpus)
    tests = [test for condition in conditions for test in condition.tests()]
    names = [*dict.fromkeys(test.field for test in tests)]
    for name in (*names, *([wish.by] if wish.by else [])):
        fields.require(name)
    shares = [*dict.fromkeys(test for test in tests if isinstance(test, Share))]
    numbers = range(len(corpus.shards))
    counts = [len(corpus.rows(number)) for number in numbers]
    starts, bases = (
        np.concatenate([[0], np.cumsum(c)]).astype(int) for c in (counts, corpus.counts)
    )
    chosen = _choose(corpus, fields, shares, wish.by, console) if shares else {}

    def judged(number: int) -> tuple[NDArray[np.uint64], NDArray[np.int64], list[int]]:
        values: Table = fields.read(number, names)
        here = slice(starts[number], starts[number + 1])
        table = {**values, **{repr(one): pa.array(mask[here]) for one, mask in chosen.items()}}
        masks = [_mask(condition, table) for condition in conditions]
        kept = np.logical_and.reduce([np.ones(counts[number], bool), *masks])
        ids = np.stack(key_ids(values["key"]), axis=1)[kept]
        places = bases[number] + corpus.rows(number)[kept]
        return ids, places, [int(mask.sum()) for mask in masks]

    found = list(
        track(map_ahead(judged, numbers), "curate", len(numbers), console=console, transient=True)
    )
    ids = np.concatenate([np.empty((0, 2), np.uint64), *(part for part, _, _ in found)])
    places = np.concatenate([np.empty(0, np.int64), *(part for _, part, _ in found)])
    told = [sum(counts[i] for _, _, counts in found) for i in range(len(conditions))]
    base = View(
        name=wish.name,
        corpus=corpus.manifest.name,
        of=corpus.view.name if corpus.view else None,
        shard_list=corpus.manifest.shard_list.sha256,
        keep=[Kept(keep=k, samples=n) for k, n in zip(wish.keep, told, strict=True)],
        by=wish.by,
        split=dict(wish.split),
        given=int(starts[-1]),
        samples=0,
        ids_sha256="",
        septet=version("septet"),
    )
    return [
        _write(corpus.path, wish, base, part, ids[mask], places[mask])
        for part, mask in parts(ids[:, 0], wish.split)
    ]


def _require(wish: Wish) -> None:
    names = [name for name, _ in wish.split]
    for name in (wish.name, *names, *(f"{wish.name}-{part}" for part in names)):
        if not is_name(name):
            raise ValueError(
                f"{name!r} cannot be the name of a view: letters, digits, - and _, a letter first, "
                "at most 100"
            )
    shares = [share for _, share in wish.split]
    if any(not 0 < share < 1 for share in shares) or sum(shares) >= 1:
        raise ValueError("shares of --split lie between 0 and 1 and leave a rest, as val=0.01 does")
    if len({name for name, _ in wish.split}) < len(wish.split):
        raise ValueError("--split names a part twice")


def _require_free(corpus: Corpus, wish: Wish) -> None:
    """Refuse to write over views that were chosen otherwise."""
    of = corpus.view.name if corpus.view else None
    wanted = (of, wish.keep, wish.by, dict(wish.split))
    for part in (*(part for part, _ in wish.split), None):
        where = files.join(_folder(corpus.path, wish, part), VIEW)
        if wish.force or not files.exists(where):
            continue
        have = View.from_json(files.read_bytes(where), where)
        keep = tuple(one.keep for one in have.keep)
        if (have.of, keep, have.by, have.split, have.part) != (*wanted, part):
            chosen = " and ".join(map(repr, keep)) or "all"
            raise ValueError(
                f"{corpus.path} has a view {have.name} that was chosen otherwise ({chosen}"
                f"{f' of {have.of}' if have.of else ''}): give another --name, or --force to write "
                "over it"
            )


def _mask(condition: Condition, table: Table) -> NDArray[np.bool_]:
    mask = pc.fill_null(condition.mask(table), False)
    found: NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False)
    return found


def _choose(
    corpus: Corpus, fields: Fields, shares: Sequence[Share], by: str | None, console: Console
) -> Mapping[Share, NDArray[np.bool_]]:
    """Which of all samples are among the highest or lowest."""
    names = [*dict.fromkeys([share.field for share in shares])]
    numbers = range(len(corpus.shards))

    def read(number: int) -> tuple[dict[str, NDArray[np.float64]], pa.Array]:
        table = fields.read(number, [*names, *([by] if by else [])])
        groups = pa.nulls(len(table["key"]), pa.string())
        if by:
            groups = _groups(by, table[by])
        return {name: numbers_of(name, table[name]) for name in names}, groups

    pieces = list(
        track(map_ahead(read, numbers), "reading", len(numbers), console=console, transient=True)
    )
    groups = pa.chunked_array([piece for _, piece in pieces], pa.string()).combine_chunks()
    codes = groups.dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    values = {name: np.concatenate([np.empty(0), *(p[name] for p, _ in pieces)]) for name in names}
    return {share: share.choose(values[share.field], codes) for share in shares}


def _groups(name: str, column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except pa.ArrowNotImplementedError:
        raise ExpressionError(
            f"--by {name}: it holds {column.type}, which forms no groups: name a text or a number"
        ) from None


def numbers_of(name: str, column: pa.Array) -> NDArray[np.float64]:
    """The values of a field as numbers, NaN where it says nothing.

    Raises:
        ExpressionError: they are none.
    """
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ExpressionError(f"{name} holds {column.type}: `top` and `bottom` are of numbers")
    found: NDArray[np.float64] = (
        column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    )
    return found


def parts(
    high: NDArray[np.uint64], split: Sequence[tuple[str, float]]
) -> Iterator[tuple[str | None, NDArray[np.bool_]]]:
    """The samples of each part of a split, by the first halves of their ids, the rest last.

    Which part a sample belongs to follows from the first half of its id alone: so it is the same in
    every view and in every later build, and all captions of an image go together.
    """
    place = _mixed(high) / 2.0**64
    begin, rest = 0.0, np.ones(len(high), bool)
    for name, share in split:
        mask = (place >= begin) & (place < begin + share)
        begin, rest = begin + share, rest & ~mask
        yield name, mask
    yield None, rest


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of 64-bit numbers (splitmix64's last steps, Steele et al. 2014): neighbours, which
    share a shard, lie far apart."""
    x = numbers + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _name(wish: Wish, part: str | None) -> str:
    return wish.name if part is None else f"{wish.name}-{part}"


def _folder(corpus: str, wish: Wish, part: str | None) -> str:
    name = _name(wish, part)
    return files.join(wish.out, name) if wish.out else view_folder(corpus, name)


def _write(
    corpus: str,
    wish: Wish,
    base: View,
    part: str | None,
    ids: NDArray[np.uint64],
    places: NDArray[np.int64],
) -> View:
    told = {"name": _name(wish, part), "part": part, "samples": len(ids)}
    return write_view(_folder(corpus, wish, part), base.model_copy(update=told), ids, places)
