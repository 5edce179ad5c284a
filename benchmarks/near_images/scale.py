"""Millions of images as a build compares them: a partition and a bucket at a time."""

import resource
import time

import numpy as np

from septet.pipelines.stages.near_images import MEMBERS_A_BUCKET
from septet.preprocess.images.appearance import THUMBNAIL_BYTES
from septet.preprocess.near_duplicates import images as near
from septet.preprocess.near_duplicates.hamming import BAND_BITS, BANDS, MAX_RADIUS, band_of


def scale(count: int) -> str:
    """Find the pairs of many images with thumbnails, and take the second look, a partition and a
    bucket at a time; says what it took."""
    rng = np.random.default_rng(6)
    buckets = -(-count // MEMBERS_A_BUCKET)
    prefix_bits = (buckets - 1).bit_length()
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    copies = rng.choice(count, count // 5, replace=False)
    hashes[copies] = hashes[rng.integers(0, count, len(copies))]
    hashes[copies] ^= np.uint64(1) << rng.integers(0, 64, len(copies)).astype(np.uint64)
    whole = np.zeros(count, near.HASHED)
    whole["rest"], whole["phash"] = np.arange(count), hashes
    bucket = np.zeros(min(count, MEMBERS_A_BUCKET), near.MEMBER)
    bucket["rest"] = np.arange(len(bucket))
    bucket["thumbnail"] = rng.integers(0, 256, THUMBNAIL_BYTES, dtype=np.uint8)
    before, started = _peak(), time.process_time()
    pairs = largest = seen = 0
    for band in range(BANDS << prefix_bits):
        rows = _of_partition(hashes, band, prefix_bits)
        largest = max(largest, len(rows))
        for found in near.pairs_within_partition(whole[rows], MAX_RADIUS, band, prefix_bits):
            pairs += len(found)
            here = found[(found["worse_rest"] < len(bucket)) & (found["better_rest"] < len(bucket))]
            seen += len(near.verify(near.show(here, bucket), bucket))
    cpu = time.process_time() - started
    return (
        f"{count:,} images, {buckets} buckets, {BANDS << prefix_bits} partitions of at most "
        f"{largest:,} hashes: {pairs:,} pairs in {cpu:.1f} s of CPU ({seen:,} of one bucket looked "
        f"at); peak memory {_peak():,} MB, of which {before:,} MB are all hashes and one bucket"
    )


def _of_partition(hashes: np.ndarray, partition: int, prefix_bits: int) -> np.ndarray:
    """The rows that are sent to one partition, in order."""
    band, prefix = partition >> prefix_bits, partition & ((1 << prefix_bits) - 1)
    home = band_of(hashes, band).astype(np.int64) >> (BAND_BITS - prefix_bits)
    near_prefix = np.bitwise_count((home ^ prefix).astype(np.uint64)) <= MAX_RADIUS // BANDS
    return np.flatnonzero(near_prefix & (home >= prefix))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
