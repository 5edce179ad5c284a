"""Balancing: few samples of what is frequent, by draws that depend on nothing but the sample.

What is counted are entries of a list that texts hold (MetaCLIP, Xu et al. 2024) and registered
domains of images. Of an entry that stands in c texts each is drawn with probability min(1, t / c);
a sample stays where any of its entries draws it. The draw is a hash of seed, sample id and entry:
the order and the number of workers do not count.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.domains import domains_of
from septet.preprocess.rules.lists import Phrases, is_known
from septet.preprocess.rules.tokens import Tokens, hash_ranges, mix
from septet.preprocess.text.characters import Characters
from septet.preprocess.text.ids import split_ids

_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Hits:
    """Which entries stand in which rows, each once a row: `rows` int64 [k], ascending, and `keys`
    uint64 [k], hashes of the entries."""

    rows: np.ndarray
    keys: np.ndarray

    def counted(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct keys, ascending, and the number of rows of each."""
        return np.unique(self.keys, return_counts=True)


def entries_in(captions: pa.Array, entries: Phrases) -> Hits:
    """The entries that captions hold, as whole words between spaces; letters' case counts, and
    marks of punctuation stand alone.

    Args:
        captions: String [n]; null holds none.
        entries: Phrases of words between spaces.
    """
    tokens = Tokens.by_spaces(Characters(pc.fill_null(captions, "")))
    rows, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for words, known in entries.by_words.items():
        hashes, first = tokens.phrases(words)
        found = is_known(hashes, known)
        rows.append(tokens.texts[first[found]])
        keys.append(hashes[found])
    return _distinct(np.concatenate(rows), np.concatenate(keys))


def domains_in(urls: pa.Array) -> Hits:
    """The registered domain of each URL that has one."""
    domains = domains_of(urls)
    rows = np.flatnonzero(pc.is_valid(domains).to_numpy(zero_copy_only=False))
    names = Characters(domains.take(pa.array(rows)))
    return Hits(rows, hash_ranges(names.codes, names.starts, names.starts + names.lengths))


def _distinct(rows: np.ndarray, keys: np.ndarray) -> Hits:
    order = np.lexsort((keys, rows))
    rows, keys = rows[order], keys[order]
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (rows[1:] != rows[:-1]) | (keys[1:] != keys[:-1])
    return Hits(rows[fresh], keys[fresh])


def drawn(
    hits: Hits, ids: pa.ChunkedArray, counts: tuple[np.ndarray, np.ndarray], most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows.

    Args:
        hits: What stands in them.
        ids: Ids of the samples, [n].
        counts: The keys of all texts, ascending, and how many rows of the whole corpus have each.
        most: t, the number of rows of a key that are to be left on average.
        seed: Another one draws others.

    Returns:
        Whether each row is drawn, bool [n], and the least count of its keys, int64 [n] (0 where it
        has none; such a row is not drawn).
    """
    anchors, rests = split_ids(ids)
    known, numbers = counts
    here = numbers[np.searchsorted(known, hits.keys)] if len(known) else np.zeros(0, np.int64)
    with np.errstate(over="ignore"):
        start = mix(np.array([seed], np.uint64) + _STEP)
        mixed = mix(mix(anchors[hits.rows] ^ start) + rests[hits.rows]) + hits.keys * _STEP
        chance = mix(mixed) / 2.0**64
    won = np.zeros(len(ids), bool)
    won[hits.rows[chance * np.maximum(here, 1) < most]] = True
    least = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(least, hits.rows, here)
    least[least == np.iinfo(np.int64).max] = 0
    return won, least
