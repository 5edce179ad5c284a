"""A parsed caption as plain lists of words, tags and dependencies."""

from dataclasses import dataclass, field
from functools import cached_property

from septet.preprocess.scene_graphs.graph import Spans


@dataclass(frozen=True)
class Sentence:
    """A parsed caption: lists [n] of words, Penn Treebank tags (spaCy's `tag_`), dependency labels
    (ClearNLP style, spaCy's `dep_`) and heads (a root is its own)."""

    text: str
    words: list[str]
    starts: list[int]
    """Offset of each word's first character in `text`; its others follow."""
    tags: list[str]
    deps: list[str]
    heads: list[int]
    lower: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lower", [word.lower() for word in self.words])

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def children(self) -> list[list[int]]:
        """The dependents of each token, in order."""
        found: list[list[int]] = [[] for _ in self.words]
        for i, head in enumerate(self.heads):
            if head != i:
                found[head].append(i)
        return found

    def of(self, i: int, *deps: str) -> list[int]:
        """The children of token `i` with one of the dependencies."""
        deps_ = self.deps
        return [child for child in self.children[i] if deps_[child] in deps]

    def has(self, i: int, *deps: str) -> bool:
        """Whether token `i` has such a child."""
        found = self.deps
        return any(found[child] in deps for child in self.children[i])

    def is_noun(self, i: int) -> bool:
        """Whether the tag says noun or proper noun."""
        return self.tags[i].startswith("NN")

    def is_verb(self, i: int) -> bool:
        """Whether the tag says verb."""
        return self.tags[i].startswith("VB")

    def is_adjective(self, i: int) -> bool:
        """Whether the tag says adjective."""
        return self.tags[i].startswith("JJ")

    def spans(self, tokens: list[int]) -> Spans:
        """The characters of the tokens; pieces with nothing but spaces between them are one."""
        spans: list[tuple[int, int]] = []
        for i in sorted(set(tokens)):
            start, end = self.starts[i], self.starts[i] + len(self.words[i])
            if spans and not self.text[spans[-1][1] : start].strip():
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return tuple(spans)
