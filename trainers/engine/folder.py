"""A run's folder: on this machine, or in an object store by way of a folder here."""

import tempfile
from pathlib import Path

from septet.preprocess import files
from septet.preprocess.locks import LEASES
from septet.trainers.engine.lock import HOLDER


class RunFolder:
    """Where a run's small files go (figures, records, reports of skipped samples).

    They are written to `here`. Where the run's folder is in an object store, `here` is a temporary
    folder, `fetch` brings the files of an earlier start, and `publish` sends what has changed.
    Checkpoints are written straight to the store.

    Args:
        url: A local path, or a URL that fsspec knows.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.checkpoints = files.join(self.url, "checkpoints")
        self._remote = not files.is_local(url)
        self.here = files.local_path(self.url)
        if self._remote:
            self.here = Path(tempfile.mkdtemp(prefix="septet-run-"))
        self._sent: dict[str, tuple[int, int]] = {}
        self.here.mkdir(parents=True, exist_ok=True)

    def fetch(self) -> None:
        """Bring the files of an earlier start."""
        if not self._remote:
            return
        for name in files.list_folder(self.url):
            if name.endswith((".json", ".jsonl", ".txt")):
                (self.here / name).write_bytes(files.read_bytes(files.join(self.url, name)))
        self._sent = self._state()

    def publish(self) -> None:
        """Send what has changed to the store."""
        if not self._remote:
            return
        fs, plain = files.file_system(self.url)
        now = self._state()
        for name in sorted(name for name in now if now[name] != self._sent.get(name)):
            fs.pipe_file(files.join(plain, name), (self.here / name).read_bytes())
        self._sent = now

    def _state(self) -> dict[str, tuple[int, int]]:
        found = [path for path in self.here.rglob("*") if path.is_file()]
        stats = {str(path.relative_to(self.here)): path.stat() for path in found}
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def set_aside(url: str) -> str | None:
    """Move what is in an earlier run's folder to the first free FOLDER.N; its name. The folder
    itself stays, as this process holds it. Checkpoints go last: they make it a run."""
    url = url.rstrip("/")
    names = [name for name in files.list_folder(url) if name not in (LEASES, HOLDER)]
    if not names:
        return None
    number = 1
    while files.exists(aside := f"{url}.{number}"):
        number += 1
    for name in sorted(names, key=lambda name: name == "checkpoints"):
        _move(files.join(url, name), files.join(aside, name))
    return aside


def _move(source: str, target: str) -> None:
    """Rename a file or folder; in a store, copy what is below it and remove it."""
    if files.is_local(source):
        files.local_path(target).parent.mkdir(parents=True, exist_ok=True)
        files.local_path(source).rename(files.local_path(target))
        return
    fs, plain = files.file_system(source)
    _, there = files.file_system(target)
    for path in fs.find(plain):
        fs.cp_file(path, there + path.removeprefix(plain))
    fs.rm(plain, recursive=True)
