"""source: input files to candidate pairs and the places of images; one task an input file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa

from septet.pipelines.inputs import Input, with_absolute_roots
from septet.pipelines.sources.lists import ListError, read_list
from septet.pipelines.sources.warc import Found, HtmlRecord, ImageRecord, read_warc
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage, digest_of
from septet.pipelines.stages.tasks import Results, Task
from septet.preprocess import files
from septet.preprocess.html.pages import image_url, parse_page
from septet.preprocess.text.clean import clean_caption
from septet.preprocess.text.ids import pair_id
from septet.preprocess.warc.records import UnusableArchiveError
from septet.schemas import tables
from septet.schemas.reasons import Rejected
from septet.schemas.recipe import ListSource, WarcSource

_BATCH = 8192
IN_PLAIN_FILE = -1
"""`offset` of an image that is a file of its own."""


class SourceStage(Stage):
    """Reads the inputs: candidate pairs, and where the images lie that the inputs hold."""

    name = "source"
    version = 2
    sections = ("sources",)
    gives = ("candidates", "image_locations")
    by_input = True

    def settings(self) -> dict[str, Any]:
        """None: each task's key has those of its own source."""
        return {}

    def keys(self) -> list[Key]:
        """A key an input, of its name, content and settings. An input named twice is read once."""
        return list(self._inputs())

    def _inputs(self) -> dict[Key, Input]:
        settings = [
            source.model_dump(mode="json", exclude={"paths"}) for source in self.recipe.sources
        ]
        return {digest_of(settings[i.source], i.label, i.digest): i for i in self.context.inputs}

    def passes(self) -> Iterator[Pass]:
        """One pass over the inputs."""
        task = SourceTask(
            self.parts("candidates"),
            self.parts("image_locations"),
            self.rejects,
            self._inputs(),
            tuple(with_absolute_roots(self.recipe, self.context.folder).sources),
        )
        yield Pass("source", task.outputs(self.keys()), lambda todo: map_tasks(task, todo))


class SourceTask(Task):
    """Reads one input."""

    stage = "source"

    def __init__(
        self,
        candidates: Parts,
        image_locations: Parts,
        rejects: Parts,
        inputs: dict[Key, Input],
        sources: tuple[WarcSource | ListSource, ...],
    ):
        self.output, self.image_locations, self.rejects = candidates, image_locations, rejects
        self.inputs, self.sources = inputs, sources

    def run(self, key: Key) -> Counts:
        """Write the input's pairs, image locations and rejects."""
        source = self.inputs[key]
        settings = self.sources[source.source]
        with (
            self.results(key, tables.CANDIDATES) as results,
            files.open_atomic(self.image_locations.path(key)) as out,
            files.TableSink(out, tables.IMAGE_PLACES) as sink,
        ):
            reader = _Reader(source, results, sink)
            if isinstance(settings, WarcSource):
                reader.read_warc(settings)
            else:
                reader.read_list(settings)
            reader.flush()
        return results.counts


class _Reader:
    """Rows of one input on their way into the task's outputs."""

    def __init__(self, source: Input, results: Results, places: files.TableSink):
        self._input, self._results, self._places = source, results, places
        self._rows: dict[str, list[dict[str, Any]]] = {"pairs": [], "rejects": [], "places": []}
        self._other = results.counts.other

    def read_warc(self, settings: WarcSource) -> None:
        path = self._input.path
        with fsspec.open(path, "rb") as file:
            try:
                for record in read_warc(file, settings.max_page_bytes, self._other):
                    self._warc_record(settings, record)
            except UnusableArchiveError as error:
                self._reject("warc_broken", str(error))

    def _warc_record(self, settings: WarcSource, record: Found) -> None:
        match record:
            case ImageRecord(url, offset):
                self._other["images_in_archive"] += 1
                place = image_url(url, url)
                if isinstance(place, str):
                    path = self._input.path
                    self._put("places", image_url=place, path=path, offset=offset)
            case HtmlRecord(url, body, charset):
                self._page(settings, url, body, charset)
            case Rejected(reason, value):
                self._reject(reason, value or "", page_url=record.page_url)

    def _page(self, settings: WarcSource, url: str, body: bytes, charset: str | None) -> None:
        self._other["pages"] += 1
        page = parse_page(body, url, charset, list(settings.captions))
        self._other["img_elements"] += page.images
        self._other["images_without_caption"] += page.without_caption
        for pair in page.pairs:
            self._pair(*pair, page_url=url, page_language=page.language)
        for bad in page.bad_urls:
            self._reject(bad.reason, bad.value, page_url=url, caption=bad.caption)

    def read_list(self, settings: ListSource) -> None:
        columns = [settings.url_col, settings.caption_col, *settings.extra_cols]
        if settings.language_col:
            columns.append(settings.language_col)
        try:
            for batch in read_list(self._input.path, list(dict.fromkeys(columns))):
                for row in batch:
                    self._list_row(settings, row)
        except ListError as error:
            self._reject("list_unreadable", str(error).replace(self._input.path, self._input.label))

    def _list_row(self, settings: ListSource, row: dict[str, Any] | str) -> None:
        self._other["rows"] += 1
        if isinstance(row, str):
            return self._reject("list_row", row)
        link, text = row[settings.url_col], row[settings.caption_col]
        caption = clean_caption(str(text)) if text is not None else ""
        if not link or not caption:
            missing = settings.caption_col if link else settings.url_col
            return self._reject("list_row", f"no {missing}", caption=caption or None)
        link = str(link)
        if settings.image_root is None or urlsplit(link).scheme in ("http", "https"):
            where = image_url(link, link)
            if isinstance(where, Rejected):
                return self._reject(where.reason, where.value, caption=caption)
            link = where
        else:
            root = settings.image_root
            path = _inside(root, link)
            if path is None:
                return self._reject("outside_root", link, caption=caption)
            self._put("places", image_url=link, path=path, offset=IN_PLAIN_FILE)
        extra = {name: row[name] for name in settings.extra_cols}
        language = row[settings.language_col] if settings.language_col else None
        self._pair(
            link, caption, "list",
            page_language=str(language) if language else None,
            extra=json.dumps(extra, ensure_ascii=False, sort_keys=True, default=str)
            if extra else None,
        )  # fmt: skip

    def _pair(
        self,
        url: str,
        caption: str,
        caption_from: str,
        page_url: str | None = None,
        page_language: str | None = None,
        extra: str | None = None,
    ) -> None:
        self._results.counts.rows_in += 1
        self._put("pairs", id=pair_id(url, caption), image_url=url, caption=caption,
                  caption_from=caption_from, page_url=page_url, page_language=page_language,
                  source=self._input.label, extra=extra)  # fmt: skip

    def _reject(
        self,
        reason: str,
        value: str | None,
        page_url: str | None = None,
        caption: str | None = None,
    ) -> None:
        self._results.counts.rows_in += 1
        self._put("rejects", reason=reason, value=value, page_url=page_url, caption=caption,
                  source=self._input.label)  # fmt: skip

    def _put(self, kind: str, **row: Any) -> None:
        rows = self._rows[kind]
        rows.append(row)
        if len(rows) >= _BATCH:
            self._flush(kind)

    def _flush(self, kind: str) -> None:
        rows, self._rows[kind] = self._rows[kind], []
        if not rows:
            return
        if kind == "pairs":
            self._results.keep(pa.Table.from_pylist(rows, tables.CANDIDATES))
        elif kind == "places":
            self._places.write(pa.Table.from_pylist(rows, tables.IMAGE_PLACES))
        else:
            fields = ["reason", "value", "page_url", "caption", "source"]
            schema = pa.schema([pa.field(name, pa.string()) for name in fields])
            self._results.reject(pa.Table.from_pylist(rows, schema))

    def flush(self) -> None:
        for kind in self._rows:
            self._flush(kind)


def _inside(root: str, link: str) -> str | None:
    """The file that `link` names below `root`, None if it names one elsewhere."""
    if not files.is_local(root):
        clean = link.lstrip("/")
        return None if ".." in clean.split("/") else files.join(root, clean)
    folder = Path(files.local_path(root)).resolve()
    path = (folder / link).resolve()
    return str(path) if path.is_relative_to(folder) and path != folder else None
