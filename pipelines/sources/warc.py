"""The source `warc`: pages of web archives, and the locations of the images that the archives
hold."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO

from septet.pipelines.sources import base
from septet.pipelines.sources.base import Facts, ImageLocation, Input, InputError, Pair, Source
from septet.pipelines.sources.values import as_json
from septet.preprocess import files
from septet.preprocess.html.head import one_language
from septet.preprocess.html.main_text import PageText
from septet.preprocess.html.pages import Page, Wanted, parse_page
from septet.preprocess.http.body import decode_stored, split_head
from septet.preprocess.http.opt_out import archived_opt_out, find_opt_out
from septet.preprocess.images.sniff import image_kind
from septet.preprocess.urls import image_url
from septet.preprocess.warc.records import (
    MAX_BLOCK_BYTES,
    Damage,
    Record,
    UnusableArchiveError,
    read_record,
    read_records,
)
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import PageSettings, TextSource, WarcSource, WatSource

SLICE_BYTES = 64 * 2**20
"""Bytes of an archive, as stored, that are work for one worker."""
_HTML = ("text/html", "application/xhtml+xml")
_UNTYPED = ("", "application/octet-stream", "application/unknown", "unknown/unknown", "*/*")
_HTML_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*"
    rb"<(?:!doctype html|html|head|body|title|script|style|meta|h1|div|p|table|a|br)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_SNIFFED_BYTES = 1445
_MAX_REMEMBERED = 1_000_000


@dataclass(frozen=True)
class HtmlRecord:
    """A page as served, its content coding undone; `headers` are those of the archived answer."""

    url: str
    body: bytes
    charset: str | None
    headers: dict[str, str]


@dataclass(frozen=True)
class ImageRecord:
    """An image that the archive holds.

    `offset` and `length` say which bytes of the archive its record takes (`length` is None where
    it is not known); `headers` are those of the archived answer.
    """

    url: str
    offset: int
    length: int | None
    headers: dict[str, str]


@dataclass(frozen=True)
class TextRecord:
    """A text that was taken from a page before: a record of a WET file."""

    url: str
    text: str
    language: str | None


Found = HtmlRecord | ImageRecord | TextRecord | Rejected


class Earlier:
    """The places of the records of an archive before a slice, by the digests of their payloads.

    They are read when a revisit first asks, on from where they were read to last: once more than
    the archive's slices, in each process that meets revisits.
    """

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, int]] = {}
        self._read_to = 0

    def place(self, file: BinaryIO, digest: str, before: int) -> tuple[str, int | None]:
        """The URL and offset of the first record of that digest that starts before an offset."""
        if self._read_to < before:
            for record in read_records(file, self._read_to, before):
                if len(self._places) >= _MAX_REMEMBERED:
                    break
                if isinstance(record, Damage) or record.offset is None or not _is_answer(record):
                    continue
                if known := _digest(record):
                    self._places.setdefault(known, (record.url, record.offset))
            self._read_to = before
        url, offset = self._places.get(digest, ("", before))
        return (url, offset) if offset < before else ("", None)


class Warc(Source):
    """The source of web archives: pairs from pages, and locations of images that the archives
    hold."""

    kind = "warc"
    version = 3
    unit = "record"

    def describe(self, path: str, size: int) -> Facts:
        """Cut an archive into ranges of bytes. A record belongs to the range in which it starts,
        and readers find the first one. An archive that is compressed as a whole is all in the first
        range."""
        return slices_of_archive(path, size)

    def records(self, settings: WarcSource, source: Input, counts: Counter[str]) -> Iterator[Found]:
        """The pages, images and losses of a range of an archive."""
        begin, end = (int(bound) for bound in source.slice)
        with files.open_read(source.path) as file:
            try:
                earlier = _earlier(source.path, source.digest) if begin else None
                most = settings.max_page_bytes
                yield from read_warc(file, most, counts, begin, end, earlier=earlier)
            except UnusableArchiveError as error:
                raise InputError(str(error)) from error

    def read(
        self,
        settings: PageSettings,
        source: Input,
        record: HtmlRecord | ImageRecord,
        counts: Counter[str],
    ) -> Iterable[base.Found]:
        """The pairs of a page, or the location of an image."""
        if isinstance(record, ImageRecord):
            counts["images_in_archive"] += 1
            url = image_url(record.url, record.url)
            if not isinstance(url, str):
                counts["images_without_url"] += 1
                return []
            return [ImageLocation(url, source.label, offset=record.offset, length=record.length)]
        counts["pages"] += 1
        wanted, tdm = settings.opt_out, settings.tdm_reservation
        refused = archived_opt_out(record.headers, source.agent, wanted, tdm)
        if refused:
            return [Rejected("opt_out", refused, page_url=record.url)]
        wanted_of_page = Wanted(
            settings.image_candidate,
            settings.context_chars,
            one_language(record.headers.get("content-language", "")),
        )
        try:
            page = parse_page(
                record.body,
                record.url,
                record.charset,
                settings.captions,
                wanted_of_page,
                source.apart,
            )
        except RejectedError as error:
            return [replace(error.rejected, page_url=record.url)]
        if refused := refused_by(page, settings, source):
            return [Rejected("opt_out", refused, page_url=record.url)]
        return found_in_page(page, record.url, counts)


def slices_of_archive(path: str, size: int) -> Facts:
    """Cut an archive into ranges of bytes.

    Raises:
        InputError: it is no WARC file.
    """
    with files.open_read(path) as file:
        try:
            next(iter(read_records(file)), None)
        except UnusableArchiveError as error:
            raise InputError(str(error)) from error
    return Facts([(at, min(at + SLICE_BYTES, size)) for at in range(0, size, SLICE_BYTES)])


def refused_by(
    page: Page | PageText, settings: PageSettings | WatSource | TextSource, source: Input
) -> str | None:
    """The opt-out that a page itself states; None where there is none."""
    if not page.robots and not page.tdm:
        return None
    tdm = page.tdm if settings.tdm_reservation else ()
    return find_opt_out(page.robots, tdm, source.agent, settings.opt_out)


def found_in_page(page: Page, url: str, counts: Counter[str]) -> list[base.Found]:
    """The pairs and losses of a page at `url`."""
    counts["img_elements"] += page.images
    counts["images_without_caption"] += page.without_caption
    found: list[base.Found] = []
    if page.context:
        found += [
            Pair(*pair, url, page.language, _extra(page.context.get(pair))) for pair in page.pairs
        ]
    else:
        shared = (url, page.language, None, None, None)
        found += [tuple.__new__(Pair, pair + shared) for pair in page.pairs]
    found += [replace(bad, page_url=url) for bad in page.bad_urls]
    return found


def _extra(context: dict[str, str] | None) -> str | None:
    return as_json(context) if context else None


def read_warc(
    file: BinaryIO,
    max_page_bytes: int,
    counts: Counter[str],
    begin: int = 0,
    end: int | None = None,
    texts: bool = False,
    earlier: Earlier | None = None,
) -> Iterator[Found]:
    """Read the pages and images among a WARC file's records, and what could not be read.

    A revisit gives the image or the page that it repeats under its own URL, but for a page that
    was read under that URL already.

    Args:
        file: Open for reading and seekable: plain, gzip or zstd.
        max_page_bytes: Bound on a page's decoded size.
        counts: Gets `records`, and how many of them were passed over by kind: `records_not_web`
            (requests, metadata …), `records_other_media`, `records_without_url`,
            `images_other_status`, `images_unlocated` (inside of a file that is compressed as a
            whole) and `revisits_repeated` (of a page under its own URL).
        begin: First byte of the range whose records are read.
        end: Behind its last byte; None for the end of the file.
        texts: Whether texts (`conversion`) are read, too.
        earlier: The records before the range that revisits may repeat; those in it are known.

    Raises:
        UnusableArchiveError: the file is no WARC.
    """
    seen = _Seen(begin, earlier)
    for record in read_records(file, begin, end):
        if isinstance(record, Damage):
            reason = "warc_truncated" if record.is_cut else "warc_broken"
            yield Rejected(reason, str(record), page_url=record.url)
            continue
        counts["records"] += 1
        if record.kind == "revisit":
            found = seen.revisit(file, record, max_page_bytes, counts)
        elif _is_answer(record):
            found = _read(record, max_page_bytes, counts)
            seen.remember(record, found)
        elif record.kind == "conversion" and texts:
            found = _read_text(record, max_page_bytes)
        else:
            counts["records_not_web"] += 1
            continue
        if found is not None:
            yield found


def read_answer_from(file: BinaryIO, offset: int, max_bytes: int) -> tuple[dict[str, str], bytes]:
    """The headers and the decoded body of the record at `offset` of an open WARC file.

    Raises:
        RejectedError: the record is damaged, or its body is larger than `max_bytes`.
    """
    record = read_record(file, offset)
    if isinstance(record, Damage):
        raise RejectedError("warc_truncated" if record.is_cut else "warc_broken", str(record))
    headers, body = _split(record)
    return headers, _decoded(body, headers, max_bytes)


@lru_cache(maxsize=4)
def _earlier(path: str, digest: str) -> Earlier:
    return Earlier()


class _Seen:
    """The records that a revisit may repeat, by the digest of their payload.

    Args:
        begin: The first byte of the range that is read.
        earlier: Those before the range.
    """

    def __init__(self, begin: int, earlier: Earlier | None) -> None:
        self._images: dict[str, ImageRecord] = {}
        self._places: dict[str, tuple[str, int | None]] = {}
        self._begin, self._earlier = begin, earlier

    def remember(self, record: Record, found: Found | None) -> None:
        digest = _digest(record)
        if not digest or len(self._places) >= _MAX_REMEMBERED:
            return
        self._places.setdefault(digest, (record.url, record.offset))
        if isinstance(found, ImageRecord):
            self._images.setdefault(digest, found)

    def revisit(
        self, file: BinaryIO, record: Record, max_page_bytes: int, counts: Counter[str]
    ) -> Found | None:
        digest = _digest(record)
        if image := self._images.get(digest):
            return ImageRecord(record.url, image.offset, image.length, image.headers)
        url, offset = self._places.get(digest, ("", None))
        if not url and self._earlier and digest:
            url, offset = self._earlier.place(file, digest, self._begin)
        if url == record.url != "":
            counts["revisits_repeated"] += 1
            return None
        if offset is not None:
            original = read_record(file, offset)
            if isinstance(original, Record):
                return _under(record.url, _read(original, max_page_bytes, counts))
        referred = record.headers.get("warc-refers-to-target-uri") or record.url
        return Rejected("warc_revisit", referred.strip("<> "), page_url=record.url or None)


def _under(url: str, found: Found | None) -> Found | None:
    """What was found under another URL, as found under this one."""
    if isinstance(found, Rejected):
        return replace(found, page_url=url)
    return replace(found, url=url) if found else None


def _digest(record: Record) -> str:
    return record.headers.get("warc-payload-digest", "").lower()


def _is_answer(record: Record) -> bool:
    return record.kind in ("response", "resource")


def _read(record: Record, max_page_bytes: int, counts: Counter[str]) -> Found | None:
    url = record.url
    if not url:
        counts["records_without_url"] += 1
        return None
    try:
        headers, raw = _split(record)
        media, _, parameters = headers.get("content-type", "").partition(";")
        media = media.strip().lower()
        body: bytes | None = None
        if media in _UNTYPED:
            body = _decoded(raw, headers, max(max_page_bytes, MAX_BLOCK_BYTES))
            media = _sniffed(body)
        is_page = media in _HTML
        if not is_page and not media.startswith("image/"):
            counts["records_other_media"] += 1
            return None
        status = headers.get(":status", "200")
        if status != "200":
            if is_page:
                return Rejected("page_status", status, page_url=url)
            counts["images_other_status"] += 1
            return None
        if not is_page:
            if record.offset is None:
                counts["images_unlocated"] += 1
                return None
            return ImageRecord(url, record.offset, record.length, headers)
        if body is None:
            body = _decoded(raw, headers, max_page_bytes)
        if len(body) > max_page_bytes:
            raise RejectedError("too_large", str(len(body)))
    except RejectedError as error:
        return Rejected(error.reason, error.value, page_url=url)
    return HtmlRecord(url, body, _charset(parameters), headers)


def _read_text(record: Record, max_bytes: int) -> TextRecord | Rejected:
    url = record.url
    if record.block is None or record.size > max_bytes:
        return Rejected("too_large", str(record.size), page_url=url or None)
    text = record.block.decode("utf-8", "surrogateescape")
    languages = record.headers.get("warc-identified-content-language", "")
    return TextRecord(url, text, languages.split(",")[0].strip() or None)


def _sniffed(body: bytes) -> str:
    """The media type of a body that declares none, found as browsers find it."""
    if _HTML_START.match(body[:_SNIFFED_BYTES]):
        return "text/html"
    try:
        return f"image/{image_kind(body)}"
    except RejectedError:
        return ""


def _charset(parameters: str) -> str | None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip(" \"'") or None
    return None


def _split(record: Record) -> tuple[dict[str, str], bytes]:
    """Split a record into its HTTP headers and its body as transferred.

    Names are in lower case, `:status` is the status; repeated headers are joined by commas, those
    of X-Robots-Tag (where a comma does not end a scope) by line ends; of repeated media types the
    last one counts.
    """
    if record.block is None:
        raise RejectedError("too_large", str(record.size))
    if record.kind == "resource":
        return {"content-type": record.headers.get("content-type", "")}, record.block
    head, body = split_head(record.block)
    lines = head.decode("latin-1").split("\n")
    status = lines[0].split()
    if not lines[0].upper().startswith("HTTP/") or len(status) < 2:
        raise RejectedError("warc_header", f"expected an HTTP answer, found {head[:40]!r}")
    headers = {":status": status[1]}
    name = ""
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        field, _, value = line.partition(":")
        name = field.strip().lower()
        known = headers.get(name) if name != "content-type" else None
        comma = "\n" if name == "x-robots-tag" else ", "
        headers[name] = f"{known}{comma}{value.strip()}" if known else value.strip()
    return headers, body


def _decoded(body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
    transfer, content = (headers.get(f"{kind}-encoding", "") for kind in ("transfer", "content"))
    return decode_stored(body, transfer, content, max_bytes)
