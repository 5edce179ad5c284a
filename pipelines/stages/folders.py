"""Folders of the artifacts below `stages/`: where their files lie, and which of them go.

A file is named by a digest, whose first three digits name its folder (`a/bc/abc….parquet`): with
four million files a folder has a thousand and no other has more than 256, where one folder of all
would be what file systems and listings break by.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from septet.preprocess import files

_NAME = re.compile(r"[0-9a-f]{16}\.\w+(\.begun)?")
_THREADS = 32


def path_of(folder: str, name: str) -> str:
    """The path of an artifact's file that is named by a digest."""
    return files.join(folder, name[0], name[1:3], name)


def move_into_folders(root: str) -> int:
    """Move the files of builds by Septet before 2026-12, which lay in the artifacts' folders
    themselves; returns how many there were."""
    moves = [
        (files.join(root, artifact, name), path_of(files.join(root, artifact), name))
        for artifact in files.list_folder(root)
        for name in files.list_folder(files.join(root, artifact))
        if _NAME.fullmatch(name)
    ]
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda move: files.move(*move), moves):
            pass
    return len(moves)


def remove_others(root: str, current: Collection[str], spared: Iterable[str]) -> None:
    """Remove the files below `root` that are not `current`, with the folders that hold none.

    Args:
        root: The folder of the artifacts.
        current: Paths of the files that stay.
        spared: Names of folders in `root` of which nothing goes.
    """
    needed = {path.removeprefix(f"{root}/").partition("/")[0] for path in current}
    for artifact in files.list_folder(root):
        folder = files.join(root, artifact)
        if artifact in spared:
            continue
        if artifact not in needed:
            files.remove(folder)
            continue
        names = [name for name, _ in files.walk(folder)]
        stays = [files.join(folder, name) in current for name in names]
        kept = {place for name, yes in zip(names, stays, strict=True) if yes for place in _on(name)}
        gone = {
            next(place for place in _on(name) if place not in kept)
            for name, yes in zip(names, stays, strict=True)
            if not yes
        }
        for place in sorted(gone):
            files.remove(files.join(folder, place))


def _on(name: str) -> Iterator[str]:
    """The places on the way to a file, and the file: `a`, `a/bc`, `a/bc/abc.parquet`."""
    parts = name.split("/")
    yield from ("/".join(parts[: end + 1]) for end in range(len(parts)))
