"""The lock on a run's folder: one run trains in it at a time."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime

from septet.preprocess import files
from septet.preprocess.locks import LEASES, FolderBusyError, locked, unless_lost
from septet.trainers.engine.world import World
from septet.trainers.standard_json import to_json

HOLDER = "holder.json"


@contextmanager
def only_run_in(out: str, world: World) -> Iterator[str | None]:
    """Hold a run's folder for all ranks while the block runs; see `preprocess.locks`.

    Yields:
        What a person should know of how it is held; None where the kernel holds it.

    Raises:
        FolderBusyError: another run trains in it (raised on all ranks).
    """
    refused, how = None, None
    with ExitStack() as held:
        if world.main:
            try:
                held.enter_context(locked(out, True, f"another run trains in {out}{_who(out)}"))
                how = _sign(out)
                held.push(unless_lost(lambda: files.remove(files.join(out, HOLDER))))
            except FolderBusyError as error:
                refused = str(error)
        refused = next(filter(None, world.gather_objects(refused)), None)
        if refused:
            raise FolderBusyError(refused)
        yield how


def _sign(out: str) -> str | None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }
    files.write_bytes(files.join(out, HOLDER), to_json(holder).encode())
    if files.exists(files.join(out, LEASES)):
        return (
            f"{out} is held by a lease that is renewed, as its file system has no locks: another "
            "machine may take it three minutes after this process was cut off"
        )
    return None


def _who(out: str) -> str:
    """Who holds the folder by a lock of the kernel, which itself does not tell."""
    with suppress(OSError, ValueError, KeyError):
        holder = json.loads(files.read_bytes(files.join(out, HOLDER)))
        return f" (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    return ""
