"""Samples whose images have the same bytes, found over all shards with little traffic.

Each shard names its best sample of every image (and caption, where one of each is kept); a
*candidate* is such a sample as fixed bytes. Of all candidates of an image one wins; the shards
that have others are told. So an image that stands in millions of samples costs a shard one
candidate.
"""

import numpy as np
import pyarrow as pa

from septet.preprocess.dedup import caption_measures, preference
from septet.preprocess.text.ids import by_bucket, split_ids

_DIGEST: list[tuple[str, str]] = [(f"d{i}", ">u8") for i in range(4)]
CANDIDATE = np.dtype(
    [*_DIGEST, ("caption", "<u8"), ("anchor", "<u8"), ("rest", "<u8"), ("plain", "?"),
     ("length", "<i4"), ("score", "<f4"), ("shard", "<i4")]
)  # fmt: skip
"""A shard's best sample of an image: its SHA-256, the caption that it is kept beside (0 where one
sample an image is), the sample's id, what makes it better than others, and the shard."""
WINNER = np.dtype([*_DIGEST, ("caption", "<u8"), ("anchor", "<u8"), ("rest", "<u8")])
"""The sample that stays of an image."""

_GROUP = [name for name, _ in _DIGEST] + ["caption"]


def candidates(rows: pa.Table, shard: int, distinct_captions: bool) -> np.ndarray:
    """Find a shard's best sample of each image; `CANDIDATE` [n].

    Args:
        rows: `id`, `sha256`, `caption`, `annotations` and `language_score` of the shard's samples
            with an image.
        shard: The shard's number.
        distinct_captions: Whether one sample is kept of each caption of an image, not one in all.
    """
    return best(described(rows, shard, distinct_captions))


def best(found: np.ndarray) -> np.ndarray:
    """Find the best candidate of each image: annotated before plain, longest caption, then language
    score, then id.

    Args:
        found: With the fields of `CANDIDATE`, and any others.
    """
    found = found[_order(found)]
    return found[_first_of_group(found)] if len(found) else found


def group_of(found: np.ndarray) -> np.ndarray:
    """A uint64 [n] by whose ranges candidates are brought together; equal groups have equal ones.

    The caption counts: an image that stands beside millions of captions is work for many.
    """
    return found["d0"].astype(np.uint64) ^ found["caption"].astype(np.uint64)


def losers(found: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Find the shards that have candidates which another shard's beats: (shard, `WINNER` of
    each)."""
    if not len(found):
        return []
    found = found[_order(found)]
    first = _first_of_group(found)
    winners = found[first][np.cumsum(first) - 1]
    lost = found[~first]
    told = np.empty(len(lost), WINNER)
    for name in WINNER.names or ():
        told[name] = winners[~first][name]
    return [(shard, told[rows]) for shard, rows in by_bucket(lost["shard"].astype(np.int64))]


def replaced_by(rows: pa.Table, winners: np.ndarray, distinct_captions: bool) -> list[str | None]:
    """The id, for each sample of a shard, of the sample that stays in its stead; None where it
    stays.

    Args:
        rows: As in `candidates`.
        winners: Samples of other shards that beat this shard's best; `WINNER` [k].
        distinct_captions: As in `candidates`.
    """
    ours = described(rows, 0, distinct_captions)
    stays = {
        tuple(one[name] for name in _GROUP): f"{one['anchor']:016x}{one['rest']:016x}"
        for one in [*best(ours), *winners]  # winners of other shards come last
    }
    ids = rows["id"].to_pylist()
    kept = [stays[tuple(one[name] for name in _GROUP)] for one in ours]
    return [other if other != this else None for this, other in zip(ids, kept, strict=True)]


def described(rows: pa.Table, shard: int, distinct_captions: bool) -> np.ndarray:
    """All samples of `rows`, see `candidates`, as `CANDIDATE` [n]."""
    found = np.zeros(len(rows), CANDIDATE)
    digests = np.frombuffer(bytes.fromhex("".join(rows["sha256"].to_pylist())), ">u8")
    for i, (name, _) in enumerate(_DIGEST):
        found[name] = digests.reshape(-1, 4)[:, i]
    found["anchor"], found["rest"] = split_ids(rows["id"])
    if distinct_captions:
        found["caption"] = found["rest"]
    found["plain"] = rows["annotations"].is_null().to_numpy()
    found["length"], found["score"] = caption_measures(rows)
    found["shard"] = shard
    return found


def _order(found: np.ndarray) -> np.ndarray:
    better = preference(found["length"], found["score"])
    groups = (found[name] for name in reversed(_GROUP))
    return np.lexsort((found["rest"], found["anchor"], *better, found["plain"], *groups))


def _first_of_group(found: np.ndarray) -> np.ndarray:
    first = np.zeros(len(found), bool)
    first[0] = True
    for name in _GROUP:
        first[1:] |= found[name][1:] != found[name][:-1]
    return first
