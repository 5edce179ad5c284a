"""Lists that rules look things up in: words and phrases, domains, boiler-plate.

They are stated in the recipe, or read from a file, one entry a line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa

from septet.preprocess import files
from septet.preprocess.rules.tokens import Tokens
from septet.preprocess.text.characters import Characters
from septet.preprocess.text.clean import clean_caption
from septet.schemas.section import Section

_MOST_BYTES = 2**31
T = TypeVar("T")


def read_list(path: str) -> tuple[str, ...]:
    """The entries of a file, one a line, cleaned as captions are. Empty lines, and those that begin
    with `#`, are none.

    Raises:
        ValueError: the file is larger than 2 GiB, or not UTF-8.
    """
    if files.size(path) > _MOST_BYTES:
        raise ValueError(f"{path}: a list of more than 2 GiB; take the most frequent entries alone")
    try:
        text = files.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); store it as UTF-8") from error
    lines = (line for line in text.split("\n") if line.strip() and not line.startswith("#"))
    return tuple(map(clean_caption, lines))


def made_of(name: str, settings: Section, make: Callable[[tuple[str, ...]], T]) -> T:
    """What `make` makes of a setting that is a list, or the path of one; once for each file and
    time of its change.

    Args:
        name: The setting.
        settings: A section of the recipe, which has it.
        make: A function of a module: it tells one thing that is kept from another.

    Raises:
        ValueError: the list has no entries, or `make` refuses them; names the setting.
    """
    given: Sequence[str] | str = getattr(settings, name)
    try:
        if not isinstance(given, str):
            return cast(T, _of_entries(make, tuple(given)))
        changed = files.local_path(given).stat().st_mtime_ns if files.is_local(given) else 0
        return cast(T, _of_file(make, given, changed))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


@lru_cache(maxsize=16)
def _of_file(make: Callable[[tuple[str, ...]], Any], path: str, changed: int) -> Any:
    entries = read_list(path)
    if not entries:
        raise ValueError(f"{path} has no entries, one a line; leave the setting out instead")
    return make(entries)


@lru_cache(maxsize=64)
def _of_entries(make: Callable[[tuple[str, ...]], Any], given: tuple[str, ...]) -> Any:
    return make(given)


@dataclass(frozen=True, eq=False)
class Phrases:
    """Words and phrases to be found among the words of captions."""

    by_words: dict[int, np.ndarray]
    """Number of words to the hashes of the phrases that have so many, ascending uint64."""

    def found_in(self, tokens: Tokens) -> list[tuple[np.ndarray, np.ndarray, int]]:
        """Where phrases stand: for each number of words, whether each run of so many words is one
        of them (bool [p]), the number of its first word (int64 [p]), and the number of words."""
        found = []
        for words, known in self.by_words.items():
            hashes, first = tokens.phrases(words)
            found.append((is_known(hashes, known), first, words))
        return found


def is_known(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each hash is among known ones, which ascend; bool."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return known[at] == hashes


def phrases(given: tuple[str, ...]) -> Phrases:
    """Phrases of words as `Tokens.of` tells them.

    Raises:
        ValueError: no entry holds a word.
    """
    return _phrases(Tokens.of(Characters(pa.array(given, pa.string()))), len(given))


def spaced_phrases(given: tuple[str, ...]) -> Phrases:
    """Phrases of words as `Tokens.by_spaces` tells them.

    Raises:
        ValueError: no entry holds a word.
    """
    return _phrases(Tokens.by_spaces(Characters(pa.array(given, pa.string()))), len(given))


def _phrases(tokens: Tokens, count: int) -> Phrases:
    counts = np.bincount(tokens.texts, minlength=count)
    if not counts.any():
        raise ValueError("no entry holds a word")
    starts = np.cumsum(counts) - counts
    by_words = {}
    for words in sorted({*counts.tolist()} - {0}):
        hashes, first = tokens.phrases(words)
        whole = np.isin(first, starts[counts == words], assume_unique=True)
        by_words[words] = np.unique(hashes[whole])
    return Phrases(by_words)
