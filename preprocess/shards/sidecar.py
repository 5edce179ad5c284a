"""A reader of shards' sidecars, whoever wrote them: form and size are checked before memory is
taken."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from septet.preprocess import files
from septet.schemas.languages import language_code
from septet.schemas.tables import MEMBERS

UNKNOWN = "und"
"""ISO 639's code of a language that is not known."""
MAX_ROWS = 5_000_000
"""Most rows of a sidecar."""
MAX_BYTES = 2**30
"""Most bytes that the columns asked for may take in memory."""
_ROWS_AT_ONCE = 1024
"""The number of rows read at once: so few that a value which a file repeats cheaply cannot fill the
memory before it is counted."""

_READ_WHOLE = 2**18
"""Bytes up to which a file is read in one go: Arrow comes back to Python for each part of another.
"""

_REQUIRED: dict[str, tuple[pa.DataType, ...]] = {
    "key": (pa.string(), pa.large_string()),
    "members": (MEMBERS,),
    "reason": (pa.string(), pa.large_string()),
}
"""Columns that readers rely on, with their types."""


class SidecarError(ValueError):
    """Raised when a sidecar is damaged or none, with what to do about it."""


@contextmanager
def open_sidecar(path: str, columns: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """Open a sidecar as a Parquet file; of a large one nothing but the footer is read.

    Args:
        path: The file.
        columns: Columns that it must have.

    Raises:
        SidecarError: it is no Parquet file, lacks a column, or has too many rows.
        OSError: it cannot be read.
    """
    try:
        file: Any = files.open_read(path)
        with file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            parquet = pq.ParquetFile(pa.BufferReader(file.read()) if size <= _READ_WHOLE else file)
            if parquet.metadata.num_rows > MAX_ROWS:
                raise SidecarError(
                    f"{path} has {parquet.metadata.num_rows:,} rows, a shard has at most "
                    f"{MAX_ROWS:,}"
                )
            names = parquet.schema_arrow.names
            missing = [name for name in columns if name not in names]
            if missing:
                have = ", ".join(names[:20]) or "none"
                raise SidecarError(f"{path} has no column {missing[0]!r} (it has {have})")
            yield parquet
    except pa.ArrowException as error:
        raise SidecarError(f"{path} is no sidecar that can be read ({error})") from error


def read_batches(
    parquet: pq.ParquetFile, path: str, columns: Sequence[str], rows: int = _ROWS_AT_ONCE
) -> Iterator[pa.RecordBatch]:
    """Read some columns of a sidecar in batches of rows; names that it lacks are passed over.

    Raises:
        SidecarError: a column that readers rely on has another type, or what is read is larger
            than `MAX_BYTES`.
    """
    schema = parquet.schema_arrow
    names = [name for name in columns if name in schema.names]
    for name in names:
        found, wanted = schema.field(name).type, _REQUIRED.get(name)
        if wanted is not None and not any(_alike(found, one) for one in wanted):
            raise SidecarError(f"{path}: column {name} is {found}, expected {wanted[0]}")
    size = 0
    # Threads take longer to wake than the few columns that a reader asks for to decode.
    for batch in parquet.iter_batches(rows, columns=names, use_threads=False):
        size += batch.nbytes
        if size > MAX_BYTES:
            raise SidecarError(f"{path} holds more than {MAX_BYTES:,} bytes in {', '.join(names)}")
        yield batch


def read_sidecar(
    path: str, columns: Sequence[str] | None = None, rows: int | None = None
) -> pa.Table:
    """Read a sidecar as a table.

    Args:
        path: The file.
        columns: Columns that it must have; None for all that are there.
        rows: The number of rows that it must have.

    Raises:
        SidecarError: it is not Parquet, lacks a column, has another type in one, other rows, or is
            too large.
        OSError: it cannot be read.
    """
    with open_sidecar(path, columns or ()) as parquet:
        schema, count = parquet.schema_arrow, parquet.metadata.num_rows
        names = list(schema.names if columns is None else columns)
        if rows is not None and count != rows:
            raise SidecarError(f"{path}: {count:,} rows, the manifest says {rows:,}")
        batches = list(read_batches(parquet, path, names))
        return pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in names]))


def sample_languages(path: str, rows: int) -> pa.Array:
    """The code of each row's language, `UNKNOWN` where a sidecar does not tell it."""
    try:
        known = read_sidecar(path, ["language"], rows)["language"].combine_chunks()
    except SidecarError:  # of an indexed folder that says none
        known = pa.nulls(rows, pa.string())
    encoded = known.cast(pa.string()).dictionary_encode()
    codes = [language_code(tag) or UNKNOWN for tag in encoded.dictionary.to_pylist()]
    places = encoded.indices.fill_null(len(codes))
    return pa.array([*codes, UNKNOWN]).take(places)


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types hold the same, whatever their fields' nullability."""
    if pa.types.is_list(wanted):
        if not pa.types.is_list(found) or not pa.types.is_struct(found.value_type):
            return False
        have = {field.name: field.type for field in found.value_type}
        return all(have.get(field.name) == field.type for field in wanted.value_type)
    return bool(found == wanted)
