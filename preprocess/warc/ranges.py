"""Ranges of bytes of files: on this machine, on object stores, on servers over http.

Over http a server that ignores a range would send the whole file, a gigabyte: what is not answered
by a part (206) is not read, and no more is read than was asked for. Redirects are not followed:
they might lead anywhere.
"""

import asyncio
import random
import time

import aiohttp
import fsspec
from fsspec.asyn import sync

from septet.preprocess import files

_SECONDS = 60.0
_TRIES = 6
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class RangeError(OSError):
    """Raised when a range cannot be read; `is_passing` if it may be read later."""

    def __init__(self, message: str, is_passing: bool = False):
        super().__init__(message)
        self.is_passing = is_passing


def read_range(path: str, offset: int, length: int, pause: float = 1.0) -> bytes:
    """Read `length` bytes of a file from `offset` on; less where it ends before.

    Failures that may pass are tried again, six times in all, after `pause` seconds and then twice
    as many each time.

    Raises:
        RangeError: the file is not there, or the server does not give it.
    """
    for tries in range(1, _TRIES + 1):
        try:
            return _read(path, offset, length)
        except RangeError as error:
            if not error.is_passing or tries == _TRIES:
                raise
        time.sleep(pause * 2 ** (tries - 1) * random.uniform(0.5, 1))
    raise AssertionError


def _read(path: str, offset: int, length: int) -> bytes:
    try:
        if files.is_local(path):
            with files.open_read(path) as file:
                file.seek(offset)
                return file.read(length)
        fs, remote = files.file_system(path)
        if path.startswith(("http://", "https://")):
            data: bytes = sync(fs.loop, _request, fs, remote, offset, length)
        else:
            data = fs.cat_file(remote, start=offset, end=offset + length)
    except FileNotFoundError as error:
        raise RangeError(f"{path} is not there") from error
    except RangeError:
        raise
    except (OSError, TimeoutError, aiohttp.ClientError) as error:
        message = f"{path} cannot be read: {error or type(error).__name__}"
        raise RangeError(message, is_passing=not files.is_local(path)) from error
    return data


async def _request(fs: fsspec.AbstractFileSystem, url: str, offset: int, length: int) -> bytes:
    session: aiohttp.ClientSession = await fs.set_session()
    headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
    asked = session.get(url, headers=headers, allow_redirects=False)
    async with asyncio.timeout(_SECONDS), asked as answer:
        if answer.status == 416:
            return b""
        if where := answer.headers.get("Location"):
            raise RangeError(f"{url}: the server redirects to {where[:200]}, which is not followed")
        if answer.status != 206:
            why = "ignores ranges" if answer.status == 200 else f"answers {answer.status}"
            raise RangeError(f"{url}: the server {why}", answer.status in _PASSING)
        parts: list[bytes] = []
        left = length
        while left and (part := await answer.content.read(left)):
            parts.append(part)
            left -= len(part)
        if left:
            answer.close()
        return b"".join(parts)
