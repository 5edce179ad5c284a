"""Near-copies among captions that are spread over slabs: what each step does with one slab's, or
one bucket's, part of the work.

A *slab* is some thousand captions of neighbouring shards. A *node* is a caption, a uint64: the
slab's number, then the caption's within it. What goes between slabs is nodes, hashes and tokens
(which are hashes); no text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from septet.preprocess.dedup import ANNOTATED, earlier_corpus
from septet.preprocess.near_duplicates.captions import Limits
from septet.preprocess.near_duplicates.links import (
    distinct_links,
    lower_labels,
    packed_shared,
    stars_of,
)
from septet.preprocess.near_duplicates.matching import keep_best_of_groups, verify_edges
from septet.preprocess.near_duplicates.minhash import BANDS
from septet.preprocess.near_duplicates.tokens import (
    Tokens,
    bag_hashes,
    band_keys,
    tokens_of,
)
from septet.preprocess.text.ids import bucket_of, by_bucket, split_ids

MOST_OF_A_LABEL = 1024
"""The number of a slab's captions of one group that are compared with those of other slabs."""
_ALIKE = 4
"""The number of a slab's captions of the same tokens that take part: what repeats tells templates'
fillers from words that were replaced."""
_RECORDS_A_BUCKET = 1_000_000

_U8 = "<u8"
RECORD = np.dtype([("key", _U8), ("node", _U8), ("sketch", _U8)])
"""A caption under one band's key."""
EDGE = np.dtype([("member", _U8), ("head", _U8)])
LABEL = np.dtype([("node", _U8), ("label", _U8)])
"""The least node that is known to hang together with a node."""
MEMBER = np.dtype([("label", _U8), ("node", _U8), ("better", _U8), ("anchor", _U8), ("rest", _U8)])
"""A caption of a group, what makes it better than others, and its sample's id."""
VERDICT = np.dtype(
    [("node", _U8), ("anchor", _U8), ("rest", _U8), ("first", _U8), ("second", _U8),
     ("corpus", "<i4"), ("near", "<f4")]
)  # fmt: skip
"""Of a caption: the id of the sample that is kept in its stead, or its own; the id of the best of
all that hang together; the number of the earlier corpus that has the one kept (-1: none); how near
the two are."""
_SAID = ("anchor", "rest", "first", "second", "corpus")
GONE = np.dtype([*VERDICT.descr[1:], ("row", "<u4")])
"""What a verdict says of a sample that goes, by its row in its shard."""

_S32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Captions:
    """A slab's captions that are compared: the shard and the row there of each, tokens in order,
    scope, what makes one better than another, and the two halves of their samples' ids."""

    slab: int
    shards: np.ndarray
    rows: np.ndarray
    tokens: Tokens
    scopes: np.ndarray
    better: np.ndarray
    anchors: np.ndarray
    rests: np.ndarray

    @classmethod
    def of(cls, slab: int, shards: Sequence[tuple[int, pa.Table]]) -> "Captions":
        """Those of shards' tables with `id`, `caption` (null: not compared), `scope` and
        `better`."""
        lengths = [len(table) for _, table in shards]
        joined = pa.concat_tables([table for _, table in shards]).combine_chunks()
        tokens = tokens_of(joined["caption"])
        found = cls(
            slab,
            np.repeat(np.array([number for number, _ in shards], np.uint32), lengths),
            np.concatenate([np.arange(length, dtype=np.uint32) for length in lengths]),
            tokens,
            joined["scope"].to_numpy().astype(np.uint64),
            joined["better"].to_numpy().astype(np.uint64),
            *split_ids(joined["id"]),
        )
        some = np.flatnonzero(np.diff(tokens.starts))
        if len(some) == len(tokens):
            return found
        return cls(
            slab, found.shards[some], found.rows[some], tokens.take(some), found.scopes[some],
            found.better[some], found.anchors[some], found.rests[some],
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        """The captions as bytes."""
        sizes = np.array([len(self.rows), len(self.tokens.tokens)], np.int64)
        parts = (sizes, self.shards, self.rows, self.tokens.starts, self.scopes, self.better,
                 self.anchors, self.rests, self.tokens.tokens)  # fmt: skip
        return b"".join(np.ascontiguousarray(part).data for part in parts)

    @classmethod
    def from_bytes(cls, slab: int, data: bytes) -> "Captions":
        """The inverse of `to_bytes`."""
        count, tokens = np.frombuffer(data, np.int64, 2).tolist()
        at = 16

        def read(kind: type, length: int) -> np.ndarray:
            nonlocal at
            found: np.ndarray = np.frombuffer(data, kind, length, at)
            at += found.nbytes
            return found

        shards, rows = read(np.uint32, count), read(np.uint32, count)
        starts = read(np.int64, count + 1)
        scopes, better, anchors, rests = (read(np.uint64, count) for _ in range(4))
        cut = Tokens(read(np.uint64, tokens), starts)
        return cls(slab, shards, rows, cut, scopes, better, anchors, rests)

    @property
    def base(self) -> np.uint64:
        """The node of the first caption; those of others follow."""
        return np.uint64(self.slab) << _S32

    def representatives(self) -> np.ndarray:
        """For each caption the number of the one that stands for it, int64 [n]: itself, unless it
        is beyond the best few of those with the same tokens and scope, for which the best stands.
        """
        bags = bag_hashes(self.tokens) ^ self.scopes * np.uint64(0x9E3779B97F4A7C15)
        row_mask = np.uint64((1 << len(bags).bit_length()) - 1)
        some = (packed_shared(bags, row_mask) & row_mask).astype(np.int64)
        some = some[np.lexsort((some, ~self.better[some], bags[some]))]
        first = np.diff(bags[some], prepend=~bags[some[:1]]) != 0
        others = _rank(np.cumsum(first)) >= _ALIKE
        found = np.arange(len(bags))
        found[some[others]] = some[first][np.cumsum(first)[others] - 1]
        return found


def rows_of(nodes: np.ndarray) -> np.ndarray:
    """The number of each node in its slab, int64 [n]."""
    return (nodes & _LOW).astype(np.int64)


def by_slab(records: np.ndarray, nodes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Records by the slab of the node of each."""
    for slab, rows in by_bucket((nodes >> _S32).astype(np.int64)):
        yield slab, records[rows]


@dataclass(frozen=True)
class Buckets:
    """The buckets in which captions meet: some bands together, or a range of the keys of one."""

    captions: int

    @property
    def _ranges(self) -> int:
        return -(-max(1, self.captions) // _RECORDS_A_BUCKET)

    @property
    def _together(self) -> int:
        return max(1, min(BANDS, _RECORDS_A_BUCKET // max(1, self.captions)))

    def __len__(self) -> int:
        return -(-BANDS // self._together) * self._ranges

    def of(self, band: int, keys: np.ndarray) -> np.ndarray:
        """The bucket of each of a band's keys, int64 [n]."""
        return band // self._together * self._ranges + bucket_of(keys, self._ranges)


def met(captions: Captions, buckets: Buckets) -> Iterator[tuple[int, np.ndarray]]:
    """Link a slab's captions with each other, and send the first under each key to meet those of
    other slabs: yields (bucket, `RECORD`s), and last (-1, `EDGE`s).

    So however many captions of a slab share a key, eight of them meet others.
    """
    chosen = np.unique(captions.representatives())
    tokens = captions.tokens if len(chosen) == len(captions.rows) else captions.tokens.take(chosen)
    keys, sketches = band_keys(tokens, captions.scopes[chosen])
    nodes = captions.base + chosen.astype(np.uint64)
    edges = [np.empty(0, EDGE)]
    for band in range(BANDS):
        members, heads, follows = stars_of(keys[band], sketches)
        edges.append(_edges(nodes[members.astype(np.int64)], nodes[heads.astype(np.int64)]))
        for bucket, rows in _buckets(buckets.of(band, keys[band]), ~follows):
            found = np.empty(len(rows), RECORD)
            found["key"], found["node"] = keys[band][rows], nodes[rows]
            found["sketch"] = sketches[rows]
            yield bucket, found
    yield -1, np.concatenate(edges)


def _buckets(buckets: np.ndarray, stays: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    rows = np.flatnonzero(stays)
    for bucket, some in by_bucket(buckets[rows]):
        yield bucket, rows[some]


def stars(records: np.ndarray) -> np.ndarray:
    """The `EDGE`s of one bucket's `RECORD`s; some of them several times."""
    keys, nodes, sketches = (np.ascontiguousarray(records[name]) for name in RECORD.names or ())
    members, heads, _ = stars_of(keys, sketches)
    return _edges(nodes[members.astype(np.int64)], nodes[heads.astype(np.int64)])


def _edges(members: np.ndarray, heads: np.ndarray) -> np.ndarray:
    found = np.empty(len(members), EDGE)
    found["member"], found["head"] = members, heads
    return found


def distinct(edges: np.ndarray) -> np.ndarray:
    """The distinct `EDGE`s of one slab's members."""
    starts, others = _links(edges)
    members = np.repeat(np.arange(len(starts) - 1, dtype=np.uint64), np.diff(starts))
    return _edges(members + (edges["member"][:1] >> _S32 << _S32), others)


def _links(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `links.distinct_links`; of the members, which are of one slab."""
    rows = rows_of(edges["member"])
    return distinct_links(rows, np.ascontiguousarray(edges["head"]), rows.max(initial=-1) + 1)


def packed(records: np.ndarray, tokens: Tokens) -> bytes:
    """Records and the tokens of each, as bytes."""
    count = np.array([len(records)], _U8)
    lengths = np.diff(tokens.starts).astype("<u4")
    return b"".join(part.tobytes() for part in (count, records, lengths, tokens.tokens))


def unpacked(parts: list[bytes], kind: np.dtype) -> tuple[np.ndarray, Tokens]:
    """The inverse of `packed`, of several pieces together."""
    records, lengths, tokens = [np.empty(0, kind)], [np.empty(0, "<u4")], [np.empty(0, np.uint64)]
    for part in parts:
        count = int(np.frombuffer(part, _U8, 1)[0])
        records.append(np.frombuffer(part, kind, count, 8))
        at = 8 + count * kind.itemsize
        lengths.append(np.frombuffer(part, "<u4", count, at))
        tokens.append(np.frombuffer(part, np.uint64, offset=at + 4 * count))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    return np.concatenate(records), Tokens(np.concatenate(tokens), starts)


def verified(
    edges: np.ndarray, members: Tokens, captions: Captions, weights: np.ndarray, limits: Limits
) -> np.ndarray:
    """The edges whose two ends may belong together.

    Args:
        edges: `EDGE` [n], whose heads are of one slab.
        members: Sorted tokens of each edge's member.
        captions: The slab's.
        weights: Of tokens.
        limits: How near is near.
    """
    at = rows_of(edges["head"])
    used = np.zeros(len(captions.rows), bool)
    used[at] = True
    heads = captions.tokens.take(np.flatnonzero(used)).sorted()
    both = Tokens(
        np.concatenate([heads.tokens, members.tokens]),
        np.concatenate([heads.starts, members.starts[1:] + heads.starts[-1]]),
    )
    near = np.empty(len(edges), np.bool_)
    place = (np.cumsum(used) - 1)[at]
    numbers = len(heads) + np.arange(len(edges))
    verify_edges(both.tokens, both.starts, numbers, place, weights, *limits.looser(), near)
    return edges[near]


def both_ends(edges: np.ndarray) -> np.ndarray:
    """Each edge twice, either end once the member."""
    return np.concatenate([edges, _edges(edges["head"], edges["member"])])


@dataclass(frozen=True)
class Labels:
    """The labels of a slab's captions that have an edge: the distinct edges, `EDGE`; the `LABEL` of
    each such caption, by ascending node; and those that a neighbour elsewhere is to be told."""

    edges: np.ndarray
    labels: np.ndarray
    told: np.ndarray

    @classmethod
    def lowered(cls, edges: np.ndarray, known: np.ndarray, told: np.ndarray) -> "Labels":
        """The labels after one round.

        Args:
            edges: `EDGE`s, told at both ends, whose members are of one slab.
            known: `LABEL`s of these after the round before; none before the first.
            told: `LABEL`s that neighbours elsewhere have told.
        """
        starts, others = _links(edges)
        base = edges["member"][0] >> _S32 << _S32
        linked = np.diff(starts) > 0
        nodes = base + np.arange(len(linked), dtype=np.uint64)
        before = np.full(len(linked), ~np.uint64(0))
        before[rows_of(known["node"])] = known["label"]
        labels = np.minimum(nodes, before)
        np.minimum.at(labels, rows_of(told["node"]), told["label"])
        lower_labels(starts, others, base, labels)
        found = np.empty(int(linked.sum()), LABEL)
        found["node"], found["label"] = nodes[linked], labels[linked]
        members = np.repeat(np.arange(len(linked)), np.diff(starts))
        news = (labels < before)[members] & (others >> _S32 != base >> _S32)
        tell = np.empty(int(news.sum()), LABEL)
        tell["node"], tell["label"] = others[news], labels[members[news]]
        return cls(_edges(nodes[members], others), found, tell)


def sent(labels: np.ndarray, captions: Captions) -> tuple[np.ndarray, Tokens]:
    """The `MEMBER`s of a slab with their tokens, of each group no more than `MOST_OF_A_LABEL`.

    Args:
        labels: `LABEL`s by ascending node.
        captions: The slab's.
    """
    labels = labels[np.argsort(labels["label"], kind="stable")]
    labels = labels[_rank(labels["label"]) < MOST_OF_A_LABEL]
    at = rows_of(labels["node"])
    found = np.empty(len(labels), MEMBER)
    for name in LABEL.names or ():
        found[name] = labels[name]
    found["better"] = captions.better[at]
    found["anchor"], found["rest"] = captions.anchors[at], captions.rests[at]
    return found, captions.tokens.take(at)


def _rank(ascending: np.ndarray) -> np.ndarray:
    """How many equal values come before each; int64 [n]."""
    fresh = np.ones(len(ascending), bool)
    fresh[1:] = ascending[1:] != ascending[:-1]
    starts = np.flatnonzero(fresh)
    return np.arange(len(ascending)) - np.repeat(starts, np.diff([*starts, len(ascending)]))


def judged(members: np.ndarray, tokens: Tokens, weights: np.ndarray, limits: Limits) -> np.ndarray:
    """A `VERDICT` for each of the members of some groups.

    Args:
        members: `MEMBER` [n]; of a group, all that were sent.
        tokens: Their tokens in order.
        weights: Of tokens.
        limits: How near is near.
    """
    order = np.lexsort((members["node"], ~members["better"], members["label"]))
    members, tokens = members[order], tokens.take(order)
    fresh = np.diff(members["label"], prepend=~members["label"][:1]) != 0
    starts = np.append(np.flatnonzero(fresh), len(members))
    kept, near = np.empty(len(members), np.int64), np.empty(len(members), np.float32)
    stays = members["better"] >= ANNOTATED
    keep_best_of_groups(tokens.tokens, tokens.starts, starts, weights, *limits, stays, kept, near)
    first = np.repeat(starts[:-1], np.diff(starts))
    found = np.empty(len(members), VERDICT)
    found["node"], found["near"] = members["node"], near
    found["anchor"], found["rest"] = members["anchor"][kept], members["rest"][kept]
    found["corpus"] = earlier_corpus(members["better"][kept])
    found["first"], found["second"] = members["anchor"][first], members["rest"][first]
    return found


def gone(captions: Captions, verdicts: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (shard, `GONE` records) of the samples that go; annotated ones never do.

    Args:
        captions: A slab's.
        verdicts: `VERDICT`s of those that stand for all with the same tokens.
    """
    best = captions.representatives()
    told = np.full(len(best), -1)
    told[rows_of(verdicts["node"])] = np.arange(len(verdicts))
    of = told[best]
    found = np.empty(len(best), GONE)
    for name, half in zip(_SAID[:4], 2 * (captions.anchors, captions.rests), strict=True):
        found[name] = half[best]
    found["row"], found["near"], found["corpus"] = captions.rows, 1, -1
    named = np.flatnonzero(of >= 0)
    for name in _SAID:
        found[name][named] = verdicts[name][of[named]]
    other = (found["anchor"] != captions.anchors[best]) | (found["rest"] != captions.rests[best])
    other |= found["corpus"] >= 0
    found["near"][other] = verdicts["near"][of[other]]
    goes = other | (captions.anchors[best] != captions.anchors)
    goes |= captions.rests[best] != captions.rests
    goes = np.flatnonzero(goes & (captions.better < ANNOTATED))
    for shard, rows in by_bucket(captions.shards[goes].astype(np.int64)):
        yield shard, found[goes[rows]]
