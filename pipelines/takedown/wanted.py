"""What a takedown asks for: ids, URLs, domains or looks, and the rows of a sidecar that they
mean."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from septet.preprocess import files
from septet.preprocess.domains import domain_name, domains_among
from septet.preprocess.evaluation.images import find_images, listed, shown_of
from septet.preprocess.shards.views import Chosen
from septet.preprocess.text.ids import url_hash
from septet.preprocess.urls import UrlError, resolve
from septet.schemas.manifest import BARRED_LIST

How = Literal["ids", "urls", "domain", "phash"]

COLUMNS = ("key", "url", "page_url", "sha256")
"""Columns of a sidecar that are read, where it has them."""
MAX_BYTES = 2**30
_LONGEST = 65_536
"""Characters of a line; more are a file of another kind."""
_LINE_END = re.compile(r"\r\n|\r|\n")
"""Not what `str.splitlines` also takes for one, which names of files and URLs can hold."""
_ID = re.compile(r"[0-9A-Fa-f]{32}")
_DOMAIN = re.compile(r"[^\s/@:?#.*]+(\.[^\s/@:?#.*]+)+")


@dataclass(frozen=True)
class Wanted:
    """What is to be removed."""

    how: How
    spelled: dict[str, str]
    """The lines of the list, by each spelling that a sidecar may have of one."""
    looks: pa.Table = field(default_factory=BARRED_LIST.empty_table)
    """Of `phash`: rows of `BARRED_LIST`, one for each of `spelled`, in its order."""

    @property
    def values(self) -> list[str]:
        """The lines, each once, in their order."""
        return [*dict.fromkeys(self.spelled.values())]

    def rows(self, table: pa.Table) -> tuple[NDArray[np.bool_], set[str]]:
        """The rows of a sidecar that are meant, bool [n], and the lines that they answer.

        Args:
            table: Those of `COLUMNS` that the sidecar has; of `phash`, what the images look like.
        """
        if self.how == "phash":
            return self._alike(table)
        if self.how == "ids":
            return self._equal(table, "key")
        if self.how == "urls":
            own, found = self._equal(table, "url")
            page, also = self._equal(table, "page_url")
            return own | page, found | also
        hit, found = np.zeros(len(table), bool), set[str]()
        for name in ("url", "page_url"):
            domains = domains_among(texts(table, name), self.spelled)
            hit |= domains.is_valid().to_numpy(zero_copy_only=False)
            found.update(self.spelled[one] for one in domains.unique().drop_null().to_pylist())
        return hit, found

    @property
    def barred(self) -> pa.Table:
        """Rows of `BARRED_LIST` by which later builds drop what is asked for."""
        if self.how == "phash":
            return self.looks
        names = {"ids": "id", "urls": "url", "domain": "domain"}
        values = [f"{url_hash(one):016x}" if self.how == "urls" else one for one in self.spelled]
        rows = [{"what": names[self.how], "value": value} for value in values]
        return pa.Table.from_pylist(rows, BARRED_LIST)

    def _alike(self, table: pa.Table) -> tuple[NDArray[np.bool_], set[str]]:
        hit = np.zeros(len(table), bool)
        there = np.flatnonzero(table["phash"].is_valid().to_numpy())
        known = listed(self.looks.rename_columns({"value": "phash"}))
        hits = find_images(known, shown_of(table.take(there)))
        hit[there] = [one is not None for one in hits]
        return hit, {self.values[one.number] for one in hits if one is not None}

    def _equal(self, table: pa.Table, name: str) -> tuple[NDArray[np.bool_], set[str]]:
        column = texts(table, name)
        hit = pc.is_in(column, value_set=pa.array([*self.spelled], pa.string()))
        found = {self.spelled[value] for value in column.filter(hit).unique().to_pylist()}
        return hit.to_numpy(zero_copy_only=False), found


def texts(table: pa.Table, name: str) -> pa.Array:
    """A column of texts; nulls where the sidecar has none of that name, or no texts in it."""
    if name not in table.column_names:
        return pa.nulls(len(table), pa.string())
    column = table[name].combine_chunks()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return pa.nulls(len(table), pa.string())
    return column.cast(pa.string())


def read_wanted(how: Literal["ids", "urls", "domain"], file: str) -> Wanted:
    """Read a list: a text file with a value a line; empty lines and those that begin with `#` are
    passed over. In place of a file of domains one domain may stand, in place of one of ids the
    `ids.npy` of a view.

    Raises:
        ValueError: there is no such file, it is too large, no text, or holds no value; or a line of
            a list of URLs or domains is none.
    """
    if how == "domain" and not files.exists(file):
        if _DOMAIN.fullmatch(_bare(file)):
            return Wanted(how, _spellings(how, [(1, file)], file))
        raise ValueError(f"{file}: there is no such file, nor is it a domain")
    if how == "ids" and file.endswith(".npy"):
        chosen = Chosen.read("", file)
        halves = zip(chosen.high.tolist(), chosen.low.tolist(), strict=True)
        return Wanted(how, {key: key for key in (f"{a:016x}{b:016x}" for a, b in halves)})
    return Wanted(how, _spellings(how, lines_of(file), file))


def _bare(domain: str) -> str:
    """A domain without what people write around one that stands for all below it."""
    return domain.rstrip(".").removeprefix("*.").removeprefix(".")


def lines_of(file: str) -> list[tuple[int, str]]:
    """The lines of a list that hold something, with their numbers.

    Raises:
        ValueError: there is no such file, it is too large, no text, or holds no value.
    """
    if not files.exists(file):
        raise ValueError(f"{file}: there is no such file; expected a text file, a line each")
    if files.size(file) > MAX_BYTES:
        raise ValueError(f"{file} has more than {MAX_BYTES:,} bytes: cut it")
    try:
        lines = _LINE_END.split(files.read_bytes(file).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error}); expected a text file") from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error}); expected a text file") from error
    found = [(n, line) for n, line in enumerate(map(str.strip, lines), 1)
             if line and not line.startswith("#")]  # fmt: skip
    if not found:
        raise ValueError(f"{file} holds no line: nothing to remove")
    for number, line in found:
        if len(line) > _LONGEST or "\0" in line:
            what = f"{len(line):,} characters" if len(line) > _LONGEST else "NUL characters"
            raise ValueError(f"{file}, line {number} has {what}; expected a value a line")
    return found


def _spellings(how: How, lines: Iterable[tuple[int, str]], file: str) -> dict[str, str]:
    """Each spelling, and the first line that means it."""
    found: dict[str, str] = {}
    for spelling, line in _spelled(how, lines, file):
        found.setdefault(spelling, line)
    return found


def _spelled(how: How, lines: Iterable[tuple[int, str]], file: str) -> Iterable[tuple[str, str]]:
    """Each spelling of a line, and the line."""
    for number, line in lines:
        if how == "domain":
            domain = _bare(line).lower()
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(
                    f"{file}, line {number}: {line[:100]!r} is no domain: write example.org"
                )
            yield domain, domain
            with suppress(ValueError):
                yield domain_name(domain), domain
            continue
        yield line, line
        if how == "urls":
            # As builds spell it: without a fragment, and with a host in lower case.
            with suppress(UrlError):  # the path of an image of a folder is its identity, too
                yield resolve(line), line
        elif _ID.fullmatch(line):
            yield line.lower(), line
