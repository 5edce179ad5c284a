"""The ids of a selection as files, made while they are sent."""

import io
import shlex
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from septet.pipelines.browse.tables import Tables

_ROWS_AT_ONCE = 500_000
_FORMULA = r"\A([=+\-@\t\r])"
IDS = pa.schema([("key", pa.string()), ("shard", pa.string()), ("row", pa.int64())])
"""A sample's key, the tar that has it, and its row there."""


class Outgoing:
    """Answers with the ids of the samples that meet a condition.

    Args:
        tables: The corpus's tables.
    """

    def __init__(self, tables: Tables):
        self._tables, self._corpus = tables, tables.corpus

    def csv(self, request: Request, form: Mapping[str, str]) -> Response:
        """The ids as CSV, with a head; texts that spreadsheets would take for a formula have an
        apostrophe before them, as spreadsheets write such texts."""
        return self._sent(_as_csv(self._parts(form)), "text/csv", "ids.csv")

    def parquet(self, request: Request, form: Mapping[str, str]) -> Response:
        """The ids as Parquet."""
        media = "application/vnd.apache.parquet"
        return self._sent(_as_parquet(self._parts(form)), media, "ids.parquet")

    def commands(self, keep: str) -> str:
        """The lines of a shell that choose and export the same samples."""
        chosen = f" --keep {shlex.quote(keep.strip())}" if keep.strip() else ""
        view = shlex.quote(f"{self._corpus.path}@NAME")
        return (
            f"septet curate {shlex.quote(self._corpus.label)}{chosen} --name NAME\n"
            f"septet export {view} tars/"
        )

    def _parts(self, form: Mapping[str, str]) -> Iterator[pa.Table]:
        """The ids, of some shards at a time."""
        tars = pa.array([shard.tar for shard in self._corpus.shards], pa.string())
        starts = np.concatenate([[0], np.cumsum(self._corpus.counts)])
        first = 0
        while first < len(tars):
            last = int(np.searchsorted(starts, starts[first] + _ROWS_AT_ONCE, "right")) - 1
            last = max(last, first + 1)
            found = self._tables.keys(form.get("keep", ""), first, last)
            shards = tars.take(found["shard"].combine_chunks())
            yield pa.table([found["key"], shards, found["row"]], names=IDS.names).cast(IDS)
            first = last

    def _sent(self, parts: Iterator[bytes], media: str, name: str) -> Response:
        begin = next(parts)  # what cannot be asked is told on a page

        def whole() -> Iterator[bytes]:
            yield begin
            yield from parts

        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(whole(), media_type=media, headers=headers)


def _as_csv(parts: Iterator[pa.Table]) -> Iterator[bytes]:
    is_first = True
    for part in parts:
        out = io.BytesIO()
        pa_csv.write_csv(_as_texts(part), out, pa_csv.WriteOptions(include_header=is_first))
        is_first = False
        yield out.getvalue()
    if is_first:
        yield ('"' + '","'.join(IDS.names) + '"\n').encode()


def _as_texts(part: pa.Table) -> pa.Table:
    """Ids of which none is a formula of a spreadsheet."""
    for place, name in enumerate(part.column_names):
        column = part[name]
        if pa.types.is_string(column.type):
            safe = pc.replace_substring_regex(column, _FORMULA, r"'\1")
            part = part.set_column(place, name, safe)
    return part


def _as_parquet(parts: Iterator[pa.Table]) -> Iterator[bytes]:
    out = _Passed()
    with pq.ParquetWriter(out, IDS, compression="zstd") as writer:
        for part in parts:
            writer.write_table(part)
            yield out.taken()
    yield out.taken()


class _Passed(io.RawIOBase):
    """A file of which what was written is taken out, and forgotten."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        """What was written since this was last asked."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
