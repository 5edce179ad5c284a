"""The values of columns as members of tars: packing, unpacking, and checking them against their
format."""

import json
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from septet.schemas.columns import ArrayFormat, MemberFormat

Arrays = dict[str, NDArray[Any]]


def pack_json(value: Any) -> bytes:
    """Pack a value as JSON without spaces; equal values give equal bytes.

    Raises:
        ValueError: a number that JSON does not have (NaN, an infinity), or a lone surrogate.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def unpack_json(data: bytes) -> Any:
    """The inverse of `pack_json`."""
    return json.loads(data)


def strict_json(data: bytes | str) -> Any:
    """What JSON holds, read as the standard has it: NaN and infinities are no values.

    Raises:
        ValueError: it is no JSON; says where.
    """
    return json.loads(data, parse_constant=_refuse)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON value")


def pack_arrays(arrays: Arrays) -> bytes:
    """Pack arrays as a safetensors file."""
    whole = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    return bytes(safetensors.numpy.save(whole))


def unpack_arrays(data: bytes) -> Arrays:
    """Read the arrays of a safetensors member, by name, in the order of names.

    Raises:
        ValueError: it is no safetensors file.
    """
    try:
        return dict(sorted(safetensors.numpy.load(data).items()))  # the library's order is chance
    except Exception as error:  # safetensors raises a class of its own, without a common base
        raise ValueError(f"no safetensors: {error}") from error


def unpack(data: bytes, member: MemberFormat) -> Any:
    """Read a member's value: an array (raw), arrays by name (safetensors), text, or what JSON
    holds.

    Raises:
        ValueError: the bytes do not have the member's form.
    """
    if member.kind == "safetensors":
        return unpack_arrays(data)
    if member.kind == "json":
        return unpack_json(data)
    if member.kind == "text":
        return data.decode()
    (array,) = member.arrays.values()
    known = [size for size in array.shape if isinstance(size, int)]
    free = len(array.shape) - len(known)
    if free > 1:
        raise ValueError(f"a raw member has at most one size that is not fixed, not {array.shape}")
    shape = [size if isinstance(size, int) else -1 for size in array.shape]
    return np.frombuffer(data, np.dtype(array.dtype).newbyteorder("<")).reshape(shape)


def check_member(data: bytes, member: MemberFormat) -> None:
    """Check a value against its format: form, names, types, shapes, bounds, no NaN.

    Raises:
        ValueError: what is wrong.
    """
    value = strict_json(data) if member.kind == "json" else unpack(data, member)
    if member.kind == "raw":
        (name,) = member.arrays
        value = {name: value}
    if member.kind in ("raw", "safetensors"):
        if value.keys() != member.arrays.keys():
            raise ValueError(f"arrays {sorted(value)}, expected {sorted(member.arrays)}")
        sizes: dict[str, int] = {}
        for name, expected in member.arrays.items():
            _check_array(name, value[name], expected, sizes)


def _check_array(
    name: str, array: NDArray[Any], expected: ArrayFormat, sizes: dict[str, int]
) -> None:
    if array.dtype != np.dtype(expected.dtype):
        raise ValueError(f"{name} is {array.dtype}, expected {expected.dtype}")
    wanted = tuple(
        sizes.setdefault(size, found) if isinstance(size, str) else size
        for size, found in zip(expected.shape, array.shape, strict=False)
    )
    if array.ndim != len(expected.shape) or array.shape != wanted:
        raise ValueError(f"{name} has shape {array.shape}, expected {expected.shape}")
    if not array.size:
        return
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    low, high = float(array.min()), float(array.max())
    if expected.least is not None and low < expected.least:
        raise ValueError(f"{name} holds {low:g}, the least is {expected.least:g}")
    if expected.greatest is not None and high > expected.greatest:
        raise ValueError(f"{name} holds {high:g}, the greatest is {expected.greatest:g}")
