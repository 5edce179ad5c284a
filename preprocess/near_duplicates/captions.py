"""Near-copies among captions that are all in memory."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from septet.preprocess.near_duplicates.links import least_labels, stars_of
from septet.preprocess.near_duplicates.matching import keep_best_of_groups, verify_edges
from septet.preprocess.near_duplicates.minhash import BANDS
from septet.preprocess.near_duplicates.tokens import (
    Tokens,
    count_tokens,
    tokens_of,
    weights_of,
    write_bands,
)


class Limits(NamedTuple):
    """The least similarity of a near-copy: where words were replaced, and where words were only
    added at or taken off one of the two."""

    replaced: float = 0.75
    extended: float = 0.5

    @classmethod
    def of(cls, similarity: float) -> "Limits":
        """The limits for a recipe's `near_text_similarity`."""
        return cls(similarity, similarity - 0.25)

    def looser(self) -> "Limits":
        """Limits by which captions hang together, so that a template's are seen as a family."""
        return Limits(self.replaced - 0.25, self.extended - 0.1)


LIMITS = Limits()
_CHUNK = 32_768
_COUNTED = 200_000
"""The number of captions that decide the weights of tokens."""


def near_captions(
    captions: pa.Array | pa.ChunkedArray,
    ranks: np.ndarray | None = None,
    limits: Limits = LIMITS,
    threads: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Find who is kept in whose stead.

    Args:
        captions: Strings [n], of at most 2**31 rows.
        ranks: A permutation of 0 … n - 1: of near-copies the one of least rank is kept; the first
            unless given.
        limits: How near is near.
        threads: How many threads work.

    Returns:
        For each caption the number of the one that is kept in its stead, its own where it stays,
        int64 [n]; and how near the two are, float32 [n].
    """
    texts = captions.combine_chunks() if isinstance(captions, pa.ChunkedArray) else captions
    count = len(texts)
    kept, similarity = np.arange(count), np.ones(count, np.float32)
    with ThreadPoolExecutor(threads) as pool:
        tokens, keys, sketches, weights = _described(texts, pool)
        stars = partial(_stars, keys, sketches)
        edges = np.sort(np.concatenate([np.empty(0, np.uint64), *pool.map(stars, range(BANDS))]))
        edges = edges[np.diff(edges, prepend=~np.uint64(0)) != 0]
        del keys
        members, heads = (edges >> np.uint64(32)).astype(np.int64), edges & np.uint64(0xFFFFFFFF)
        heads = heads.astype(np.int64)
        named = np.zeros(count, bool)
        named[members] = named[heads] = True
        rows = np.flatnonzero(named)
        at = np.cumsum(named) - 1
        members, heads = at[members], at[heads]
        near = _near(tokens.take(rows).sorted(), members, heads, weights, limits.looser(), pool)
        labels = least_labels(len(rows), members[near], heads[near])
        order = np.argsort(rows if ranks is None else ranks[rows])
        order = order[np.argsort(labels[order], kind="stable")]
        sizes = np.bincount(labels, minlength=len(rows))
        order = order[sizes[labels[order]] > 1]
        starts = np.flatnonzero(np.diff(labels[order], prepend=-1, append=-1))
        best = partial(_best, tokens, rows[order], weights, limits, kept, similarity)
        list(pool.map(best, _shares(starts)))
    return kept, similarity


def _described(
    texts: pa.Array, pool: ThreadPoolExecutor
) -> tuple[Tokens, np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, keys, sketches and weights of the captions."""
    count = len(texts)
    keys, sketches = np.empty((BANDS, count), np.uint64), np.empty(count, np.uint64)
    every = max(1, count // _COUNTED)

    def describe(start: int) -> tuple[Tokens, np.ndarray | None]:
        tokens = tokens_of(texts.slice(start, _CHUNK))
        part = slice(start, start + len(tokens))
        scopes = np.zeros(len(tokens), np.uint64)
        write_bands(tokens, scopes, keys[:, part], sketches[part])
        counted = start // _CHUNK % every == 0
        return tokens, count_tokens(tokens) if counted else None

    found = list(pool.map(describe, range(0, count, _CHUNK)))
    tokens = Tokens(
        np.concatenate([np.empty(0, np.uint64), *(one.tokens for one, _ in found)]),
        np.cumsum(
            np.concatenate([np.zeros(1, np.int64), *(np.diff(one.starts) for one, _ in found)])
        ),
    )
    counts = [one for _, one in found if one is not None]
    of = sum(len(one) for one, counted in found if counted is not None)
    return tokens, keys, sketches, weights_of(np.sum(counts, axis=0), of)


def _stars(keys: np.ndarray, sketches: np.ndarray, band: int) -> np.ndarray:
    members, heads, _ = stars_of(keys[band], sketches)
    return members << np.uint64(32) | heads


def _near(
    tokens: Tokens, members: np.ndarray, heads: np.ndarray, weights: np.ndarray, limits: Limits,
    pool: ThreadPoolExecutor,
) -> np.ndarray:  # fmt: skip
    near = np.empty(len(members), np.bool_)

    def verify(start: int) -> None:
        part = slice(start, start + _CHUNK)
        verify_edges(
            tokens.tokens, tokens.starts, members[part], heads[part], weights, *limits, near[part]
        )

    list(pool.map(verify, range(0, len(members), _CHUNK)))
    return near


def _best(
    tokens: Tokens, rows: np.ndarray, weights: np.ndarray, limits: Limits, kept: np.ndarray,
    similarity: np.ndarray, starts: np.ndarray,
) -> None:  # fmt: skip
    mine = rows[starts[0] : starts[-1]]
    part = tokens.take(mine)
    kept_here, near_here = np.empty(len(mine), np.int64), np.empty(len(mine), np.float32)
    keep_best_of_groups(
        part.tokens, part.starts, starts - starts[0], weights, *limits, np.zeros(len(mine), bool),
        kept_here, near_here,
    )  # fmt: skip
    kept[mine], similarity[mine] = mine[kept_here], near_here


def _shares(starts: np.ndarray) -> list[np.ndarray]:
    """The groups in shares of some thousand; each with the end of its last group."""
    return [starts[i : i + 4097] for i in range(0, len(starts) - 1, 4096)]
