"""The order of samples: a pure function of (seed, epoch, corpus).

Each epoch permutes the shards, cuts the permuted list into windows of at least `window` samples,
and permutes the samples of each window. So the order needs no buffer and no history: position
`i` of epoch `e` costs one window's permutation, wherever a run resumes, and reads stay within
few shards at a time.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.shards.reader import Corpus
from septet.trainers.draws import generator


def corpus_digest(corpus: Corpus) -> str:
    """Hex digest of what determines order: each shard's content and sample count.

    Columns that are added to a corpus later do not change it.
    """
    digest = hashlib.sha256()
    tars = corpus.shards.column("tar_sha256")
    for tar, samples in zip(tars, corpus.counts.tolist(), strict=True):
        digest.update(f"{tar.as_py()} {samples}\n".encode())
    return digest.hexdigest()


class ShardOrder:
    """The order of one corpus's samples in any epoch."""

    def __init__(self, counts: Sequence[int], digest: str, seed: int, window: int = 2**17):
        """
        Args:
            counts: Samples of each shard.
            digest: See `corpus_digest`.
            seed: The run's seed.
            window: Least number of samples that are permuted together.
        """
        self.counts = np.asarray(counts, np.int64)
        self.samples = int(self.counts.sum())
        self._digest, self._seed, self._window = digest, seed, window
        self._epoch = lru_cache(4)(self._plan_epoch)
        self._permuted = lru_cache(8)(self._permute_window)

    def _plan_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
        """Permuted shards, where each begins (and the last ends), and windows' first shards."""
        draw = generator("shards", self._seed, self._digest, epoch)
        shards = draw.permutation(len(self.counts))
        starts = np.concatenate([[0], np.cumsum(self.counts[shards])])
        firsts, begin = [0], 0
        for place in range(1, len(shards)):
            if starts[place] - begin >= self._window:
                firsts.append(place)
                begin = int(starts[place])
        return shards, starts, firsts

    def _permute_window(self, epoch: int, number: int) -> NDArray[np.int64]:
        _, starts, firsts = self._epoch(epoch)
        stop = firsts[number + 1] if number + 1 < len(firsts) else len(starts) - 1
        begin, end = starts[firsts[number]], starts[stop]
        draw = generator("window", self._seed, self._digest, epoch, number)
        return begin + draw.permutation(int(end - begin))

    def locate(self, epoch: int, position: int) -> tuple[int, int]:
        """Shard number and row of the `position`-th sample of an epoch."""
        return self.locate_run(epoch, position, 1)[0]

    def locate_run(self, epoch: int, position: int, count: int) -> list[tuple[int, int]]:
        """Shard numbers and rows of `count` samples of an epoch from `position` on."""
        shards, starts, firsts = self._epoch(epoch)
        window_starts = starts[firsts]
        parts, at, stop = [], position, position + count
        while at < stop:
            number = int(np.searchsorted(window_starts, at, side="right")) - 1
            begin = int(window_starts[number])
            part = self._permuted(epoch, number)[at - begin : stop - begin]
            parts.append(part)
            at += len(part)
        places = np.concatenate(parts)
        which = np.searchsorted(starts, places, side="right") - 1
        rows = places - starts[which]
        return list(zip(shards[which].tolist(), rows.tolist(), strict=True))

    def shards_from(self, epoch: int, position: int, samples: int) -> list[int]:
        """Shards that the windows of `samples` positions from `position` on touch, in order."""
        shards, starts, firsts = self._epoch(epoch)
        window_starts = starts[firsts]
        first = int(np.searchsorted(window_starts, position, side="right")) - 1
        last = int(np.searchsorted(window_starts, position + samples, side="left"))
        stop = firsts[last] if last < len(firsts) else len(shards)
        return [int(shard) for shard in shards[firsts[first] : stop]]


class Mix:
    """Which of several corpora a position of a stream belongs to.

    Positions come in blocks of `block`; each block holds every corpus in the exact proportion of
    its weight (largest remainder), permuted. So weights hold in any stretch, and the count of
    earlier positions of each corpus, hence resume, is arithmetic.
    """

    def __init__(self, weights: Sequence[float], seed: int, block: int = 1000):
        if not weights or any(not weight > 0 for weight in weights):
            raise ValueError(f"weights of a mix must all be above zero; found {list(weights)}")
        exact = np.asarray(weights, np.float64) / sum(weights) * block
        quotas = np.floor(exact).astype(np.int64)
        quotas[np.argsort(quotas - exact, kind="stable")[: block - int(quotas.sum())]] += 1
        if (quotas == 0).any():
            raise ValueError(
                f"weights {list(weights)} give a corpus less than one sample in {block}: leave it "
                "out, or raise its weight"
            )
        self.quotas, self._seed, self._size = quotas, seed, block
        self._block = lru_cache(8)(self._plan_block)

    def _plan_block(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        draw = generator("mix", self._seed, number)
        which = draw.permutation(np.repeat(np.arange(len(self.quotas)), self.quotas))
        rank = np.zeros(self._size, np.int64)
        for corpus in range(len(self.quotas)):
            rank[which == corpus] = np.arange(self.quotas[corpus])
        return which, rank

    def locate(self, position: int) -> tuple[int, int]:
        """Corpus, and which of that corpus's own positions, a stream's position is."""
        if len(self.quotas) == 1:
            return 0, position
        block, place = divmod(position, self._size)
        which, rank = self._block(block)
        corpus = int(which[place])
        return corpus, int(block * self.quotas[corpus] + rank[place])
