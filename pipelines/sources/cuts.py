"""Cutting large files into slices that start and end between records."""

from typing import BinaryIO

import pyarrow.parquet as pq

from septet.preprocess.lists.delimited import row_ends
from septet.preprocess.lists.lines import Lines, open_text

SLICE_BYTES = 8 * 2**20
"""Bytes of a slice of text, at least, but for the last; compressed ones of Parquet. Some 50,000
rows, or seconds of work: small beside a build, large beside the start of a task."""
SLICE_ROWS = 50_000
"""Rows of Parquet that are a slice, whatever their bytes."""
_MOST_PARTS, _MOST_REMOTE_PARTS = 16, 4
"""The greatest number of parts of a row group. A reader of a part decodes all that stands before it
in the group, and transfers it where it is remote: 2.5 times the group in all."""
_BLOCK = 4 * 2**20


def cut_lines(file: BinaryIO, size: int, every: int = SLICE_BYTES) -> list[tuple[int, int]]:
    """Cut a file of lines into ranges of bytes that end at line ends; reads a line at each cut.

    Args:
        file: Seekable.
        size: The file's bytes.
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


def cut_csv(file: BinaryIO, size: int, every: int = SLICE_BYTES) -> list[tuple[int, int]]:
    """Cut a CSV file into ranges of bytes that end where its reader says that a row ends: a line
    end inside quotes ends none. Reads the file once (some 60 MB/s) where it is larger than a slice.

    Raises:
        ListError: there is no header, or the file cannot be read.
    """
    cuts = [0]
    if size > every:
        for end in row_ends(Lines(open_text(file))):
            if end >= cuts[-1] + every and end < size:
                cuts.append(end)
    return list(zip(cuts, [*cuts[1:], size], strict=True))


def cut_rows(footer: pq.FileMetaData, is_local: bool = True) -> list[tuple[int, int]]:
    """Cut a Parquet file into ranges of rows, each of about `SLICE_BYTES` or `SLICE_ROWS`:
    neighbouring row groups, or equal parts of a large one."""
    most = _MOST_PARTS if is_local else _MOST_REMOTE_PARTS
    cuts, size, rows = [0], 0, 0
    end = 0
    for group in map(footer.row_group, range(footer.num_row_groups)):
        start, end = end, end + group.num_rows
        chunks = map(group.column, range(group.num_columns))
        stored = sum(
            chunk.total_compressed_size
            for chunk in chunks
            if not chunk.path_in_schema.endswith(".bytes")  # of images, which are read elsewhere
        )
        parts = min(max(stored // SLICE_BYTES, group.num_rows // SLICE_ROWS, 1), most)
        for part in range(parts):
            if size >= SLICE_BYTES or rows >= SLICE_ROWS:
                cuts.append(start + part * group.num_rows // parts)
                size = rows = 0
            size, rows = size + stored // parts, rows + group.num_rows // parts
    cuts = [*dict.fromkeys(cut for cut in cuts if cut < end)] or [0]
    return list(zip(cuts, [*cuts[1:], end], strict=True))
