"""A checkpoint's files, on disk or in an object store, sealed by their sizes and checksums.

`COMPLETE` is written last, by the rank that collects what all ranks wrote: JSON with the size and
the CRC-32 (libdeflate's) of every other file, taken of the bytes on their way out. A folder without
it is no checkpoint; a file that differs from it is damaged.
"""

import json
from typing import Any

import deflate

from septet.preprocess import files
from septet.trainers.standard_json import standard

SEAL = "COMPLETE"
STATE = "state.json"
_BLOCK = 2**22

Sums = dict[str, tuple[int, int]]
"""Size and CRC-32 of files, by name."""


def is_sealed(folder: str) -> bool:
    """Whether a folder is a complete checkpoint."""
    return files.exists(files.join(folder, SEAL))


def read_state(folder: str) -> dict[str, Any]:
    """What was saved beside the tensors."""
    state: dict[str, Any] = standard(json.loads(files.read_bytes(files.join(folder, STATE))))
    return state


def damage(folder: str, rank: int = 0, size: int = 1) -> str | None:
    """What is wrong with a sealed checkpoint's files, in words; None if nothing is.

    Args:
        folder: Of the checkpoint.
        rank: Which share of the files to look at,
        size: of so many.

    Raises:
        OSError: the storage fails.
    """
    try:
        sums: Sums = json.loads(files.read_bytes(files.join(folder, SEAL)))["files"]
        wanted = [(name, *sums[name]) for name in sorted(sums)]
    except (ValueError, KeyError, TypeError):
        return f"{SEAL} is cut or changed"
    for name, length, crc in wanted[rank::size]:
        try:
            found, now = _sum(files.join(folder, name))
        except FileNotFoundError:
            return f"{name} is missing"
        if found != length:
            return f"{name} has {found:,} bytes, {length:,} were written"
        if now != crc:
            return f"{name} is not what was written (CRC-32)"
    return None


def _sum(path: str) -> tuple[int, int]:
    size, crc = 0, 0
    with files.open_read(path) as file:
        while block := file.read(_BLOCK):
            size, crc = size + len(block), deflate.crc32(block, crc)
    return size, crc
