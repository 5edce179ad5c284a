"""Repeated keys of a corpus, found in bounded memory."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from septet.preprocess.shards.sidecar import open_sidecar, read_batches

_BUCKETS = 256
_FLUSH_ROWS = 1_000_000
_ENTRY = np.dtype([("digest", "<u8"), ("sidecar", "<i8")])


def repeated_keys(sidecars: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Find keys that stand more than once in some sidecars, each with two of the sidecars' numbers.

    A digest of eight bytes a key goes to a temporary file (16 bytes a key), and digests that occur
    twice are looked up again. At any time about a million keys, or a 256th of all, are in memory.
    """
    with tempfile.TemporaryDirectory(prefix="septet-keys-") as folder:
        _spread(sidecars, Path(folder))
        suspects: dict[int, set[int]] = {}
        for bucket in sorted(Path(folder).iterdir()):
            entries = np.fromfile(bucket, _ENTRY)
            entries.sort(order=["digest", "sidecar"])
            same = np.flatnonzero(entries["digest"][1:] == entries["digest"][:-1])
            for place in same:
                for entry in entries[place : place + 2]:
                    suspects.setdefault(int(entry["sidecar"]), set()).add(int(entry["digest"]))
    # Two keys may have one digest, so what was found is compared letter by letter.
    owners: dict[str, int] = {}
    for number in sorted(suspects):
        for keys in _keys(sidecars[number]):
            for key, digest in zip(keys, _digests(keys).tolist(), strict=True):
                if digest in suspects[number]:
                    if key in owners:
                        yield key, owners[key], number
                    else:
                        owners[key] = number


def _spread(sidecars: Sequence[str], folder: Path) -> None:
    waiting: list[NDArray[np.void]] = []
    rows = 0

    def flush() -> None:
        nonlocal rows
        entries = np.concatenate(waiting) if waiting else np.empty(0, _ENTRY)
        buckets = (entries["digest"] >> np.uint64(56)).astype(np.int64)
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(_BUCKETS + 1))
        for bucket in range(_BUCKETS):
            part = entries[order[bounds[bucket] : bounds[bucket + 1]]]
            if len(part):
                with (folder / f"{bucket:03d}").open("ab") as out:
                    out.write(part.tobytes())
        waiting.clear()
        rows = 0

    for number, path in enumerate(sidecars):
        for keys in _keys(path):
            entries = np.empty(len(keys), _ENTRY)
            entries["digest"], entries["sidecar"] = _digests(keys), number
            waiting.append(entries)
            rows += len(keys)
            if rows >= _FLUSH_ROWS:
                flush()
    flush()


def _keys(path: str) -> Iterator[list[str]]:
    with open_sidecar(path, ["key"]) as parquet:
        for batch in read_batches(parquet, path, ["key"]):
            yield batch.column(0).to_pylist()


def _digests(keys: Sequence[str]) -> NDArray[np.uint64]:
    found = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(found, "<u8")
