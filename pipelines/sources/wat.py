"""The source `wat`: pages as Common Crawl's WAT files describe them."""

from collections import Counter
from collections.abc import Iterable, Iterator

from septet.pipelines.sources import base
from septet.pipelines.sources.base import Facts, Input, InputError, Source
from septet.pipelines.sources.warc import found_in_page, refused_by, slices_of_archive
from septet.preprocess import files
from septet.preprocess.html.wat import read_wat, wat_pairs
from septet.preprocess.http.opt_out import archived_opt_out
from septet.preprocess.warc.records import Damage, Record, UnusableArchiveError, read_records
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import WatSource


class Wat(Source):
    """The source of WAT files: pairs of images and alts, without the pages."""

    kind = "wat"
    version = 1
    unit = "record"

    def describe(self, path: str, size: int) -> Facts:
        """Cut the file into ranges of bytes, as archives are."""
        return slices_of_archive(path, size)

    def records(
        self, settings: WatSource, source: Input, counts: Counter[str]
    ) -> Iterator[Record | Rejected]:
        """The records of a range that describe something; damage is a `Rejected`."""
        begin, end = (int(bound) for bound in source.slice)
        with files.open_read(source.path) as file:
            try:
                for record in read_records(file, begin, end, settings.max_page_bytes):
                    if isinstance(record, Damage):
                        reason = "warc_truncated" if record.is_cut else "warc_broken"
                        yield Rejected(reason, str(record), page_url=record.url)
                        continue
                    counts["records"] += 1
                    if record.kind == "metadata":
                        yield record
                    else:
                        counts["records_not_web"] += 1
            except UnusableArchiveError as error:
                raise InputError(str(error)) from error

    def read(
        self, settings: WatSource, source: Input, record: Record, counts: Counter[str]
    ) -> Iterable[base.Found]:
        """The pairs of a page."""
        try:
            return self._pairs(settings, source, record, counts)
        except RejectedError as error:
            return [Rejected(error.reason, error.value, page_url=record.url or None)]

    def _pairs(
        self, settings: WatSource, source: Input, record: Record, counts: Counter[str]
    ) -> Iterable[base.Found]:
        if record.block is None:
            raise RejectedError("too_large", str(record.size))
        described = read_wat(record.block)
        if described is None:
            counts["records_not_web"] += 1
            return []
        if described.html is None:
            counts["records_other_media"] += 1
            return []
        url = described.url
        if described.status != "200":
            return [Rejected("page_status", described.status, page_url=url)]
        counts["pages"] += 1
        wanted, tdm = settings.opt_out, settings.tdm_reservation
        refused = archived_opt_out(described.headers, source.agent, wanted, tdm)
        page = None if refused else wat_pairs(described, settings.captions)
        if page is not None:
            refused = refused_by(page, settings, source)
        if refused or page is None:
            return [Rejected("opt_out", refused, page_url=url)]
        return found_in_page(page, url, counts)
