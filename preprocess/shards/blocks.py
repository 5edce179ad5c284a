"""A cache of remote tars in blocks, in a local folder of bounded size that processes share."""

import hashlib
import os
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from septet.preprocess import files
from septet.preprocess.locks import in_turn

MEBI = 2**20
_LOCKS = 64
_TOUCH_SECONDS = 30.0
_TRIES = 5


class BlockCache:
    """A cache that reads ranges of remote files through blocks on local disk; safe across threads
    and processes.

    Each block is fetched once, whichever process asks first; the others wait for it. Blocks that
    were not read for longest are removed when the folder holds more than `max_bytes`. Each process
    looks at the folder after it has added a sixteenth of that, so the folder can be larger by as
    much for each of them.

    Args:
        folder: The folder of the blocks, made when missing. Blocks of an earlier run are used.
        max_bytes: Most that the folder is to hold.
        block_bytes: Size of a block; the last one of a file is shorter.
        requests: Blocks that `prefetch` fetches at once.

    Raises:
        ValueError: the bound holds fewer than 16 blocks.
    """

    def __init__(
        self,
        folder: str | Path,
        max_bytes: int,
        block_bytes: int = 8 * MEBI,
        requests: int = 16,
    ):
        if max_bytes < 16 * block_bytes:
            raise ValueError(
                f"a cache of {max_bytes:,} bytes is too small: at least 16 blocks of "
                f"{block_bytes:,} bytes have to fit"
            )
        self.folder, self.max_bytes, self.block_bytes = Path(folder), max_bytes, block_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._added = 0
        self._touched: dict[Path, float] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(requests, "read-ahead")
        self._trim()

    def read(self, url: str, version: str, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset` on.

        Args:
            url: Any path that fsspec knows.
            version: Changes when the file does, for example its digest.
            offset: First byte.
            size: Number of bytes.

        Raises:
            OSError: the file cannot be read, or ends before.
        """
        parts = []
        for number in self._numbers(offset, size):
            start = number * self.block_bytes
            first, last = max(offset, start), min(offset + size, start + self.block_bytes)
            parts.append(self._part(url, version, number, first - start, last - first))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def prefetch(self, url: str, version: str, offset: int, size: int) -> None:
        """Start to fetch what a later `read` will ask for, if it is not there; returns at once."""
        for number in self._numbers(offset, size):
            path = self._path(url, version, number)
            with self._lock:
                known = path in self._touched
                self._touched.setdefault(path, 0.0)
            if not known:
                self._pool.submit(self._try_to_fetch, url, path, number)

    def close(self) -> None:
        """Stop reading ahead. Blocks stay for the next run."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _numbers(self, offset: int, size: int) -> range:
        return range(offset // self.block_bytes, -(-(offset + size) // self.block_bytes))

    def _path(self, url: str, version: str, number: int) -> Path:
        named = f"{url}\n{version}\n{self.block_bytes}".encode()
        return self.folder / hashlib.blake2b(named, digest_size=12).hexdigest() / f"{number:06d}"

    def _part(self, url: str, version: str, number: int, start: int, size: int) -> bytes:
        path = self._path(url, version, number)
        found = -1
        for _ in range(_TRIES):
            try:
                with path.open("rb", buffering=0) as block:
                    data = os.pread(block.fileno(), size, start)
            except FileNotFoundError:  # not there yet, or removed by another process just now
                self._fetch(url, path, number)
                continue
            if len(data) == size:
                self._touch(path)
                return data
            if found == len(data):  # fetched anew, and as short as before
                raise OSError(f"{url} ends within block {number}, before byte {start + size} of it")
            found = len(data)
            path.unlink(missing_ok=True)  # perhaps of a machine that lost power
        raise OSError(f"{url}: block {number} does not stay in {self.folder}; is the cache shared "
                      "by runs that need more than its bound?")  # fmt: skip

    def _touch(self, path: Path) -> None:
        """Note that a block was read; on disk now and then only."""
        now = time.monotonic()
        if now - self._touched.get(path, 0.0) > _TOUCH_SECONDS:
            with self._lock:
                self._touched[path] = now
            with suppress(FileNotFoundError):
                os.utime(path)

    def _try_to_fetch(self, url: str, path: Path, number: int) -> None:
        try:
            if not path.exists():
                self._fetch(url, path, number)
        except OSError:
            with self._lock:  # whoever reads it tries again, and is told
                self._touched.pop(path, None)

    def _fetch(self, url: str, path: Path, number: int) -> None:
        """Bring a block into the folder, unless another process is doing it: then wait."""
        stripe = int(hashlib.blake2b(str(path).encode(), digest_size=2).hexdigest(), 16) % _LOCKS
        with in_turn(self.folder / f"lock-{stripe:02d}"):
            if path.exists():
                return
            start = number * self.block_bytes
            data = self.get(url, start, start + self.block_bytes)
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_name(
                f".{path.name}.{secrets.token_hex(4)}{files.TEMPORARY_SUFFIX}"
            )
            try:
                temporary.write_bytes(data)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        with self._lock:
            self._added += len(data)
            full = self._added >= self.max_bytes // 16
            if full:
                self._added = 0
        if full:
            self._trim()

    def get(self, url: str, start: int, end: int) -> bytes:
        """The bytes [start, end) of a file, or what there is of them.

        Raises:
            OSError: it cannot be read; says which file.
        """
        fs, plain = files.file_system(url)
        try:
            data: bytes = fs.cat_file(plain, start=start, end=end)
        except OSError as error:
            raise OSError(f"{url} cannot be read: {error}") from error
        return data

    def _trim(self) -> None:
        """Remove the blocks that were not read for longest, down to the bound; forget those that
        are gone, whoever removed them."""
        with in_turn(self.folder / "lock-trim"):
            found = []
            for path in self.folder.glob("*/*"):
                try:
                    told = path.stat()
                except FileNotFoundError:
                    continue
                found.append((told.st_mtime_ns, told.st_size, path))
            total = sum(size for _, size, _ in found)
            left = {path for _, _, path in found}
            for _, size, path in sorted(found):
                if total <= self.max_bytes - self.max_bytes // 16:
                    break
                path.unlink(missing_ok=True)
                total -= size
                left.remove(path)
            with self._lock:
                self._touched = {p: when for p, when in self._touched.items() if p in left}
