"""The pages of `septet browse`, made on the server; the state of each is in its address."""

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from septet.pipelines.browse import bars
from septet.pipelines.browse.beside import SIDES, Beside
from septet.pipelines.browse.build_page import build_facts
from septet.pipelines.browse.comparing import Compared
from septet.pipelines.browse.database import QueryError
from septet.pipelines.browse.figures import category_chart, figures_of, measure_chart
from septet.pipelines.browse.images import Images
from septet.pipelines.browse.models import Decoder, Trained
from septet.pipelines.browse.nearest import Nearest
from septet.pipelines.browse.outgoing import Outgoing
from septet.pipelines.browse.pages import templates
from septet.pipelines.browse.reject_images import RejectThumbnails
from septet.pipelines.browse.sample import Samples
from septet.pipelines.browse.stopping import CURRENT, Stop
from septet.pipelines.browse.tables import Tables
from septet.pipelines.report.sections import SECTIONS
from septet.pipelines.report.show import resolve_key
from septet.pipelines.views.curate import Wish, curate
from septet.pipelines.views.expressions import parse
from septet.preprocess.text.language.identify import identify
from septet.preprocess.text.language.model import language_model
from septet.schemas.reasons import RejectedError

A_PAGE = 60
"""Samples, or rejects, on one page."""
SECOND = "/second"
"""Where the pages of the corpus are that another one is compared with."""
_MOST_LANGUAGES = 2_000
"""The most rejects whose language is told for one page."""
_READ = 400
"""The signs of a caption by which its language is told."""
_IN_GRID = ("key", "caption", "url", "language", "width", "height")
BUILD = "build"
_TABS = {
    "": "At a glance",
    **{name: section.title for name, section in SECTIONS.items()},
    BUILD: "Build",
}
"""What the overview shows, by the name in its address."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class Site:
    """The pages of one corpus.

    Args:
        tables: The corpus's tables.
        model: A trained model that can be asked about samples; None for none.
        codes: A file of a VQGAN's weights, by which image codes are decoded.
        beside: The corpus and another one, to be compared; None for no other.
        at: Where the pages are: the beginning of their paths.
    """

    def __init__(
        self,
        tables: Tables,
        model: Trained | None = None,
        codes: str | None = None,
        beside: Compared | None = None,
        at: str = "",
    ):
        self._tables, self._corpus = tables, tables.corpus
        self._images = Images(tables.corpus)
        self._model, self._decoder = model, Decoder(codes)
        self._reject_images = RejectThumbnails(tables.corpus)
        self._sample = Samples(
            tables, self._images, self._reject_images, self._show, model, self._decoder
        )
        self._outgoing = Outgoing(tables)
        self._nearest = Nearest(tables, self._show)
        self._templates = templates()
        self._at = at
        self._templates.globals |= {
            "address": self._address, "both": bars.both, "label": self._corpus.label, "at": at,
            "has_embeddings": bool(self._nearest.columns()),
            "tab_titles": _TABS, "figures": "", "reason_at": self._reason_at,
            "beside": beside.sides[1].corpus.label if beside else "",
        }  # fmt: skip
        self._beside = self._other = None
        if beside is not None:
            self._beside = Beside(beside, self._show)
            self._other = Site(beside.sides[1], codes=codes, at=SECOND)

    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/", self._page(self.overview)),
            Route("/values", self._page(self.values)),
            Route("/samples", self._page(self.samples)),
            Route("/samples/{shard:int}/{row:int}", self._page(self._sample.page)),
            Route("/samples/{shard:int}/{row:int}/model", self._page(self._sample.model),
                  methods=["GET", "POST"]),
            Route("/samples/{shard:int}/{row:int}/nearest", self._page(self._nearest.page)),
            Route("/ids.csv", self._page(self._outgoing.csv)),
            Route("/ids.parquet", self._page(self._outgoing.parquet)),
            Route("/answers/{number:int}", self._sample.made),
            Route("/codes/{how:str}/{column:str}/{shard:int}/{row:int}/{view:int}",
                  _watched(self._sample.codes)),
            Route("/keys", self._page(self.key)),
            Route("/rejects", self._page(self.rejects)),
            Route("/rejects/{stage}/{reason}", self._page(self.reason)),
            Route("/reason", self._page(self.reason)),
            Route("/reject-image", self._reject_images.thumbnail),
            Route("/views", self._page(self.save), methods=["POST"]),
            Route("/stop", lambda _: Response(status_code=204)),
            Route("/images/{shard:int}/{row:int}", self.image),
            Route("/thumbnails/{shard:int}/{row:int}", self.thumbnail),
            Mount("/static", StaticFiles(packages=[("septet.pipelines.browse", "static")])),
        ]  # fmt: skip
        if self._beside and self._other:
            routes += [
                Route("/compare", self._page(self._beside.overview)),
                *(Route(f"/compare/{side}", self._page(self._beside.lone)) for side in SIDES),
                Mount(SECOND, self._other.app()),
            ]
        return Starlette(routes=routes, exception_handlers={404: self._no_page})

    def _no_page(self, request: Request, _: Exception) -> Response:
        return self._show("error", {}, 404, error="there is no such page")

    def _reason_at(self, stage: str, reason: str) -> str:
        """The address of a reason's page, whatever its stage and itself are called."""
        if _PLAIN.fullmatch(stage) and _PLAIN.fullmatch(reason):
            return f"{self._at}/rejects/{stage}/{reason}"
        return f"{self._at}/reason?" + urlencode({"stage": stage, "reason": reason})

    def end(self) -> None:
        """End the processes of models, and what is made in the background."""
        self._tables.held.end()
        self._decoder.end()
        if self._other:
            self._other.end()
        if self._model is not None:
            self._model.end()

    def _address(self, path: str, **query: Any) -> str:
        return bars.address(self._at + path, **query)

    def _page(self, make: Callable[..., Response]) -> Callable[..., Any]:
        """A page, where a person's mistake, or a question that takes too long, is told on it."""

        async def form_of(request: Request) -> Mapping[str, Any]:
            form = await request.form(max_files=0, max_fields=20)
            return {name: value for name, value in form.items() if isinstance(value, str)}

        async def respond(request: Request) -> Response:
            form = await form_of(request) if request.method == "POST" else request.query_params
            try:
                if request.method == "GET" and form.get("find", "").strip():
                    return RedirectResponse(self._with_words(request.url.path, form), 303)
                return await _watched(make)(request, form)
            except (ValueError, OSError) as error:
                status = 503 if isinstance(error, QueryError) else 400
                return self._show("error", form, status, error=str(error))

        return respond

    def _with_words(self, path: str, form: Mapping[str, str]) -> str:
        """The address of a page with a condition on the words of captions besides."""
        self._tables.require("caption")
        keep = bars.both(form.get("keep", ""), bars.words(form["find"]))
        parse(keep)  # what is wrong, or too long, is told here
        return bars.address(path, **{**form, "find": "", "page": "", "keep": keep})

    def _show(self, name: str, form: Mapping[str, Any], status: int = 200, **more: Any) -> Response:
        keep = str(form.get("keep", ""))
        page = self._templates.get_template(f"{name}.html.j2").render(
            keep=keep,
            page=name,
            fields=list(self._tables.columns),
            faults=self._tables.faults,
            **more,
        )
        return HTMLResponse(page, status)

    def overview(self, request: Request, form: Mapping[str, str]) -> Response:
        """What there is: counts, and how values are spread, of the samples that are kept; or one
        section of the report's figures of them, or what their build told."""
        keep, figures = form.get("keep", ""), form.get("figures", "")
        tables = self._tables
        if figures in SECTIONS:
            return self._figures(figures, form)
        if figures == BUILD:
            return self._show("build", form, figures=figures, **build_facts(self._corpus))
        if figures:
            known = ", ".join(filter(None, _TABS))
            raise ValueError(f"figures: expected one of {known}, found {figures[:40]!r}")
        found = tables.spread(
            [name for name in bars.FACETS if name in tables.columns],
            bars.numbers(tables.columns, bars.SIDES),
            keep,
        )
        tables.held.begin()  # who looks at the first page has what to look at meanwhile
        facets = [
            (name, bars.of_values(name, values), found.different[name] - len(values))
            for name, values in found.facets.items()
        ]
        spreads = [
            (name, bars.of_bins(name, found_bins)) for name, found_bins in found.numbers.items()
        ]
        kept, whole = found.samples, len(self._corpus)
        return self._show(
            "overview", form, kept=kept, whole=whole, facets=facets, spreads=spreads,
            commands=self._outgoing.commands(keep),
        )  # fmt: skip

    def _figures(self, name: str, form: Mapping[str, str]) -> Response:
        section, recipe, keep = SECTIONS[name], self._corpus.manifest.recipe, form.get("keep", "")
        held = self._tables.held
        held.begin()
        if held.is_being_made:  # until then they take as long as reading all
            return self._show("waiting", form, figures=name, read=held.read)
        found = figures_of(self._tables, section, keep)
        drawn = [measure_chart(one, told, recipe) for one, told in found.measures.items()]
        drawn += [category_chart(one, found) for one in found.categories]
        names = [one for one in section.numbers if one in self._tables.columns]
        spreads = self._tables.spread([], names, keep).numbers if names else {}
        return self._show(
            "figures", form, figures=name, lead=section.lead, kept=found.samples,
            whole=len(self._corpus), drawn=drawn, members=found.members, most_members=12,
            spreads=[(one, bars.of_bins(one, told)) for one, told in spreads.items()],
        )  # fmt: skip

    def values(self, request: Request, form: Mapping[str, str]) -> Response:
        """All values of a field, the commonest first, or those that contain some words."""
        keep, field, words = (form.get(name, "") for name in ("keep", "field", "words"))
        number = bars.whole_number(form)
        different, rows = self._tables.values(
            field, keep, words=words, offset=(number - 1) * A_PAGE, limit=A_PAGE
        )
        return self._show(
            "values", form, field=field, words_wanted=words, different=different,
            bars=bars.of_values(field, rows), number=number,
            pages=max(1, math.ceil(different / A_PAGE)),
        )  # fmt: skip

    def samples(self, request: Request, form: Mapping[str, str]) -> Response:
        """A grid of samples, sorted by a field or in the corpus's order."""
        keep, sort = form.get("keep", ""), form.get("sort", "")
        number = bars.whole_number(form)
        fields = [name for name in _IN_GRID if name in self._tables.columns]
        kept = self._tables.count(keep)
        rows = self._tables.page(
            keep, fields, sort, form.get("order") == "falling", (number - 1) * A_PAGE, A_PAGE
        )
        if "caption" not in fields:
            rows = [
                replace(
                    one, facts={**one.facts, "caption": self._images.caption(one.shard, one.row)}
                )
                for one in rows
            ]
        told = "url" in fields  # of an indexed folder, nothing may be
        with_image = {
            (one.shard, one.row)
            for one in rows
            if (one.facts["url"] if told else self._images.is_there(one.shard, one.row))
        }
        return self._show(
            "samples", form, rows=rows, with_image=with_image, kept=kept, number=number, sort=sort,
            falling=form.get("order") == "falling", pages=max(1, math.ceil(kept / A_PAGE)),
        )  # fmt: skip

    def key(self, request: Request, form: Mapping[str, str]) -> Response:
        """The page of the sample whose key is, or begins with, what was typed."""
        shard, row = self._corpus.locate(resolve_key(self._corpus, form.get("key", "").strip()))
        return RedirectResponse(f"{self._at}/samples/{shard}/{row}", 303)

    def rejects(self, request: Request, form: Mapping[str, str]) -> Response:
        """What was dropped, by stage and reason."""
        found = self._tables.dropped.reasons()
        most = max((count for _, _, count in found), default=1)
        rows = [
            (stage, reason, count, 100 * count / most, bars.meaning(reason))
            for stage, reason, count in found
        ]
        return self._show("rejects", form, rows=rows)

    def reason(self, request: Request, form: Mapping[str, str]) -> Response:
        """The rejects of one reason: how their values are spread, examples on both sides of a cut,
        and their languages."""
        where = request.path_params or form
        stage, reason = where.get("stage", ""), where.get("reason", "")
        words, language = form.get("words", ""), form.get("language", "")
        number = bars.whole_number(form)
        cut = bars.number(form, "cut")
        values = self._tables.dropped.values(stage, reason)
        found = self._tables.dropped.rows(stage, reason, words=words, limit=_MOST_LANGUAGES)
        languages = _tell_languages(found)
        if language:
            found = [one for one, code in zip(found, languages, strict=True) if code == language]
        shown = found[(number - 1) * A_PAGE : number * A_PAGE]
        sides = None
        if cut is not None:
            below = self._tables.dropped.rows(stage, reason, high=cut, words=words, limit=12)
            above = self._tables.dropped.rows(
                stage, reason, low=cut, words=words, limit=12, rising=True
            )
            counts = self._tables.dropped.sides(stage, reason, cut)
            sides = (below, above, *counts)
        for some in (sides or ())[:2]:
            _tell_languages(some)
        listed = (*shown, *(one for some in (sides or ())[:2] for one in some))
        return self._show(
            "reason", form, stage=stage, reason=reason, meaning=bars.meaning(reason), rows=shown,
            values=values, bars=bars.of_bins("", values) if values else [], cut=cut, sides=sides,
            words_wanted=words, language=language, number=number, found=len(found),
            looked_at=_MOST_LANGUAGES, pages=max(1, math.ceil(len(found) / A_PAGE)),
            languages=Counter(languages).most_common(40),
            pictured=self._reject_images.among(listed),
        )  # fmt: skip

    def save(self, request: Request, form: Mapping[str, str]) -> Response:
        """Write the view that `septet curate` would."""
        keep = form.get("keep", "").strip()
        wish = Wish(form.get("name", "").strip(), (keep,) if keep else ())
        view = curate(self._corpus.label, wish, Console(quiet=True))[-1]
        return self._show("saved", form, view=view, path=f"{self._corpus.path}@{view.name}")

    def image(self, request: Request) -> Response:
        """An image as it is stored."""
        try:
            data, media = self._images.stored(**request.path_params)
        except (ValueError, OSError) as error:
            return Response(str(error), 404, media_type="text/plain")
        return Response(data, media_type=media, headers={"Cache-Control": "private, max-age=3600"})

    def thumbnail(self, request: Request) -> Response:
        """A thumbnail of an image."""
        try:
            data = self._images.thumbnail(**request.path_params)
        except (ValueError, OSError, RejectedError) as error:
            return Response(str(error), 404, media_type="text/plain")
        return Response(
            data, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"}
        )


def _watched(make: Callable[..., Response]) -> Callable[..., Any]:
    """Work in a thread that ends when who asked for it has left."""

    async def respond(request: Request, *more: Any) -> Response:
        stop = Stop()
        CURRENT.set(stop)  # the thread has a copy of this context

        async def watch() -> None:
            while not await request.is_disconnected():
                await asyncio.sleep(0.2)
            await run_in_threadpool(stop.ask)

        watching = asyncio.create_task(watch())
        try:
            return await run_in_threadpool(make, request, *more)
        finally:
            watching.cancel()

    return respond


def _tell_languages(rows: list[dict[str, Any]]) -> list[str]:
    """The language of each row's caption as far as a model alone can tell, which the row has from
    then on, too."""
    model = language_model()
    for row in rows:
        row["language"] = identify((row["caption"] or "")[:_READ], model=model).code
    return [row["language"] for row in rows]
