"""The column `scene-graphs`: scene graphs of captions (see `septet.preprocess.scene_graphs`)."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from septet.preprocess.columns.base import Column, Drawing, FilePath, Item, NoValue, Settings, Value
from septet.preprocess.columns.captions import refusal
from septet.preprocess.columns.members import pack_json
from septet.preprocess.columns.weights import need
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.parsers import PARSERS, READS, GraphParser, graph_parser
from septet.preprocess.scene_graphs.pipeline import PIPELINE, pipeline_digest, pipeline_language
from septet.preprocess.scene_graphs.tokens import Tokenizer, load_tokenizer, with_tokens
from septet.schemas.columns import MemberFormat


class SceneGraphSettings(Settings):
    """Settings of the column `scene-graphs`."""

    batch_size: int = Field(default=512, ge=1, description="Captions that the parser sees at once.")
    parser: Literal["septet", "sng"] = Field(
        default="septet",
        description="Whose rules make the graph: Septet's own, or the package SceneGraphParser.",
    )
    pipeline: FilePath = Field(
        default=PIPELINE,
        description="spaCy pipeline with tagger and parser, package or folder: English, or with "
        "our own rules French.",
    )
    tokenizer: FilePath = Field(
        default="",
        description="Tokenizer whose pieces the nodes point to as well: `clip`, or the path of a "
        "BERT vocab.txt. Empty: characters alone.",
    )
    languages: tuple[str, ...] = Field(
        default=("en",),
        description="ISO 639 codes that the pipeline understands, where not given that of its own "
        "language. Captions that are known to be in another language get no graph.",
    )
    max_words: int = Field(
        default=128, ge=1, description="Captions with more words between spaces get no graph."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_pipeline(cls, given: Any) -> Any:
        if isinstance(given, dict) and "languages" not in given and given.get("pipeline"):
            language = pipeline_language(str(given["pipeline"]))
            return given | ({"languages": (language,)} if language else {})
        return given


class SceneGraphs(Column):
    """The column of scene graphs of captions, as JSON.

    A caption in which nothing is found has a value, the empty graph. Reasons for having none:
    `caption_empty`, `caption_too_long` (more than `max_words` words, or more than 32 characters a
    word on average), `language_not_supported` (the metadata names another language; or none, and
    most letters are not Latin).
    """

    kind = "scene-graphs"
    version = 2
    Settings = SceneGraphSettings
    members = ("txt",)
    facts: ClassVar[pa.Schema] = pa.schema(
        [(name, pa.int32()) for name in ("objects", "attributes", "numbers", "relations")]
    )

    _parser: GraphParser
    _tokenizer: Tokenizer | None = None

    def models(self) -> dict[str, str]:
        """The digests of the spaCy pipeline and of the tokenizer; the version of SceneGraphParser
        where its rules are asked for."""
        rules = PARSERS[self.settings.parser].models()
        need("spacy", "scene-graphs")
        name, digest = pipeline_digest(self.settings.pipeline, READS[self.settings.parser])
        found = {name: digest}
        if self._loaded_tokenizer is not None:
            found["tokenizer"] = self._loaded_tokenizer.name
        return found | rules

    @cached_property
    def _loaded_tokenizer(self) -> Tokenizer | None:
        return load_tokenizer(self.settings.tokenizer) if self.settings.tokenizer else None

    @property
    def member(self) -> MemberFormat:
        """JSON: `SceneGraph.to_json`."""
        tokenizer = self._loaded_tokenizer
        return MemberFormat(
            ext="graph.json",
            kind="json",
            notes={
                "schema": "objects [{lemma, text, spans, tokens}], attributes [{object, lemma, "
                "kind, spans, tokens}], numbers [{object, value, lemma, spans, tokens}], relations "
                "[{subject, object, lemma, spans, tokens}]; object and subject are positions in "
                "objects; unasserted [{lemma, text, why, spans, tokens}], things that are denied, "
                "supposed or asked, absent where none",
                "spans": "[start, end) characters of the caption",
                "tokens": "[start, end) word pieces without start token; absent where none",
                "tokenizer": tokenizer.name if tokenizer else None,
                "parser": self.settings.parser,
            },
        )

    def setup(self) -> None:
        """Load the pipeline."""
        self._parser = graph_parser(
            self.settings.parser, self.settings.pipeline, self.settings.batch_size
        )
        self._tokenizer = self._loaded_tokenizer

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """Graphs of the captions that can be parsed."""
        answers: list[Value | NoValue | None] = [
            refusal(item, self.settings.languages, self.settings.max_words) for item in items
        ]
        open_ = [i for i, answer in enumerate(answers) if answer is None]
        graphs = self._parser.graphs([items[i].caption for i in open_])
        for i, graph in zip(open_, graphs, strict=True):
            answers[i] = self._value(graph, items[i].caption)
        return [answer for answer in answers if answer is not None]

    def _value(self, graph: SceneGraph, caption: str) -> Value:
        if self._tokenizer is not None:
            graph = with_tokens(graph, self._tokenizer.offsets(caption))
        facts = {name: len(getattr(graph, name)) for name in self.facts.names}
        return Value(pack_json(graph.to_json()), facts)

    def check(self, data: bytes) -> None:
        """Check that links and spans are sound; see `SceneGraph.check`."""
        SceneGraph.from_json(json.loads(data))

    def drawing(self, data: bytes) -> Drawing:
        """Objects with their numbers and attributes as nodes, relations as edges."""
        graph = SceneGraph.from_json(json.loads(data))
        described: list[list[str]] = [[] for _ in graph.objects]
        for number in graph.numbers:
            described[number.object].append(number.lemma)
        for attribute in graph.attributes:
            described[attribute.object].append(attribute.lemma)
        nodes = [
            " ".join([*words, o.text]) for words, o in zip(described, graph.objects, strict=True)
        ]
        return Drawing(nodes=nodes, edges=[(r.subject, r.lemma, r.object) for r in graph.relations])
