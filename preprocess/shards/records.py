"""Where the members of a shard's rows lie, as its sidecar says."""

import itertools
import struct
import sys
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from septet.preprocess.shards.numbers import to_int64

Wanted = tuple[tuple[str, int], ...]
"""Extensions, and where a record tells of each."""


class Records:
    """What is known of each row's members, a record a row: the number of its list of extensions,
    then of each member where it begins in the tar, where it stops, and its checksum.

    A record's numbers lie side by side, as who reads in random order waits for memory.

    Args:
        members: A sidecar's lists of members.

    Raises:
        ValueError: they lack something, or contradict themselves.
    """

    def __init__(self, members: pa.ListArray):
        entries = members.flatten()
        if members.null_count or entries.null_count:
            raise ValueError("a row has no list of members")
        exts, *fields = (entries.field(name) for name in ("ext", "offset", "size", "crc32"))
        if any(field.null_count for field in (exts, *fields)):
            raise ValueError("a member has no extension, place or checksum")
        begins, sizes, crc32s = map(to_int64, fields)
        if len(begins) and min(begins.min(), sizes.min()) < 0:
            raise ValueError("a member has a negative offset or size")
        stops = begins + sizes
        firsts = to_int64(members.offsets)
        firsts -= firsts[0]
        counts = np.diff(firsts)
        rows = np.repeat(np.arange(len(counts)), counts)
        follows = (rows[1:] == rows[:-1]) & (begins[1:] > begins[:-1])
        if (follows & (begins[1:] < stops[:-1])).any():
            raise ValueError("a member reaches into the next one")
        bounds = np.arange(len(firsts)) + 3 * firsts
        numbers = np.empty(bounds[-1], np.int64)
        self._lists, numbers[bounds[:-1]] = _lists(exts.dictionary_encode(), firsts)
        places = 1 + rows + 3 * np.arange(len(begins))
        for i, column in enumerate((begins, stops, crc32s)):
            numbers[places + i] = column
        self._rows, self._numbers = len(counts), numbers.tobytes()
        equal = len(counts) > 0 and bool((counts == counts[0]).all())
        self._each = 8 + 24 * int(counts[0]) if equal else 0
        """Bytes of a record, where all have as many; otherwise `_bounds` says where each begins."""
        self._bounds = bounds[:0] if equal else 8 * bounds
        self._form = sys.intern(f"={self._each // 8}q")

    def __len__(self) -> int:
        return self._rows

    def _record(self, row: int) -> tuple[int, ...]:
        if not 0 <= row < self._rows:
            raise IndexError(f"row {row} of {self._rows}")
        # One call gives all numbers of a record; those of an array are asked for one by one.
        if self._each:
            return struct.unpack_from(self._form, self._numbers, row * self._each)
        begin, stop = self._bounds[row : row + 2].tolist()
        return struct.unpack_from(f"={(stop - begin) // 8}q", self._numbers, begin)

    def exts(self, row: int) -> tuple[str, ...]:
        """The extensions of a row's members."""
        return self._lists[self._record(row)[0]]

    def find(
        self, row: int, only: frozenset[str] | None
    ) -> tuple[tuple[int, ...], Wanted, int, int]:
        """A row's record, its members of some extensions (None for all), and the begin and size of
        what holds them.

        Raises:
            IndexError: no such row.
        """
        record = self._record(row)
        wanted = _wanted(self._lists[record[0]], only)
        if not wanted:
            return record, wanted, 0, 0
        start = record[wanted[0][1]]
        return record, wanted, start, record[wanted[-1][1] + 1] - start


@lru_cache(1024)
def _wanted(exts: tuple[str, ...], only: frozenset[str] | None) -> Wanted:
    return tuple((e, 1 + 3 * i) for i, e in enumerate(exts) if only is None or e in only)


@lru_cache(1024)
def _kept(exts: tuple[str, ...]) -> tuple[str, ...]:
    """The first of equal lists: what readers of many shards share stays in a core's cache."""
    return exts


def _lists(
    exts: pa.DictionaryArray, firsts: NDArray[np.int64]
) -> tuple[list[tuple[str, ...]], NDArray[np.int64]]:
    """The different lists of extensions, and the number of each row's."""
    names, rows = exts.dictionary.to_pylist(), len(firsts) - 1
    codes = to_int64(exts.indices)
    each = len(codes) // max(1, rows)
    if rows and (firsts == each * np.arange(rows + 1)).all():
        table = codes.reshape(rows, each)
        if (table == table[0]).all():  # as most shards have it
            return [_kept(tuple(names[code] for code in table[0]))], np.zeros(rows, np.int64)
    listed, found = codes.tolist(), dict[tuple[int, ...], int]()
    numbers = [
        found.setdefault(tuple(listed[begin:end]), len(found))
        for begin, end in itertools.pairwise(firsts.tolist())
    ]
    return [_kept(tuple(names[code] for code in one)) for one in found], np.array(numbers, np.int64)
