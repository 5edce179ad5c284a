"""Exact duplicates and repetition, found in tables of samples and in arrays of hashes."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.preprocess.rules.tally import Tally
from septet.preprocess.text.ids import caption_hashes, split_ids
from septet.schemas.recipe import Dedup

_ORDER = [
    "image_hash", "page_url", "source", "caption_from", "page_language", "extra", "language",
    "language_score",
]  # fmt: skip
_MOST_IMAGES_COUNTED = 1024


def distinct_rows(rows: np.ndarray) -> np.ndarray:
    """The distinct rows of uint64 [n, k], sorted."""
    if not len(rows):
        return rows
    rows = rows[np.lexsort(rows.T[::-1])]
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[fresh]


def combine_captions(rows: np.ndarray, most: int | None) -> np.ndarray:
    """Merge distinct rows, without more images of a caption than are needed to call it frequent.

    What is left of one part of the samples is so bounded, however often a caption stands in it.

    Args:
        rows: uint64 [n, 3] of (caption hash, anchor hash, hash of the rest).
        most: As in `frequent_captions`.

    Returns:
        Sorted rows [m, 3]; of a caption beside more than 1,024 images (or `most`, if that is
        larger) those of the first so many.
    """
    rows = distinct_rows(rows)
    if most is None or not len(rows):
        return rows
    fresh_caption = np.ones(len(rows), bool)
    fresh_caption[1:] = rows[1:, 0] != rows[:-1, 0]
    fresh_image = fresh_caption.copy()
    fresh_image[1:] |= rows[1:, 1] != rows[:-1, 1]
    images = np.cumsum(fresh_image)
    starts = np.flatnonzero(fresh_caption)
    rank = images - np.repeat(images[starts], np.diff(np.append(starts, len(rows))))
    return rows[rank < max(_MOST_IMAGES_COUNTED, most + 1)]


def frequent_captions(
    rows: np.ndarray, most: int | None, tally: Tally | None = None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Find the captions that stand beside more than `most` distinct images.

    Args:
        rows: uint64 [n, 3] of (caption hash, anchor hash, hash of the rest), repetitions allowed.
        most: The bound; None finds none.
        tally: Where to count beside how many images the caption of each sample stands that has
            both; `combine_captions` leaves out samples of captions beside very many.

    Returns:
        Their hashes, ascending, uint64 [k]; beside how many of the images given each stands,
        int64 [k]; and how many distinct samples have other captions.
    """
    rows = distinct_rows(rows)
    pairs = distinct_rows(rows[:, :2])
    hashes, images = np.unique(pairs[:, 0], return_counts=True)
    frequent = images > most if most is not None else np.zeros(len(hashes), bool)
    others = len(rows) - np.isin(rows[:, 0], hashes[frequent]).sum()
    if tally is not None and most is not None:
        of = np.searchsorted(hashes, rows[rows[:, 0] != rows[:, 1], 0])
        tally.count_values("dedup", "images_per_caption", images[of], frequent[of])
    return hashes[frequent], images[frequent], int(others)


def dedup_samples(
    rows: pa.Table,
    settings: Dedup,
    frequent: np.ndarray,
    frequent_images: np.ndarray,
    tally: Tally | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Drop duplicates and repetition from all samples of a shard.

    Of equal samples one stays: one that has `extra` before others, then one whose image is to be
    verified. What is said of images (how
    many captions, how many pages) holds for samples that have one.

    Args:
        rows: Rows of `septet.schemas.tables.FILTERED` in any order.
        settings: The recipe's `dedup` section.
        frequent: Hashes of captions to be dropped, ascending, uint64 [k].
        frequent_images: Beside how many images each of them stands, int64 [k].
        tally: Where to count on how many pages pairs stand.

    Returns:
        The rows kept, by ascending id, and the rejects with `reason` and `value`. Neither depends
        on the order of the input.
    """
    plain = rows["extra"].is_null()
    rows = rows.append_column("plain", plain).sort_by(
        [(name, "ascending") for name in ("id", "plain", *_ORDER)]
    )
    rows = rows.drop_columns(["plain"])
    count = len(rows)
    anchors, rests = split_ids(rows["id"])
    first = np.ones(count, bool)
    first[1:] = (anchors[1:] != anchors[:-1]) | (rests[1:] != rests[:-1])
    group = np.cumsum(first) - 1  # which distinct sample each row is
    pages = np.array(rows["page_url"].fill_null("").to_pylist(), object)
    has_image = rows["image_url"].is_valid().to_numpy()

    reasons = np.full(count, "", object)
    values = np.full(count, "", object)

    def drop(which: np.ndarray, reason: str, why: np.ndarray) -> None:
        which = which & (reasons == "")
        reasons[which], values[which] = reason, why[which]

    drop(~first, "duplicate_pair", pages[np.flatnonzero(first)][group])
    if len(frequent):
        captions = caption_hashes(rows)
        at = np.minimum(np.searchsorted(frequent, captions), len(frequent) - 1)
        both = has_image & rows["caption"].is_valid().to_numpy()
        drop(both & (frequent[at] == captions), "caption_repeated", _text(frequent_images[at]))
    if settings.pages_per_pair is not None:
        counts = _distinct_pages(group, pages)[group]
        beyond, seen = counts > settings.pages_per_pair, has_image & (reasons == "")
        if tally is not None:
            tally.count_values("dedup", "pages_per_pair", counts[seen], beyond[seen])
        drop(has_image & beyond, "pair_repeated", _text(counts))
    if settings.captions_per_image is not None:
        rank = _rank_of_captions(rows, anchors, has_image & (reasons == ""))
        drop(rank >= settings.captions_per_image, "duplicate_image_url", _text(rank + 1))
    kept = pa.array(reasons == "")
    return rows.filter(kept), _with_reasons(
        rows.filter(pc.invert(kept)), reasons[reasons != ""], values[reasons != ""]
    )


def _text(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(str).astype(object)


def _distinct_pages(group: np.ndarray, pages: np.ndarray) -> np.ndarray:
    """The number of pages on which each sample stands; int64 [groups]."""
    _, codes = np.unique(pages.astype(str), return_inverse=True)
    pairs = distinct_rows(np.stack([group, codes], axis=1).astype(np.uint64))
    return np.bincount(pairs[:, 0].astype(np.int64))


def preference(lengths: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make sort keys that put the better of two samples of one image first; least significant
    first, as `numpy.lexsort` wants them. Longer captions are better, then surer languages.

    Args:
        lengths: Characters of the captions, integers [n].
        scores: Scores of language identification, float [n]; NaN where there is none.
    """
    return -np.nan_to_num(scores.astype(np.float64), nan=-1.0), -lengths.astype(np.int64)


ANNOTATED = np.uint64(1 << 63)


def better_of(annotated: np.ndarray, pixels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """What makes a sample better than its near-duplicates, uint64 [n]: annotations (the bit
    `ANNOTATED`), then the image's pixels, then the caption's length."""
    most = np.int64(2**31 - 1)
    found = np.minimum(pixels, most).astype(np.uint64) << np.uint64(32)
    found |= np.minimum(lengths, most).astype(np.uint64)
    return found | annotated.astype(np.uint64) * ANNOTATED


def rank_of_earlier(corpus: np.ndarray | int) -> np.ndarray:
    """What makes a sample of an earlier corpus better than all others: the complement of the
    corpus's number, uint64. `better_of` gives none of these values."""
    return ~np.asarray(corpus, np.uint64)


def earlier_corpus(better: np.ndarray) -> np.ndarray:
    """The earlier corpus's number that a value of `rank_of_earlier` says, int64 [n]; -1 for one of
    `better_of`."""
    ranks = ~better
    is_earlier = ranks < np.uint64(1 << 31)
    return np.where(is_earlier, ranks.astype(np.int64), -1)


def caption_measures(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Length (characters) and language score of each row's caption; 0 and NaN where missing."""
    lengths = pc.utf8_length(rows["caption"]).fill_null(0).to_numpy()
    return lengths, rows["language_score"].to_numpy(zero_copy_only=False)


def _rank_of_captions(rows: pa.Table, anchors: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The rank of each row that is left among its image's captions, best first; int64 [n]."""
    rank = np.zeros(len(anchors), np.int64)
    left = np.flatnonzero(alive)
    lengths, scores = caption_measures(rows)
    order = np.lexsort((left, *preference(lengths[left], scores[left]), anchors[left]))
    sorted_anchors = anchors[left][order]
    fresh = np.ones(len(left), bool)
    fresh[1:] = sorted_anchors[1:] != sorted_anchors[:-1]
    starts = np.flatnonzero(fresh)
    within = np.arange(len(left)) - np.repeat(starts, np.diff(np.append(starts, len(left))))
    rank[left[order]] = within
    return rank


def _with_reasons(lost: pa.Table, reasons: object, values: object) -> pa.Table:
    return lost.append_column("reason", pa.array(reasons, pa.string())).append_column(
        "value", pa.array(values, pa.string())
    )
