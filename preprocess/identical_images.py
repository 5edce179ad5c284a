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
sample an image is), the sample's id, what makes it better than others, and the shard: -1 less the
number of its corpus for a sample of an earlier one."""
WINNER = np.dtype(
    [*_DIGEST, ("caption", "<u8"), ("anchor", "<u8"), ("rest", "<u8"), ("corpus", "<i4")]
)
"""The sample that stays of an image; the number of the earlier corpus that has it (-1: none)."""

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


def earlier_candidates(rows: pa.Table, corpus: int, distinct_captions: bool) -> np.ndarray:
    """Samples of an earlier corpus as `CANDIDATE` [n], better than all of others.

    Args:
        rows: As in `candidates`.
        corpus: The number of the corpus.
        distinct_captions: As in `candidates`.
    """
    found = described(rows, -1 - corpus, distinct_captions)
    found["plain"], found["length"] = False, np.iinfo(np.int32).max
    return found


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
    """Find the shards of the build that have candidates which another's beats: (shard, `WINNER` of
    each)."""
    if not len(found):
        return []
    found = found[_order(found)]
    first = _first_of_group(found)
    winners = found[first][np.cumsum(first) - 1]
    lost = found[~first]
    told = np.empty(len(lost), WINNER)
    for name in (*_GROUP, "anchor", "rest"):
        told[name] = winners[~first][name]
    told["corpus"] = np.maximum(-1 - winners[~first]["shard"], -1)
    shards = by_bucket(lost["shard"].astype(np.int64))
    return [(shard, told[rows]) for shard, rows in shards if shard >= 0]


def replaced_by(
    rows: pa.Table, winners: np.ndarray, distinct_captions: bool
) -> list[tuple[int, int, int] | None]:
    """For each sample of a shard the sample that stays in its stead, as the halves of its id and
    the number of its corpus (-1: not an earlier one); None where it stays itself.

    Args:
        rows: As in `candidates`.
        winners: Samples of other shards that beat this shard's best; `WINNER` [k].
        distinct_captions: As in `candidates`.
    """
    ours = described(rows, 0, distinct_captions)
    stays = {_group(one): (int(one["anchor"]), int(one["rest"]), -1) for one in best(ours)}
    for one in winners:
        stays[_group(one)] = int(one["anchor"]), int(one["rest"]), int(one["corpus"])
    ids = zip(ours["anchor"].tolist(), ours["rest"].tolist(), strict=True)
    kept = [stays[_group(one)] for one in ours]
    return [other if other != (*this, -1) else None for this, other in zip(ids, kept, strict=True)]


def _group(one: np.void) -> tuple[int, ...]:
    return tuple(one[name] for name in _GROUP)


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
