"""Identity of a pair, and the shard that follows from it.

An id is 32 hex digits: 16 of the image URL's hash, then 16 of the caption's. So all captions of
one image are neighbours, and they share a shard: dedup by URL and by pair, and fetching an image
once for all of its captions, need no second shuffle.
"""

import hashlib

import numpy as np
import pyarrow as pa


def hash64(text: str, person: bytes) -> int:
    """A 64-bit BLAKE2b hash of `text`; `person` (at most 16 bytes) keeps uses apart."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(), digest_size=8, person=person).digest(), "big"
    )


def url_hash(url: str) -> int:
    """64-bit hash of an image URL."""
    return hash64(url, b"septet.url")


def caption_hash(caption: str) -> int:
    """64-bit hash of a cleaned caption."""
    return hash64(caption, b"septet.caption")


def pair_id(url: str, caption: str) -> str:
    """The id of a pair: 32 hex digits."""
    return f"{url_hash(url):016x}{caption_hash(caption):016x}"


def split_ids(ids: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Ids as two uint64 arrays [n]: URL hashes and caption hashes."""
    text = "".join(ids.to_pylist())
    halves = np.frombuffer(bytes.fromhex(text), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1]


def bucket_of(hashes: np.ndarray, buckets: int) -> np.ndarray:
    """Range partition of uint64 hashes [n] into `buckets` equal ranges, as int64 [n].

    Ranges, not remainders: keys then ascend from bucket to bucket.

    Raises:
        ValueError: `buckets` is not in [1, 2**31].
    """
    if not 1 <= buckets <= 2**31:
        raise ValueError(f"buckets must be from 1 to 2**31, not {buckets}")
    # 64 by 32 bits gives 96: multiply the halves apart to stay within uint64.
    high, low = hashes >> np.uint64(32), hashes & np.uint64(0xFFFFFFFF)
    count = np.uint64(buckets)
    return ((high * count + ((low * count) >> np.uint64(32))) >> np.uint64(32)).astype(np.int64)
