"""Who may work in a folder at the same time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from septet.preprocess import files


class FolderBusyError(ValueError):
    """Another process is at work in the folder."""


@contextmanager
def locked(folder: str, alone: bool, busy: str) -> Iterator[None]:
    """Hold a local folder while the block runs; the lock ends with the process.

    Args:
        folder: Made where it is missing. Elsewhere than on this machine nothing is locked.
        alone: Whether nobody else may hold it; those that are not alone share it.
        busy: What to say when it cannot be had.

    Raises:
        FolderBusyError: another process holds it.
    """
    if not files.is_local(folder):
        yield
        return
    path = Path(files.local_path(folder))
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusyError(f"{busy}: wait for it, or end it first") from None
        yield
    finally:
        os.close(handle)
