"""Notes about a complete build, by which the next one sees at once that there is nothing to do.

A build resolves its recipe and stages anew, for which it imports much. The notes hold the recipe's
text, the stamps (size, time of change, inode) of all inputs and of Septet's own code: where all of
them are as they were, nothing else can have changed. Of columns they hold the stamps of manifests,
of the modules of their classes, and of all files that settings name. Only builds from local inputs
into a local folder are noted.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from septet.pipelines.sources.listing import listing_digest
from septet.pipelines.sources.patterns import expand_home, match_local
from septet.schemas.layout import MANIFEST, STAGES, column_manifest

if TYPE_CHECKING:
    from septet.preprocess.columns.base import Column
    from septet.schemas.recipe import Recipe

NOTES = f"{STAGES}/up-to-date.json"
_SETTLED_NS = 2 * 10**9
State = list[int] | str | None
"""Of a path: see `_state`."""
_ROOMS = ("pipelines", "preprocess", "schemas")


def find_corpus(recipe: str, out: str | None) -> str | None:
    """The corpus folder of a recipe's text: as given, else `corpora/NAME`; None where the name
    cannot be seen without parsing."""
    if out is not None:
        return str(expand_home(out)) if out.startswith("~") else out
    name = re.search(r"^name:[ ]*([A-Za-z0-9_.-]+)[ ]*(?:#.*)?$", recipe, re.M)
    return str(Path("corpora") / name[1]) if name else None


def is_noted(corpus: str, recipe: Path, text: str) -> dict[str, int] | None:
    """The corpus's figures (samples, shards) where nothing has changed since they were noted, else
    None."""
    try:
        noted = json.loads(Path(corpus, NOTES).read_bytes())
        same = (
            noted["recipe"] == _recipe(recipe, text)
            and noted["code"] == _code()
            and noted["manifest"] == _stamp(Path(corpus, MANIFEST))
            and all(_digest(match_local(pattern, recipe.parent)) == found
                    for pattern, found in noted["patterns"].items())
            and all(_stamp(Path(path)) == stamp for path, stamp in noted["inputs"].items())
            and all(_tree(path) == digest for path, digest in noted["image_roots"].items())
            and all(_stamp(Path(corpus, column_manifest(name))) == stamp
                    for name, stamp in noted["columns"].items())
            and all(_state(path) == state for path, state in noted["column_files"].items())
        )  # fmt: skip
        return dict(noted["figures"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def forget(corpus: str) -> None:
    """Remove the notes of a corpus that is to be built."""
    if "://" not in corpus:
        Path(corpus, NOTES).unlink(missing_ok=True)


@dataclass(frozen=True)
class Before:
    """What a recipe's patterns matched before its build, with the stamps of it: what was built
    from, or something older."""

    at: int
    """Nanoseconds of the wall clock."""
    patterns: dict[str, str]
    """A digest of what each pattern matched."""
    stamps: dict[str, list[int]]
    """The stamps of all that local patterns matched, by path."""


def look(patterns: Iterable[str], recipe: Path) -> Before:
    """Note what the patterns of a recipe's sources match now."""
    from septet.pipelines.sources.paths import locate  # only here: it imports much

    at, folder = time.time_ns(), recipe.absolute().parent
    found = {one: match_local(one, folder) if "://" not in one else [] for one in patterns}
    stamps: dict[str, list[int]] = {}
    for label in {label for labels in found.values() for label in labels}:
        path = locate(label, str(folder))
        with suppress(OSError):  # a link to nothing
            stamps[path] = _stamp(Path(path))
    return Before(at, {one: _digest(labels) for one, labels in found.items()}, stamps)


def column_files(columns: Iterable["Column"]) -> dict[str, "State"] | None:
    """The states of the files that decide columns' values: modules of their classes, and what their
    settings name. None where a setting may name what lies elsewhere.

    Args:
        columns: The columns, as planned.
    """
    paths: list[str] = []
    for column in columns:
        own = [one for one in type(column).__mro__ if one.__module__ in sys.modules]
        files = [getattr(sys.modules[one.__module__], "__file__", None) for one in own]
        paths += [path for path in files if path]
        named = column.settings.named_paths()
        if any(path is None or "://" in path for path in named):
            return None
        paths += [str(expand_home(path).absolute()) for path in named if path]
    return {path: _state(path) for path in paths}


def named_files(recipe: "Recipe", folder: str) -> dict[str, "State"] | None:
    """The states of the files and folders that a recipe names besides its inputs: evaluation sets,
    lists of rules, a model of languages. None where one lies elsewhere."""
    from septet.pipelines.sources.paths import locate  # only here: it imports much

    labels = [label for one in recipe.decontaminate.against for label in (one.images, one.texts)]
    labels += [*recipe.filter.files.values(), recipe.filter.language_model]
    labels += [entries] if isinstance(entries := recipe.balance.entries, str) else []
    paths = [locate(label, folder) for label in labels if label is not None]
    return None if any("://" in path for path in paths) else {path: _state(path) for path in paths}


def note(
    corpus: str,
    recipe: Path,
    text: str,
    before: Before,
    inputs: Iterable[str],
    image_roots: Mapping[str, str],
    figures: dict[str, int],
    columns: Iterable[str] = (),
    column_files: Mapping[str, "State"] | None = MappingProxyType({}),
) -> None:
    """Note a complete build, unless an input may have changed as it began. One that changed later
    does not match the note.

    Args:
        corpus: The corpus folder.
        recipe: The recipe's file.
        text: The recipe's content, as it was parsed.
        before: The inputs as they were before the build.
        inputs: Paths of all inputs that were built from.
        image_roots: Folders of images that lists refer to, with the digests that were built from.
        figures: The figures of the corpus that are printed.
        columns: Names of the recipe's columns.
        column_files: The files that decide them, as they were before the build.
    """
    if column_files is None:
        return
    inputs = [*inputs]
    if any("://" in path for path in (corpus, *inputs, *before.patterns, *image_roots)):
        return
    if any(path not in before.stamps for path in inputs):
        return
    stamps = {path: before.stamps[path] for path in inputs}
    # A change within one tick of the file system's clock shows in no stamp.
    states = [*stamps.values(), *(x for x in column_files.values() if isinstance(x, list))]
    if any(changed + _SETTLED_NS > before.at for _, changed, _ in states):
        return
    noted: dict[str, Any] = {
        "recipe": _recipe(recipe, text),
        "code": _code(),
        "manifest": _stamp(Path(corpus, MANIFEST)),
        "patterns": before.patterns,
        "inputs": stamps,
        "image_roots": dict(image_roots),
        "columns": {name: _stamp(Path(corpus, column_manifest(name))) for name in columns},
        "column_files": dict(column_files),
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


def _state(path: str) -> State:
    """The stamp of a file, a digest of a folder's files, None where there is nothing."""
    found = Path(path)
    if found.is_dir():
        return _tree(path)
    return _stamp(found) if found.exists() else None


def _tree(root: str) -> str:
    """A digest of the names, sizes and times of change of all files below a folder."""
    return listing_digest(root)[1]


def _digest(found: list[str]) -> str:
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
