"""Settings of decoding: beams, lengths, sampling, and which words are allowed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor


class Allowed(Protocol):
    """A set of token sequences, told word by word: a state is what has been written so far. The
    end token is in none of them."""

    first: Any
    """The state before the first token."""
    shortest: int
    """Tokens of the shortest sequence."""
    longest: int
    """Tokens of the longest one."""

    def words(self, state: Any) -> Tensor:
        """Tokens that may follow, int64 [n]."""
        ...

    def ends(self, state: Any) -> bool:
        """Whether what is written is a whole sequence."""
        ...

    def after(self, state: Any, word: int) -> Any:
        """The state once an allowed token is written."""
        ...


class Trie:
    """Some token sequences alone: a set of answers as a prefix tree."""

    first = 0

    def __init__(self, sequences: Iterable[Sequence[int]]):
        """
        Raises:
            ValueError: there is no sequence, or one has no token.
        """
        self._children: list[dict[int, int]] = [{}]
        self._whole: set[int] = set()
        lengths = set()
        for number, sequence in enumerate(sequences):
            if not len(sequence):
                raise ValueError(
                    f"allowed sequence {number} has no token; each needs one, the end token aside"
                )
            node = 0
            for word in sequence:
                if int(word) not in self._children[node]:
                    self._children[node][int(word)] = len(self._children)
                    self._children.append({})
                node = self._children[node][int(word)]
            self._whole.add(node)
            lengths.add(len(sequence))
        if not lengths:
            raise ValueError("no allowed sequence; give one, or allow all words (allowed=None)")
        self.shortest, self.longest = min(lengths), max(lengths)

    def words(self, state: int) -> Tensor:
        """See `Allowed`."""
        return torch.tensor(list(self._children[state]), dtype=torch.int64)

    def ends(self, state: int) -> bool:
        """See `Allowed`."""
        return state in self._whole

    def after(self, state: int, word: int) -> int:
        """See `Allowed`."""
        return self._children[state][word]


class Groups:
    """Groups of equally many words out of one range: boxes are groups of 4 bins, an image is one
    group of its codes. A state is how many words are written."""

    first = 0

    def __init__(self, words: range, each: int, least: int = 1, most: int = 1):
        """
        Args:
            words: The range of ids.
            each: Words of a group.
            least: Groups at least.
            most: Groups at most.

        Raises:
            ValueError: no sequence is like that.
        """
        if not (len(words) and each > 0 and 0 < least <= most):
            raise ValueError(
                f"groups of {each} words of {words}, {least} to {most} of them, cannot be written; "
                "expected at least one word, one word a group, and 0 < least <= most"
            )
        self._words, self._each = torch.tensor(words), each
        self.shortest, self.longest = each * least, each * most

    def words(self, state: int) -> Tensor:
        """See `Allowed`."""
        return self._words if state < self.longest else self._words[:0]

    def ends(self, state: int) -> bool:
        """See `Allowed`."""
        return state >= self.shortest and state % self._each == 0

    def after(self, state: int, word: int) -> int:
        """See `Allowed`."""
        return state + 1


@dataclass(frozen=True)
class Decoding:
    """How a model writes: greedily, by beam search, or by sampling.

    Raises:
        ValueError: settings that are out of range, or do not go together.
    """

    most: int
    """Tokens at most, the end token among them. A sequence may stop there without an end."""
    least: int = 0
    """Tokens at least before the end."""
    beams: int = 1
    """Hypotheses of beam search; 1 is greedy, or sampling."""
    length_penalty: float = 1.0
    """A hypothesis's score is its log-probability over (tokens, with the end) to this power; so
    above 0 long ones are favoured."""
    early_stopping: bool | Literal["never"] = False
    """When a row of beam search is done. True: once as many hypotheses as beams have ended. False:
    when besides the best live one would not be among them at its length now. "never": when it would
    not at any length, `length_penalty` above 0 taken into account."""
    returned: int = 1
    """Sequences of each row, best first; of beam search at most `beams`."""
    temperature: float | None = None
    """Divides logits before sampling; None does not sample."""
    top_k: int | None = None
    """Sample among so many likeliest words."""
    top_p: float | None = None
    """Sample among the fewest likeliest words with this share of the probability, in (0, 1]."""
    seed: int = 0
    """Of sampling, with the row's key and the sequence's number."""
    allowed: Allowed | None = None
    """The sequences that may be written; None allows all."""
    among_allowed: bool = False
    """Whether probabilities are of the allowed words alone (OFA's), not of all words
    (`transformers`')."""

    def __post_init__(self) -> None:
        numbers = {field.name: getattr(self, field.name) for field in fields(self)}

        def check(name: str, holds: bool, expected: str) -> None:
            if not holds:
                raise ValueError(f"decoding: {name} is {numbers[name]}; expected {expected}")

        check("most", self.most > 0, "at least 1")
        check("least", 0 <= self.least < self.most, f"0 to {self.most - 1}, less than most")
        check("beams", self.beams > 0, "at least 1")
        check("length_penalty", math.isfinite(self.length_penalty), "a finite number")
        check("early_stopping", self.early_stopping in (True, False, "never"), "a bool or 'never'")
        check("top_k", self.top_k is None or self.top_k > 0, "at least 1")
        check("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1")
        if self.temperature is None:
            check("returned", 0 < self.returned <= self.beams, f"1 to {self.beams}, the beams")
            for name in ("top_k", "top_p"):
                check(name, numbers[name] is None, "none without a temperature: set both")
        else:
            check("temperature", self.temperature > 0, "above 0")
            check("beams", self.beams == 1, "1 with a temperature: beam search does not sample")
            check("returned", self.returned > 0, "at least 1")
        if self.allowed is not None:
            longest, shortest = self.allowed.longest, self.allowed.shortest
            check("most", longest < self.most, f"at least {longest + 1}, the longest allowed "
                  "sequence and its end")  # fmt: skip
            check("least", self.least <= shortest, f"at most {shortest}, the shortest allowed "
                  "sequence")  # fmt: skip


class Written(NamedTuple):
    """What a model wrote for B rows."""

    ids: Tensor
    """int64 [B, returned, most], the end token among them; pads behind it. A sequence that does
    not exist, where there are fewer than asked for, is pads alone."""
    scores: Tensor
    """fp32 [B, returned], best first: log-probability over tokens to the power of the length
    penalty; minus infinity where there is no sequence."""
