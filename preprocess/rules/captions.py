"""A batch of captions, with what several rules measure of them."""

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.tokens import Tokens
from septet.preprocess.text.characters import DENSE, LATIN, LETTER, Characters
from septet.preprocess.text.words import count_words, words_of
from septet.schemas.languages import COMPACT_LANGUAGES, language_code


class Captions:
    """A batch of captions; what is measured is measured once.

    Args:
        table: Rows of `septet.schemas.tables.CANDIDATES` whose captions are cleaned and not null.
    """

    def __init__(self, table: pa.Table):
        self.table = table
        text = table["caption"]
        self.text: pa.Array = text.chunk(0) if text.num_chunks == 1 else text.combine_chunks()
        """The captions, string [n]."""

    def __len__(self) -> int:
        return len(self.text)

    @cached_property
    def lengths(self) -> pa.Array:
        """Characters of each caption, int32 [n]."""
        return pc.utf8_length(self.text)

    @cached_property
    def words(self) -> pa.Array:
        """Words of each caption (see `septet.preprocess.text.words`), int64 [n]."""
        counts = np.zeros(len(self), np.int64)
        ascii_alone = np.flatnonzero(self.is_ascii)
        texts = self.text if len(ascii_alone) == len(self) else self.text.take(ascii_alone)
        counts[ascii_alone] = count_words(pa.chunked_array([texts])).to_numpy()
        counts[self._others[0]] = words_of(self._others[1])
        return pa.array(counts)

    @cached_property
    def is_ascii(self) -> np.ndarray:
        """Whether each caption is of ASCII alone, bool [n]."""
        return pc.string_is_ascii(self.text).to_numpy(zero_copy_only=False)

    @cached_property
    def _others(self) -> tuple[np.ndarray, Characters]:
        """The captions that are not of ASCII alone: their numbers and characters."""
        rows = np.flatnonzero(~self.is_ascii)
        return rows, Characters(self.text.take(pa.array(rows)))

    @cached_property
    def characters(self) -> Characters:
        """The characters of the captions."""
        return Characters(self.text)

    @cached_property
    def tokens(self) -> Tokens:
        """The words of the captions, as phrases are looked for among them."""
        return Tokens.of(self.characters)

    @cached_property
    def writing(self) -> np.ndarray:
        """How each caption is written, uint8 [n]: 2, unspaced, where most letters are `DENSE`
        (of scripts without spaces, of syllables, or without short vowels); else 1, compact, where
        most are of a script other than Latin, or where it is declared to be of one of
        `septet.schemas.languages.COMPACT_LANGUAGES`; else 0, plain."""
        writing = self._is_declared_compact().astype(np.uint8)
        others, characters = self._others
        if len(others):
            letters = characters.count(LETTER)
            foreign = characters.sums((characters.kinds & (LETTER | LATIN)) == LETTER)
            writing[others[2 * foreign > letters]] = 1
            writing[others[2 * characters.count(DENSE) > letters]] = 2
        return writing

    def _is_declared_compact(self) -> np.ndarray:
        declared = self.table["page_language"].combine_chunks().dictionary_encode()
        if isinstance(declared, pa.ChunkedArray):
            declared = declared.combine_chunks()
        tags = declared.dictionary.to_pylist()
        compact = np.array([language_code(tag) in COMPACT_LANGUAGES for tag in tags] + [False])
        return compact[declared.indices.fill_null(len(tags)).to_numpy(zero_copy_only=False)]
