"""The source `cc-index`: pages that an index of archives leads to, read from the WARC files by
range."""

import io
import posixpath
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.sources import base
from septet.pipelines.sources.base import Facts, Input, InputError, Source
from septet.pipelines.sources.cuts import cut_rows
from septet.pipelines.sources.paths import locate
from septet.pipelines.sources.warc import HtmlRecord, Warc, read_warc
from septet.preprocess import files
from septet.preprocess.domains import registered_domain
from septet.preprocess.warc.ranges import RangeError, read_range
from septet.preprocess.warc.records import UnusableArchiveError
from septet.schemas.languages import language_code
from septet.schemas.reasons import Rejected
from septet.schemas.sources import CcIndexSource

_PLACE = ["url", "warc_filename", "warc_record_offset", "warc_record_length"]
_STATUS, _MIME, _LANGUAGES = "fetch_status", "content_mime_detected", "content_languages"
_HOST, _DOMAIN = "url_host_name", "url_host_registered_domain"
_BATCH = 16_384
_MAX_OFFSET = 2**63
"""Behind the last byte that a file can have."""
_AHEAD = 4
"""Ranges that are asked for before the first of them is taken, for each request at once."""
_PAGES = Warc()


class _Place(NamedTuple):
    """A record that the index leads to."""

    url: str
    file: str
    offset: int
    length: int


class CcIndex(Source):
    """The source of pages that an index of archives leads to: a slice is some rows of the index."""

    kind = "cc-index"
    version = 1
    unit = "page"

    def describe(self, path: str, size: int) -> Facts:
        """Columns and slices of a part of the index: ranges of rows, as of lists."""
        try:
            with files.open_read(path, ahead=False) as file:
                footer = pq.ParquetFile(file).metadata
                return Facts([*cut_rows(footer, files.is_local(path))], footer.schema.names)
        except pa.ArrowInvalid as error:
            raise InputError(f"is no Parquet file: {error}") from error

    def check(self, settings: CcIndexSource, label: str, facts: Facts) -> None:
        """Check that the index has all columns that are asked, and that `domains` are such as it
        has in its column of them."""
        for name in settings.domains or ():
            if (registered := registered_domain(name)) != name:
                raise InputError(
                    f"domains: {name!r} lies below the registered domain {registered}: name it in "
                    "`hosts`"
                )
        have = facts.columns or []
        for column in _columns(settings):
            if column not in have:
                raise InputError(
                    f"{label} has no column {column!r}; it has {', '.join(have) or 'none'}. Give "
                    "`kind: cc-index` files of Common Crawl's columnar index "
                    "(cc-index/table/cc-main/warc)"
                )

    def records(
        self, settings: CcIndexSource, source: Input, counts: Counter[str]
    ) -> Iterator[HtmlRecord | Rejected]:
        """The pages of the rows of a slice that are chosen, and what could not be read."""
        start, stop = int(source.slice[0]), int(source.slice[1])
        with (
            files.open_read(source.path, ahead=False) as file,
            ThreadPoolExecutor(settings.requests) as pool,
        ):
            waiting: deque[tuple[_Place, Future[bytes]]] = deque()
            try:
                for place in _chosen(file, settings, start, stop, counts):
                    if isinstance(place, Rejected):
                        yield place
                        continue
                    path = _path(settings.archives, place.file, source.folder)
                    waiting.append((place, pool.submit(read_range, path, *place[2:])))
                    if len(waiting) >= settings.requests * _AHEAD:
                        yield from _pages(*waiting.popleft(), settings, counts)
                while waiting:
                    yield from _pages(*waiting.popleft(), settings, counts)
            finally:
                for _, future in waiting:
                    future.cancel()

    def read(
        self, settings: CcIndexSource, source: Input, record: HtmlRecord, counts: Counter[str]
    ) -> Iterable[base.Found]:
        """The pairs of a page, as of `warc`."""
        return _PAGES.read(settings, source, record, counts)


def _columns(settings: CcIndexSource) -> list[str]:
    """The columns that are read."""
    columns = [*_PLACE, _STATUS, _MIME]
    columns += [_HOST] if settings.hosts else []
    columns += [_DOMAIN] if settings.domains else []
    columns += [_LANGUAGES] if settings.languages else []
    return columns


def _chosen(
    file: Any, settings: CcIndexSource, start: int, stop: int, counts: Counter[str]
) -> Iterator[_Place | Rejected]:
    """The rows [start, stop) that the settings choose; row groups that by their statistics hold
    none are not read."""
    parquet = pq.ParquetFile(file)
    columns = _columns(settings)
    first = 0
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        end = first + group.num_rows
        begin, until = max(start, first), min(stop, end)
        if begin < until:
            counts["rows"] += until - begin
            if _may_hold(group, settings):
                at = first
                for batch in parquet.iter_batches(_BATCH, row_groups=[number], columns=columns):
                    skip = max(0, begin - at)
                    rows = batch.slice(skip, max(0, until - at - skip))
                    at += len(batch)
                    yield from _places(rows.filter(_mask(rows, settings)), settings, counts)
                    if at >= until:
                        break
        first = end


def _may_hold(group: pq.RowGroupMetaData, settings: CcIndexSource) -> bool:
    """Whether a row group may hold a chosen row, by the least and greatest values it states."""
    stated = {}
    for number in range(group.num_columns):
        column = group.column(number)
        statistics = column.statistics
        if statistics is not None and statistics.has_min_max:
            stated[column.path_in_schema] = statistics.min, statistics.max

    def may_be(column: str, values: Iterable[Any]) -> bool:
        if column not in stated:
            return True
        least, most = stated[column]
        return any(type(value) is not type(least) or least <= value <= most for value in values)

    named = [(_HOST, settings.hosts), (_DOMAIN, settings.domains)]
    wanted = [may_be(column, values) for column, values in named if values]
    is_named = any(wanted) or not wanted
    return is_named and may_be(_STATUS, [200]) and may_be(_MIME, settings.mime_types)


def _mask(rows: pa.RecordBatch, settings: CcIndexSource) -> pa.Array:
    """Which rows are chosen."""

    def is_in(column: str, values: list[Any]) -> pa.Array:
        return pc.is_in(rows[column], value_set=pa.array(values, rows[column].type))

    chosen = pc.and_(is_in(_STATUS, [200]), is_in(_MIME, settings.mime_types))
    named = [(_HOST, settings.hosts), (_DOMAIN, settings.domains)]
    by_name = [is_in(column, values) for column, values in named if values]
    for mask in by_name[:1]:
        chosen = pc.and_(chosen, pc.or_(mask, by_name[-1]))
    if settings.languages:
        firsts = pc.list_element(pc.split_pattern(rows[_LANGUAGES], ","), 0)
        codes = pc.dictionary_encode(firsts)
        keep = [code is not None and _language(code) in settings.languages
                for code in codes.dictionary.to_pylist()]  # fmt: skip
        mask = pc.fill_null(pc.take(pa.array(keep, pa.bool_()), codes.indices), False)
        chosen = pc.and_(chosen, mask)
    return chosen


@lru_cache(maxsize=1024)
def _language(code: str) -> str | None:
    return language_code(code)


def _places(
    rows: pa.RecordBatch, settings: CcIndexSource, counts: Counter[str]
) -> Iterator[_Place | Rejected]:
    counts["rows_chosen"] += len(rows)
    for row in zip(*(rows[name].to_pylist() for name in _PLACE), strict=True):
        url, file, offset, length = row
        if not isinstance(file, str) or not url or offset is None or length is None:
            yield Rejected("list_row", f"no place of a record: {row!r}"[:200], page_url=url)
        elif offset < 0 or length <= 0 or offset + length >= _MAX_OFFSET:
            yield Rejected("list_row", f"no range: {length} bytes at {offset}", page_url=url)
        elif length > settings.max_record_bytes:
            yield Rejected("too_large", str(length), page_url=url)
        elif not _is_inside(file):
            yield Rejected("outside_root", file, page_url=url)
        else:
            yield _Place(url, file, offset, length)


def _is_inside(file: str) -> bool:
    """Whether a name stays below the folder of the archives; "::" chains file systems (fsspec)."""
    is_plain = file == posixpath.normpath(file) and "\0" not in file and "::" not in file
    return is_plain and not file.startswith(("/", ".."))


def _path(archives: str, file: str, folder: str) -> str:
    return files.join(locate(archives, folder), file)


def _pages(
    place: _Place, read: Future[bytes], settings: CcIndexSource, counts: Counter[str]
) -> Iterator[HtmlRecord | Rejected]:
    """The pages of a range: one, or a loss.

    Raises:
        InputError: the range cannot be read, and `on_broken_input` is `stop`.
    """
    try:
        data = read.result()
    except RangeError as error:
        if settings.on_broken_input == "stop":
            raise InputError(str(error)) from error
        yield Rejected("input_broken", str(error), page_url=place.url)
        return
    if len(data) < place.length:
        message = f"{place.file} has {len(data)} of {place.length} bytes at {place.offset}"
        yield Rejected("warc_truncated", message, page_url=place.url)
        return
    found: list[HtmlRecord | Rejected] = []
    try:
        for record in read_warc(io.BytesIO(data), settings.max_page_bytes, counts):
            if isinstance(record, Rejected):
                found.append(replace(record, page_url=record.page_url or place.url))
            elif isinstance(record, HtmlRecord):
                found.append(record)
    except UnusableArchiveError as error:
        if not found:
            message = f"{place.length} bytes at {place.offset} of {place.file}: {error}"
            found.append(Rejected("warc_broken", message[:300], page_url=place.url))
    if not found:
        counts["records_without_page"] += 1
    yield from found
