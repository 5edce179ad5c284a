"""Listings of folders of images: every file below, by name, with size and time of change."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A file below a folder: its path within the folder, its bytes, and a stamp that changes with
    it."""

    name: str
    size: int
    stamp: str


def list_files(path: str, after: str = "", before: str | None = None) -> Iterator[Entry]:
    """List the files below a folder whose name is in [after, before), by ascending name.

    Links are followed, but each folder is listed once, however many links lead to it: under its own
    name, else under that of the links by which it is reached first (fewest links, then by name).
    Memory is bounded by the names of one folder that are in the range, and, where there are links
    to folders, by the names of all folders.
    """
    if "://" not in path:
        yield from _walk(path, "", after, before, cache(partial(names_of_folders, path)), False)
        return
    # Not at the top: `up_to_date` lists folders before anything heavy is imported.
    from septet.preprocess import files

    fs, plain = files.file_system(path)
    for name, info in sorted(fs.find(plain, detail=True).items()):
        within = name[len(plain) :].lstrip("/")
        if within >= after and (before is None or within < before):
            yield Entry(within, int(info.get("size") or 0), stamp_of(info))


def _walk(
    path: str,
    below: str,
    after: str,
    before: str | None,
    names: Callable[[], dict[tuple[int, int], str]],
    linked: bool,
) -> Iterator[Entry]:
    here = os.path.join(path, below)  # noqa: PTH118
    if linked and names().get(_identity(here)) != below:
        return
    with os.scandir(here) as entries:
        # With the slash that follows a folder's name in all names below, order is that of names.
        named = ((below + entry.name + "/" * _is_folder(entry), entry) for entry in entries)
        listed = sorted(
            (name, entry)
            for name, entry in named
            if (before is None or name < before) and (name >= after or after.startswith(name))
        )
    for name, entry in listed:
        if name.endswith("/"):
            yield from _walk(path, name, after, before, names, linked or entry.is_symlink())
        elif name >= after:
            try:
                stat = entry.stat()
            except OSError:  # a link to nothing
                yield Entry(name, -1, "")
            else:
                yield Entry(name, stat.st_size, str(stat.st_mtime_ns))


def names_of_folders(path: str) -> dict[tuple[int, int], str]:
    """The name under which each folder below one is listed, by its identity: names end in a slash,
    that of the folder itself is empty. Walks those first that no link leads to, then those behind
    one link, and so on; what may not be read has nothing below it."""
    names: dict[tuple[int, int], str] = {}
    roots = [""]
    while roots:
        links: list[str] = []
        for root in sorted(roots):
            waiting = [root]
            while waiting:
                below = waiting.pop()
                here = os.path.join(path, below)  # noqa: PTH118
                if names.setdefault(_identity(here), below) != below:
                    continue
                with suppress(PermissionError), os.scandir(here) as entries:
                    for entry in filter(_is_folder, entries):
                        some = links if entry.is_symlink() else waiting
                        some.append(f"{below}{entry.name}/")
        roots = links
    return names


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)  # noqa: PTH116
    return found.st_dev, found.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def listing_digest(path: str) -> tuple[int, str]:
    """The bytes of all files below a folder, and a digest of their names, sizes and times of
    change."""
    total = 0
    digest = hashlib.blake2b(digest_size=16, person=b"septet.listing")
    for entry in list_files(path):
        line = f"{entry.name}\0{entry.size}\0{entry.stamp}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
        total += max(entry.size, 0)
    return total, f"listing:{digest.hexdigest()}"


def stamp_of(info: dict[str, Any]) -> str:
    """The stamp of an object in an object store: its tag, generation or time; `blob_id` is that of
    Hugging Face's repositories."""
    for key in ("ETag", "etag", "md5", "md5Hash", "generation", "blob_id", "LastModified",
                "last_modified", "updated", "mtime", "created"):  # fmt: skip
        if info.get(key):
            return str(info[key])
    return ""
