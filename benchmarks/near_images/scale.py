"""Millions of images as a build compares them: a partition and a bucket at a time."""

import resource
import time

import numpy as np

from septet.pipelines.stages.near_images import HASHES_AT_ONCE, MEMBERS_A_BUCKET
from septet.preprocess.dedup import better_of
from septet.preprocess.images.appearance import THUMBNAIL_BYTES
from septet.preprocess.near_duplicates import images as near
from septet.preprocess.near_duplicates.hamming import MAX_RADIUS, partitions


def scale(count: int) -> str:
    """Find the pairs of many images with thumbnails, and take the second look, a partition and a
    bucket at a time; says what it took."""
    rng = np.random.default_rng(6)
    buckets = -(-count // MEMBERS_A_BUCKET)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    copies = rng.choice(count, count // 5, replace=False)
    hashes[copies] = hashes[rng.integers(0, count, len(copies))]
    hashes[copies] ^= np.uint64(1) << rng.integers(0, 64, len(copies)).astype(np.uint64)
    whole = np.zeros(count, near.HASHED)
    whole["rest"], whole["phash"] = np.arange(count), hashes
    whole["rank"] = ~better_of(np.zeros(count, bool), np.ones(count, int), np.zeros(count, int))
    bucket = np.zeros(min(count, MEMBERS_A_BUCKET), near.MEMBER)
    bucket["rest"] = np.arange(len(bucket))
    bucket["thumbnail"] = rng.integers(0, 256, THUMBNAIL_BYTES, dtype=np.uint8)
    before, started = _peak(), time.process_time()
    pairs = largest = seen = number = 0
    tasks = [(near.WHOLE, np.arange(count))] if count <= HASHES_AT_ONCE else partitions(hashes)
    for partition, rows in tasks:
        number, largest = number + 1, max(largest, len(rows))
        for found in near.pairs_within(whole[rows], MAX_RADIUS, partition):
            pairs += len(found)
            here = found[(found["worse_rest"] < len(bucket)) & (found["better_rest"] < len(bucket))]
            seen += len(near.verify(near.show(here, bucket), bucket))
    cpu = time.process_time() - started
    return (
        f"{count:,} images, {buckets} buckets, {number} partitions of at most {largest:,} "
        f"hashes: {pairs:,} pairs in {cpu:.1f} s of CPU ({seen:,} of one bucket looked "
        f"at); peak memory {_peak():,} MB, of which {before:,} MB are all hashes and one bucket"
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
