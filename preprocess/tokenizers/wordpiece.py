"""BERT's uncased WordPiece with offsets (Devlin et al. 2019; google-research/bert,
`tokenization.py`: lower case, accents off, punctuation and CJK apart, then the longest pieces
from the left).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from septet.preprocess import files

PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNKNOWN, START, END, MASK)

Span = tuple[int, int]
"""[start, end) characters of a text."""

_LONGEST_WORD = 100
_CACHED_WORDS = 200_000
# White space as BERT has it; other control characters are nothing, wherever they stand.
_CHUNK = re.compile("[^\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


class Encoding(NamedTuple):
    """The pieces of a text in order, without special ones."""

    ids: list[int]
    offsets: list[Span]
    starts: list[bool]
    """Whether a piece begins a word (what is masked as a whole)."""


class WordPiece:
    """BERT's tokenizer, from text to pieces of a vocabulary.

    Args:
        pieces: The vocabulary, in the order of the ids.
        name: The tokenizer's name; equal names mean equal pieces.

    Raises:
        ValueError: it is no vocabulary of BERT's.
    """

    def __init__(self, pieces: Sequence[str], name: str):
        self.name, self.pieces = name, list(pieces)
        self._ids = {piece: i for i, piece in enumerate(self.pieces)}
        # Some lists (MUGE's) have special pieces in lower case.
        known = [p if p in self._ids else p.lower() for p in SPECIAL]
        missing = [piece for piece in known if piece not in self._ids]
        if missing:
            names = ", ".join(missing).upper()
            raise ValueError(f"{name} has no {names}: expected a WordPiece vocab.txt of BERT")
        self.pad, self.unknown, self.start, self.end, self.mask = special = [
            self._ids[piece] for piece in known
        ]
        self._special = frozenset(special)
        self._word = lru_cache(_CACHED_WORDS)(self._split)
        self._short = lru_cache(_CACHED_WORDS)(self._encode)

    @classmethod
    def load(cls, path: str) -> "WordPiece":
        """Read a vocab.txt, one piece a line.

        Raises:
            ValueError: there is no such file, or it is no vocabulary of BERT's.
        """
        if not files.exists(path):
            raise ValueError(f"no vocabulary {path!r}: give the path of a BERT vocab.txt")
        pieces = files.read_bytes(path).decode().split("\n")
        if pieces[-1] == "":
            pieces.pop()
        digest = files.content_digest(path)[1]
        return cls([piece.rstrip("\r") for piece in pieces], f"wordpiece:{digest}")

    def __len__(self) -> int:
        return len(self.pieces)

    def _split(self, word: str) -> tuple[int, ...] | None:
        """Ids of a word's pieces; None where it has none."""
        if len(word) > _LONGEST_WORD:
            return None
        found, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            end = len(word)
            while end > start and mark + word[start:end] not in self._ids:
                end -= 1
            if end == start:
                return None
            found.append(self._ids[mark + word[start:end]])
            start = end
        return tuple(found)

    def _encode(self, chunk: str) -> list[tuple[int, int, int, bool]]:
        """Id, first and last character, and whether it begins a word, of a chunk's pieces."""
        found = []
        for word, places in _basic_words(chunk):
            ids = self._word(word)
            if ids is None:
                found.append((self.unknown, places[0], places[-1] + 1, True))
                continue
            at = 0
            for i in ids:
                length = len(self.pieces[i]) - (2 if at else 0)
                found.append((i, places[at], places[at + length - 1] + 1, at == 0))
                at += length
        return found

    def encode(self, text: str, most: int | None = None) -> Encoding:
        """Encode a text to pieces, at most the first `most`."""
        out = Encoding([], [], [])
        for chunk in _CHUNK.finditer(text):
            if most is not None and len(out.ids) >= most:
                break
            word, at = chunk.group(), chunk.start()
            for i, low, high, begins in (self._short if len(word) < 64 else self._encode)(word):
                out.ids.append(i)
                out.offsets.append((at + low, at + high))
                out.starts.append(begins)
        return Encoding(out.ids[:most], out.offsets[:most], out.starts[:most])

    def offsets(self, text: str) -> list[Span]:
        """[start, end) characters of each piece, without special ones."""
        return self.encode(text).offsets

    def decode(self, ids: Iterable[int]) -> str:
        """Decode pieces to text: words apart, but for Chinese characters and full-width
        punctuation, which have no blank beside them; special ones and what is no id left out."""
        known = [i for i in ids if 0 <= i < len(self.pieces) and i not in self._special]
        text = " ".join(self.pieces[i] for i in known).replace(" ##", "")
        return _BLANK.sub("", text)


UNUSED = 99
"""Pieces without a use between [PAD] and [UNK] in BERT's published lists."""


def build_vocabulary(
    texts: Iterable[str], size: int, characters: str = "", unused: int = 0
) -> list[str]:
    """Make a small vocabulary: special pieces, the texts' characters and `characters`, each as a
    word's beginning and within it, then the texts' most frequent words (ties by spelling). With
    `UNUSED` pieces [unused1] and so on behind [PAD], the special ones have their published ids.

    Raises:
        ValueError: `size` has no room for the characters.
    """
    chunks = Counter(chunk for text in texts for chunk in _CHUNK.findall(text))
    counts: Counter[str] = Counter()
    for chunk, times in chunks.items():
        for word, _ in _basic_words(chunk):
            counts[word] += times
    letters = sorted({letter for word in counts for letter in word} | set(characters))
    special = [PAD, *(f"[unused{i + 1}]" for i in range(unused)), *SPECIAL[1:]]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    if len(pieces) > size:
        raise ValueError(f"a vocabulary of these texts needs {len(pieces)} pieces, not {size}")
    words = sorted((word for word in counts if len(word) > 1), key=lambda w: (-counts[w], w))
    return pieces + words[: size - len(pieces)]


def _basic_words(text: str) -> Iterator[tuple[str, list[int]]]:
    """Words of BERT's basic tokenizer: normalised letters and the place of each in the text."""
    word: list[str] = []
    places: list[int] = []
    for place, raw in enumerate(text):
        if raw == "\ufffd" or unicodedata.category(raw).startswith("C"):
            continue
        cjk = _is_cjk(ord(raw))
        for letter in raw.lower() if raw.isascii() else unicodedata.normalize("NFD", raw.lower()):
            if unicodedata.category(letter) == "Mn":
                continue
            if cjk or _is_punctuation(letter):
                if word:
                    yield "".join(word), places
                    word, places = [], []
                yield letter, [place]
            else:
                word.append(letter)
                places.append(place)
    if word:
        yield "".join(word), places


def _is_punctuation(letter: str) -> bool:
    ascii_mark = letter.isascii() and not letter.isalnum() and letter > " "
    return ascii_mark or unicodedata.category(letter).startswith("P")


_CJK = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip


# Full-width punctuation and forms, too.
_CLOSE = "".join(f"{chr(a)}-{chr(b)}" for a, b in (*_CJK, (0x3000, 0x303F), (0xFF00, 0xFFEF)))
_BLANK = re.compile(f"(?<=[{_CLOSE}]) | (?=[{_CLOSE}])")


def _is_cjk(code: int) -> bool:
    return code >= 0x3400 and any(low <= code <= high for low, high in _CJK)
