"""Exact duplicates and repetition, on tables of pairs and on arrays of hashes."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.text.ids import split_ids
from septet.schemas.recipe import Dedup

_ORDER = ["id", "page_url", "source", "caption_from", "page_language", "extra"]


def frequent_captions(pairs: np.ndarray, most: int | None) -> tuple[np.ndarray, np.ndarray, int]:
    """Captions that stand beside more than `most` distinct image URLs.

    Args:
        pairs: uint64 [n, 2] of (caption hash, URL hash), repetitions allowed.
        most: The bound; None finds none.

    Returns:
        Their hashes, ascending, uint64 [k]; in how many images each stands, int64 [k]; and how
        many distinct pairs there are in all.
    """
    distinct = np.unique(pairs, axis=0)
    hashes, images = np.unique(distinct[:, 0], return_counts=True)
    often = images > most if most is not None else np.zeros(len(hashes), bool)
    return hashes[often], images[often], len(distinct)


def dedup_pairs(
    pairs: pa.Table,
    settings: Dedup,
    often: np.ndarray,
    often_images: np.ndarray,
) -> tuple[pa.Table, pa.Table]:
    """Drop duplicates and repetition from all pairs of a shard.

    Args:
        pairs: Rows of `septet.schemas.tables.FILTERED` in any order.
        settings: The recipe's `dedup` section.
        often: Hashes of captions to be dropped, ascending, uint64 [k].
        often_images: Beside how many images each of them stands, int64 [k].

    Returns:
        The rows kept, by ascending id, and the rejects with `reason` and `value`. Neither depends
        on the order of the input.
    """
    pairs = pairs.sort_by([(name, "ascending") for name in _ORDER])
    count = len(pairs)
    if not count:
        return pairs, _reasons(pairs, [], [])
    urls, captions = split_ids(pairs["id"])
    first = np.ones(count, bool)
    first[1:] = (urls[1:] != urls[:-1]) | (captions[1:] != captions[:-1])
    group = np.cumsum(first) - 1  # which distinct pair each row is
    pages = np.array(pairs["page_url"].fill_null("").to_pylist(), object)
    new_page = first.copy()
    new_page[1:] |= pages[1:] != pages[:-1]
    page_counts = np.bincount(group, weights=new_page).astype(np.int64)

    reasons = np.full(count, "", object)
    values = np.full(count, "", object)

    def drop(rows: np.ndarray, reason: str, why: np.ndarray) -> None:
        rows = rows & (reasons == "")
        reasons[rows], values[rows] = reason, why[rows]

    kept_pages = pages[np.flatnonzero(first)][group]
    drop(~first, "duplicate_pair", kept_pages)
    if len(often):
        at = np.minimum(np.searchsorted(often, captions), len(often) - 1)
        drop(often[at] == captions, "caption_repeated", often_images[at].astype(str).astype(object))
    if settings.pages_per_pair is not None:
        drop(page_counts[group] > settings.pages_per_pair, "pair_repeated",
             page_counts[group].astype(str).astype(object))  # fmt: skip
    if settings.captions_per_image is not None:
        rank = _rank_by_length(pairs, urls, reasons == "")
        drop(rank >= settings.captions_per_image, "duplicate_image_url",
             (rank + 1).astype(str).astype(object))  # fmt: skip
    kept = pa.array(reasons == "")
    return pairs.filter(kept), _reasons(
        pairs.filter(pc.invert(kept)), reasons[reasons != ""], values[reasons != ""]
    )


def _rank_by_length(pairs: pa.Table, urls: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Rank of each living row among its URL's captions, longest first, ties by id; int64 [n]."""
    rank = np.zeros(len(urls), np.int64)
    rows = np.flatnonzero(alive)
    lengths = pc.utf8_length(pairs["caption"]).to_numpy()[rows]
    order = np.lexsort((rows, -lengths, urls[rows]))
    sorted_urls = urls[rows][order]
    fresh = np.ones(len(rows), bool)
    fresh[1:] = sorted_urls[1:] != sorted_urls[:-1]
    starts = np.flatnonzero(fresh)
    within = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    rank[rows[order]] = within
    return rank


def _reasons(lost: pa.Table, reasons: object, values: object) -> pa.Table:
    return lost.append_column("reason", pa.array(reasons, pa.string())).append_column(
        "value", pa.array(values, pa.string())
    )


def identical_images(rows: pa.Table, distinct_captions: bool) -> pa.Table:
    """Which samples to drop because another has the same image bytes.

    Args:
        rows: `id` and `sha256` of samples, in any order.
        distinct_captions: Keep one sample a distinct caption of the image, not one in all.

    Returns:
        `id` of each sample to be dropped and `kept`, the id of the one that stays (the smallest).
    """
    rows = rows.sort_by([("sha256", "ascending"), ("id", "ascending")])
    ids, digests = rows["id"].to_pylist(), rows["sha256"].to_pylist()
    keepers: dict[tuple[str, str], str] = {}
    dropped, kept = [], []
    for this, digest in zip(ids, digests, strict=True):
        keeper = keepers.setdefault((digest, this[16:] if distinct_captions else ""), this)
        if keeper != this:
            dropped.append(this)
            kept.append(keeper)
    return pa.table({"id": pa.array(dropped, pa.string()), "kept": pa.array(kept, pa.string())})
