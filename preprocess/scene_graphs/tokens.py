"""Spans of characters of a caption as spans of a tokenizer's word pieces.

A tokenizer here is anything that gives its pieces' offsets: two are built in (BERT's WordPiece
over a vocabulary file, CLIP's byte pairs), and `token_spans` takes the offsets of any other, for
instance those of the `tokenizers` library.
"""

import bisect
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Protocol, TypeVar

from septet.preprocess.scene_graphs.graph import Node, SceneGraph, Span, Spans
from septet.preprocess.tokenizers.wordpiece import WordPiece

_Node = TypeVar("_Node", bound=Node)


class Tokenizer(Protocol):
    """The interface of a tokenizer with offsets."""

    name: str
    """Goes into the column's notes; equal names mean equal tokens."""

    def offsets(self, text: str) -> list[Span]:
        """[start, end) characters of each piece, in order, without special tokens."""
        ...


def token_spans(spans: Sequence[Span], offsets: Sequence[Span]) -> Spans:
    """Find the pieces that share at least one character with the spans.

    Args:
        spans: [start, end) characters.
        offsets: [start, end) characters of each piece, in order.

    Returns:
        [start, end) pieces, in order, adjacent ones joined; empty where no piece covers them.
    """
    ends = [end for _, end in offsets]
    found: list[Span] = []
    for start, end in spans:
        first = last = bisect.bisect_right(ends, start)
        while last < len(offsets) and offsets[last][0] < end:
            last += 1
        if first == last:
            continue
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def with_tokens(graph: SceneGraph, offsets: Sequence[Span]) -> SceneGraph:
    """Add token spans to a graph, for a tokenizer's offsets of the same caption."""

    def given(nodes: tuple[_Node, ...]) -> tuple[_Node, ...]:
        return tuple(replace(n, tokens=token_spans(n.spans, offsets)) for n in nodes)

    return SceneGraph(
        given(graph.objects),
        given(graph.attributes),
        given(graph.numbers),
        given(graph.relations),
        given(graph.unasserted),
    )


class ClipPieces:
    """CLIP's byte pairs with offsets; the pieces are those of `septet.preprocess.tokenizers.clip`.

    That tokenizer repairs mojibake and undoes HTML escapes first. Where this changes
    letters, a piece covers all of the stretch that was replaced by its letters.
    """

    name = "clip"

    def __init__(self) -> None:
        from septet.preprocess.tokenizers import clip as clip_tokenizer

        self._clean = clip_tokenizer.clean
        self._tokenizer = clip_tokenizer.clip_tokenizer()

    def offsets(self, text: str) -> list[Span]:
        """See `Tokenizer`."""
        cleaned = self._clean(text)
        starts, ends = _aligned(text, cleaned)
        found = []
        for place, word, ids in self._tokenizer.words(cleaned):
            if word.isascii():
                letters: Sequence[int] = range(len(word))
            else:
                letters = [i for i, letter in enumerate(word) for _ in letter.encode()]
            at = 0  # byte of the word; `letters` has the letter of each
            for token in ids:
                end = at + self._tokenizer.size(token)
                found.append((starts[place + letters[at]], ends[place + letters[end - 1]]))
                at = end
        return found


_LONGEST_COMPARED = 512
"""Longer stretches are not compared letter by letter: the time grows with the square."""


def _aligned(text: str, cleaned: str) -> tuple[list[int], list[int]]:
    """The places in `text` where each letter of `cleaned` starts and ends.

    What differs by white space and case alone is matched letter by letter. Else, what both begin
    and end with is; what lies between is compared, and a stretch that changed counts as a whole.
    """
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    places = [i for i, letter in enumerate(lowered) if not letter.isspace()]
    plain = [i for i, letter in enumerate(cleaned) if letter != " "]
    starts, ends = [0] * len(cleaned), [len(text)] * len(cleaned)
    if [lowered[i] for i in places] == [cleaned[i] for i in plain]:
        for i, place in zip(plain, places, strict=True):
            starts[i], ends[i] = place, place + 1
        return starts, ends
    same = 0
    while same < min(len(lowered), len(cleaned)) and lowered[same] == cleaned[same]:
        same += 1
    rest = min(len(lowered), len(cleaned)) - same
    tail = 0
    while tail < rest and lowered[-1 - tail] == cleaned[-1 - tail]:
        tail += 1
    before, after = lowered[same : len(lowered) - tail], cleaned[same : len(cleaned) - tail]
    blocks = [("equal", 0, same, 0, same)]
    if max(len(before), len(after)) <= _LONGEST_COMPARED:
        compared = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        blocks += [
            (what, same + a0, same + a1, same + b0, same + b1) for what, a0, a1, b0, b1 in compared
        ]
    else:
        blocks.append(("replace", same, same + len(before), same, same + len(after)))
    blocks.append(("equal", len(lowered) - tail, len(lowered), len(cleaned) - tail, len(cleaned)))
    for what, a0, a1, b0, b1 in blocks:
        for i in range(b0, b1):
            if what == "equal":
                starts[i], ends[i] = a0 + i - b0, a0 + i - b0 + 1
            else:
                starts[i], ends[i] = a0, a1
    return starts, ends


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer `clip`, or the WordPiece of a vocab.txt.

    Raises:
        ValueError: no such file, or the packages that CLIP's tokenizer needs are missing.
    """
    if name != "clip":
        return WordPiece.load(name)
    try:
        return ClipPieces()
    except ImportError as error:
        raise ValueError(str(error)) from error
