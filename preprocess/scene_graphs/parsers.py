"""The two parsers of scene graphs, behind one interface."""

from collections.abc import Sequence
from typing import Protocol

from septet.preprocess.scene_graphs.graph import SceneGraph
from septet.preprocess.scene_graphs.pipeline import PIPELINE, CaptionParser
from septet.preprocess.scene_graphs.rules import scene_graph
from septet.preprocess.scene_graphs.sng import SngParser


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
    """The parser by Septet's rules (see `rules`)."""

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


PARSERS: dict[str, type[GraphParser]] = {"septet": SeptetParser, "sng": SngParser}
