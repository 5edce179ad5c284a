"""The rows of an annotated set's files: JSON, JSON lines and CSV, plain, gzip or zstd."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from septet.preprocess import files
from septet.preprocess.json_members import JsonError, members_of
from septet.preprocess.lists import json_rows
from septet.preprocess.lists.lines import ListError, UnpackError, open_text
from septet.preprocess.lists.rows import column_names, kind_of, read_rows
from septet.preprocess.text.json_depth import NestingError

SUFFIXES = tuple(
    kind + packed for kind in (".json", ".jsonl", ".csv") for packed in ("", ".gz", ".zst")
)
"""How the names of such files end."""
_CLASSES = ["LabelName", "DisplayName"]
"""The columns of Open Images' descriptions of classes, which have no header before version 7."""


class SetError(ValueError):
    """Raised when a file of a set cannot be read on; says where."""


def rows_of(path: str, name: str) -> Iterator[tuple[str, Any, str | None]]:
    """Each row of a file: the member of the outermost object in which it stands (empty where there
    is none), the row, and what is wrong where it cannot be read.

    Args:
        path: The file, `.json`, `.jsonl` or `.csv`, also with `.gz` or `.zst`.
        name: Its name in errors.

    Raises:
        SetError: it is of another kind, or cannot be read on.
    """
    if not path.lower().endswith(SUFFIXES):
        raise SetError(f"{name}: files of sets are {', '.join(SUFFIXES[::3])}, also .gz or .zst")
    try:
        kind = kind_of(path)
        with files.open_read(path) as file:
            if kind == "json":
                yield from _of_json(file, name)
            elif kind == "jsonl":
                for row, error, number in json_rows.read_values(file, kind):
                    yield "", row, error and f"line {number}: {error}"
            else:
                columns = column_names(file, kind)
                is_headless = len(columns) == 2 and columns[0].startswith("/")
                names = _CLASSES if is_headless else columns
                for one in read_rows(file, kind, names, names=_CLASSES if is_headless else None):
                    yield "", one.values, one.error
    except JsonError as error:
        raise SetError(str(error)) from error
    except (ListError, UnpackError) as error:
        raise SetError(f"{name}: {error}") from error


def _of_json(file: BinaryIO, name: str) -> Iterator[tuple[str, Any, str | None]]:
    for member, rows in members_of(open_text(file), name):
        for number, row in enumerate(rows if isinstance(rows, Iterator) else [rows], 1):
            too_deep = isinstance(row, NestingError)
            where = f"{member or ''} element {number}".lstrip()
            yield member or "", row, f"{where}: {row}" if too_deep else None
