"""Near-duplicate images as records: the samples that stand for them, pairs of near ones, and who is
kept.

A *member* is the best sample of an image, or of an image beside one caption. Members are kept in
the order of their rank: one goes if it is near to a better one that is kept, to the best such one.
So whoever goes is near to the one that stays in its stead, and nothing depends on the order of the
input.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.dedup import better_of, earlier_corpus
from septet.preprocess.images.appearance import THUMBNAIL_BYTES, hashes_of
from septet.preprocess.near_duplicates.hamming import (
    Pairs,
    near_pairs,
    pairs_of_partition,
    partitions,
)
from septet.preprocess.near_duplicates.thumbnails import look_alike
from septet.preprocess.text.ids import by_bucket

_NAME: list[tuple[str, str]] = [("rank", "<u8"), ("anchor", "<u8"), ("rest", "<u8")]
MEMBER = np.dtype(
    [*_NAME, ("caption", "<u8"), ("phash", "<u8"), ("aspect", "<f8"), ("shard", "<i4"),
     ("thumbnail", "u1", (THUMBNAIL_BYTES,))]
)  # fmt: skip
"""A member: its rank (the complement of `dedup.better_of`, or of `dedup.rank_of_earlier`: less is
better), the halves of its sample's id, the caption that it is kept beside (0 where one sample an
image is), what its image looks like, and its shard."""
HASHED = np.dtype([*_NAME, ("caption", "<u8"), ("phash", "<u8")])
"""What of a member is needed to find near ones."""
PAIR = np.dtype(
    [*((f"better_{name}", kind) for name, kind in _NAME),
     *((f"worse_{name}", kind) for name, kind in _NAME), ("bits", "u1")]
)  # fmt: skip
"""Two members whose hashes are near, and the bits in which these differ."""
SHOWN = np.dtype([*PAIR.descr, ("aspect", "<f8"), ("thumbnail", "u1", (THUMBNAIL_BYTES,))])
"""A pair with what the better one looks like."""
EDGE = np.dtype([*PAIR.descr, ("shard", "<i4")])
"""A pair of members that look alike, and the shard of the worse one."""
FATE = np.dtype([("anchor", "<u8"), ("rest", "<u8"), ("kept", "?")])
"""Whether a member is kept."""
LOST = np.dtype(
    [("anchor", "<u8"), ("rest", "<u8"), ("kept_anchor", "<u8"), ("kept_rest", "<u8"),
     ("corpus", "<i4"), ("bits", "u1"), ("shard", "<i4")]
)  # fmt: skip
"""A member that goes, the sample that stays in its stead, the number of the earlier corpus that has
it (-1: none), and the bits in which their hashes differ."""

_PAIRS_A_HASH = 2_000_000
_FEWEST_LEADERS = 16
_UNKNOWN, _KEPT, _GONE = 0, 1, 2


def members(rows: pa.Table, captions: np.ndarray, shard: int) -> np.ndarray:
    """Describe samples as members; `MEMBER` [n].

    Args:
        rows: `id`, `caption`, `annotations`, `original_width`, `original_height`, `width`,
            `height`, `phash` and `thumbnail` of samples with an image.
        captions: The caption that each is kept beside, uint64 [n].
        shard: The number of their shard.
    """
    found = np.zeros(len(rows), MEMBER)
    halves = np.frombuffer(bytes.fromhex("".join(rows["id"].to_pylist())), ">u8").reshape(-1, 2)
    found["anchor"], found["rest"] = halves[:, 0], halves[:, 1]
    pixels = rows["original_width"].to_numpy().astype(np.int64) * rows["original_height"].to_numpy()
    lengths = pc.utf8_length(rows["caption"]).fill_null(0).to_numpy()
    annotated = rows["annotations"].is_valid().to_numpy()
    found["rank"] = ~better_of(annotated, pixels, lengths)
    found["caption"], found["shard"] = captions, shard
    found["phash"] = hashes_of(rows["phash"].to_pylist())
    found["aspect"] = np.log(rows["width"].to_numpy() / rows["height"].to_numpy())
    found["thumbnail"] = thumbnails_of(rows["thumbnail"])
    return found


def are_thumbnails(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each value is a thumbnail of this version; those of earlier ones are smaller."""
    return pc.equal(pc.binary_length(column), THUMBNAIL_BYTES).fill_null(False)


def thumbnails_of(column: pa.ChunkedArray) -> np.ndarray:
    """Thumbnails as an array, uint8 [n, THUMBNAIL_BYTES]."""
    joined = b"".join(column.to_pylist())
    return np.frombuffer(joined, np.uint8).reshape(-1, THUMBNAIL_BYTES)


def hashed(found: np.ndarray) -> np.ndarray:
    """The part of members that is needed to find near ones; `HASHED` [n]."""
    some = np.empty(len(found), HASHED)
    for name in HASHED.names or ():
        some[name] = found[name]
    return some


def by_rank(found: np.ndarray) -> np.ndarray:
    """Members in the order of their rank, equal ones by id."""
    return found[np.lexsort((found["rest"], found["anchor"], found["rank"]))]


WHOLE = -1
"""The partition of all members, where they are few."""


def spread(found: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the partitions where members are to be compared, with `HASHED` of those that are."""
    some = hashed(found)
    for partition, rows in partitions(some["phash"]):
        yield partition, some[rows]


def pairs_within(some: np.ndarray, radius: int, partition: int = WHOLE) -> Iterator[np.ndarray]:
    """Find the pairs of a partition of `spread`, or of all members; yields `PAIR` [k]."""
    some = by_rank(some)
    leads = _leads(some["phash"])
    found = (
        near_pairs(some["phash"], radius)
        if partition == WHOLE
        else pairs_of_partition(some["phash"], radius, partition)
    )
    for pairs in found:
        yield _pairs(some, pairs, leads)


def pairs_beside_captions(some: np.ndarray, radius: int) -> Iterator[np.ndarray]:
    """Find the pairs of members beside the same caption; yields `PAIR` [k]."""
    _, codes, counts = np.unique(some["caption"], return_inverse=True, return_counts=True)
    some = by_rank(some[counts[codes] > 1])
    leads = _leads(some["caption"])
    for _, rows in by_bucket(np.unique(some["caption"], return_inverse=True)[1]):
        i, j = _all_pairs(len(rows), int(leads[rows].sum()))
        bits = np.bitwise_count(some["phash"][rows[i]] ^ some["phash"][rows[j]])
        near = bits <= radius
        yield _pairs(some, (rows[i[near]], rows[j[near]], bits[near]), leads)


def _all_pairs(count: int, leaders: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a leader, which come first, and one that follows it."""
    followers = count - 1 - np.arange(leaders)
    i = np.repeat(np.arange(leaders), followers)
    before = np.cumsum(followers) - followers
    return i, np.arange(len(i)) - np.repeat(before, followers) + i + 1


def _leads(groups: np.ndarray) -> np.ndarray:
    """Which members, in the order of their rank, others may be near to; bool [n].

    All of them, unless so many have the same hash (or caption) that their pairs could not be
    gone through: then the best ones of these.
    """
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    starts = np.cumsum(counts) - counts
    place = np.empty(len(groups), np.int64)
    place[order] = np.arange(len(groups)) - np.repeat(starts, counts)
    most = np.maximum(_PAIRS_A_HASH // np.maximum(counts, 1), _FEWEST_LEADERS)
    return np.asarray(place < most[codes])


def _pairs(some: np.ndarray, pairs: Pairs, leads: np.ndarray) -> np.ndarray:
    better, worse = np.minimum(pairs[0], pairs[1]), np.maximum(pairs[0], pairs[1])
    useful = leads[better] & (some["caption"][better] == some["caption"][worse])
    useful &= earlier_corpus(~some["rank"][worse]) < 0  # which stay, whatever they are near to
    found = np.empty(int(useful.sum()), PAIR)
    for side, rows in (("better", better[useful]), ("worse", worse[useful])):
        for name, _ in _NAME:
            found[f"{side}_{name}"] = some[name][rows]
    found["bits"] = pairs[2][useful]
    return found


def show(pairs: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Add to pairs what their better members look like; `SHOWN` [n].

    Args:
        pairs: `PAIR` [n].
        found: `MEMBER`, the better ones among them.
    """
    at = _find(found, pairs, "better")
    shown = np.empty(len(pairs), SHOWN)
    for name in PAIR.names or ():
        shown[name] = pairs[name]
    shown["aspect"], shown["thumbnail"] = found["aspect"][at], found["thumbnail"][at]
    return shown


def verify(shown: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Take a second look at pairs; `EDGE` of those that look alike.

    Args:
        shown: `SHOWN` [n].
        found: `MEMBER`, the worse ones of the pairs among them.
    """
    at = _find(found, shown, "worse")
    alike = look_alike(
        (shown["thumbnail"], found["thumbnail"][at]), (shown["aspect"], found["aspect"][at])
    )
    edges = np.empty(int(alike.sum()), EDGE)
    for name in PAIR.names or ():
        edges[name] = shown[name][alike]
    edges["shard"] = found["shard"][at[alike]]
    return edges


def _find(found: np.ndarray, pairs: np.ndarray, side: str) -> np.ndarray:
    keys = _ids(found["anchor"], found["rest"])
    order = np.argsort(keys)
    wanted = _ids(pairs[f"{side}_anchor"], pairs[f"{side}_rest"])
    return order[np.searchsorted(keys[order], wanted)]


def _ids(anchors: np.ndarray, rests: np.ndarray) -> np.ndarray:
    """Ids as elements of one array, whose order is that of the ids."""
    both = np.stack([anchors, rests], axis=1).astype(">u8")
    return np.ascontiguousarray(both).view("S16").ravel()


def decide(edges: np.ndarray, fates: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Decide which members go, as far as the fates of better ones are known.

    Args:
        edges: All `EDGE` of some members, the worse ones.
        fates: `FATE` of members that are decided.

    Returns:
        `FATE` of the members that this decides, `LOST` of those that go, and how many are not
        decided.
    """
    names = np.unique(
        np.concatenate([_ids(edges[f"{side}_anchor"], edges[f"{side}_rest"]) for side in
                        ("worse", "better")])
    )  # fmt: skip
    worse = np.searchsorted(names, _ids(edges["worse_anchor"], edges["worse_rest"]))
    better = np.searchsorted(names, _ids(edges["better_anchor"], edges["better_rest"]))
    order = np.lexsort((better, edges["better_rank"], worse))
    edges, worse, better = edges[order], worse[order], better[order]
    state = np.full(len(names), _UNKNOWN, np.int8)
    known = _ids(fates["anchor"], fates["rest"])
    at = np.minimum(np.searchsorted(names, known), max(len(names) - 1, 0))
    if len(names):
        ours = names[at] == known
        state[at[ours]] = np.where(fates["kept"][ours], _KEPT, _GONE)
    mine = np.unique(worse)
    state[mine] = _UNKNOWN
    stead = np.full(len(names), -1)
    while len(left := np.flatnonzero(state[worse] == _UNKNOWN)):
        open_ = left[state[better[left]] != _GONE]
        who, first = np.unique(worse[open_], return_index=True)
        nearest = open_[first]
        gone = state[better[nearest]] == _KEPT
        none_left = np.setdiff1d(worse[left], who)
        if not gone.any() and not len(none_left):
            break
        state[who[gone]], stead[who[gone]] = _GONE, nearest[gone]
        state[none_left] = _KEPT
    decided = mine[state[mine] != _UNKNOWN]
    told = np.empty(len(decided), FATE)
    ids = np.frombuffer(names[decided].tobytes(), ">u8").reshape(-1, 2)
    told["anchor"], told["rest"] = ids[:, 0], ids[:, 1]
    told["kept"] = state[decided] == _KEPT
    gone_edges = edges[stead[mine[state[mine] == _GONE]]]
    lost = np.empty(len(gone_edges), LOST)
    for name, source in (
        ("anchor", "worse_anchor"), ("rest", "worse_rest"), ("kept_anchor", "better_anchor"),
        ("kept_rest", "better_rest"), ("bits", "bits"), ("shard", "shard"),
    ):  # fmt: skip
        lost[name] = gone_edges[source]
    lost["corpus"] = earlier_corpus(~gone_edges["better_rank"])
    return told, lost, len(mine) - len(decided)


def free_ones(pairs: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """`FATE` of the better members of pairs that have no better one themselves: they are kept.

    Args:
        pairs: `PAIR` of the better members.
        edges: `EDGE` of the same members as the worse ones.
    """
    names = np.unique(_ids(pairs["better_anchor"], pairs["better_rest"]))
    free = np.setdiff1d(names, _ids(edges["worse_anchor"], edges["worse_rest"]))
    ids = np.frombuffer(free.tobytes(), ">u8").reshape(-1, 2)
    fates = np.empty(len(ids), FATE)
    fates["anchor"], fates["rest"], fates["kept"] = ids[:, 0], ids[:, 1], True
    return fates


def fates_of(fates: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Those of some `FATE` that are of better members of some `PAIR`."""
    wanted = _ids(pairs["better_anchor"], pairs["better_rest"])
    return fates[np.isin(_ids(fates["anchor"], fates["rest"]), wanted)]
