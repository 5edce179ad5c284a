"""A sample's page: its image with layers, what is known of it and where that came from, and what
models say of it."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from septet.pipelines.browse.database import QueryError
from septet.pipelines.browse.drawing import MOST_VIEWS, as_text, codes_of, draw, read_value
from septet.pipelines.browse.images import Images, require_sample
from septet.pipelines.browse.measured import Measured, measure
from septet.pipelines.browse.models import PARTS, Decoder, Trained
from septet.pipelines.browse.reject_images import RejectThumbnails
from septet.pipelines.browse.tables import Tables
from septet.pipelines.report import readable
from septet.preprocess.annotators.codes import false_colours, png
from septet.preprocess.columns.reader import read_manifest

_ORIGIN = ("url", "page_url", "source", "caption_from", "language_from")
_KEPT = {"Cache-Control": "private, max-age=3600"}

Show = Callable[..., Response]


class Samples:
    """The pages about one sample.

    Args:
        tables: The corpus's tables.
        images: Its images.
        reject_images: Those of its rejects.
        show: Makes a page of a template's name, a form and what it shows.
        model: The model that is asked; None for none.
        decoder: What decodes image codes.
    """

    def __init__(
        self,
        tables: Tables,
        images: Images,
        reject_images: RejectThumbnails,
        show: Show,
        model: Trained | None,
        decoder: Decoder,
    ):
        self._tables, self._corpus, self._images = tables, tables.corpus, images
        self._reject_images = reject_images
        self._show, self._model, self._decoder = show, model, decoder

    def page(self, request: Request, form: Mapping[str, str]) -> Response:
        """All that is known of a sample."""
        shard, row = _place(request)
        facts, members = self._facts(shard, row)
        drawn = draw(self._corpus, shard, row, facts)
        problems = [*drawn.problems]
        rules: list[Measured] = []
        gone: list[dict[str, Any]] = []
        count = 0
        try:
            rules = measure(self._corpus.manifest.recipe, facts)
        except Exception as error:  # a recipe is what a stranger wrote, and says
            problems.append(
                ("recipe", f"its rules cannot be asked: {readable.one_line(str(error))}")
            )
        try:
            count, gone = self._tables.dropped.duplicates(str(facts["key"]))
        except QueryError as error:
            problems.append(("duplicates", str(error)))
        told = {name: as_text(value) for name, value in facts.items() if value is not None}
        index = self._corpus.index(shard, row) or 0
        places = [
            self._corpus.locate(one) if 0 <= one < len(self._corpus) else None
            for one in (index - 1, index + 1)
        ]
        return self._show(
            "sample", form, shard=shard, row=row, facts=told, drawn=drawn, members=members,
            has_image=self._images.is_shown(members), tar=self._corpus.shards[shard].tar,
            problems=problems, origin=_ORIGIN, rules=rules, gone=gone, gone_count=count,
            places=places, run=self._model.run if self._model else "", most_views=MOST_VIEWS,
            pictured=self._reject_images.among(gone),
            not_decoded={one.name: self._not_decoded(one.name) for one in drawn.codes},
        )  # fmt: skip

    def _facts(self, shard: int, row: int) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
        """What is known of a sample, and its members."""
        require_sample(self._corpus, shard, row)
        facts = self._corpus.metadata(shard).slice(row, 1).to_pylist()[0]
        members = facts.pop("members", None) or []
        facts.pop("thumbnail", None)
        if facts.get("caption") is None:
            facts["caption"] = self._images.caption(shard, row)
        return facts, members

    def _not_decoded(self, column: str) -> str:
        """Why a column's codes are not decoded to images; empty where they are."""
        try:
            return self._decoder.unfit(read_manifest(self._corpus.path, column))
        except (ValueError, OSError) as error:
            return str(error)

    def codes(self, request: Request) -> Response:
        """The codes of a view as an image: decoded, or in false colours."""
        shard, row = _place(request)
        name, view = request.path_params["column"], request.path_params["view"]
        try:
            require_sample(self._corpus, shard, row)
            head, data = read_value(self._corpus, name, shard, row)
            codes = codes_of(data)
            if not data or view >= min(len(codes), MOST_VIEWS):
                raise ValueError("there are no such codes")
            if request.path_params["how"] == "false":
                return Response(
                    png(false_colours(codes[view])), media_type="image/png", headers=_KEPT
                )
            if why := self._decoder.unfit(head):
                raise ValueError(why)
            image = self._decoder.png(codes[view].tolist())
        except (ValueError, OSError) as error:
            return Response(str(error), 404, media_type="text/plain")
        return Response(image, media_type="image/png", headers=_KEPT)

    def model(self, request: Request, form: Mapping[str, str]) -> Response:
        """What a trained model can be asked about a sample; its answer, where it was asked."""
        shard, row = _place(request)
        if self._model is None:
            raise ValueError("no model is at hand: septet browse --run RUN")
        facts, members = self._facts(shard, row)
        about = self._model.about()
        tasks = about["tasks"]
        told = None
        if request.method == "POST":
            task = form.get("task", "")
            if task not in tasks:
                raise ValueError(f"the model has no task {task[:40]!r}")
            needs = "image" in (*tasks[task]["needs"], *tasks[task]["may"])
            image = self._images.stored(shard, row)[0] if needs else None
            told = self._model.ask(task, image, form)
        return self._show(
            "model", form, shard=shard, row=row, about=about, told=told, run=self._model.run,
            parts=PARTS, asked=form, has_image=self._images.is_shown(members),
            caption=as_text(facts.get("caption") or "", 300).replace("|", " "),
            language=as_text(facts.get("language") or "", 20), key=as_text(facts["key"], 400),
        )  # fmt: skip

    def made(self, request: Request) -> Response:
        """An image that the model made."""
        try:
            if self._model is None:
                raise ValueError("no model is at hand")
            return Response(self._model.made(request.path_params["number"]), media_type="image/png")
        except ValueError as error:
            return Response(str(error), 404, media_type="text/plain")


def _place(request: Request) -> tuple[int, int]:
    return request.path_params["shard"], request.path_params["row"]
