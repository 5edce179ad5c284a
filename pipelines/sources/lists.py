"""Source `list`: lists of images with captions as Parquet, CSV, TSV and JSON lines."""

import gzip
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pacsv
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
from septet.pipelines.sources.cuts import FileRange, cut_lines, cut_quoted_lines, cut_row_groups
from septet.pipelines.sources.paths import folder_label, locate, name_within
from septet.pipelines.sources.values import as_captions, as_json, as_text, scrub
from septet.preprocess import files
from septet.preprocess.html.pages import image_url
from septet.preprocess.text.clean import clean_caption
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import ListSource

BATCH_ROWS = 8192
_ROWS_LOOKED_AT = 1000
_URLS = ("http://", "https://")


class UrlList(Source):
    """Lists of images with captions, one row an image; any column may be carried along."""

    kind = "list"
    version = 2
    unit = "row"

    def describe(self, path: str, size: int) -> Facts:
        """Columns and slices of a list file.

        Parquet is cut at row groups, plain JSON lines and TSV at line ends, plain CSV at line ends
        outside quotes; what is compressed as a whole (`.gz`) is one slice.
        """
        kind, zipped = kind_of(path)
        with files.open_read(path) as raw:
            if kind == "parquet":
                parquet = _open_parquet(raw)
                return Facts(list(cut_row_groups(parquet.metadata)), parquet.schema_arrow.names)
            columns = _columns(kind, raw, zipped)
            cut = cut_quoted_lines if kind == "csv" else cut_lines
            return Facts([(0, size)] if zipped else list(cut(raw, size)), columns)

    def check(self, settings: ListSource, label: str, facts: Facts) -> None:
        """Whether the list has all columns that the settings name."""
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
        for batch in read_list(source.path, columns_of(settings), source.slice):
            counts["rows"] += len(batch)
            for row in batch:
                yield Rejected("list_row", row) if isinstance(row, str) else row

    def read(
        self, settings: ListSource, source: Input, record: dict[str, Any], counts: Counter[str]
    ) -> Iterable[Found]:
        """The pairs of a row: one a caption."""
        extra, notes = (
            as_json({name: record[name] for name in names}) if names else None
            for names in (settings.extra_cols, settings.annotation_cols)
        )
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


def columns_of(settings: ListSource) -> list[str]:
    """The columns that the settings name, each once."""
    named = [settings.url_col, settings.caption_col, settings.language_col,
             *settings.extra_cols, *settings.annotation_cols]  # fmt: skip
    return list(dict.fromkeys(name for name in named if name is not None))


def _captions(value: Any) -> list[str]:
    """Cleaned captions of a cell, each once."""
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
    """The image's URL, or where it lies below `image_root`."""
    if settings.image_root is None or link.lower().startswith(_URLS):
        url = image_url(link, link)
        if isinstance(url, Rejected):
            raise RejectedError(url.reason, url.value)
        return url
    root = folder_label(settings.image_root)
    name = name_within(root, locate(root, source.folder), link)
    return ImageLocation(f"{root}/{name}", root, name)


def kind_of(path: str) -> tuple[str, bool]:
    """A list file's kind by its name (`parquet`, `csv`, `tsv`, `jsonl`), and whether it is
    compressed as a whole.

    Raises:
        InputError: none of these.
    """
    name = path.lower()
    plain = name.removesuffix(".gz")
    for suffix, kind in ((".csv", "csv"), (".tsv", "tsv"), (".jsonl", "jsonl"),
                         (".ndjson", "jsonl")):  # fmt: skip
        if plain.endswith(suffix):
            return kind, name.endswith(".gz")
    if name.endswith(".parquet"):
        return "parquet", False
    raise InputError(
        "lists are .parquet, .csv, .tsv, .jsonl or .ndjson files (all but Parquet also .gz)"
    )


def read_list(
    path: str, columns: list[str], part: tuple[Any, Any]
) -> Iterator[list[dict[str, Any] | str]]:
    """Rows of a slice of a list file, some thousand at a time.

    Args:
        path: The file.
        columns: The columns wanted.
        part: Row groups of Parquet, else bytes, as [start, stop).

    Yields:
        Lists of rows; a row that cannot be read is its error text.
    """
    kind, zipped = kind_of(path)
    start, stop = part
    with files.open_read(path) as raw:
        if kind == "parquet":
            groups = list(range(start, stop))
            for batch in _open_parquet(raw).iter_batches(BATCH_ROWS, groups, columns):
                yield batch.to_pylist()
            return
        names = _columns(kind, raw, zipped) if kind != "jsonl" and start else None
        file: Any = FileRange(raw, start, stop)
        file = gzip.GzipFile(fileobj=file) if zipped else file
        if kind == "jsonl":
            yield from _json_lines(file, columns)
        else:
            yield from _delimited(file, columns, kind, names)


def _open_parquet(file: BinaryIO) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"not a Parquet file: {error}") from error


def _columns(kind: str, raw: BinaryIO, zipped: bool) -> list[str]:
    """Names in a list's header, or in the first rows of JSON lines."""
    raw.seek(0)
    file: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
    if kind == "jsonl":
        names: dict[str, None] = {}
        for line in itertools.islice(file, _ROWS_LOOKED_AT):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                names.update(dict.fromkeys(row))
        return list(names)
    return list(_open_delimited(file, kind, [], None).schema.names)


def _open_delimited(
    file: Any, kind: str, columns: list[str], names: list[str] | None, broken: Any = None
) -> pacsv.CSVStreamingReader:
    try:
        return pacsv.open_csv(
            file,
            read_options=pacsv.ReadOptions(column_names=names),
            parse_options=pacsv.ParseOptions(
                delimiter="\t" if kind == "tsv" else ",",
                newlines_in_values=True,
                invalid_row_handler=broken or (lambda row: "skip"),
            ),
            convert_options=pacsv.ConvertOptions(
                column_types={column: pa.string() for column in columns},
                include_columns=columns or None,
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(str(error)) from error


def _delimited(
    file: Any, columns: list[str], kind: str, names: list[str] | None
) -> Iterator[list[Any]]:
    broken: list[Any] = []

    def keep(row: Any) -> str:
        broken.append(f"{row.actual_columns} columns, expected {row.expected_columns}")
        return "skip"

    for batch in _open_delimited(file, kind, columns, names, keep):
        yield [*batch.to_pylist(), *broken]
        broken.clear()
    if broken:
        yield broken


def _json_lines(file: Iterable[bytes], columns: list[str]) -> Iterator[list[Any]]:
    rows: list[Any] = []
    for line in file:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(
                {column: row.get(column) for column in columns}
                if isinstance(row, dict)
                else f"expected a JSON object, found {type(row).__name__}"
            )
        except RecursionError:
            rows.append("not JSON that can be read: nested too deeply")
        except ValueError as error:
            rows.append(f"not JSON: {error}")
        if len(rows) == BATCH_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows
