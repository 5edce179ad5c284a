"""Arrow tables as bytes, for shuffles."""

from functools import lru_cache

import pyarrow as pa

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
_END_BYTES = 8


def to_ipc(table: pa.Table, schema: pa.Schema) -> bytes:
    """A table of text rows as an Arrow stream without its schema, compressed.

    The schema would be most of a piece of few rows, and both ends know it.
    """
    return _stream(table.combine_chunks(), schema)[len(_head(schema)) :]


def from_ipc(data: bytes, schema: pa.Schema) -> pa.Table:
    """The inverse of `to_ipc`."""
    return pa.ipc.open_stream(_head(schema) + data).read_all()


@lru_cache
def _head(schema: pa.Schema) -> bytes:
    """The beginning of every stream of the schema."""
    return _stream(schema.empty_table(), schema)[:-_END_BYTES]


def _stream(table: pa.Table, schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_OPTIONS) as writer:
        if len(table):
            writer.write_table(table)
    return bytes(sink.getvalue())
