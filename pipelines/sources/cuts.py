"""Cutting large files into slices that start and end between records."""

from typing import BinaryIO

import numpy as np
import pyarrow.parquet as pq

SLICE_BYTES = 16 * 2**20
"""Bytes of a slice of text, at least, but for the last; compressed ones of Parquet. Some 100,000
rows, or seconds of work: small beside a build, large beside the start of a task."""
SLICE_ROWS = 100_000
"""Most rows that are added to a slice of Parquet."""
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


def cut_row_groups(footer: pq.FileMetaData) -> list[tuple[int, int]]:
    """Ranges of row groups of a Parquet file, each of `SLICE_BYTES` or `SLICE_ROWS` or so."""
    cuts, size, rows = [0], 0, 0
    for number in range(footer.num_row_groups):
        if number > cuts[-1] and (size >= SLICE_BYTES or rows >= SLICE_ROWS):
            cuts.append(number)
            size = rows = 0
        group = footer.row_group(number)
        size += sum(group.column(i).total_compressed_size for i in range(group.num_columns))
        rows += group.num_rows
    return list(zip(cuts, [*cuts[1:], footer.num_row_groups], strict=True))
