"""The source `list`: lists of images with captions as Parquet, CSV, TSV and JSON lines."""

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
from septet.pipelines.sources.paths import folder_label, locate, name_within
from septet.pipelines.sources.values import as_annotations, as_captions, as_json, as_text, scrub
from septet.preprocess import files
from septet.preprocess.lists.lines import ListError
from septet.preprocess.lists.rows import Kind, column_names, is_whole, kind_of, read_rows
from septet.preprocess.text.clean import clean_caption
from septet.preprocess.urls import image_url
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import ListSource

_URLS = ("http://", "https://")


class UrlList(Source):
    """Lists of images with captions, one row an image; any column may be carried along."""

    kind = "list"
    version = 3
    unit = "row"

    def describe(self, path: str, size: int) -> Facts:
        """Columns and slices of a list.

        Parquet is cut by rows, JSON lines and TSV at line ends, CSV at the ends of rows; what is
        compressed as a whole, and arrays of JSON, are one slice.
        """
        try:
            kind = kind_of(path)
            with files.open_read(path, ahead=kind != "parquet") as file:
                columns = column_names(file, kind)
                return Facts(list(_cut(file, kind, size, files.is_local(path))), columns)
        except ListError as error:
            raise InputError(str(error)) from error

    def check(self, settings: ListSource, label: str, facts: Facts) -> None:
        """Check that the list has all columns that the settings name."""
        have = facts.columns or []
        missing = [column for column in columns_of(settings) if column not in have]
        if missing:
            raise InputError(
                f"{label} has no column {missing[0]!r}; it has {', '.join(have) or 'none'}. Set "
                "url_col, caption_col, language_col, extra_cols or annotation_cols of the source"
            )

    def records(
        self, settings: ListSource, source: Input, counts: Counter[str]
    ) -> Iterator[dict[str, Any] | Rejected]:
        """The rows of a slice; a row that cannot be read is a `Rejected`."""
        start, stop = int(source.slice[0]), int(source.slice[1])
        counted_from = ""
        try:
            kind = kind_of(source.path)
            if start and kind != "parquet":
                counted_from = f"; lines are counted from byte {start}"
            with files.open_read(source.path, ahead=kind != "parquet") as file:
                columns, end = columns_of(settings), None if source.slices == 1 else stop
                for row in read_rows(file, kind, columns, start, end):
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
        captions: list[str | None] = []
        try:
            if settings.caption_col is not None:
                captions += _captions(record[settings.caption_col])
            link = _link(record[settings.url_col]) if settings.url_col is not None else ""
            _require_complete(settings, bool(link), bool(captions))
            image = _locate_image(settings, source, link) if link else None
        except RejectedError as error:
            return [
                replace(error.rejected, caption=caption, extra=extra, annotations=notes)
                for caption in captions or [None]
            ]
        language = record[settings.language_col] if settings.language_col else None
        declared = scrub(str(language)) if language else None
        url = image.image_url if isinstance(image, ImageLocation) else image
        pairs = [
            Pair(url, caption, "list", None, declared, extra, notes)
            for caption in captions or [None]
        ]
        return [image, *pairs] if isinstance(image, ImageLocation) else pairs


def _cut(file: BinaryIO, kind: Kind, size: int, is_local: bool) -> Sequence[tuple[int, int]]:
    if kind == "parquet":
        return cut_rows(pq.ParquetFile(file).metadata, is_local)
    if is_whole(file, kind):
        return [(0, size)]
    return cut_csv(file, size) if kind == "csv" else cut_lines(file, size)


def columns_of(settings: ListSource) -> list[str]:
    """The columns that the settings name, each once."""
    named = [settings.url_col, settings.caption_col, settings.language_col,
             *settings.extra_cols, *settings.annotation_cols]  # fmt: skip
    return list(dict.fromkeys(name for name in named if name is not None))


def _captions(value: Any) -> list[str]:
    """The cleaned captions of a cell, each once."""
    cleaned = [clean_caption(text) for text in as_captions(value)]
    return list(dict.fromkeys(text for text in cleaned if text))


def _link(value: Any) -> str:
    try:
        return (as_text(value) or "").strip()
    except RejectedError as error:
        raise RejectedError("list_row", f"the URL or path is no text: {error.value}") from error


def _require_complete(settings: ListSource, image: bool, text: bool) -> None:
    missing = [
        name
        for name, there in ((settings.url_col, image), (settings.caption_col, text))
        if name is not None and not there
    ]
    if not image and not text:
        raise RejectedError("no_image_or_text", "no " + " and no ".join(missing))
    if missing and settings.incomplete_rows == "reject":
        raise RejectedError("list_row", f"no {missing[0]}")


def _locate_image(settings: ListSource, source: Input, link: str) -> str | ImageLocation:
    """The image's URL, or its place below `image_root`."""
    if settings.image_root is None or link.lower().startswith(_URLS):
        url = image_url(link, link)
        if isinstance(url, Rejected):
            raise RejectedError(url.reason, url.value)
        return url
    root = folder_label(settings.image_root)
    name = name_within(root, locate(root, source.folder), link)
    return ImageLocation(f"{root}/{name}", root, name)
