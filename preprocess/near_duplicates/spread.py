"""Near-copies among captions that are spread over shards: what each step does with one shard's, or
one bucket's, part of the work.

A *node* is a caption of a shard, a uint64: the shard's number, then the row's. What goes between
shards is nodes, hashes and tokens (which are hashes); no text.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from septet.preprocess.near_duplicates.captions import Limits
from septet.preprocess.near_duplicates.matching import (
    keep_best_of_groups,
    star_edges,
    verify_edges,
)
from septet.preprocess.near_duplicates.minhash import BANDS
from septet.preprocess.near_duplicates.tokens import (
    Tokens,
    bag_hashes,
    band_keys,
    tokens_of,
)
from septet.preprocess.text.ids import split_ids

MOST_OF_A_KEY = 256
"""The number of a shard's captions that one band brings together with those of other shards."""
MOST_OF_A_LABEL = 1024
"""The number of a shard's captions of one group that are compared with those of other shards."""

_U8 = "<u8"
RECORD = np.dtype([("key", _U8), ("node", _U8), ("sketch", _U8)])
"""A caption under one band's key."""
EDGE = np.dtype([("member", _U8), ("head", _U8)])
LABEL = np.dtype([("node", _U8), ("label", _U8)])
"""The least node that is known to hang together with a node."""
MEMBER = np.dtype([("label", _U8), ("node", _U8), ("better", _U8), ("anchor", _U8), ("rest", _U8)])
"""A caption of a group, what makes it better than others, and its sample's id."""
VERDICT = np.dtype(
    [
        ("node", _U8),
        ("anchor", _U8),
        ("rest", _U8),
        ("first", _U8),
        ("second", _U8),
        ("near", "<f4"),
    ]
)
"""Of a caption: the id of the sample that is kept in its stead, or its own; the id of the best of
all that hang together; how near the two are."""

_S32 = np.uint64(32)


@dataclass(frozen=True)
class Captions:
    """A shard's captions that are compared: the rows that they have in it, their tokens in order,
    scope, what makes one better than another, and the two halves of their samples' ids."""

    shard: int
    rows: np.ndarray
    tokens: Tokens
    scopes: np.ndarray
    better: np.ndarray
    ids: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, shard: int, table: pa.Table) -> "Captions":
        """Those of a table with `id`, `caption` (null: not compared), `scope` and `better`."""
        tokens = tokens_of(table["caption"])
        rows = np.flatnonzero(np.diff(tokens.starts))
        table = table.take(pa.array(rows))
        scopes, better = (table[name].to_numpy().astype(np.uint64) for name in ("scope", "better"))
        return cls(shard, rows, tokens.take(rows), scopes, better, split_ids(table["id"]))

    @property
    def nodes(self) -> np.ndarray:
        """The node of each caption, ascending."""
        return np.uint64(self.shard) << _S32 | self.rows.astype(np.uint64)

    def at(self, nodes: np.ndarray) -> np.ndarray:
        """The number of each of some nodes among the captions."""
        rows = (nodes & np.uint64(0xFFFFFFFF)).astype(np.int64)
        return np.searchsorted(self.rows, rows)

    def representatives(self) -> np.ndarray:
        """For each caption the number of the best that has the same tokens and scope, int64 [n]."""
        bags = bag_hashes(self.tokens) ^ self.scopes * np.uint64(0x9E3779B97F4A7C15)
        order = np.lexsort((self.rows, ~self.better, bags))
        first = np.ones(len(order), bool)
        first[1:] = bags[order][1:] != bags[order][:-1]
        found = np.empty(len(order), np.int64)
        found[order] = order[first][np.cumsum(first) - 1]
        return found

    def records(self) -> list[np.ndarray]:
        """The `RECORD`s of each band, one of the captions with the same tokens."""
        chosen = np.unique(self.representatives())
        keys, sketches = band_keys(self.tokens.take(chosen), self.scopes[chosen])
        return [self._band(keys[band], sketches, self.nodes[chosen]) for band in range(BANDS)]

    @staticmethod
    def _band(keys: np.ndarray, sketches: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        order = np.argsort(keys, kind="stable")
        found = np.empty(len(keys), RECORD)
        found["key"], found["node"], found["sketch"] = keys[order], nodes[order], sketches[order]
        return found[_rank(found["key"]) < MOST_OF_A_KEY]


def _rank(ascending: np.ndarray) -> np.ndarray:
    """How many equal values come before each; int64 [n]."""
    fresh = np.ones(len(ascending), bool)
    fresh[1:] = ascending[1:] != ascending[:-1]
    starts = np.flatnonzero(fresh)
    return np.arange(len(ascending)) - np.repeat(starts, np.diff([*starts, len(ascending)]))


def shard_of(nodes: np.ndarray) -> np.ndarray:
    """The shard of each node, int64 [n]."""
    return (nodes >> _S32).astype(np.int64)


def stars(records: np.ndarray) -> np.ndarray:
    """The distinct `EDGE`s of one bucket's `RECORD`s."""
    records = records[np.lexsort((records["node"], records["key"]))]
    members, heads = np.empty((2, len(records)), np.uint64)
    keys, nodes, sketches = (np.ascontiguousarray(records[name]) for name in RECORD.names or ())
    count = star_edges(keys, nodes, sketches, members, heads)
    return edges_of(members[:count], heads[:count])


def edges_of(members: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Distinct `EDGE`s, by ascending member."""
    found = np.empty(len(members), EDGE)
    found["member"], found["head"] = members, heads
    return np.unique(found)


def packed(records: np.ndarray, tokens: Tokens) -> bytes:
    """Records and the tokens of each, as bytes."""
    count = np.array([len(records)], _U8)
    lengths = np.diff(tokens.starts).astype("<u4")
    return b"".join(part.tobytes() for part in (count, records, lengths, tokens.tokens.astype(_U8)))


def unpacked(parts: list[bytes], kind: np.dtype) -> tuple[np.ndarray, Tokens]:
    """The inverse of `packed`, of several pieces together."""
    records, lengths, tokens = [np.empty(0, kind)], [np.empty(0, "<u4")], [np.empty(0, np.uint64)]
    for part in parts:
        count = int(np.frombuffer(part, _U8, 1)[0])
        records.append(np.frombuffer(part, kind, count, 8))
        at = 8 + count * kind.itemsize
        lengths.append(np.frombuffer(part, "<u4", count, at))
        tokens.append(np.frombuffer(part, _U8, offset=at + 4 * count).astype(np.uint64))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    return np.concatenate(records), Tokens(np.concatenate(tokens), starts)


def verified(
    edges: np.ndarray, members: Tokens, captions: Captions, weights: np.ndarray, limits: Limits
) -> np.ndarray:
    """The edges whose two ends may belong together.

    Args:
        edges: `EDGE` [n], whose heads are of one shard.
        members: Sorted tokens of each edge's member.
        captions: The shard's.
        weights: Of tokens.
        limits: How near is near.
    """
    at = captions.at(edges["head"])
    used, place = np.unique(at, return_inverse=True)
    heads = captions.tokens.take(used).sorted()
    both = Tokens(
        np.concatenate([heads.tokens, members.tokens]),
        np.concatenate([heads.starts, members.starts[1:] + heads.starts[-1]]),
    )
    near = np.empty(len(edges), np.bool_)
    numbers = len(used) + np.arange(len(edges))
    verify_edges(both.tokens, both.starts, numbers, place, weights, *limits.looser(), near)
    return edges[near]


def lowered(edges: np.ndarray, told: np.ndarray) -> np.ndarray:
    """The `LABEL` of each node that has an edge, after one round.

    Args:
        edges: `EDGE` [n], distinct, whose members are of one shard.
        told: `LABEL`s of these nodes: what each knew, and what its neighbours did.
    """
    nodes = np.unique(edges["member"])
    labels = nodes.copy()
    np.minimum.at(labels, np.searchsorted(nodes, told["node"]), told["label"])
    found = np.empty(len(nodes), LABEL)
    found["node"], found["label"] = nodes, labels
    return found


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
    starts = np.flatnonzero(np.diff(members["label"], prepend=np.uint64(0)) != 0)
    starts = np.unique(np.concatenate([[0], starts, [len(members)]]))
    kept, near = np.empty(len(members), np.int64), np.empty(len(members), np.float32)
    keep_best_of_groups(tokens.tokens, tokens.starts, starts, weights, *limits, kept, near)
    first = np.repeat(starts[:-1], np.diff(starts))
    found = np.empty(len(members), VERDICT)
    found["node"], found["near"] = members["node"], near
    found["anchor"], found["rest"] = members["anchor"][kept], members["rest"][kept]
    found["first"], found["second"] = members["anchor"][first], members["rest"][first]
    return found


def sent(labels: np.ndarray, captions: Captions) -> tuple[np.ndarray, Tokens]:
    """The `MEMBER`s of a shard with their tokens, of each group no more than `MOST_OF_A_LABEL`."""
    labels = labels[np.lexsort((labels["node"], labels["label"]))]
    labels = labels[_rank(labels["label"]) < MOST_OF_A_LABEL]
    at = captions.at(labels["node"])
    found = np.empty(len(labels), MEMBER)
    found["label"], found["node"], found["better"] = (
        labels["label"],
        labels["node"],
        captions.better[at],
    )
    found["anchor"], found["rest"] = (half[at] for half in captions.ids)
    return found, captions.tokens.take(at)
