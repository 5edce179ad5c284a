"""The images of rejected samples that the fetch store has, found by their URLs."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import ValidationError

from septet.pipelines.ahead import map_ahead
from septet.pipelines.stages.barred import Barred, barred_lists, read_barred
from septet.pipelines.store.reader import StoreReader
from septet.pipelines.store.store import Store, read_stored
from septet.preprocess import files
from septet.schemas.recipe import Recipe
from septet.schemas.tables import REJECTS, STORED

_MOST_TABLES = 1_000
_MOST_REMOTE_TABLES = 64
"""The most tables of the store that are looked through, the newest ones."""
_MOST_HASHES = 2**24
"""The most images whose hash is remembered, 64 MiB."""
_ASKED = pa.schema(
    [REJECTS.field(name) for name in ("id", "image_url", "page_url", "caption", "extra")]
)
_ID = "^[0-9a-f]{32}$"


@dataclass(frozen=True)
class StoredImage:
    """The image of a reject: the reject's row, and that of the store which says where it lies."""

    reject: Mapping[str, Any]
    stored: Mapping[str, Any]


class RejectedImages:
    """The images of a corpus's rejects, as far as the fetch store has them. What was removed from
    the corpus, or is barred from it, is not among them.

    Args:
        corpus: The corpus folder.
        recipe: The recipe as the corpus's head has it; None for a corpus without one.
    """

    def __init__(self, corpus: str, recipe: Mapping[str, Any] | None):
        self._corpus, self._recipe = corpus, recipe
        self._hashes: dict[str, NDArray[np.uint32]] = {}
        """Hashes of the URLs of images that tables have, which are never written again, by table:
        one that has none of those asked for is not read twice."""

    def find(self, rejects: Iterable[Mapping[str, Any]]) -> dict[str, StoredImage]:
        """The stored images of some rejects, by URL.

        Args:
            rejects: With `id` and `image_url` of `tables.REJECTS`, and what else is known.
        """
        barred = read_barred(barred_lists(self._corpus))
        rows = {row["image_url"]: row for row in _allowed([*rejects], barred)}
        if not rows:
            return {}
        wanted = pa.array(list(rows), pa.string())
        parts = map_ahead(partial(self._rows, wanted), self._tables())
        table = pa.concat_tables([STORED.empty_table(), *parts])
        found: dict[str, StoredImage] = {}
        for stored in _unbarred(table, barred).to_pylist():  # the first success counts
            url = stored["image_url"]
            found.setdefault(url, StoredImage(rows[url], stored))
        return found

    def read(self, image: StoredImage) -> bytes:
        """The bytes of an image.

        Raises:
            ValueError: it was removed meanwhile, or the store has other bytes there.
        """
        barred = read_barred(barred_lists(self._corpus))
        stored = pa.Table.from_pylist([image.stored], STORED)
        if not _allowed([image.reject], barred) or not len(_unbarred(stored, barred)):
            raise ValueError("the image was removed")
        with StoreReader(self._corpus) as reader:
            data = next(reader.images([dict(image.stored)]))
        assert data is not None
        return data

    def _tables(self) -> list[str]:
        if self._recipe is not None:
            with suppress(ValidationError):  # a recipe of an earlier version
                store = Store(self._corpus, Recipe.model_validate(self._recipe))
                is_local = files.is_local(self._corpus)
                return store.tables()[-(_MOST_TABLES if is_local else _MOST_REMOTE_TABLES) :]
        return []

    def _rows(self, wanted: pa.Array, table: str) -> pa.Table:
        """The rows of a table of the store that have the image of one of some URLs."""
        path = files.join(self._corpus, table)
        hashes = self._hashes.get(table)
        if hashes is not None and not np.isin(_hashes(wanted), hashes).any():
            return STORED.empty_table()
        known = read_stored(path, ["image_url", "reason"])
        there = pc.is_null(known["reason"])
        if hashes is None and sum(map(len, [*self._hashes.values()])) < _MOST_HASHES:
            self._hashes[table] = _hashes(known["image_url"].filter(there))
        is_wanted = pc.is_in(known["image_url"], value_set=wanted)
        places = np.flatnonzero(pc.and_(is_wanted, there).to_numpy())
        if not len(places):
            return STORED.empty_table()
        return read_stored(path, STORED.names).take(pa.array(places)).cast(STORED)


def _hashes(urls: pa.Array | pa.ChunkedArray) -> NDArray[np.uint32]:
    return np.array([hash(url) & 0xFFFFFFFF for url in urls.to_pylist()], np.uint32)


def _allowed(rejects: Sequence[Mapping[str, Any]], barred: Barred) -> list[Mapping[str, Any]]:
    """The rejects of an image whose samples, URLs and pages are not barred."""
    asked = pa.Table.from_pylist(
        [{name: row.get(name) for name in _ASKED.names} for row in rejects], _ASKED
    )
    known = pc.and_kleene(
        pc.match_substring_regex(asked["id"], _ID), pc.is_valid(asked["image_url"])
    )
    places = np.flatnonzero(pc.fill_null(known, False).to_numpy())
    kept = barred.samples(asked.take(pa.array(places))).to_numpy(zero_copy_only=False)
    return [rejects[place] for place in places[~kept].tolist()]


def _unbarred(stored: pa.Table, barred: Barred) -> pa.Table:
    """The rows of the store whose images have not the bytes, or the look, of one that is barred."""
    return stored.filter(pc.is_null(barred.judge(stored)["reason"]))
