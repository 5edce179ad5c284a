"""The ids of samples, and the shards that follow from them.

A sample is an optional image, an optional text and optional annotations. Its id is 32 hex digits:
16 of the *anchor*, the image's URL or, where there is no image, the text; then 16 of the rest, the
caption with the annotations. So all samples of one image are neighbours and share a shard: dedup
by URL and by sample needs no second shuffle. Texts without an image spread over all shards.
"""

import binascii
import hashlib

import numpy as np
import pyarrow as pa


def hash64(text: str, person: bytes) -> int:
    """A 64-bit BLAKE2b hash of `text`; `person` (at most 16 bytes) keeps uses apart."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(), digest_size=8, person=person).digest(), "big"
    )


def url_hash(url: str) -> int:
    """64-bit hash of an image's identity."""
    return hash64(url, b"septet.url")


def text_hash(text: str) -> int:
    """64-bit hash of a text that stands in for an image."""
    return hash64(text, b"septet.text")


def caption_hash(caption: str) -> int:
    """64-bit hash of a cleaned caption."""
    return hash64(caption, b"septet.caption")


def sample_id(image_url: str | None, caption: str | None, annotations: str | None = None) -> str:
    """The id of a sample: 32 hex digits.

    Args:
        image_url: The image's identity; None for a text alone.
        caption: The cleaned text; None or empty for an image alone.
        annotations: Canonical JSON of what tells samples of the same image and text apart.

    Raises:
        ValueError: neither image nor text.
    """
    if image_url:
        anchor = url_hash(image_url)
    elif caption:
        anchor = text_hash(caption)
    else:
        raise ValueError("a sample has an image or a text; this one has neither")
    if annotations:
        rest = hash64(f"{caption or ''}\0{annotations}", b"septet.annotated")
    else:
        rest = caption_hash(caption) if caption else 0
    return f"{anchor:016x}{rest:016x}"


def split_ids(ids: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Ids as two uint64 arrays [n]: hashes of the anchors and of the rest."""
    parts = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    digits = b"".join(_bytes_of(part.cast(pa.string())) for part in parts)
    halves = np.frombuffer(binascii.unhexlify(digits), ">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1]


def _bytes_of(texts: pa.Array) -> bytes:
    """The bytes of all strings of an array."""
    if not len(texts):
        return b""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return bytes(memoryview(data)[ends[0] : ends[-1]]) if data else b""


def caption_hashes(rows: pa.Table) -> np.ndarray:
    """Hash of each row's caption, uint64 [n]; of the anchor where image or text is missing.

    Those rows then stand under a hash of their own: a caption beside many images is told by rows
    that have both.

    Args:
        rows: With `id`, `image_url`, `caption` and `annotations`.
    """
    anchors, rests = split_ids(rows["id"])
    hashes = rests.copy()
    missing = np.logical_or(
        rows["image_url"].is_null().to_numpy(), rows["caption"].is_null().to_numpy()
    )
    hashes[missing] = anchors[missing]
    for row in np.flatnonzero(~missing & rows["annotations"].is_valid().to_numpy()):
        hashes[row] = caption_hash(rows["caption"][int(row)].as_py())
    return hashes


def bucket_of(hashes: np.ndarray, buckets: int) -> np.ndarray:
    """The bucket of each uint64 hash [n], of `buckets` equal ranges, as int64 [n].

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


def by_bucket(buckets: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The row numbers of each bucket that has rows, in their order; from bucket numbers [n]."""
    if not len(buckets):
        return []
    order = np.argsort(buckets, kind="stable")
    present, starts = np.unique(buckets[order], return_index=True)
    return list(zip(present.tolist(), np.split(order, starts[1:]), strict=True))
