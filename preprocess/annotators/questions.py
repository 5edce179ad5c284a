"""The column `questions`: questions about an image with their answers."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from septet.preprocess.boxes.annotated import as_list, read_extra
from septet.preprocess.columns import base
from septet.preprocess.columns.base import Column, Drawing, Item, NoValue, Value
from septet.preprocess.columns.captions import refusal
from septet.preprocess.columns.image_sets import ByImage, ImageIds, SetSettings
from septet.preprocess.columns.left_out import FACTS, MALFORMED, left_out, told
from septet.preprocess.columns.members import pack_json, unpack_json
from septet.preprocess.columns.weights import need
from septet.preprocess.questions.captions import questions
from septet.preprocess.questions.pairs import Question
from septet.preprocess.questions.sources import read_questions
from septet.preprocess.scene_graphs.parsers import SeptetParser
from septet.preprocess.scene_graphs.pipeline import PIPELINE, pipeline_digest
from septet.preprocess.synthetic.languages import WORDINGS
from septet.preprocess.synthetic.languages import questions as scene_questions
from septet.preprocess.synthetic.scenes import Scene
from septet.schemas.columns import MemberFormat


class Questions(Column):
    """The column of question-answer pairs of an image: made from its English caption, those that
    its list carried along, or those that a VQA set has for it.

    A pair that is malformed is left out; `dropped` counts them with those beyond `max_questions`,
    `faults` says what was wrong. A pair that comes twice is one.

    Reasons for no value: `no_question` (there is none); with captions `caption_empty`,
    `caption_too_long`, `language_not_supported`; with a set `no_image_id` (nothing says which image
    of the set it is); with a set or extra `questions_malformed` (none is left, and one was
    malformed), and of scenes `language_not_supported`.
    """

    version: ClassVar[int] = 4
    facts: ClassVar[pa.Schema] = pa.schema(
        [("questions", pa.int32()), ("kinds", pa.list_(pa.string())), *FACTS]
    )

    class Settings(SetSettings):
        """Settings of the column."""

        batch_size: int = Field(default=256, ge=1, description="Captions parsed at once.")
        source: Literal["caption", "set", "extra"] = Field(
            default="caption",
            description="Made from captions, read from a VQA set, or those in the samples' "
            "metadata: `extra.questions`, a list of {question, answer, kind, language}.",
        )
        languages: tuple[Literal["en", "de", "fr", "es"], ...] = Field(
            default=("en",),
            min_length=1,
            description="With captions: languages of the questions. Answers stay English.",
        )
        pipeline: base.FilePath = Field(
            default=PIPELINE,
            description="With captions: English spaCy pipeline, package or folder.",
        )
        max_words: int = Field(
            default=128, ge=1, description="With captions: longer ones give no questions."
        )
        questions: base.FilePath = Field(
            default="",
            description="With a set: VQA's file of questions; or a file of GQA, or a JSON list of "
            "{image_id, question, answer}.",
        )
        annotations: base.FilePath = Field(
            default="", description="With a set of VQA's form: its file of annotations."
        )
        max_questions: int = Field(default=50, ge=1, description="Pairs a sample, at most.")

    def __init__(self, settings: Settings):
        super().__init__(settings)
        if settings.source == "caption":
            self.members = ("txt",)  # type: ignore[misc]
        self._parser: SeptetParser | None = None
        self._set: ByImage[Question] | None = None
        self._images: ImageIds | None = None

    def models(self) -> dict[str, str]:
        """The digests of the spaCy pipeline, or of the set's files."""
        settings = self.settings
        if settings.source == "caption":
            need("spacy", "scene-graphs")
            name, digest = pipeline_digest(settings.pipeline)
            return {name: digest}
        if settings.source == "extra":
            return {}
        return settings.digests("questions", "annotations")

    @property
    def member(self) -> MemberFormat:
        """JSON: `pairs` [{question, answer, kind, language, answers}]."""
        return MemberFormat(
            ext="questions.json",
            kind="json",
            notes={
                "source": self.settings.source,
                "language": "ISO 639 code of the question; answers are as the source has them",
                "answers": "[answer, how many people gave it], the most frequent first; of VQA "
                "sets alone",
            },
        )

    def index(self) -> dict[str, dict[str, int]]:
        """See `Column.index`."""
        if self.settings.source == "set":
            self._open_set()
        return self._set.rows if self._set else {}

    def setup(self) -> None:
        """Load the pipeline, or open the set, which is read first where this machine did not
        yet."""
        if self.settings.source == "caption":
            self._parser = SeptetParser(self.settings.pipeline, self.settings.batch_size)
        elif self.settings.source == "set":
            self._open_set()

    def _open_set(self) -> None:
        self._set = read_questions(self.settings.questions, self.settings.annotations)
        self._images = self.settings.images()

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """See `Column.annotate`."""
        if self.settings.source == "set":
            return [self._of_set(item) for item in items]
        if self.settings.source == "extra":
            return [self._of_extra(item) for item in items]
        assert self._parser is not None, "setup comes before annotate"
        answers: list[Value | NoValue | None] = [
            refusal(item, ("en",), self.settings.max_words) for item in items
        ]
        open_ = [i for i, answer in enumerate(answers) if answer is None]
        captions = [items[i].caption for i in open_]
        for i, found in zip(
            open_, questions(self._parser, captions, self.settings.languages), strict=True
        ):
            answers[i] = self._value(found, items[i].caption)
        return [answer for answer in answers if answer is not None]

    def _of_extra(self, item: Item) -> Value | NoValue:
        extra = read_extra(item.metadata)
        listed = extra.get("questions") or []
        pairs: list[Question] = []
        faults: list[str] = []
        try:
            if not listed and Scene.is_truth(extra):
                language = str(item.metadata.get("language") or "en")
                if language not in WORDINGS:
                    return NoValue("language_not_supported", language)
                told_of = scene_questions(Scene.from_truth(extra), language)
                return self._value(told_of, "a scene without things")
            listed = as_list(listed, "questions")
        except MALFORMED as error:
            return NoValue("questions_malformed", told("questions", error))
        for number, pair in enumerate(listed):
            try:
                pairs.append(Question.from_json({"kind": "", "language": "en", **pair}))
            except MALFORMED as error:
                faults.append(told(f"pair {number}", error))
        return self._value(pairs, "extra has no questions", faults)

    def _of_set(self, item: Item) -> Value | NoValue:
        assert self._images and self._set, "setup comes before annotate"
        image = self._images.of(item)
        if isinstance(image, NoValue):
            return image
        pairs, faults = self._set.of(image)
        return self._value(pairs, f"image {image}", faults)

    def _value(
        self, found: Sequence[Question], source: str, faults: Sequence[str] = ()
    ) -> Value | NoValue:
        whole = list(dict.fromkeys(found))
        kept = whole[: self.settings.max_questions]
        if not kept and faults:
            return NoValue("questions_malformed", faults[0])
        if not kept:
            return NoValue("no_question", source[:200])
        kinds = sorted({pair.kind for pair in kept if pair.kind})
        value = {"pairs": [pair.to_json() for pair in kept]}
        facts = {"questions": len(kept), "kinds": kinds}
        return Value(pack_json(value), facts | left_out(faults, len(whole) - len(kept)))

    def check(self, data: bytes) -> None:
        """Check that pairs have text and sound counts."""
        value = unpack_json(data)
        if value.keys() != {"pairs"} or not value["pairs"]:
            raise ValueError(f"a value of questions holds {sorted(value)}, or no pair")
        for pair in value["pairs"]:
            Question.from_json(pair)

    def drawing(self, data: bytes) -> Drawing:
        """One line for each pair."""
        pairs = [Question.from_json(pair) for pair in unpack_json(data)["pairs"]]
        return Drawing(lines=[f"{pair.question} {pair.answer}" for pair in pairs])
