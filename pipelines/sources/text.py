"""The source `text`: documents without images, from files of text, lists, WET and WARC files."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from septet.pipelines.sources import base
from septet.pipelines.sources.base import Facts, Input, InputError, Pair, Source
from septet.pipelines.sources.cuts import cut_lines
from septet.pipelines.sources.lists import UrlList
from septet.pipelines.sources.values import as_captions, scrub
from septet.pipelines.sources.warc import (
    HtmlRecord,
    TextRecord,
    read_warc,
    refused_by,
    slices_of_archive,
)
from septet.preprocess import files
from septet.preprocess.html.head import one_language
from septet.preprocess.html.main_text import page_text
from septet.preprocess.http.opt_out import archived_opt_out
from septet.preprocess.lists.lines import ListError, UnpackError, is_compressed, open_text
from septet.preprocess.text.clean import clean_caption
from septet.preprocess.text.documents import cut_document, read_documents
from septet.preprocess.warc.records import UnusableArchiveError
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import ListSource, TextSource

_ROWS = UrlList()
_TEXT, _ARCHIVE = (".txt", ".text", ".md"), (".warc", ".wet")


class Text(Source):
    """The source of texts alone: a sample is a document, or a piece of a long one."""

    kind = "text"
    version = 1
    unit = "text"

    def describe(self, path: str, size: int) -> Facts:
        """Slices, as the kind of file has them: of text at line ends, of archives anywhere, of
        lists as of `list`."""
        form = _form(path)
        if form == "archive":
            return slices_of_archive(path, size)
        if form == "list":
            try:
                return _ROWS.describe(path, size)
            except InputError as error:
                expected = "texts are .txt, .text, .md, .wet or .warc files or lists"
                raise InputError(f"{expected}; {error}") from error
        with files.open_read(path) as file:
            return Facts([(0, size)] if is_compressed(file) else [*cut_lines(file, size)])

    def check(self, settings: TextSource, label: str, facts: Facts) -> None:
        """Check that a list has the columns that the settings name."""
        if facts.columns is None:
            return
        for name in (settings.text_col, settings.language_col):
            if name is not None and name not in facts.columns:
                raise InputError(
                    f"{label} has no column {name!r}; it has {', '.join(facts.columns) or 'none'}. "
                    "Set text_col or language_col of the source"
                )

    def records(self, settings: TextSource, source: Input, counts: Counter[str]) -> Iterator[Any]:
        """The pieces of a file of text, the rows of a list, the pages and texts of an archive."""
        form = _form(source.path)
        if form == "list":
            yield from _ROWS.records(_as_list(settings), source, counts)
        elif form == "archive":
            begin, end = (int(bound) for bound in source.slice)
            with files.open_read(source.path) as file:
                try:
                    for record in read_warc(
                        file, settings.max_page_bytes, counts, begin, end, texts=True
                    ):
                        if isinstance(record, HtmlRecord | TextRecord | Rejected):
                            yield record
                except UnusableArchiveError as error:
                    raise InputError(str(error)) from error
        else:
            start, stop = (int(bound) for bound in source.slice)
            with files.open_read(source.path) as file:
                try:
                    text = open_text(file, start, stop)
                    yield from read_documents(text, settings.document, settings.max_chars)
                except (ListError, UnpackError) as error:
                    raise InputError(str(error)) from error

    def read(
        self, settings: TextSource, source: Input, record: Any, counts: Counter[str]
    ) -> Iterable[base.Found]:
        """The texts of a record."""
        if isinstance(record, str):
            return [_found(record, None, None)]
        if isinstance(record, HtmlRecord):
            return self._of_page(settings, source, record, counts)
        if isinstance(record, TextRecord):
            counts["texts"] += 1
            return _pieces([record.text], settings.max_chars, record.url, record.language)
        texts = as_captions(record[settings.text_col])
        language = record[settings.language_col] if settings.language_col else None
        declared = scrub(str(language)) if language else None
        return _pieces(texts, settings.max_chars, None, declared)

    def _of_page(
        self, settings: TextSource, source: Input, record: HtmlRecord, counts: Counter[str]
    ) -> Iterable[base.Found]:
        counts["pages"] += 1
        refused = archived_opt_out(
            record.headers, source.agent, settings.opt_out, settings.tdm_reservation
        )
        if refused:
            return [Rejected("opt_out", refused, page_url=record.url)]
        try:
            page = page_text(record.body, record.charset, source.apart)
        except RejectedError as error:
            return [replace(error.rejected, page_url=record.url)]
        if refused := refused_by(page, settings, source):
            return [Rejected("opt_out", refused, page_url=record.url)]
        language = page.language or one_language(record.headers.get("content-language", ""))
        return _pieces([page.text], settings.max_chars, record.url, language)


def _form(path: str) -> str:
    """What a file is by its name: text, list or archive."""
    name = path.lower().removesuffix(".gz").removesuffix(".zst")
    if name.endswith(_TEXT):
        return "text"
    return "archive" if name.endswith(_ARCHIVE) else "list"


def _as_list(settings: TextSource) -> ListSource:
    return ListSource(
        kind="list",
        paths=settings.paths,
        on_broken_input=settings.on_broken_input,
        url_col=None,
        caption_col=settings.text_col,
        language_col=settings.language_col,
    )


def _pieces(texts: list[str], most: int, url: str | None, language: str | None) -> list[base.Found]:
    """The pieces of documents; one loss where there is nothing in them."""
    found = [
        _found(piece, url, language)
        for text in texts
        for piece in cut_document(text.replace("\r\n", "\n").replace("\r", "\n"), most)
    ]
    return found or [Rejected("no_image_or_text", "no text", page_url=url)]


def _found(text: str, url: str | None, language: str | None) -> base.Found:
    """A piece as a sample without an image."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        wrong = text[error.start : error.start + 1].encode("utf-8", "surrogateescape")
        value = f"byte 0x{wrong.hex()} at character {error.start} of the text"
        return Rejected("not_utf8", value, caption=scrub(text), page_url=url)
    cleaned = clean_caption(text)
    if not cleaned:
        return Rejected("no_image_or_text", "nothing visible", page_url=url)
    return Pair(None, cleaned, "text", url, language)
