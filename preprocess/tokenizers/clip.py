"""CLIP's tokenizer: lower-cased byte-level BPE with a vocabulary of 49,408.

As in OpenAI's release (github.com/openai/CLIP, `clip/simple_tokenizer.py`), with one deliberate
difference: a caption that spells out a special token ("<|endoftext|>") is text like any other.
So every sequence holds exactly one end token, which is what CLIP's text tower looks for.
"""

import gzip
import html
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files as package_files
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

try:
    import ftfy
    import regex
except ImportError as error:
    raise ImportError(
        f"CLIP's tokenizer needs {error.name}: pip install 'septet[train]'"
    ) from error

VOCABULARY = 49_408
START, END, PAD = 49_406, 49_407, 0
CONTEXT = 77
"""Tokens of a sequence in every published model, start and end included."""

_MERGES = VOCABULARY - 2 - 2 * 256
_WORD_END = "</w>"
_CACHED_WORDS = 200_000


def _byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte, in the order of the vocabulary: printable Latin-1
    stands for itself, the others follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(0x100 + i) for i, byte in enumerate(others)}


def clean(text: str) -> str:
    """Repair mojibake, undo HTML escapes (twice), collapse white space, lower the case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


class ClipTokenizer:
    """CLIP's tokenizer, from text to ids and back. Instances are costly; share the one that
    `clip_tokenizer` gives."""

    def __init__(self) -> None:
        packed = (
            package_files("septet.preprocess.tokenizers") / "data/bpe_simple_vocab_16e6.txt.gz"
        ).read_bytes()
        lines = gzip.decompress(packed).decode().split("\n")[1 : _MERGES + 1]
        merges = [tuple(line.split()) for line in lines]
        letters = _byte_letters()
        symbols = [*letters.values(), *(letter + _WORD_END for letter in letters.values())]
        symbols += ["".join(merge) for merge in merges]
        self._letters = [letters[byte] for byte in range(256)]
        self._ids = {symbol: i for i, symbol in enumerate(symbols)}
        self._symbols = symbols
        self._bytes = {letter: byte for byte, letter in letters.items()}
        self._rank = {merge: rank for rank, merge in enumerate(merges)}
        self._words: dict[str, list[int]] = {}
        self._split = regex.compile(
            r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE
        )

    def _merge(self, word: str) -> list[int]:
        """Ids of one word: the adjacent pair of lowest rank is merged until none has a rank."""
        parts = [self._letters[byte] for byte in word.encode()]
        parts[-1] += _WORD_END
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._rank.get(pair, _MERGES))
            if best not in self._rank:
                break
            parts = list(_join(parts, best))
        return [self._ids[part] for part in parts]

    def words(self, cleaned: str) -> Iterator[tuple[int, str, list[int]]]:
        """The words of a text that `clean` made: where each starts, itself, its ids."""
        for match in self._split.finditer(cleaned):
            word = match.group()
            known = self._words.get(word)
            if known is None:
                known = self._merge(word)
                if len(self._words) < _CACHED_WORDS:
                    self._words[word] = known
            yield match.start(), word, known

    def size(self, token: int) -> int:
        """The number of bytes of UTF-8 that an id stands for."""
        return len(self._symbols[token].removesuffix(_WORD_END))

    def encode(self, text: str) -> list[int]:
        """Encode a text to ids, without start and end."""
        return [token for _, _, ids in self.words(clean(text)) for token in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids to text, lower-cased, with a space after each word; special tokens are left
        out, bytes that are no UTF-8 become U+FFFD."""
        joined = "".join(self._symbols[i] for i in ids if i < START)
        letters = joined.replace(_WORD_END, " ")
        raw = bytes(self._bytes.get(letter, 0x20) for letter in letters)
        return raw.decode(errors="replace").strip()

    def __call__(self, texts: Sequence[str], context: int = CONTEXT) -> NDArray[np.int64]:
        """Ids for the model.

        Args:
            texts: Captions.
            context: Length of the rows; longer texts are cut and still end with the end token.

        Returns:
            int64 [len(texts), context]: start, text, end, then zeros. Zero is also the id of
            "!", so a mask can not be told from ids.

        Raises:
            ValueError: `context` has no room for start and end.
        """
        if context < 2:
            raise ValueError(f"a context of {context} has no room for the start and end tokens")
        rows = np.full((len(texts), context), PAD, np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [START, *self.encode(text)[: context - 2], END]
            row[: len(ids)] = ids
        return rows


def _join(parts: list[str], pair: tuple[str, str]) -> Iterator[str]:
    """`parts` with every occurrence of `pair`, from the left, made one."""
    i = 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            yield parts[i] + parts[i + 1]
            i += 2
        else:
            yield parts[i]
            i += 1


@cache
def clip_tokenizer() -> ClipTokenizer:
    """The tokenizer that the whole process shares."""
    return ClipTokenizer()
