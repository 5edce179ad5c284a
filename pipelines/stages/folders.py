"""Folders of the artifacts below `stages/`: where their files lie, and which of them go.

A file is named by a digest, whose first three digits name its folder: with four million files a
folder has a thousand, where one folder of all would be what file systems and listings break by.
"""

import re
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

from septet.preprocess import files

_NAME = re.compile(r"[0-9a-f]{16}\.\w+(\.begun)?")
_THREADS = 32


def path_of(folder: str, name: str) -> str:
    """The path of an artifact's file that is named by a digest."""
    return files.join(folder, name[:3], name)


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
        paths = [files.join(folder, name) for name, _ in files.walk(folder)]
        kept = {path.rpartition("/")[0] for path in paths if path in current}
        gone = (path for path in paths if path not in current)
        for path in dict.fromkeys(_whole_or(path, folder, kept) for path in gone):
            files.remove(path)


def _whole_or(path: str, folder: str, kept: Collection[str]) -> str:
    """The folder of a file, where that is below `folder` and none of it is kept; else the file."""
    place = path.rpartition("/")[0]
    return path if place == folder or place in kept else place
