"""Notes of a complete build, by which the next one sees at once that there is nothing to do.

A build resolves its recipe and stages anew, for which it imports much. The notes hold the recipe's
text, the stamps (size, time of change, inode) of all inputs and of Septet's own code: where all of
them are as they were, nothing else can have changed. Only builds from local inputs into a local
folder are noted, and none with columns, whose models have checks of their own.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from septet.pipelines.sources.listing import listing_digest
from septet.pipelines.sources.patterns import match_local
from septet.schemas.layout import MANIFEST, STAGES

NOTES = f"{STAGES}/up-to-date.json"
_SETTLED_NS = 2 * 10**9
_ROOMS = ("pipelines", "preprocess", "schemas")


def find_corpus(recipe: str, out: str | None) -> str | None:
    """The corpus folder of a recipe's text: as given, else `corpora/NAME`; None where the name
    cannot be seen without parsing."""
    if out is not None:
        return str(Path(out).expanduser()) if out.startswith("~") else out
    name = re.search(r"^name:[ ]*([A-Za-z0-9_.-]+)[ ]*(?:#.*)?$", recipe, re.M)
    return str(Path("corpora") / name[1]) if name else None


def is_noted(corpus: str, recipe: Path, text: str) -> dict[str, int] | None:
    """The corpus's figures (samples, shards) where nothing has changed since it was noted."""
    try:
        noted = json.loads(Path(corpus, NOTES).read_bytes())
        same = (
            noted["recipe"] == _recipe(recipe, text)
            and noted["code"] == _code()
            and noted["manifest"] == _stamp(Path(corpus, MANIFEST))
            and all(_matches(pattern, recipe.parent) == found
                    for pattern, found in noted["patterns"].items())
            and all(_stamp(Path(path)) == stamp for path, stamp in noted["inputs"].items())
            and all(_tree(path) == digest for path, digest in noted["image_roots"].items())
        )  # fmt: skip
        return dict(noted["figures"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def forget(corpus: str) -> None:
    """Remove the notes of a corpus that is to be built."""
    if "://" not in corpus:
        Path(corpus, NOTES).unlink(missing_ok=True)


def matches_of(patterns: Iterable[str], recipe: Path) -> dict[str, str]:
    """A digest of what each local pattern of a recipe matches now."""
    return {one: _matches(one, recipe.parent) for one in patterns if "://" not in one}


def note(
    corpus: str,
    recipe: Path,
    text: str,
    patterns: Mapping[str, str],
    inputs: Iterable[str],
    image_roots: Mapping[str, str],
    begun: int,
    figures: dict[str, int],
) -> None:
    """Note a complete build, unless an input may have changed since it began.

    Args:
        corpus: The corpus folder.
        recipe: The recipe's file.
        text: Its content, as it was parsed.
        patterns: All patterns of the recipe's sources, with what they matched before the build
            (`matches_of`).
        inputs: Paths of all inputs that were built from.
        image_roots: Folders of images that lists refer to, with the digests that were built from.
        begun: When the build began, in nanoseconds of the wall clock.
        figures: What to say of the corpus.
    """
    files = sorted({*inputs})
    paths = sorted({*files} | {str(Path(path).parent) for path in files})
    if any("://" in path for path in (corpus, *paths, *patterns, *image_roots)):
        return
    stamps = {path: _stamp(Path(path)) for path in paths}
    newest = max((stamps[path][1] for path in files), default=0)
    latest = max((stamp[1] for stamp in stamps.values()), default=0)
    # A change within one tick of the file system's clock shows in no stamp.
    if newest + _SETTLED_NS > begun or latest + _SETTLED_NS > time.time_ns():
        return
    noted: dict[str, Any] = {
        "recipe": _recipe(recipe, text),
        "code": _code(),
        "manifest": _stamp(Path(corpus, MANIFEST)),
        "patterns": dict(patterns),
        "inputs": stamps,
        "image_roots": dict(image_roots),
        "figures": figures,
    }
    target = Path(corpus, NOTES)
    temporary = target.with_name(f".{target.name}.septet-tmp")
    temporary.write_text(json.dumps(noted))
    temporary.replace(target)


def _recipe(recipe: Path, text: str) -> list[str]:
    return [str(recipe.absolute().parent), hashlib.sha256(text.encode()).hexdigest()]


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _tree(root: str) -> str:
    """A digest of the names, sizes and times of change of all files below a folder."""
    return listing_digest(root)[1]


def _matches(pattern: str, folder: Path) -> str:
    found = match_local(pattern, folder)
    return hashlib.sha256("\0".join(found).encode(errors="surrogateescape")).hexdigest()


def _code() -> str:
    """A digest of the stamps of Septet's code, and of what is installed beside it."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in _ROOMS:
        for folder, folders, names in os.walk(root / room):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".py"):
                    found = Path(folder, name).stat()
                    digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    for installed in map(Path, _packages()):
        digest.update(f"{installed} {installed.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _packages() -> list[str]:
    """The folders of installed packages, whose times change when one is replaced."""
    import sysconfig

    paths = sysconfig.get_paths()
    return sorted({paths["purelib"], paths["platlib"]})
