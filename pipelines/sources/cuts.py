"""Cutting large files into slices that start and end between records."""

from typing import BinaryIO

import numpy as np
import pyarrow.parquet as pq

SLICE_BYTES = 8 * 2**20
"""Bytes of a slice of text, at least, but for the last; compressed ones of Parquet. Some 50,000
rows, or seconds of work: small beside a build, large beside the start of a task."""
SLICE_ROWS = 50_000
"""Rows of Parquet that are a slice, whatever their bytes."""
_MOST_PARTS = 16
"""Of a row group: who reads a part decodes all that stands before it in the group."""
_BLOCK = 4 * 2**20
_QUOTE, _LINE_FEED = 0x22, 0x0A


def cut_lines(file: BinaryIO, size: int, every: int = SLICE_BYTES) -> list[tuple[int, int]]:
    """Byte ranges that end at line ends; reads a line at each cut.

    Args:
        file: Seekable.
        size: Its bytes.
        every: Bytes of a slice, at least.
    """
    cuts = [0]
    while cuts[-1] + every < size:
        file.seek(cuts[-1] + every - 1)
        end = cuts[-1] + every - 1
        while block := file.readline(_BLOCK):
            end += len(block)
            if block.endswith(b"\n"):
                break
        if end >= size:
            break
        cuts.append(end)
    return list(zip(cuts, [*cuts[1:], size], strict=True))


def cut_quoted_lines(file: BinaryIO, size: int, every: int = SLICE_BYTES) -> list[tuple[int, int]]:
    """The same for CSV, where a line end inside quotes ends no row.

    Reads the file once where it is larger than a slice, and counts its quotes: a line end is
    outside where an even number stands before it. A file with an odd number in all has an unclosed
    quote: it is not cut.
    """
    cuts = [0]
    inside = 0  # whether an odd number of quotes has been passed
    at = 0
    if size <= every:
        return [(0, size)]
    file.seek(0)
    while block := file.read(_BLOCK):
        if at + len(block) > cuts[-1] + every:
            codes = np.frombuffer(block, np.uint8)
            open_ = (np.cumsum(codes == _QUOTE) + inside) & 1
            ends = np.flatnonzero((codes == _LINE_FEED) & (open_ == 0)) + at + 1
            while len(later := ends[ends >= cuts[-1] + every]):
                cuts.append(int(later[0]))
        inside = (inside + block.count(b'"')) & 1
        at += len(block)
    if inside:
        return [(0, size)]
    cuts = [cut for cut in cuts if cut < size]
    return list(zip(cuts, [*cuts[1:], size], strict=True))


def cut_rows(footer: pq.FileMetaData) -> list[tuple[int, int]]:
    """Ranges of rows of a Parquet file, each of `SLICE_BYTES` or `SLICE_ROWS` or so: neighbouring
    row groups, or equal parts of a large one."""
    cuts, size, rows = [0], 0, 0
    end = 0
    for group in map(footer.row_group, range(footer.num_row_groups)):
        start, end = end, end + group.num_rows
        stored = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
        parts = min(max(stored // SLICE_BYTES, group.num_rows // SLICE_ROWS, 1), _MOST_PARTS)
        for part in range(parts):
            if size >= SLICE_BYTES or rows >= SLICE_ROWS:
                cuts.append(start + part * group.num_rows // parts)
                size = rows = 0
            size, rows = size + stored // parts, rows + group.num_rows // parts
    cuts = [*dict.fromkeys(cut for cut in cuts if cut < end)] or [0]
    return list(zip(cuts, [*cuts[1:], end], strict=True))
