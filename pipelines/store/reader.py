"""A reader of the images of the fetch store, which checks what it reads."""

import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO, Self

from septet.preprocess import files

_OPEN_FILES = 64
_AT_ONCE = 16


class StoreError(ValueError):
    """Raised when a file of the store does not hold what its table says."""


class StoreReader:
    """A reader of images of the store. A context manager.

    Args:
        corpus: The corpus folder.
    """

    def __init__(self, corpus: str):
        self._corpus = corpus
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._open.values():
            file.close()

    def images(self, rows: Iterable[dict[str, Any] | None]) -> Iterator[bytes | None]:
        """Read the bytes of each row's image, in order; None for None. On object stores several are
        read at once.

        Args:
            rows: With `file`, `offset`, `size` and `crc32` of `tables.FETCHED`.

        Raises:
            StoreError: a file is missing, cut short, or holds other bytes.
        """
        if files.is_local(self._corpus):
            for row in rows:
                yield None if row is None else _checked(self._read_local(row), row)
            return
        waiting = iter(rows)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while some := list(islice(waiting, 4 * _AT_ONCE)):
                yield from pool.map(self._read_remote, some)

    def _read_local(self, row: dict[str, Any]) -> bytes:
        name = row["file"]
        file = self._open.pop(name, None)
        if file is None:
            try:
                file = files.local_path(files.join(self._corpus, name)).open("rb")
            except FileNotFoundError as error:
                raise _gone(name) from error
        self._open[name] = file
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        file.seek(row["offset"])
        return file.read(row["size"])

    def _read_remote(self, row: dict[str, Any] | None) -> bytes | None:
        if row is None:
            return None
        fs, path = files.file_system(files.join(self._corpus, row["file"]))
        start = row["offset"]
        try:
            return _checked(fs.cat_file(path, start=start, end=start + row["size"]), row)
        except FileNotFoundError as error:
            raise _gone(row["file"]) from error


def _gone(name: str) -> StoreError:
    return StoreError(f"{name} is gone, but tables of the build name it; {_REMEDY}")


def _checked(data: bytes, row: dict[str, Any]) -> bytes:
    if len(data) != row["size"] or zlib.crc32(data) != row["crc32"]:
        raise StoreError(
            f"{row['file']}: {row['size']} bytes at {row['offset']} should be the image "
            f"{row['image_url']} (CRC-32 {row['crc32']:08x}), but {len(data)} bytes with CRC-32 "
            f"{zlib.crc32(data):08x} were found; {_REMEDY}"
        )
    return data


_REMEDY = (
    "remove the file with the table of the same name and the folder `stages/`, and build again: "
    "what it held is then fetched anew"
)
