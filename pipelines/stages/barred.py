"""What a corpus's removed samples keep out of a build: they, and their images, under any URL."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess import files
from septet.preprocess.shards.removed import newest_list, read_newest
from septet.preprocess.text.ids import split_ids
from septet.schemas.manifest import REMOVED_LIST

_NOTHING = pa.array([], pa.string())


@dataclass(frozen=True)
class Barred:
    """The ids, images and bytes that a build must not bring back."""

    ids: pa.Array = field(default_factory=lambda: _NOTHING)
    digests: pa.Array = field(default_factory=lambda: _NOTHING)
    """SHA-256 of images as they were fetched."""
    urls: np.ndarray = field(default_factory=lambda: np.array([], np.uint64))
    """Hashes of images' URLs, with which ids begin."""

    @classmethod
    def of(cls, listed: pa.Table) -> "Barred":
        """Those of a list of removed samples."""
        is_id = pc.match_substring_regex(
            listed["key"], "^[0-9a-f]{32}$"
        )  # not one of a foreign tar
        listed = listed.filter(is_id)
        has_image = pc.not_equal(listed["sha256"], "")
        images = listed.filter(has_image)
        anchors = split_ids(images["key"])[0] if len(images) else np.array([], np.uint64)
        return cls(
            listed["key"].combine_chunks().unique(),
            images["sha256"].combine_chunks().unique(),
            np.unique(anchors),
        )

    def samples(self, rows: pa.Table) -> pa.Array:
        """Whether each row is a removed sample or has the URL of a removed image, bool [n].

        Args:
            rows: With `id` and `image_url`.
        """
        if not len(self.ids) or not len(rows):
            return pa.array(np.zeros(len(rows), bool))
        same_url = np.isin(split_ids(rows["id"])[0], self.urls)
        same_url &= rows["image_url"].is_valid().to_numpy()
        same = pc.is_in(rows["id"], value_set=self.ids).to_numpy()
        return pa.array(same | same_url)

    def judge(self, rows: pa.Table) -> pa.Table:
        """Rows whose image has the bytes of a removed one have the reason `removed`, whatever else
        is wrong with them.

        Args:
            rows: With `sha256`, `reason` and `value`.
        """
        if not len(self.digests):
            return rows
        same = pc.is_in(rows["sha256"], value_set=self.digests)
        changed: Mapping[str, Any] = {"reason": "removed", "value": pa.scalar(None, pa.string())}
        for name, value in changed.items():
            column = pc.if_else(same, value, rows[name])
            rows = rows.set_column(rows.column_names.index(name), name, column)
        return rows


def barred_settings(corpus: str) -> dict[str, Any]:
    """A digest of what was removed from a corpus, as settings of a stage; none where nothing was.
    Where the samples lay does not count."""
    listed = read_newest(corpus)
    if not len(listed):
        return {}
    digest = hashlib.sha256()
    pairs = zip(listed["key"].to_pylist(), listed["sha256"].to_pylist(), strict=True)
    for key, sha256 in sorted(pairs):
        digest.update(f"{key} {sha256}\n".encode())
    return {"removed": digest.hexdigest()}


def removed_path(corpus: str) -> str | None:
    """The newest list of a corpus's removed samples, for tasks; a list is never changed."""
    newest = newest_list(corpus)
    return files.join(corpus, newest[1]) if newest else None


@lru_cache(maxsize=2)
def read_barred(path: str | None) -> Barred:
    """What a list keeps out."""
    return Barred() if path is None else Barred.of(files.read_table(path, REMOVED_LIST.names))


def as_removed(rows: pa.Table) -> pa.Table:
    """The reject rows of removed samples, which say nothing of them but the id."""
    kept = rows.select(["id"]).append_column("reason", pa.repeat("removed", len(rows)))
    return kept.append_column("value", pa.nulls(len(rows), pa.string()))
