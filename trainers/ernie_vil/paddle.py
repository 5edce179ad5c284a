"""Files of Paddle's variables, as Fluid 1.x saves them one a file (`paddle/fluid/framework`,
`lod_tensor.cc` and `tensor_util.cc`, `SerializeToStream`):

uint32 version 0 · uint64 levels of detail, each with uint64 size and content · uint32 version 0 ·
int32 size of a TensorDesc · TensorDesc (protobuf: field 1 the type, field 2 the sizes) · values,
little-endian, row by row.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TYPES = {1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8"}
"""By number of `VarType.Type`."""
_FLOAT32 = 5


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _description(data: bytes) -> tuple[int, list[int]]:
    """Type and sizes of a TensorDesc; sizes come packed or one by one."""
    kind, sizes, at = -1, [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag == 8:  # field 1, varint
            kind, at = _varint(data, at)
        elif tag == 16:  # field 2, varint
            size, at = _varint(data, at)
            sizes.append(size)
        elif tag == 18:  # field 2, packed
            length, at = _varint(data, at)
            end = at + length
            while at < end:
                size, at = _varint(data, at)
                sizes.append(size)
        else:
            raise ValueError(f"unknown field {tag}")
    return kind, sizes


def parse_variable(data: bytes) -> NDArray[np.generic]:
    """The array of a variable's file.

    Raises:
        ValueError: it is no such file.
    """
    try:
        version, levels = struct.unpack_from("<IQ", data)
        at = 12
        for _ in range(levels if version == 0 else 0):
            (size,) = struct.unpack_from("<Q", data, at)
            at += 8 + size
        inner, length = struct.unpack_from("<Ii", data, at)
        if version or inner or length < 0:
            raise ValueError(f"versions {version} and {inner}, expected 0")
        at += 8
        kind, sizes = _description(data[at : at + length])
        values = np.frombuffer(data, np.dtype(_TYPES[kind]), offset=at + length)
        return values.reshape(sizes)
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise ValueError(f"no variable of Paddle: {error!r}") from error


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def write_variable(path: Path, array: NDArray[np.float32]) -> None:
    """Write a float32 array as a variable's file."""
    sizes = b"".join(b"\x10" + _number(size) for size in array.shape)
    description = b"\x08" + _number(_FLOAT32) + sizes
    head = struct.pack("<IQIi", 0, 0, 0, len(description))
    path.write_bytes(head + description + np.ascontiguousarray(array, "<f4").tobytes())


def read_folder(folder: Path) -> dict[str, Tensor]:
    """All variables of a folder by name, which is the file's.

    Raises:
        ValueError: a file is none, or there is no file.
    """
    found = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            found[path.name] = torch.from_numpy(parse_variable(path.read_bytes()).copy())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if not found:
        raise ValueError(f"{folder} holds no variables of Paddle")
    return found


def read_npz(path: Path) -> dict[str, Tensor]:
    """Variables that someone dumped into an npz under Paddle's names.

    Raises:
        ValueError: it is no npz of plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is no npz of plain arrays: {error}") from error
