"""SceneGraphParser's graphs in Septet's schema.

The package (github.com/vacancy/SceneGraphParser, version 0.1.0) gives tokens for its entities
alone. Here its modifiers are found again among the tokens of their entity, its relations among
the tokens between their ends, then anywhere in the caption. A node that is not found has no spans;
a relation of which only some words are found has the spans of these.

Determiners are dropped, numerals become numbers; entities without letters are dropped with what
points to them.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from septet.preprocess.scene_graphs.graph import (
    Attribute,
    Number,
    Object,
    Relation,
    SceneGraph,
    Spans,
)
from septet.preprocess.scene_graphs.numerals import numeral
from septet.preprocess.scene_graphs.pipeline import PIPELINE, load_pipeline


class SngParser:
    """A parser by SceneGraphParser's rules, over parses made in batches, without named entities."""

    def __init__(self, pipeline: str = PIPELINE, batch_size: int = 256):
        sng_parser = package()
        self._nlp = load_pipeline(pipeline, exclude=["ner"])
        self._batch_size = batch_size
        self._parser = sng_parser.Parser("spacy", model=pipeline)
        self._parser.unwrapped.nlp = lambda doc: doc  # it is given parses, not text

    def graphs(self, captions: Sequence[str]) -> list[SceneGraph]:
        """See `parsers.GraphParser`."""
        with self._nlp.memory_zone():
            docs = self._nlp.pipe(captions, batch_size=self._batch_size)
            return [convert(self._parser.parse(doc), doc) for doc in docs]

    @staticmethod
    def models() -> dict[str, str]:
        """The package's version.

        Raises:
            ValueError: it is not installed.
        """
        package()
        return {"SceneGraphParser": version("scenegraphparser")}


def package() -> Any:
    """The module `sng_parser`.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import sng_parser
    except ImportError as error:
        raise ValueError(
            f"parser sng needs SceneGraphParser: pip install 'septet[scene-graphs]' ({error})"
        ) from error
    return sng_parser


def convert(graph: dict[str, Any], doc: Any) -> SceneGraph:
    """Make Septet's graph of one of SceneGraphParser.

    Args:
        graph: A result of `Parser.parse`.
        doc: The spaCy Doc that it was made of.
    """
    words = [token.text for token in doc]
    starts = [token.idx for token in doc]

    def spans(tokens: Sequence[int]) -> Spans:
        found: list[tuple[int, int]] = []
        for i in sorted(tokens):
            start, end = starts[i], starts[i] + len(words[i])
            if found and not doc.text[found[-1][1] : start].strip():
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        return tuple(found)

    objects: list[Object] = []
    attributes: list[Attribute] = []
    numbers: list[Number] = []
    heads: list[int] = []
    position: dict[int, int] = {}
    for i, entity in enumerate(graph["entities"]):
        first, last = entity["span_bounds"]
        name = _find(entity["head"].split(), words, first, last)
        head = doc[first:last].root.i
        heads.append(head)
        if not any(letter.isalpha() for letter in entity["head"]):
            continue
        position[i] = len(objects)
        where = spans(name or [head])
        text = " ".join(doc.text[a:b] for a, b in where)
        objects.append(Object(doc[head].lemma_.lower(), where, text))
        for modifier in entity["modifiers"]:
            tokens = _find(modifier["span"].split(), words, first, last)
            lemma = modifier["lemma_span"].lower()
            value = numeral([modifier["span"].lower()])
            if modifier["dep"] == "amod":
                attributes.append(Attribute(lemma, spans(tokens), position[i]))
            elif modifier["dep"] == "nummod" and value is not None:
                numbers.append(Number(modifier["span"].lower(), spans(tokens), position[i], value))
    relations = []
    for found in graph["relations"]:
        if found["subject"] not in position or found["object"] not in position:
            continue
        ends = sorted((heads[found["subject"]], heads[found["object"]]))
        wanted = found["relation"].split()
        tokens = _find(wanted, words, *ends) or _find(wanted, words, 0, len(words))
        lemma = found["lemma_relation"].lower()
        relations.append(
            Relation(lemma, spans(tokens), position[found["subject"]], position[found["object"]])
        )
    return SceneGraph(tuple(objects), tuple(attributes), tuple(numbers), tuple(relations))


def _find(wanted: Sequence[str], words: Sequence[str], first: int, last: int) -> list[int]:
    """Tokens in [first, last) that are the wanted words in their order; what is not there is left
    out."""
    found: list[int] = []
    at = first
    for word in wanted:
        match = next((i for i in range(at, last) if words[i] == word), None)
        if match is not None:
            found.append(match)
            at = match + 1
    return found
