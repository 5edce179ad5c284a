"""Folders of the artifacts below `stages/`: where their files lie, and which of them go.

A file is named by a digest, whose first three digits name its folder (`a/bc/abc….parquet`): with
four million files a folder has a thousand and no other has more than 256, where one folder of all
would be what file systems and listings break by.
"""

import re
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import compress

import numpy as np

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


def remove_others(root: str, current: Iterable[str], spared: Iterable[str]) -> None:
    """Remove the files below `root` that are not `current`, with the folders that hold none.

    Of each file that stays 8 bytes are held, a hash of its name: ten artifacts of a million shards
    are 80 MB. Two names of one hash, one pair in 10^5 such corpora, leave a file too many.

    Args:
        root: The folder of the artifacts.
        current: Paths of the files that stay.
        spared: Names of folders in `root` of which nothing goes.
    """
    needed: dict[str, array[int]] = {}
    for path in current:
        artifact, _, name = path.removeprefix(f"{root}/").partition("/")
        needed.setdefault(artifact, array("q")).append(hash(name))
    for artifact in files.list_folder(root):
        folder = files.join(root, artifact)
        if artifact in spared:
            continue
        if artifact not in needed:
            files.remove(folder)
            continue
        names = [name for name, _ in files.walk(folder)]
        hashes = np.fromiter(map(hash, names), np.int64, len(names))
        stays = np.isin(hashes, np.frombuffer(needed[artifact], np.int64))
        kept = {place for name in compress(names, stays) for place in _folders(name)}
        gone = {
            next((place for place in _folders(name) if place not in kept), name)
            for name in compress(names, ~stays)
        }
        for place in sorted(gone):
            files.remove(files.join(folder, place))


def _folders(name: str) -> Iterator[str]:
    """The folders on the way to a file: `a` and `a/bc` of `a/bc/abc.parquet`."""
    parts = name.split("/")[:-1]
    yield from ("/".join(parts[: end + 1]) for end in range(len(parts)))
