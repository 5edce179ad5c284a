"""A reader of images that the build's own inputs hold: records of archives, members of tars,
files of folders."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from septet.pipelines.sources.paths import locate
from septet.pipelines.sources.warc import read_answer_from
from septet.preprocess import files
from septet.preprocess.http.client import Fetched
from septet.preprocess.http.opt_out import agent_token, archived_opt_out
from septet.preprocess.lists.parquet import read_cells
from septet.schemas.reasons import RejectedError
from septet.schemas.recipe import Fetch


class MissingInputError(ValueError):
    """Raised when an input of the build cannot be opened any more."""


def read_locations(
    rows: list[dict[str, Any]], folder: str, settings: Fetch
) -> Iterator[tuple[Fetched, str | None]]:
    """Read images from their places in inputs, archive by archive in the order of their offsets.

    Args:
        rows: Rows of `tables.IMAGE_LOCATIONS`.
        folder: Where labels that are relative start.
        settings: Bound on the bytes of one image, and the opt-outs that are honoured.

    Yields:
        What was read, and the digest of its location. A file that cannot be read is a loss of its
        own, with its reason.

    Raises:
        MissingInputError: an archive cannot be opened.
    """
    archives: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["name"] is None:
            archives.setdefault((row["input"], row["form"] or ""), []).append(row)
        else:
            yield _read_file(row, folder, settings.max_bytes), row["digest"]
    for (label, form), wanted in sorted(archives.items()):
        try:
            opened = files.open_read(locate(label, folder), ahead=form != "parquet")
        except OSError as error:
            raise MissingInputError(
                f"{label}: cannot be opened any more ({error.strerror or error}), but images of it "
                "are wanted: put it back, or take it out of the recipe"
            ) from error
        with opened as file:
            wanted.sort(key=lambda row: (int(row["offset"]), int(row["row"] or 0)))
            for row, got in zip(wanted, _READERS[form](file, wanted, settings), strict=True):
                yield got, row["digest"]


_Rows = list[dict[str, Any]]


def _read_records(file: BinaryIO, rows: _Rows, settings: Fetch) -> Iterator[Fetched]:
    """Read records of a web archive."""
    for row in rows:
        yield _read_record(file, row, settings)


def _read_record(file: BinaryIO, row: dict[str, Any], settings: Fetch) -> Fetched:
    try:
        headers, body = read_answer_from(file, row["offset"], settings.max_bytes)
        agent = agent_token(settings.user_agent)
        refused = archived_opt_out(headers, agent, settings.opt_out, settings.tdm_reservation)
        if refused:
            raise RejectedError("opt_out", refused)
        return Fetched(row["image_url"], body)
    except RejectedError as error:
        return Fetched(row["image_url"], None, error.reason, error.value)


def _read_members(file: BinaryIO, rows: _Rows, settings: Fetch) -> Iterator[Fetched]:
    """Read members of a tar."""
    for row in rows:
        url, size = row["image_url"], row["length"]
        if size > settings.max_bytes:
            yield Fetched(url, None, "too_large", str(size))
            continue
        file.seek(row["offset"])
        data = file.read(size)
        if len(data) < size:
            said = f"{len(data)} of {size} bytes are there"
            yield Fetched(url, None, "unreadable_file", said)
        else:
            yield Fetched(url, data)


def _read_cells(file: BinaryIO, rows: _Rows, settings: Fetch) -> Iterator[Fetched]:
    """Read images of a column of Parquet."""
    cells = read_cells(file, [(row["offset"], row["row"]) for row in rows])
    for row, (data, error) in zip(rows, cells, strict=True):
        if data is None:
            yield Fetched(row["image_url"], None, "unreadable_file", str(error)[:300])
        elif len(data) > settings.max_bytes:
            yield Fetched(row["image_url"], None, "too_large", str(len(data)))
        else:
            yield Fetched(row["image_url"], data)


_READERS = {"": _read_records, "tar": _read_members, "parquet": _read_cells}
"""Readers of images in archives, by `form` of `tables.IMAGE_LOCATIONS`."""


def _read_file(row: dict[str, Any], folder: str, max_bytes: int) -> Fetched:
    """Read a file below a folder of images; whatever the system says of it is a loss of its own."""
    url, name = row["image_url"], row["name"]
    path = files.join(locate(row["input"], folder), name)
    try:
        with files.open_read(path) as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        root = locate(row["input"], folder)
        if files.is_local(root) and not files.exists(root):
            raise MissingInputError(
                f"{row['input']}: the folder is not there any more, but images of it are wanted: "
                "put it back, or take it out of the recipe"
            ) from error
        return Fetched(url, None, "missing_file", name)
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        return Fetched(url, None, "unreadable_file", f"{text}: {name}"[:300])
    if len(data) > max_bytes:
        return Fetched(url, None, "too_large", f"more than {max_bytes}")
    return Fetched(url, data)
