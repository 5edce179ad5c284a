"""The source `webdataset`: samples of tars, as WebDataset and img2dataset write them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
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
from septet.pipelines.sources.sidecars import MAX_SIDECAR_BYTES, json_of, text_of
from septet.pipelines.sources.values import as_annotations, as_captions, as_json, scrub
from septet.preprocess import files
from septet.preprocess.shards.tar import Entry, TarError, TarSample, cut_tar, read_samples
from septet.preprocess.text.clean import clean_caption
from septet.preprocess.urls import image_url
from septet.schemas.reasons import Rejected, RejectedError
from septet.schemas.sources import WebDatasetSource

SLICE_BYTES = 2**30
"""Bytes of a tar that are work for one worker: headers, texts and JSON are read of them here, some
ten thousand samples. Images are read later, by `fetch`, in its own parts of an archive."""


class WebDataset(Source):
    """Tars of samples; a record is a sample."""

    kind = "webdataset"
    version = 1
    unit = "sample"

    def describe(self, path: str, size: int) -> Facts:
        """Cut a tar into ranges of bytes, between samples."""
        if not size:
            raise InputError("is empty (0 bytes): fetch or write it again")
        # A small tar is not walked: reading ahead would be in vain.
        with files.open_read(path, ahead=size > SLICE_BYTES) as file:
            try:
                return Facts(list(cut_tar(file, size, SLICE_BYTES)))
            except TarError as error:
                raise InputError(str(error)) from error

    def records(
        self, settings: WebDatasetSource, source: Input, counts: Counter[str]
    ) -> Iterator[TarSample]:
        """The samples of a slice, with the content of their texts and JSON."""
        start, stop = (int(bound) for bound in source.slice)
        wanted = {"json", *(["cls"] if settings.class_names else []), *settings.caption_exts}
        passed_over: Counter[str] = Counter()
        keys: set[str] = set()
        with files.open_read(source.path) as file:
            try:
                for sample in read_samples(
                    file, passed_over, start, stop, {ext.lower() for ext in wanted},
                    MAX_SIDECAR_BYTES,
                ):  # fmt: skip
                    keys.add(sample.key)
                    yield sample
            except TarError as error:
                raise InputError(str(error)) from error
            finally:
                counts["members_ignored"] += passed_over.total()
        if not source.number:
            counts.update(_rows_beside(source.path, keys if source.slices == 1 else None))

    def read(
        self, settings: WebDatasetSource, source: Input, record: TarSample, counts: Counter[str]
    ) -> Iterable[Found]:
        """The pairs of a sample: one for each caption."""
        if record.fault:
            raise RejectedError("tar_sample", record.fault)
        members = {ext.lower(): entry for ext, entry in reversed(record.members)}
        ext = next((ext for ext in map(str.lower, settings.image_exts) if ext in members), None)
        used = {"json", ext} & members.keys() | record.contents.keys()
        counts["members_ignored"] += len(record.members) - len(used)
        url = f"{source.label}/{members[ext].name}" if ext else None
        carried: dict[str, str | None] = {"extra": None, "annotations": None}
        try:
            told = _json(record)
            if settings.extra_keys:
                carried["extra"] = as_json({key: told.get(key) for key in settings.extra_keys})
            notes = {key: told.get(key) for key in settings.annotation_keys}
            carried["annotations"] = as_annotations(notes)
            if url and settings.url_key and told.get(settings.url_key):
                url = _identity(told[settings.url_key], url, counts)
            texts = _captions(settings, record, told)
            _require_complete(settings, record.key, url is not None, bool(texts))
        except RejectedError as error:
            return [Rejected(error.reason, error.value, image_url=url, **carried)]
        language = told.get(settings.language_key) if settings.language_key else None
        declared = scrub(str(language)) if language else None
        pairs: list[Found] = [
            Pair(url, text, where, page_language=declared, **carried)
            for text, where in texts.items() or [(None, None)]
        ]
        return [_location(source.label, url, members[ext]), *pairs] if url and ext else pairs


def _rows_beside(path: str, keys: set[str] | None) -> Counter[str]:
    """Count the rows of img2dataset's Parquet file beside a tar that are no sample of it, by
    status: images that it could not fetch or resize.

    Args:
        path: The tar.
        keys: The keys of the whole tar; None where they are not known, and the status says which
            rows are samples.
    """
    found: Counter[str] = Counter()
    beside = path.removesuffix(".tar") + ".parquet"
    if not files.exists(beside):
        return found
    try:
        with files.open_read(beside, ahead=False) as file:
            parquet = pq.ParquetFile(file)
            columns = [name for name in ("key", "status") if name in parquet.schema_arrow.names]
            if "key" not in columns or (keys is None and "status" not in columns):
                return found
            for batch in parquet.iter_batches(columns=columns):
                for row in batch.to_pylist():
                    status = row.get("status")
                    if status == "success" if keys is None else str(row["key"]) in keys:
                        continue
                    known = status in ("failed_to_download", "failed_to_resize")
                    found["rows_without_sample" + (f"_{status}" if known else "")] += 1
    except (pa.ArrowException, OSError):
        found["parquet_unreadable"] += 1
    return found


def _location(label: str, url: str, entry: Entry) -> ImageLocation:
    return ImageLocation(url, label, None, entry.offset, entry.size, "tar")


def _json(record: TarSample) -> dict[str, Any]:
    data = record.contents.get("json")
    name = f"{record.key}.json"
    return {} if data is None else json_of(name, text_of(name, data))


def _identity(link: Any, path: str, counts: Counter[str]) -> str:
    """The image's URL as its JSON tells it; where that is none, its path."""
    url = image_url(link, link) if isinstance(link, str) else None
    if isinstance(url, str):
        return url
    counts["urls_not_used"] += 1
    return path


def _captions(
    settings: WebDatasetSource, record: TarSample, told: dict[str, Any]
) -> dict[str, str]:
    """The cleaned captions of a sample, each once, with the member that each comes from.

    Raises:
        RejectedError: a member cannot be read, or holds something else.
    """
    found = []
    for ext in map(str.lower, settings.caption_exts):
        if ext in record.contents:
            found.append((text_of(f"{record.key}.{ext}", record.contents[ext]), ext))
    if settings.caption_key is not None:
        found += [(text, "json") for text in as_captions(told.get(settings.caption_key))]
    if settings.class_names is not None and "cls" in record.contents:
        number = text_of(f"{record.key}.cls", record.contents["cls"]).strip()
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        if not is_number or int(number) >= len(settings.class_names):
            raise RejectedError("caption_type", f"no number of a class in .cls: {number[:80]!r}")
        found.append((settings.class_names[int(number)], "cls"))
    texts: dict[str, str] = {}
    for text, where in found:
        if cleaned := clean_caption(text):
            texts.setdefault(cleaned, where)
    return texts


def _require_complete(settings: WebDatasetSource, key: str, image: bool, text: bool) -> None:
    if not image and not text:
        raise RejectedError("no_image_or_text", key)
    if not (image and text) and settings.incomplete_samples == "reject":
        raise RejectedError("tar_sample", f"no {'caption' if image else 'image'} in {key}")
