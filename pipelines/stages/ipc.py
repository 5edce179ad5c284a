"""Tables as bytes, for shuffles."""

import pyarrow as pa


def to_ipc(table: pa.Table) -> bytes:
    """A table of text rows as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes) -> pa.Table:
    """The inverse of `to_ipc`."""
    return pa.ipc.open_stream(data).read_all()
