"""The scratch folder of this process, for temporary files that a killed process must not leave
behind.

Each process has one at `$TMPDIR/septet-USER/PID-TOKEN`, holds its lock file while it lives and
removes the folder when it ends; those of processes that were killed are removed when the next
process asks for one.
"""

import atexit
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: folders of killed processes stay there
    fcntl = None  # type: ignore[assignment]

_LOCK = "lock"
_mine: tuple[int, Path] | None = None


def scratch_folder() -> Path:
    """This process's scratch folder, made at the first call.

    Raises:
        OSError: it cannot be made; set TMPDIR to a folder that can be written.
    """
    global _mine
    if _mine is None or _mine[0] != os.getpid():
        _mine = (os.getpid(), _make())
    return _mine[1]


def _make() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    root = Path(tempfile.gettempdir()) / f"septet-{user}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(root)
    while True:
        folder = root / f"{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)  # open, and held, until the end
        with suppress(OSError):
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            break
        os.close(handle)  # another process swept it before the lock was held
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, pid: int) -> None:
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove the folders whose processes are gone: nobody holds their lock."""
    if fcntl is None:
        return
    for folder in root.iterdir():
        with suppress(OSError):
            handle = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
