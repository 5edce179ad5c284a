"""Files of a corpus that can be read, and what stands in for those that cannot.

One damaged file of a thousand is told, and the others are shown. What stands in for a sidecar keeps
its place, as a shard's number is its sidecar's place among the files.
"""

import time
from collections.abc import Callable, Mapping, Sequence
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
        heads = list(map_ahead(_head, files.values()))
        schema = next((one for one, _ in heads if isinstance(one, pa.Schema)), None)
        if schema is None:
            return list(files.values())
        paths = []
        for (name, path), (found, rows), wanted in zip(files.items(), heads, samples, strict=True):
            why = found if isinstance(found, str) else _unlike(found, schema)
            if not why and rows != wanted:
                why = f"{rows:,} rows, the list of shards says {wanted:,}"
            if why:
                self.faults[name] = why
                path = self._stand_in(schema, 0 if needed else wanted)
            else:
                self._whole[path] = name, schema, 0 if needed else wanted
            paths.append(path)
        return paths

    def rejects(self, files: Mapping[str, str]) -> list[str]:
        """The paths of files of rejects that can be read, after one without rows that has all
        columns: earlier versions wrote fewer."""
        paths = [self._stand_in(REJECTS, 0)]
        for name, path in files.items():
            found, _ = _head(path, ("stage", "reason"))
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


def _head(path: str, columns: Sequence[str] = ("key",)) -> tuple[pa.Schema | str, int]:
    """A file's columns and its number of rows; why it cannot be read, and none."""
    try:
        with pq.ParquetFile(path) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        return readable.one_line(str(error), 300), 0
    missing = [name for name in columns if name not in schema.names]
    return (f"it has no column {missing[0]}", 0) if missing else (schema, rows)


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
