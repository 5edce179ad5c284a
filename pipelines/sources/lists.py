"""The source `list`: lists of images with captions as Parquet, CSV, TSV, text and JSON lines."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from septet.pipelines.sources.base import (
    Facts,
    Found,
    ImageLocation,
    Input,
    InputError,
    Pair,
    Source,
)
from septet.pipelines.sources.cuts import cut_csv, cut_lines, cut_rows
from septet.pipelines.sources.paths import beside, folder_label, locate, name_within
from septet.pipelines.sources.values import as_annotations, as_captions, as_json, as_text, scrub
from septet.preprocess import files
from septet.preprocess.lists.lines import HeaderError, ListError
from septet.preprocess.lists.parquet import Cell
from septet.preprocess.lists.rows import Kind, column_names, is_whole, kind_of, read_rows
from septet.preprocess.text.clean import clean_caption
from septet.preprocess.urls import image_url
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import ListSource

_URLS = ("http://", "https://")
_HEX_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}


class UrlList(Source):
    """Lists of images with captions, one row an image; any column may be carried along."""

    kind = "list"
    version = 4
    unit = "row"

    def describe(self, path: str, size: int) -> Facts:
        """Columns and slices of a list; no columns where the first row of CSV or TSV is no header.

        Parquet is cut by rows, JSON lines, text and TSV at line ends, CSV at the ends of rows; what
        is compressed as a whole, and arrays of JSON, are one slice.
        """
        try:
            kind = kind_of(path)
            with files.open_read(path, ahead=kind != "parquet") as file:
                columns = column_names(file, kind)
                return Facts(list(_cut(file, kind, size, files.is_local(path))), columns)
        except HeaderError:
            return Facts([(0, size)])
        except ListError as error:
            raise InputError(str(error)) from error

    def check(self, settings: ListSource, label: str, facts: Facts) -> None:
        """Check that the list has all columns that the settings name."""
        have = facts.columns or []
        if settings.columns is not None:
            have = _named(settings.columns, label, have)
        elif facts.columns is None:
            raise InputError(
                f"{label}: its first line cannot be read as a header; name the columns of a list "
                "without one with `columns` of the source"
            )
        if settings.image_col is not None and kind_of(label) != "parquet":
            raise InputError(f"{label} holds no images: image_col is for Parquet")
        missing = [column for column in columns_of(settings) if column not in have]
        if missing:
            raise InputError(
                f"{label} has no column {missing[0]!r}; it has {', '.join(have) or 'none'}. "
                + _advice(label, have)
            )

    def records(
        self, settings: ListSource, source: Input, counts: Counter[str]
    ) -> Iterator[dict[str, Any] | Rejected]:
        """The rows of a slice; a row that cannot be read is a `Rejected`."""
        start, stop = int(source.slice[0]), int(source.slice[1])
        counted_from = ""
        try:
            kind = kind_of(source.path)
            if kind == "tsv" and settings.quotes:  # which are cut at line ends within quotes, too
                if source.number:
                    return
                kind, stop = "quoted tsv", source.bytes
            if start and kind != "parquet":
                counted_from = f"; lines are counted from byte {start}"
            with files.open_read(source.path, ahead=kind != "parquet") as file:
                columns, end = columns_of(settings), None if source.slices == 1 else stop
                for row in read_rows(
                    file, kind, columns, start, end, settings.columns, settings.image_col
                ):
                    counts["rows"] += 1
                    if row.lost and settings.on_broken_input == "stop":
                        raise InputError(str(row.error))
                    if row.lost:
                        yield Rejected("input_broken", row.error)
                    elif row.error:
                        yield Rejected("list_row", row.error + counted_from)
                    else:
                        yield row.values
        except ListError as error:
            raise InputError(str(error) + counted_from) from error

    def read(
        self, settings: ListSource, source: Input, record: dict[str, Any], counts: Counter[str]
    ) -> Iterable[Found]:
        """The pairs of a row: one for each caption."""
        carried = {name: record[name] for name in settings.extra_cols}
        extra = as_json(carried) if carried else None
        notes = as_annotations({name: record[name] for name in settings.annotation_cols})
        captions, lost = _captions(settings, record)
        lost = [replace(bad, extra=extra, annotations=notes) for bad in lost]
        if lost and not captions:
            return lost
        texts: list[tuple[str | None, str]] = [*captions.items()] or [(None, "list")]
        try:
            link = _link(record[settings.url_col]) if settings.url_col is not None else ""
            cell = record[settings.image_col] if settings.image_col is not None else None
            if cell is not None and cell.chunk is None:
                link, cell = link or _link(cell.path), None
            _require_complete(settings, bool(link or cell), bool(captions))
            image = _locate_image(settings, source, link) if link else None
            if cell is not None:
                image = _locate_cell(source, cell, image)
            digest = _hash(settings, record) if image else None
        except RejectedError as error:
            return lost + [
                replace(error.rejected, caption=caption, extra=extra, annotations=notes)
                for caption, _ in texts
            ]
        language = record[settings.language_col] if settings.language_col else None
        declared = scrub(str(language)) if language else None
        url = image.image_url if isinstance(image, ImageLocation) else image
        pairs = [
            Pair(url, caption, where, None, declared, extra, notes, digest)
            for caption, where in texts
        ]
        return [*([image] if isinstance(image, ImageLocation) else []), *pairs, *lost]


def _cut(file: BinaryIO, kind: Kind, size: int, is_local: bool) -> Sequence[tuple[int, int]]:
    if kind == "parquet":
        return cut_rows(pq.ParquetFile(file).metadata, is_local)
    if is_whole(file, kind):
        return [(0, size)]
    return cut_csv(file, size) if kind == "csv" else cut_lines(file, size)


def columns_of(settings: ListSource) -> list[str]:
    """The columns that the settings name, each once."""
    named = [settings.url_col, settings.image_col, *settings.caption_cols, settings.language_col,
             settings.hash_col, *settings.extra_cols, *settings.annotation_cols]  # fmt: skip
    return list(dict.fromkeys(name for name in named if name is not None))


def _named(names: list[str], label: str, first: list[str]) -> list[str]:
    """The names that the settings give to the columns of a list without a header.

    Args:
        names: Those names.
        label: The list.
        first: The cells of its first line; none where it cannot be read.

    Raises:
        InputError: the list has names of its own, or its first line other columns.
    """
    kind = kind_of(label)
    if kind not in ("csv", "tsv", "txt"):
        raise InputError(f"{label} names its columns itself: take `columns` out of the source")
    if first == names and kind != "txt":
        raise InputError(f"the first line of {label} is a header: take `columns` out of the source")
    if first and len(first) != len(names):
        raise InputError(
            f"{label} has {len(first)} columns in its first line, and `columns` of the source "
            f"names {len(names)}: {', '.join(names)}"
        )
    return names


def _advice(label: str, have: list[str]) -> str:
    """The settings that help where a column is not there."""
    if kind_of(label) == "txt":
        return "A text file has one column: set caption_col: null for a list of URLs"
    if any(cell.lower().startswith(_URLS) for cell in have):
        return (
            "This looks like data: name the columns of a list without a header in their order, "
            "`columns: [caption, url]`"
        )
    return (
        "Set url_col, caption_col, language_col, hash_col, extra_cols or annotation_cols of the "
        "source"
    )


def _captions(
    settings: ListSource, record: dict[str, Any]
) -> tuple[dict[str, str], list[Rejected]]:
    """The cleaned captions of a row, each once, with where each comes from; and the columns that
    hold something else."""
    found: dict[str, str] = {}
    lost = []
    for column in settings.caption_cols:
        where = f"list:{column}" if isinstance(settings.caption_col, list) else "list"
        try:
            cleaned = [clean_caption(text) for text in as_captions(record[column])]
        except RejectedError as error:
            lost.append(error.rejected)
        else:
            found |= dict.fromkeys((text for text in cleaned if text not in {"", *found}), where)
    return found, lost


def _link(value: Any) -> str:
    try:
        return (as_text(value) or "").strip()
    except RejectedError as error:
        raise RejectedError("list_row", f"the URL or path is no text: {error.value}") from error


def _require_complete(settings: ListSource, image: bool, text: bool) -> None:
    missing = [
        name
        for name, there in (
            (settings.url_col or settings.image_col, image),
            (" and no ".join(settings.caption_cols), text),
        )
        if name and not there
    ]
    if not image and not text:
        raise RejectedError("no_image_or_text", "no " + " and no ".join(missing))
    if missing and settings.incomplete_rows == "reject":
        raise RejectedError("list_row", f"no {missing[0]}")


def _hash(settings: ListSource, record: dict[str, Any]) -> str | None:
    """The digest that the image must have: `sha256:` or the like, and hexadecimal digits; None
    where none is told."""
    if settings.hash_col is None:
        return None
    text = str(record[settings.hash_col] or "").strip().lower()
    if not text and settings.incomplete_rows == "keep":
        return None
    if not re.fullmatch(f"[0-9a-f]{{{_HEX_DIGITS[settings.hash]}}}", text):
        found = f"found {text[:80]!r}" if text else "found nothing"
        raise RejectedError(
            "list_row", f"expected a {settings.hash} in column {settings.hash_col!r}, {found}"
        )
    return f"{settings.hash}:{text}"


def _locate_image(settings: ListSource, source: Input, link: str) -> str | ImageLocation:
    """The image's URL, or its place in a folder."""
    root = beside(source.label) if settings.images_beside else settings.image_root
    if root is None or link.lower().startswith(_URLS):
        url = image_url(link, link)
        if isinstance(url, Rejected):
            raise RejectedError(url.reason, url.value)
        return url
    root = folder_label(root)
    name = name_within(root, locate(root, source.folder), link)
    return ImageLocation(f"{root}/{name}", root, name)


def _locate_cell(source: Input, cell: Cell, named: str | ImageLocation | None) -> ImageLocation:
    """The place of an image in the list itself; its identity is the URL or path that the list
    gives, else the list with the place."""
    url = named.image_url if isinstance(named, ImageLocation) else named
    url = url or f"{source.label}#{cell.chunk}.{cell.row}"
    return ImageLocation(url, source.label, None, cell.chunk, None, "parquet", cell.row)
