"""What a takedown asks for: ids, URLs or domains, and the rows of a sidecar that they mean."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from septet.preprocess import files
from septet.preprocess.domains import domain_name
from septet.preprocess.urls import UrlError, resolve

How = Literal["ids", "urls", "domain"]

COLUMNS = ("key", "url", "page_url", "sha256")
"""Columns of a sidecar that are read, where it has them."""
MAX_BYTES = 2**30
_ID = re.compile(r"[0-9A-Fa-f]{32}")
_DOMAIN = re.compile(r"[^\s/@:?#]+\.[^\s/@:?#.]+")
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>\[[^\]/?#]*\]|[^:/?#]+)"


@dataclass(frozen=True)
class Wanted:
    """What is to be removed."""

    how: How
    spelled: dict[str, str]
    """The lines of the list, by each spelling that a sidecar may have of one."""

    @property
    def values(self) -> list[str]:
        """The lines, each once, in their order."""
        return [*dict.fromkeys(self.spelled.values())]

    def rows(self, table: pa.Table) -> tuple[NDArray[np.bool_], set[str]]:
        """The rows of a sidecar that are meant, bool [n], and the lines that they answer.

        Args:
            table: Those of `COLUMNS` that the sidecar has.
        """
        if self.how == "ids":
            return self._equal(table, "key")
        if self.how == "urls":
            own, found = self._equal(table, "url")
            page, also = self._equal(table, "page_url")
            return own | page, found | also
        hit, found = np.zeros(len(table), bool), set[str]()
        for name in ("url", "page_url"):
            mine, domains = self._below(texts(table, name))
            hit, found = hit | mine, found | domains
        return hit, found

    def _equal(self, table: pa.Table, name: str) -> tuple[NDArray[np.bool_], set[str]]:
        column = texts(table, name)
        hit = pc.is_in(column, value_set=pa.array([*self.spelled], pa.string()))
        found = {self.spelled[value] for value in column.filter(hit).unique().to_pylist()}
        return hit.to_numpy(zero_copy_only=False), found

    def _below(self, urls: pa.Array) -> tuple[NDArray[np.bool_], set[str]]:
        """The URLs whose host is one of the domains, or lies below one."""
        hosts = pc.struct_field(pc.extract_regex(urls, _HOST), [0]).dictionary_encode()
        known, domains = self.spelled, [""] * len(hosts.dictionary)
        for number, host in enumerate(hosts.dictionary.to_pylist()):
            labels = host.lower().rstrip(".").split(".")
            names = (".".join(labels[i:]) for i in range(len(labels)))
            domains[number] = next((known[name] for name in names if name in known), "")
        hit = np.array([bool(one) for one in domains], bool)
        which = hosts.indices.fill_null(len(domains)).to_numpy()
        found = np.append(hit, False)[which]
        return found, {domains[i] for i in np.unique(which[found])}


def texts(table: pa.Table, name: str) -> pa.Array:
    """A column of texts; nulls where the sidecar has none of that name, or no texts in it."""
    if name not in table.column_names:
        return pa.nulls(len(table), pa.string())
    column = table[name].combine_chunks()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return pa.nulls(len(table), pa.string())
    return column.cast(pa.string())


def read_wanted(how: How, file: str) -> Wanted:
    """Read a list: a text file with a value a line; empty lines and those that begin with `#` are
    passed over. In place of a file of domains one domain may stand.

    Raises:
        ValueError: there is no such file, it is too large, no text, or holds no value; or a line of
            a list of URLs or domains is none.
    """
    there = files.exists(file)
    if how == "domain" and not there and _DOMAIN.fullmatch(file.rstrip(".")):
        return Wanted(how, _spellings(how, [file], file))
    if not there:
        more = ", nor is it a domain" if how == "domain" else ""
        raise ValueError(f"{file}: there is no such file{more}; expected a text file, a line each")
    if files.size(file) > MAX_BYTES:
        raise ValueError(f"{file} has more than {MAX_BYTES:,} bytes: cut it")
    try:
        lines = files.read_bytes(file).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error}); expected a text file") from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error}); expected a text file") from error
    found = _spellings(how, lines, file)
    if not found:
        raise ValueError(f"{file} holds no line: nothing to remove")
    return Wanted(how, found)


def _spellings(how: How, lines: Iterable[str], file: str) -> dict[str, str]:
    """Each spelling, and the first line that means it."""
    found: dict[str, str] = {}
    for spelling, line in _spelled(how, lines, file):
        found.setdefault(spelling, line)
    return found


def _spelled(how: How, lines: Iterable[str], file: str) -> Iterable[tuple[str, str]]:
    """Each spelling of a line, and the line."""
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if how == "domain":
            domain = line.lower().rstrip(".").removeprefix("*.")
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(f"{file}, line {number}: {line!r} is no domain: write example.org")
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
