"""Patterns (globs) of local inputs, as recipes write them, and what they match.

Only what the recipe writes is a pattern: names of folders and files that exist are taken as they
are, whatever signs they hold. Imports nothing heavy: `up_to_date` asks before anything else.
"""

import glob
import os
from pathlib import Path

from septet.pipelines.sources.listing import names_of_folders


def expand_home(path: str | Path) -> Path:
    """The path with `~` and `~user` at its beginning as folders; as it is where there is no such
    user: it is a name then, such as an editor's `~$pairs.csv`."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def match_local(pattern: str, folder: str | Path) -> list[str]:
    """The files and folders that a pattern matches, spelled as the pattern spells them, sorted; a
    name that begins with `~` after `./`, for it stands for no home.

    Args:
        pattern: A pattern of `glob`, with `**`; relative, absolute or with `~`.
        folder: Where relative patterns start.
    """
    spelled = pattern.removeprefix("file://")
    plain = str(Path(spelled))
    spelled_home = plain.split("/")[0] if spelled.startswith("~") else ""
    home = str(expand_home(spelled_home)) if spelled_home else ""
    if home == spelled_home:
        found = _glob(_literal_as_is(plain, folder), folder)
        return sorted(f"{'./' * match.startswith('~')}{match.rstrip('/')}" for match in found)
    plain = home + plain.removeprefix(spelled_home)
    found = _glob(_literal_as_is(plain, folder), folder)
    return sorted(spelled_home + match.removeprefix(home).rstrip("/") for match in found)


def _glob(pattern: str, folder: str | Path) -> set[str]:
    """What a pattern matches. Below `**` each folder is entered once, however many links lead to
    it: among k folders that link to each other there are k! ways, which `glob` would all go."""
    head, deep, tail = f"/{pattern}/".partition("/**/")
    tail = tail.rstrip("/")
    if not deep:
        return {*glob.glob(pattern, root_dir=folder)}  # noqa: PTH207
    head = head[1:] or "/" * pattern.startswith("/")
    bases = glob.glob(head, root_dir=folder) if head else [""]  # noqa: PTH207
    found: set[str] = set() if tail else {*bases} - {""}  # `**` at the end: all, and the folder
    for base in filter(lambda base: os.path.isdir(os.path.join(folder, base)), bases):  # noqa: PTH112, PTH118
        for below in names_of_folders(os.path.join(folder, base)).values():  # noqa: PTH118
            if not any(part.startswith(".") for part in below.split("/")):  # hidden, as for `glob`
                found |= _glob(glob.escape(os.path.join(base, below)) + (tail or "*"), folder)  # noqa: PTH118
    return found


def _literal_as_is(pattern: str, folder: str | Path) -> str:
    """The pattern with its longest head escaped that exists under its own name.

    So a folder `crawl [2024]` and a file `pairs[1].jsonl` can be named as they are.
    """
    parts = pattern.split("/")
    for count in range(len(parts), 0, -1):
        head = "/".join(parts[:count])
        if head and glob.has_magic(head) and os.path.lexists(os.path.join(folder, head)):  # noqa: PTH118
            return "/".join([glob.escape(head), *parts[count:]])
    return pattern
