"""Patterns (globs) of local inputs, as recipes write them, and what they match.

Only what the recipe writes is a pattern: names of folders and files that exist are taken as they
are, whatever signs they hold. Imports nothing heavy: `up_to_date` asks before anything else.
"""

import glob
import os
from pathlib import Path


def match_local(pattern: str, folder: str | Path) -> list[str]:
    """The files and folders that a pattern matches, spelled as the pattern spells them, sorted.

    Args:
        pattern: A pattern of `glob`, with `**`; relative, absolute or with `~`.
        folder: Where relative patterns start.
    """
    plain = str(Path(pattern.removeprefix("file://")))
    spelled_home = plain.split("/")[0] if plain.startswith("~") else ""
    home = str(Path(spelled_home).expanduser()) if spelled_home else ""
    plain = home + plain.removeprefix(spelled_home)
    found = glob.glob(_literal_as_is(plain, folder), root_dir=folder, recursive=True)  # noqa: PTH207
    return sorted(spelled_home + match.removeprefix(home).rstrip("/") for match in found)


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
