"""Captions as tokens: words and numbers where a script writes spaces, pairs or triples of
characters where it does not.

A token is a uint64: a 32-bit hash of its folded letters, the set of its pairs of letters as 30 bits
(by which a slip of the pen is told), and its kind.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from septet.preprocess.near_duplicates.letters import letter_table
from septet.preprocess.near_duplicates.matching import sort_tokens
from septet.preprocess.near_duplicates.minhash import (
    BANDS,
    PERMUTATIONS,
    SLOT_SHIFT,
    cut_captions,
    fill_bands,
    sign,
)

SLOTS = 1 << 64 - SLOT_SHIFT
_CHUNK = 16_384
_LEAST, _DECADES = 0.1, 4.0
_DRAWN = np.random.Generator(np.random.PCG64(20)).integers(0, 2**32, (2, PERMUTATIONS), np.uint32)
_FACTORS, _SUMMANDS = _DRAWN[0] | np.uint32(1), _DRAWN[1]


@dataclass(frozen=True)
class Tokens:
    """The tokens of some captions: `tokens` uint64 [t], those of caption i from `starts[i]` to
    `starts[i + 1]` (int64 [n + 1]), in their order."""

    tokens: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, caption: int) -> np.ndarray:
        """The tokens of one caption."""
        return self.tokens[self.starts[caption] : self.starts[caption + 1]]

    def take(self, rows: np.ndarray) -> "Tokens":
        """The tokens of some captions."""
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        at = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Tokens(self.tokens[at], starts)

    def sorted(self) -> "Tokens":
        """The same tokens, those of each caption ascending."""
        found = Tokens(self.tokens.copy(), self.starts)
        sort_tokens(found.tokens, found.starts)
        return found


def tokens_of(captions: pa.Array | pa.ChunkedArray) -> Tokens:
    """Cut captions into tokens; a null has none."""
    texts = captions.combine_chunks() if isinstance(captions, pa.ChunkedArray) else captions
    found = [_tokens_of(texts.slice(at, _CHUNK)) for at in range(0, len(texts), _CHUNK)]
    tokens = [np.empty(0, np.uint64), *(tokens for tokens, _ in found)]
    counts = [np.zeros(1, np.int64), *(np.diff(starts) for _, starts in found)]
    return Tokens(np.concatenate(tokens), np.cumsum(np.concatenate(counts)))


def _tokens_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    offsets, data = _buffers(texts)
    tokens = np.empty(2 * int(offsets[-1] - offsets[0]) + 1, np.uint64)
    starts = np.empty(len(texts) + 1, np.int64)
    cut_captions(data, offsets, letter_table(), tokens, starts)
    return tokens[: starts[-1]].copy(), starts


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The offsets (int32 or int64 [n + 1]) and bytes of an array of strings."""
    _, offsets, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    found = np.frombuffer(offsets, kind)[texts.offset : texts.offset + len(texts) + 1]
    return found, np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)


def signatures(tokens: Tokens) -> np.ndarray:
    """MinHash signatures, uint32 [n, 128] of which the first 125 count; all ones where a caption
    has no tokens."""
    found = np.full((len(tokens), PERMUTATIONS), 0xFFFFFFFF, np.uint32)
    sign(tokens.tokens, tokens.starts, _FACTORS, _SUMMANDS, found)
    return found


def band_keys(tokens: Tokens, scopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys of each band, and sketches by which neighbours are told from strangers.

    Args:
        tokens: The captions.
        scopes: Captions of different scopes (uint64 [n]) have different keys.

    Returns:
        Keys, uint64 [25, n]; sketches, uint64 [n]: one bit of each of 64 minima. Two captions'
        sketches have (1 + s) / 2 of their bits in common.
    """
    keys = np.empty((BANDS, len(tokens)), np.uint64)
    sketches = np.empty(len(tokens), np.uint64)
    write_bands(tokens, scopes, keys, sketches)
    return keys, sketches


def write_bands(tokens: Tokens, scopes: np.ndarray, keys: np.ndarray, sketches: np.ndarray) -> None:
    """Write what `band_keys` gives."""
    fill_bands(tokens.tokens, tokens.starts, _FACTORS, _SUMMANDS, scopes, keys, sketches)


def bag_hashes(tokens: Tokens) -> np.ndarray:
    """A hash of each caption's tokens, whatever their order, uint64 [n]; 0 where there are none."""
    mixed = (tokens.tokens ^ tokens.tokens >> np.uint64(31)) * np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(29)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    return sums[tokens.starts[1:]] - sums[tokens.starts[:-1]]


def slots_of(tokens: np.ndarray) -> np.ndarray:
    """The slot of each token (uint64 [n]) in a table of `SLOTS` counts; int64 [n]."""
    return (tokens >> np.uint64(SLOT_SHIFT)).astype(np.int64)


def count_tokens(tokens: Tokens) -> np.ndarray:
    """How often the tokens of each slot occur; int64 [SLOTS]. Of few captions they are few."""
    return np.bincount(slots_of(tokens.tokens), minlength=SLOTS)


def weights_of(counts: np.ndarray, captions: int) -> np.ndarray:
    """The weights of the tokens of each slot, float32 [SLOTS]: 1 for a token that one caption in
    10,000 has, or fewer; a quarter less for each ten times as many; 0.1 at least.

    Args:
        counts: Of `count_tokens`.
        captions: The number of captions counted.
    """
    rates = counts.astype(np.float64) / max(captions, 1)
    rarity = -np.log10(np.maximum(rates, 1e-9)) / _DECADES
    return np.clip(rarity, _LEAST, 1.0).astype(np.float32)
