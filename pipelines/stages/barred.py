"""What removals from a corpus keep out of its builds: the samples, their images under any URL, and
all else that was asked for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess import files
from septet.preprocess.domains import domains_among
from septet.preprocess.evaluation.images import SHOWN, find_images, listed, shown_of
from septet.preprocess.shards.barred import newest_barred, read_barred_list, text_key
from septet.preprocess.shards.removed import newest_list, read_newest
from septet.preprocess.text.ids import split_ids, url_hash
from septet.schemas.manifest import REMOVED_LIST

_NOTHING = pa.array([], pa.string())


@dataclass(frozen=True)
class Barred:
    """The ids, images, places and texts that a build must not bring back."""

    ids: pa.Array = field(default_factory=lambda: _NOTHING)
    digests: pa.Array = field(default_factory=lambda: _NOTHING)
    """SHA-256 of images as they were fetched."""
    urls: np.ndarray = field(default_factory=lambda: np.array([], np.uint64))
    """Hashes of images' URLs, with which ids begin; ascending."""
    pages: frozenset[int] = frozenset()
    """Hashes of URLs of pages."""
    domains: frozenset[str] = frozenset()
    looks: np.ndarray = field(default_factory=lambda: np.empty(0, SHOWN))
    texts: frozenset[str] = frozenset()
    """The `text_key` of texts without images."""

    @classmethod
    def of(cls, removed: pa.Table, barred: pa.Table) -> "Barred":
        """Those of a list of removed samples and a list of what else was asked for."""
        is_id = pc.match_substring_regex(
            removed["key"], "^[0-9a-f]{32}$"
        )  # not one of a foreign tar
        removed = removed.filter(is_id)
        images = removed.filter(pc.not_equal(removed["sha256"], ""))
        anchors = split_ids(images["key"])[0] if len(images) else np.array([], np.uint64)

        def values(what: str) -> list[str]:
            found: list[str] = barred.filter(pc.equal(barred["what"], what))["value"].to_pylist()
            return found

        urls = frozenset(int(one, 16) for one in values("url"))
        ids = pa.chunked_array([*removed["key"].chunks, pa.array(values("id"), pa.string())])
        looks = barred.filter(pc.equal(barred["what"], "phash"))
        return cls(
            ids.unique(),
            images["sha256"].combine_chunks().unique(),
            np.unique(np.concatenate([anchors, np.array(sorted(urls), np.uint64)])),
            urls,
            frozenset(values("domain")),
            listed(looks.rename_columns({"value": "phash"})),
            frozenset(values("text")),
        )

    def samples(self, rows: pa.Table) -> pa.Array:
        """Whether each row is a removed sample, has the URL of a removed image, or a URL, domain or
        text that is barred, bool [n].

        Args:
            rows: With `id`, `image_url`, `page_url`, `caption` and `extra`.
        """
        barred = np.zeros(len(rows), bool)
        if not len(rows):
            return pa.array(barred)
        has_image = rows["image_url"].is_valid().to_numpy()
        if len(self.ids):
            barred |= pc.is_in(rows["id"], value_set=self.ids).to_numpy()
        if len(self.urls):
            barred |= has_image & np.isin(split_ids(rows["id"])[0], self.urls)
        if self.pages:
            pages = rows["page_url"].combine_chunks().dictionary_encode()
            known = [url_hash(url) in self.pages for url in pages.dictionary.to_pylist()]
            at = pages.indices.fill_null(len(known)).to_numpy()
            barred |= np.array([*known, False])[at]
        if self.domains:
            for name in ("image_url", "page_url"):
                found = domains_among(rows[name].combine_chunks(), self.domains)
                barred |= found.is_valid().to_numpy(zero_copy_only=False)
        if self.texts:
            for row in np.flatnonzero(~has_image & ~barred).tolist():
                keys = text_keys(rows["caption"][row].as_py(), rows["extra"][row].as_py())
                barred[row] = not self.texts.isdisjoint(keys)
        return pa.array(barred)

    def judge(self, rows: pa.Table) -> pa.Table:
        """Rows whose image has the bytes of a removed one, or looks like one that is barred, have
        the reason `removed`, whatever else is wrong with them.

        Args:
            rows: With `sha256`, `reason` and `value`; where there are `looks`, also `phash`,
                `thumbnail`, `width` and `height`.
        """
        if not (len(self.digests) or len(self.looks)):
            return rows
        same = pc.is_in(rows["sha256"], value_set=self.digests)
        if len(self.looks):
            alike = same.to_numpy().copy()
            there = np.flatnonzero(rows["phash"].is_valid().to_numpy())
            hits = find_images(self.looks, shown_of(rows.take(there)))
            alike[there[[hit is not None for hit in hits]]] = True
            same = pa.array(alike)
        changed: Mapping[str, Any] = {"reason": "removed", "value": pa.scalar(None, pa.string())}
        for name, value in changed.items():
            column = pc.if_else(same, value, rows[name])
            rows = rows.set_column(rows.column_names.index(name), name, column)
        return rows


def text_keys(caption: str | None, extra: str | None) -> set[str]:
    """The keys by which a text is barred: of its caption, and of what that was before rules of the
    recipe cleaned it, which `extra` keeps (JSON)."""
    found = {caption, json.loads(extra).get("caption_before") if extra else None}
    return {text_key(text) for text in found if isinstance(text, str) and text}


def barred_settings(corpus: str) -> dict[str, Any]:
    """A digest of what was removed from a corpus or is barred, as settings of a stage; none where
    nothing is. Where the samples lay does not count."""
    removed, barred = read_newest(corpus), newest_barred(corpus)
    if not len(removed) and barred is None:
        return {}
    digest = hashlib.sha256()
    pairs = zip(removed["key"].to_pylist(), removed["sha256"].to_pylist(), strict=True)
    for key, sha256 in sorted(pairs):
        digest.update(f"{key} {sha256}\n".encode())
    for row in read_barred_list(barred).to_pylist():
        digest.update(f"{row}\n".encode())
    return {"removed": digest.hexdigest()}


@dataclass(frozen=True)
class BarredLists:
    """The lists of what a build drops, for tasks; a list is never changed."""

    removed: str | None = None
    barred: str | None = None


def barred_lists(corpus: str) -> BarredLists:
    """The newest lists of a corpus."""
    newest = newest_list(corpus)
    removed = files.join(corpus, newest[1]) if newest else None
    return BarredLists(removed, newest_barred(corpus))


@lru_cache(maxsize=2)
def read_barred(lists: BarredLists) -> Barred:
    """What lists keep out."""
    removed = REMOVED_LIST.empty_table()
    if lists.removed is not None:
        removed = files.read_table(lists.removed, REMOVED_LIST.names)
    return Barred.of(removed, read_barred_list(lists.barred))


def as_removed(rows: pa.Table) -> pa.Table:
    """The reject rows of removed samples, which say nothing of them but the id."""
    kept = rows.select(["id"]).append_column("reason", pa.repeat("removed", len(rows)))
    return kept.append_column("value", pa.nulls(len(rows), pa.string()))
