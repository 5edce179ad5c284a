"""The fetch store of a corpus: every image that was fetched, or why it could not be, by its URL.

```
store/sites/                                   what robots.txt and the like say, by server
store/<settings>/settings.json                what decides the bytes
store/<settings>/retries.json                 which failures are to be tried again
store/<settings>/000001/a/bc/abc…-<token>-0000.bin      images, one after another
store/<settings>/000001/a/bc/abc…-<token>-0000.parquet  a row an image or failure (tables.STORED)
```

Each build that fetches anything adds a *generation*. A task is named by a digest, whose first
digits name the folder of its files, as below `stages/`; those of builds by Septet before 2026-12
lie in the generation's folder itself and are read there. No build changes or replaces a file: names
have a random token, and a table comes after the file of images that it is named like. So two
attempts at one task write files of their own, both true. (`septet clean` alone shortens tables, by
the rows of images that it removes beside failures.) The first success of an image counts; where
there is none the last failure counts, unless it is to be tried again.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.stages.stage import digest_of
from septet.preprocess import files
from septet.preprocess.http.opt_out import agent_token
from septet.preprocess.images.plug_ins import OPTIONAL
from septet.schemas import tables
from septet.schemas.layout import SITES, STORE
from septet.schemas.reasons import CLASSES, class_of, is_failure
from septet.schemas.recipe import Recipe
from septet.schemas.sources import ListSource

STORE_VERSION = 1
"""Raised when the code changes the bytes of an image."""
_CODECS = ("pillow", "opencv-python-headless", "simplejpeg")
LIMITS_FOOTER = "septet.limits"
FILE_OF_A_TASK = r"\d{6,}/([0-9a-f]/[0-9a-f]{2}/)?[0-9a-f]{16}-[0-9a-f]{8}-\d{4,}"
"""The form of a file's path within `store/<settings>/`, without its ending: in folders, or
flat as before 2026-12."""
_LIMITED = {
    "too_large": "max_bytes",
    "redirects": "max_redirects",
    "address": "allowed_hosts",
    "no_contact": "contact",
    "robots": "robots",
    "robots_unreachable": "robots_unreachable",
    "opt_out": "opt_out_files",
    "unsupported": "more_formats",
}
"""Reasons that depend on a setting that the others do not depend on."""


@dataclass(frozen=True)
class Retry:
    """A note that failures of some classes or reasons no longer count, if they are of an earlier
    generation; of an outage, whose failures were those of generation - 1, or by the wish of a
    user."""

    classes: tuple[str, ...]
    generation: int
    is_outage: bool


class Store:
    """The store of one corpus under one recipe's settings.

    Args:
        corpus: The corpus folder.
        recipe: Its recipe.
    """

    def __init__(self, corpus: str, recipe: Recipe):
        self.corpus = corpus
        fetch = recipe.fetch.model_dump(mode="json")
        fetch["contact"] = recipe.fetch.has_contact
        fetch["more_formats"] = sorted(recipe.image.more_formats) or None
        self._settings = {
            "version": STORE_VERSION,
            "image": recipe.image.model_dump(mode="json", exclude={"more_formats"}),
            "opt_out": sorted(fetch["opt_out"]),
            "tdm_reservation": fetch["tdm_reservation"],
            "agent": agent_token(fetch["user_agent"]),
            "codecs": {name: version(name) for name in _CODECS},
        }
        self.limits = {name: fetch[name] for name in sorted(_LIMITED.values())}
        """Settings that decide some failures, but no bytes."""
        self.hashes = tuple(
            sorted(
                {
                    source.hash
                    for source in recipe.sources
                    if isinstance(source, ListSource) and source.hash_col is not None
                }
                - {"sha256"}
            )
        )
        """The digests of fetched bytes that lists of the recipe ask for, besides SHA-256, which
        each image has. Images that lack one are fetched anew."""
        self.fingerprint = digest_of(self._settings)
        self.name = f"{STORE}/{self.fingerprint}"
        """Path of the store within the corpus."""
        self.folder = files.join(corpus, self.name)
        self.sites = files.join(corpus, SITES)
        """The folder that keeps what servers' robots.txt and the like say, of all recipes."""

    @property
    def identity(self) -> dict[str, Any]:
        """All settings that decide what the store has for an image."""
        retries = [[*retry.classes, retry.generation] for retry in self.retries]
        return {
            "store": self.fingerprint,
            "limits": self.limits,
            "hashes": self.hashes,
            "retries": retries,
        }

    @cached_property
    def retries(self) -> tuple[Retry, ...]:
        """The notes of what is to be tried again, oldest first."""
        path = files.join(self.folder, "retries.json")
        if not files.exists(path):
            return ()
        return tuple(
            # Notes of earlier versions do not say it.
            Retry(tuple(one["classes"]), one["generation"], one.get("outage", True))
            for one in json.loads(files.read_bytes(path))
        )

    @property
    def outages(self) -> set[int]:
        """The generations that were fetched, or may have been, while there was no network."""
        return {retry.generation - 1 for retry in self.retries if retry.is_outage}

    def known(self) -> "Known":
        """The facts of the store that workers need."""
        return Known(self.corpus, self.limits, self.retries, self.hashes)

    def retry(self, classes: Sequence[str], is_outage: bool = False) -> int:
        """Note that failures of some classes that are there no longer count.

        Args:
            classes: Names of `reasons.CLASSES`, or of reasons.
            is_outage: Whether the last generation's are those of an outage.

        Returns:
            How many there are. Nothing changes where there are none.

        Raises:
            ValueError: no such class, and no such reason.
        """
        for name in classes:
            if not is_failure(name):
                raise ValueError(
                    f"there is no class {name!r} of failures; there are {', '.join(CLASSES)}, and "
                    "the reasons of the stage fetch (docs/reasons.md)"
                )
        known, found = self.known(), 0
        for table in self.tables():
            rows = known.rows(table, ["reason", "value", "original_bytes"])
            failed = rows.filter(rows["reason"].is_valid()).to_pylist()
            found += sum(_is_of(row["reason"], row["value"], classes) for row in failed)
        if found:
            new = Retry(tuple(sorted(classes)), self.next_generation(), is_outage)
            data = [
                {"classes": list(r.classes), "generation": r.generation, "outage": r.is_outage}
                for r in (*self.retries, new)
            ]
            files.write_bytes(
                files.join(self.folder, "retries.json"), json.dumps(data).encode() + b"\n"
            )
            self.__dict__.pop("retries", None)
        return found

    def generations(self) -> list[int]:
        """The numbers of the generations that are there, ascending."""
        return sorted(int(name) for name in files.list_folder(self.folder) if name.isdecimal())

    def next_generation(self) -> int:
        """A number for a generation, higher than any that was there."""
        retried = (retry.generation - 1 for retry in self.retries)  # theirs may be removed
        return max([*self.generations(), *retried], default=0) + 1

    def tables(self) -> list[str]:
        """The paths of all tables within the corpus, by generation and name."""
        return [
            f"{self.name}/{generation:06d}/{table}"
            for generation in self.generations()
            for table in tables_in(files.join(self.folder, f"{generation:06d}"))
        ]

    def begin(self) -> None:
        """Write down the settings of the store, before its first image."""
        path = files.join(self.folder, "settings.json")
        if not files.exists(path):
            text = json.dumps(self._settings, indent=1, sort_keys=True) + "\n"
            files.write_bytes(path, text.encode())

    def sweep(self) -> None:
        """Remove files of images without a table, of all generations but the last. Attempts that
        were killed leave them."""
        for generation in self.generations()[:-1]:
            folder = files.join(self.folder, f"{generation:06d}")
            names = {name for name, _ in files.walk(folder)}
            for name in sorted(names):
                if name.endswith(".bin") and name.removesuffix("bin") + "parquet" not in names:
                    files.remove(files.join(folder, name))


def tables_in(generation: str) -> list[str]:
    """The paths of the tables in a generation's folder, relative to it, by name."""
    found = (path for path, _ in files.walk(generation) if path.endswith(".parquet"))
    return sorted(found, key=lambda path: path.rpartition("/")[2])


def generation_of(table: str) -> int:
    """The generation of a table, from its path within the corpus."""
    return int(table.split("/")[2])


@dataclass(frozen=True)
class Known:
    """The facts of a store that workers need, as plain data."""

    corpus: str
    limits: dict[str, Any]
    retries: tuple[Retry, ...]
    hashes: tuple[str, ...] = ()

    def rows(self, table: str, columns: list[str]) -> pa.Table:
        """The rows of a table of the store that count.

        Args:
            table: Path within the corpus.
            columns: Some of `tables.STORED`, `reason`, `value` and `original_bytes` among them.
        """
        path = files.join(self.corpus, table)
        _, footer = files.read_table_metadata(path)
        rows = read_stored(path, [*dict.fromkeys([*columns, *self.hashes, "format"])])
        for name in self.hashes:
            lacks = pc.and_(pc.is_null(rows["reason"]), pc.is_null(rows[name]))
            rows = rows.filter(pc.invert(lacks))
        limits = json.loads(footer.get(LIMITS_FOOTER.encode(), b"{}"))
        changed = {name for name, value in self.limits.items() if limits.get(name) != value}
        retries = [r for r in self.retries if generation_of(table) < r.generation]
        again = {name for retry in retries for name in retry.classes}
        failed = np.flatnonzero(rows["reason"].is_valid().to_numpy())
        if len(failed) and (changed or again):
            counts = np.ones(len(rows), bool)
            losses = rows.select(["reason", "value"]).take(failed).to_pylist()
            counts[failed] = [
                _LIMITED.get(loss["reason"]) not in changed and not _is_of(**loss, names=again)
                for loss in losses
            ]
            rows = rows.filter(pa.array(counts))
        sizes = rows["original_bytes"]
        large = pc.greater(sizes, self.limits["max_bytes"])
        rows = _lost(rows, "too_large", large, sizes.cast(pa.string()))
        other = pc.is_in(rows["format"], _others(self.limits.get("more_formats") or ()))
        return _lost(rows, "unsupported", other, rows["format"]).select(columns)


def read_stored(path: str, columns: list[str]) -> pa.Table:
    """Read some columns of `tables.STORED`; those that a table of an earlier version lacks are
    null."""
    rows = files.read_table(path, columns)
    for name in columns:
        if name not in rows.column_names:
            nulls = pa.nulls(len(rows), tables.STORED.field(name).type)
            rows = rows.append_column(name, nulls)
    return rows.select(columns)


def _is_of(reason: str, value: str | None, names: Collection[str]) -> bool:
    """Whether a failure is one of `names`, classes and reasons."""
    return reason in names or class_of(reason, value) in names


def _others(more: Collection[str]) -> pa.Array:
    """The optional formats that the recipe does not ask for (any more)."""
    return pa.array([kind for kind in OPTIONAL if kind not in more], pa.string())


def _lost(rows: pa.Table, reason: str, where: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.Table:
    """Turn images that the recipe by now excludes into failures."""
    excluded = pc.and_(pc.is_null(rows["reason"]), pc.fill_null(where, False))
    if not pc.any(excluded, min_count=0).as_py():
        return rows
    for name, new in (("reason", pa.scalar(reason)), ("value", values)):
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, pc.if_else(excluded, new, rows[name]))
    return rows
