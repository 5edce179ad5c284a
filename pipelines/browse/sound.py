"""Files of a corpus that can be read, and what stands in for those that cannot.

One damaged file of a thousand is told, and the others are shown. What stands in for a sidecar keeps
its place, as a shard's number is its sidecar's place among the files.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from septet.pipelines.ahead import map_ahead
from septet.pipelines.report import readable
from septet.schemas.tables import REJECTS

_TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.null())


class Sound:
    """What can be read of a corpus's tables.

    Args:
        folder: A folder for files that stand in for others.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.faults: dict[str, str] = {}
        """What cannot be read, by its name within the corpus, with the reason."""
        self._ends: dict[str, dict[str, tuple[float, float] | None]] = {}
        """The least and greatest values of numbers in files that are read, by path; None of one
        whose footer does not tell them."""
        self._whole: dict[str, tuple[str, pa.Schema, int]] = {}
        """Files of which no more than the footer was read, by path: the name, and columns and rows
        of what would stand in for it."""

    def sidecars(self, files: Mapping[str, str], samples: Sequence[int], needed: bool) -> list[str]:
        """The paths of sidecars in their order, with others in the place of those that cannot be
        read.

        Args:
            files: Their paths, by their names within the corpus.
            samples: How many rows each must have.
            needed: Whether a sample is left out that has no row there, as without its base sidecar;
                else its row says nothing.
        """
        heads = [_head(path) for path in files.values()]  # in threads it takes twice as long
        schema = next((one for one, *_ in heads if isinstance(one, pa.Schema)), None)
        if schema is None:
            return list(files.values())
        paths = []
        for (name, path), (found, rows, ends), wanted in zip(
            files.items(), heads, samples, strict=True
        ):
            why = found if isinstance(found, str) else ""
            if not why and found != schema:
                why = _unlike(found, schema)
            if not why and rows != wanted:
                why = f"{rows:,} rows, the list of shards says {wanted:,}"
            if why:
                self.faults[name] = why
                path = self._stand_in(schema, 0 if needed else wanted)
            else:
                self._whole[path] = name, schema, 0 if needed else wanted
                self._ends[path] = ends
            paths.append(path)
        return paths

    def ends(self, paths: Iterable[str], name: str) -> tuple[float | None, float | None] | None:
        """The least and greatest value of a number in some files as their footers tell them, None
        for both where there is no value; None where a footer does not tell.

        Args:
            paths: The files, of `sidecars`; what stands in for others has no value.
            name: The column.
        """
        none = (math.inf, -math.inf)
        told = [self._ends[path].get(name) for path in paths if path in self._ends]
        found = [ends for ends in told if ends != none]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        if not known:
            return None, None
        return min(low for low, _ in known), max(high for _, high in known)

    def rejects(self, files: Mapping[str, str]) -> list[str]:
        """The paths of files of rejects that can be read, after one without rows that has all
        columns: earlier versions wrote fewer."""
        paths = [self._stand_in(REJECTS, 0)]
        for name, path in files.items():
            found, *_ = _head(path, ("stage", "reason"))
            why = found if isinstance(found, str) else _no_texts(found)
            if why:
                self.faults[name] = why
            else:
                self._whole[path] = name, REJECTS, 0
                paths.append(path)
        return paths

    def mend(self, fault: Callable[[str], str], seconds: float) -> dict[str, str]:
        """Look through the pages of files, which is not done before one is known to be damaged.

        Args:
            fault: Says why a file cannot be read to its end; nothing of one that can.
            seconds: The most time; files that were not looked at are looked at by the next call.

        Returns:
            What stands in for those that cannot, by their paths.
        """
        ends, found = time.monotonic() + seconds, {}
        paths = [*self._whole]
        for path, why in zip(paths, map_ahead(fault, paths, 2), strict=False):
            name, schema, rows = self._whole.pop(path)
            if why:
                self.faults[name] = readable.one_line(why, 300)
                found[path] = self._stand_in(schema, rows)
            if time.monotonic() > ends:
                break
        return found

    def _stand_in(self, schema: pa.Schema, rows: int) -> str:
        """A file of some rows that say nothing."""
        path = self.folder / f"stand-in-{len(list(self.folder.iterdir()))}.parquet"
        fields = [one.with_nullable(True) for one in schema]
        nulls = [pa.nulls(rows, one.type) for one in fields]
        pq.write_table(pa.Table.from_arrays(nulls, schema=pa.schema(fields)), path)
        return str(path)


def _head(
    path: str, columns: Sequence[str] = ("key",)
) -> tuple[pa.Schema | str, int, dict[str, tuple[float, float] | None]]:
    """A file's columns, its number of rows, and the ends of its numbers; why it cannot be read, and
    none."""
    try:
        with pq.ParquetFile(path) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
            ends = _ends(parquet.metadata, schema)
    except (pa.ArrowException, OSError) as error:
        return readable.one_line(str(error), 300), 0, {}
    missing = [name for name in columns if name not in schema.names]
    return (f"it has no column {missing[0]}", 0, {}) if missing else (schema, rows, ends)


def _ends(footer: pq.FileMetaData, schema: pa.Schema) -> dict[str, tuple[float, float] | None]:
    """The least and greatest values of numbers, by column; None where the footer does not tell."""
    found: dict[str, tuple[float, float] | None] = {}
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for place, name in _number_places(schema).items():
            chunk = group.column(place)
            if name in found and found[name] is None:
                continue
            told, (low, high) = chunk.statistics, found.get(name) or (math.inf, -math.inf)
            if told is not None and told.has_min_max:
                ends = told.min, told.max
                is_told = not any(map(math.isnan, ends))
                found[name] = (min(low, ends[0]), max(high, ends[1])) if is_told else None
            elif told is not None and told.null_count == chunk.num_values:
                found[name] = low, high
            else:
                found[name] = None
    return found


@lru_cache(16)
def _number_places(schema: pa.Schema) -> dict[int, str]:
    """The places of numbers among a file's columns, with their names, up to the first that holds
    others."""
    found = {}
    for place, one in enumerate(schema):
        if pa.types.is_nested(one.type):
            break
        if pa.types.is_integer(one.type) or pa.types.is_floating(one.type):
            found[place] = one.name
    return found


def _unlike(found: pa.Schema, first: pa.Schema) -> str:
    """Why a sidecar's columns cannot be read as those of the first one; else nothing."""
    for field in first:
        places = found.get_all_field_indices(field.name)
        if not places:
            return f"it has no column {field.name}, others have"
        kind = found.field(places[0]).type
        if kind != pa.null() and _plain(kind) != _plain(field.type):
            return f"its column {field.name} is {kind}, {field.type} in others"
    return ""


def _plain(kind: pa.DataType) -> object:
    """A type, as one of a family that is read alike."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return "text" if kind in _TEXTS else kind.id if pa.types.is_nested(kind) else kind


def _no_texts(found: pa.Schema) -> str:
    for field in found:
        if field.name in REJECTS.names and _plain(field.type) != "text":
            return f"its column {field.name} is {field.type}, not text"
    return ""
