"""The parsers of scene graphs, behind one interface."""

from collections.abc import Collection, Sequence
from typing import Protocol

from septet.preprocess.scene_graphs.french import LANGUAGES
from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.marks import plain
from septet.preprocess.scene_graphs.pipeline import (
    ENGLISH,
    PIPELINE,
    CaptionParser,
    pipeline_language,
    with_numpy_products,
)
from septet.preprocess.scene_graphs.repairs import as_parsers_expect
from septet.preprocess.scene_graphs.rules import scene_graph
from septet.preprocess.scene_graphs.sng import SngParser
from septet.preprocess.scene_graphs.universal import universal_graph


class GraphParser(Protocol):
    """A parser that makes scene graphs of captions."""

    def __init__(self, pipeline: str = PIPELINE, batch_size: int = 256):
        """Load the spaCy pipeline.

        Raises:
            ValueError: something is not installed; says how to install it.
        """

    def graphs(self, captions: Sequence[str]) -> list[SceneGraph]:
        """Make a graph for each caption; a caption's graph does not depend on the others."""
        ...

    @staticmethod
    def models() -> dict[str, str]:
        """The versions of other people's rules that decide the graphs, by name."""
        ...


class SeptetParser:
    """The parser of English captions by Septet's rules (see `rules`)."""

    def __init__(self, pipeline: str = PIPELINE, batch_size: int = 256):
        self._parser = CaptionParser(pipeline, batch_size)
        self.lemmas = self._parser.lemmas

    def graphs(self, captions: Sequence[str]) -> list[SceneGraph]:
        """See `GraphParser`."""
        return [scene_graph(sentence, self.lemmas) for sentence in self._parser.parse(captions)]

    @staticmethod
    def models() -> dict[str, str]:
        """No models: the rules are of the column's version."""
        return {}


class UniversalParser:
    """The parser of captions in another language, by rules over Universal Dependencies (see
    `universal`)."""

    def __init__(self, pipeline: str, batch_size: int = 256):
        self._nlp, self._one_thread = with_numpy_products(pipeline, LANGUAGES)
        self._language, self._batch_size = LANGUAGES[self._nlp.lang], batch_size

    def graphs(self, captions: Sequence[str]) -> list[SceneGraph]:
        """See `GraphParser`."""
        with self._nlp.memory_zone(), self._one_thread():
            cleaned = [plain(caption) for caption in captions]
            texts = (as_parsers_expect(text) for text, _ in cleaned)
            docs = self._nlp.pipe(texts, batch_size=self._batch_size)
            return [
                universal_graph(doc, caption, places, self._language)
                for caption, (_, places), doc in zip(captions, cleaned, docs, strict=True)
            ]

    @staticmethod
    def models() -> dict[str, str]:
        """See `SeptetParser.models`."""
        return {}


PARSERS: dict[str, type[GraphParser]] = {"septet": SeptetParser, "sng": SngParser}


READS: dict[str, Collection[str]] = {"septet": {*ENGLISH, *LANGUAGES}, "sng": ENGLISH}
"""The languages of the pipelines that a parser takes."""


def graph_parser(parser: str, pipeline: str, batch_size: int) -> GraphParser:
    """The parser with this name, for the pipeline's language.

    Raises:
        ValueError: see `GraphParser`.
    """
    if parser == "septet" and pipeline_language(pipeline) in LANGUAGES:
        return UniversalParser(pipeline, batch_size)
    return PARSERS[parser](pipeline, batch_size)
