"""The order of samples: a pure function of (seed, epoch, stream, corpus).

Each epoch permutes the shards, cuts the permuted list into windows of at least `window` samples,
and permutes the samples of each window. So the order needs no buffer and no history: position
`i` of epoch `e` costs a few windows' permutations, wherever a run resumes, and reads stay within
few shards at a time.

Streams over one corpus have orders that know nothing of each other: a step's tasks share no more
samples than by chance.
"""

import bisect
import hashlib
import heapq
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.shards.reader import Corpus
from septet.trainers.draws import generator

_ROW_BITS = 32
"""Bits of a sample's number that are its row in its shard; those above are the shard's number."""
_ROW = 2**_ROW_BITS - 1


def corpus_digest(corpus: Corpus) -> str:
    """Hex digest of what determines order: each shard's content and sample count.

    Columns that are added to a corpus later do not change it, nor do samples that are taken out of
    its shards: others take their places.
    """
    digest = hashlib.sha256()
    tars, origins = corpus.shards.column("tar_sha256"), corpus.removed.origins
    for number, (tar, rows) in enumerate(zip(tars, corpus.counts.tolist(), strict=True)):
        digest.update(f"{origins.get(number, tar.as_py())} {rows}\n".encode())
    return digest.hexdigest()


class ShardOrder:
    """The order of one corpus's samples in any epoch of one stream.

    Any `distinct` samples in a row are different ones, across epochs, too: the first `distinct`
    places of an epoch are changed among themselves, so that what ended the epoch before comes late
    enough. A corpus of fewer than twice as many samples has the order of epoch 0 in every epoch.
    """

    def __init__(
        self,
        stream: str,
        counts: Sequence[int],
        digest: str,
        seed: int,
        window: int = 2**17,
        distinct: int = 1,
    ):
        """
        Args:
            stream: Name of the stream.
            counts: Samples of each shard.
            digest: See `corpus_digest`.
            seed: The run's seed.
            window: Least number of samples that are permuted together.
            distinct: So many samples in a row hold none twice; at most all of them.
        """
        self.counts = np.asarray(counts, np.int64)
        self.samples = int(self.counts.sum())
        self.distinct = max(1, distinct)
        self._of, self._window = (seed, stream, digest), window
        self._epoch = lru_cache(4)(self._plan_epoch)
        self._permuted = lru_cache(8)(self._permute_window)
        self._head = lru_cache(4)(self._arrange_head)

    def _plan_epoch(
        self, epoch: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int], list[int]]:
        """Permuted shards, where each begins (and the last ends), and of windows their first shards
        and where they begin."""
        draw = generator("shards", *self._of, epoch)
        shards = draw.permutation(len(self.counts))
        starts = np.concatenate([[0], np.cumsum(self.counts[shards])])
        firsts, begins = [0], [0]
        for place in range(1, len(shards)):
            if starts[place] - begins[-1] >= self._window:
                firsts.append(place)
                begins.append(int(starts[place]))
        return shards, starts, firsts, begins

    def _permute_window(self, epoch: int, number: int) -> NDArray[np.int64]:
        """Numbers of a window's samples in their order."""
        shards, starts, firsts, _ = self._epoch(epoch)
        stop = firsts[number + 1] if number + 1 < len(firsts) else len(starts) - 1
        begin, end = starts[firsts[number]], starts[stop]
        draw = generator("window", *self._of, epoch, number)
        places = begin + draw.permutation(int(end - begin))
        which = np.searchsorted(starts, places, side="right") - 1
        return (shards[which] << _ROW_BITS) + places - starts[which]

    def _drawn(self, epoch: int, begin: int, stop: int) -> NDArray[np.int64]:
        """Samples of an epoch from `begin` to `stop`, before its head is arranged."""
        *_, windows = self._epoch(epoch)
        parts = []
        while begin < stop:
            number = bisect.bisect_right(windows, begin) - 1
            first = windows[number]
            parts.append(self._permuted(epoch, number)[begin - first : stop - first])
            begin += len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])

    def _arrange_head(self, epoch: int) -> NDArray[np.int64]:
        """The first `distinct` samples of an epoch."""
        head = self._drawn(epoch, 0, self.distinct)
        if epoch == 0:
            return head
        tail = self._drawn(epoch - 1, self.samples - self.distinct, self.samples)
        ended = {int(sample): place for place, sample in enumerate(tail)}
        # A sample that was the tail's `place`-th may come again at `place` or later. At each place
        # at most one more becomes free, so there is always one to take.
        free = [ended.get(int(sample), 0) for sample in head]
        if not any(free):
            return head
        waiting: list[int] = []
        found = np.empty_like(head)
        by_place = sorted(range(len(head)), key=free.__getitem__)
        freed = 0
        for place in range(len(head)):
            while freed < len(head) and free[by_place[freed]] <= place:
                heapq.heappush(waiting, by_place[freed])
                freed += 1
            found[place] = head[heapq.heappop(waiting)]
        return found

    def locate(self, epoch: int, position: int) -> tuple[int, int]:
        """Shard number and row of the `position`-th sample of an epoch."""
        return self.locate_run(epoch, position, 1)[0]

    def locate_run(self, epoch: int, position: int, count: int) -> list[tuple[int, int]]:
        """Shard numbers and rows of `count` samples of an epoch from `position` on."""
        if self.samples < 2 * self.distinct:
            epoch = 0
        stop, arranged = position + count, self.distinct if self.distinct > 1 else 0
        found = self._drawn(epoch, max(position, arranged), stop)
        if position < arranged:
            found = np.concatenate([self._head(epoch)[position:stop], found])
        return [(sample >> _ROW_BITS, sample & _ROW) for sample in found.tolist()]

    def instead(self, epoch: int, position: int, attempt: int) -> int | None:
        """The position, in the same epoch, of the sample that takes the place of one that cannot
        be used; None when all were tried.

        It is a multiple of `distinct` places away, the same for all samples of an epoch. So no
        `distinct` samples in a row hold one twice, replaced ones included (but for where two
        epochs meet).
        """
        step = self.distinct if self.samples >= 2 * self.distinct else 1
        choices = self.samples // step - 1
        if attempt > choices:
            return None
        first = int(generator("instead", *self._of, epoch).integers(choices))
        return (position + (1 + (first + attempt) % choices) * step) % self.samples

    @property
    def shards_at_once(self) -> int:
        """Most shards that a window and the one after it touch, as epoch 0 has them."""
        shards, _, firsts, _ = self._epoch(0)
        ends = [*firsts[2:], len(shards), len(shards)]
        return max(end - first for first, end in zip(firsts, ends, strict=False))


def mix_block(weights: Sequence[float]) -> int:
    """Positions of a block in which the rarest has one at least: the least power of ten from 1,000
    on, for shares down to 1e-18."""
    rarest = min(weights) / sum(weights)
    return next(10**digits for digits in range(3, 19) if rarest * 10**digits >= 1)


class Mix:
    """Which of several corpora a position of a stream belongs to.

    Positions come in blocks of `block`; each block holds every corpus in the exact proportion of
    its weight (largest remainder), permuted. So weights hold in any stretch, and the count of
    earlier positions of each corpus, hence resume, is arithmetic.
    """

    def __init__(self, stream: str, weights: Sequence[float], seed: int, block: int = 1000):
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
        self.quotas, self._of, self._size = quotas, (seed, stream), block
        self._block = lru_cache(8)(self._plan_block)

    def _plan_block(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        draw = generator("mix", *self._of, number)
        which = draw.permutation(np.repeat(np.arange(len(self.quotas)), self.quotas))
        rank = np.zeros(self._size, np.int64)
        for corpus in range(len(self.quotas)):
            rank[which == corpus] = np.arange(self.quotas[corpus])
        return which, rank

    def most(self, positions: int) -> list[int]:
        """Of each corpus, the most that so many positions in a row can hold."""
        if len(self.quotas) == 1:
            return [positions]
        blocks = positions // self._size + 2
        return [min(positions, int(quota) * blocks) for quota in self.quotas]

    def locate(self, position: int) -> tuple[int, int]:
        """Corpus, and which of that corpus's own positions, a stream's position is."""
        if len(self.quotas) == 1:
            return 0, position
        block, place = divmod(position, self._size)
        which, rank = self._block(block)
        corpus = int(which[place])
        return corpus, int(block * self.quotas[corpus] + rank[place])
