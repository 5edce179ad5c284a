"""The inputs that a recipe names: found, checked, digested and cut into slices."""

import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from septet.pipelines.input_cache import InputCache, Known
from septet.pipelines.sources.base import Facts, Input, InputError, Source, whole_inputs
from septet.pipelines.sources.listing import listing_digest
from septet.pipelines.sources.paths import beside, folder_label, locate
from septet.pipelines.sources.patterns import match_local
from septet.pipelines.sources.table import SOURCES
from septet.preprocess import files
from septet.schemas.recipe import Recipe
from septet.schemas.recipe_file import RecipeError
from septet.schemas.sources import ListSource

_THREADS = 16
_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class ImageRoot:
    """A folder of images that lists refer to.

    `digest` covers names, sizes and times of change of all files below, not their content.
    """

    label: str
    path: str
    digest: str


@dataclass(frozen=True)
class _Named:
    """An input that a pattern matched, before it was looked into."""

    label: str
    path: str
    source: int


def find_inputs(
    recipe: Recipe,
    folder: str,
    corpus: str | None = None,
    remember: bool = False,
) -> tuple[Input, ...]:
    """Find all slices of all inputs in the recipe's order: sources as listed, inputs by name. A
    file that a source's patterns match under several names is read under one.

    Digests and slices are remembered in `stages/inputs/` of the corpus: an input whose
    label, size, time of change and inode are those of an earlier build is not read again.

    Args:
        recipe: A parsed recipe.
        folder: Where relative paths start.
        corpus: The corpus folder; what lies in it is never an input.
        remember: Whether to write what was found for the next build.

    Raises:
        RecipeError: a pattern that matches nothing, or nothing but the corpus itself.
        InputError: an input that cannot be used: a device, not of the source's kind, or without a
            column that the settings name.
    """
    named = [
        one
        for number in range(len(recipe.sources))
        for one in _named(recipe, number, folder, corpus)
    ]
    cache = InputCache(corpus)

    def look(one: _Named) -> Known:
        settings = recipe.sources[one.source]
        source = SOURCES[settings.kind]
        try:
            known = cache.get(one.label, one.path, source)
            source.check(settings, one.label, known.facts)
        except InputError:
            if settings.on_broken_input == "stop":
                raise
            known = _unusable(one.path)  # the worker meets the same fault, and rejects it
        return known

    with ThreadPoolExecutor(_THREADS) as pool:
        facts = list(pool.map(look, named))
    inputs: list[Input] = []
    for one, known in zip(named, facts, strict=True):
        slices = known.facts.slices
        inputs += [
            Input(one.label, one.source, one.path, known.size, known.digest, part, number,
                  len(slices), folder)
            for number, part in enumerate(slices)
        ]  # fmt: skip
    if remember:
        cache.write()
    return tuple(inputs)


def _unusable(path: str) -> Known:
    size, digest = files.content_digest(path)
    return Known(size, digest, Facts([(0, size)]))


def image_roots(recipe: Recipe, inputs: Iterable[Input], folder: str) -> dict[str, ImageRoot]:
    """Find the folders of images that the recipe's lists refer to, or that are inputs; by label.

    Every file below is listed, none is read; a file that is replaced changes the digest.

    Raises:
        InputError: a folder that is not there.
    """
    roots: dict[str, ImageRoot] = {}
    for one in whole_inputs(inputs):
        if SOURCES[recipe.sources[one.source].kind].folders:
            label = folder_label(one.label)
            roots[label] = ImageRoot(label, one.path, one.digest)
    for one in whole_inputs(inputs):
        source = recipe.sources[one.source]
        if isinstance(source, ListSource) and source.images_beside:
            label = beside(one.label)
            if label not in roots:
                path = locate(label, folder)
                roots[label] = ImageRoot(label, path, listing_digest(path)[1])
    for number, source in enumerate(recipe.sources):
        if isinstance(source, ListSource) and source.image_root is not None:
            label = folder_label(source.image_root)
            path = locate(label, folder)
            if label in roots:
                continue
            if files.is_local(path) and not Path(path).is_dir():
                raise InputError(
                    f"sources.{number}.image_root: there is no folder {label!r} "
                    f"(relative paths start at {folder})"
                )
            roots[label] = ImageRoot(label, path, listing_digest(path)[1])
    return roots


def _named(recipe: Recipe, number: int, folder: str, corpus: str | None) -> Iterator[_Named]:
    settings = recipe.sources[number]
    source = SOURCES[settings.kind]
    seen: set[str] = set()
    for pattern in settings.paths:
        where = f"sources.{number}.paths"
        labels = _expand(pattern, folder, source)
        foreign = [label for label in labels if not _below(locate(label, folder), corpus)]
        if not labels:
            what = "folder" if source.folders else "file"
            raise RecipeError(
                f"{where}: no {what} matches {pattern!r} (relative paths start at {folder})"
            )
        if not foreign:
            raise RecipeError(
                f"{where}: {pattern!r} matches only files of the corpus that is to be built "
                f"({corpus}); give the corpus another folder, or the pattern another one"
            )
        for label in _one_name_each(foreign, folder):
            path = locate(label, folder)
            real = os.path.realpath(path) if files.is_local(path) else path
            if real not in seen:  # by an earlier pattern
                seen.add(real)
                _require_readable(path, label, source)
                yield _Named(label, path, number)


def _one_name_each(labels: list[str], folder: str) -> list[str]:
    """Choose the shortest of the names that links give to one file: a folder that links to itself
    gives a file forty."""
    names: dict[str, str] = {}
    for label in sorted(labels, key=lambda label: (len(label), label)):
        path = locate(label, folder)
        names.setdefault(os.path.realpath(path) if files.is_local(path) else path, label)
    return sorted(names.values())


def _expand(pattern: str, folder: str, source: Source) -> list[str]:
    """The labels of all that a pattern matches, sorted."""
    if files.is_local(pattern):
        is_wanted = Path.is_dir if source.folders else _is_no_folder
        matches = match_local(pattern, folder)
        return [label for label in matches if is_wanted(Path(locate(label, folder)))]
    fs, plain = files.file_system(pattern)
    is_there = fs.isdir if source.folders else fs.isfile
    try:
        found = [plain] if is_there(plain) else list(filter(is_there, fs.glob(plain)))
    except Exception as error:  # stores raise what they like
        raise InputError(f"{pattern}: cannot be listed: {type(error).__name__}: {error}") from error
    return sorted(str(fs.unstrip_protocol(name)) for name in found)


def _is_no_folder(path: Path) -> bool:
    return not path.is_dir()


def _below(path: str, corpus: str | None) -> bool:
    """Whether a path lies in the corpus folder."""
    if corpus is None or files.is_local(path) != files.is_local(corpus):
        return False
    if not files.is_local(path):
        return path.startswith(corpus.rstrip("/") + "/")
    real = os.path.realpath(files.local_path(corpus))
    return os.path.realpath(path).startswith(real + "/") or os.path.abspath(path).startswith(  # noqa: PTH100
        os.path.abspath(files.local_path(corpus)) + "/"  # noqa: PTH100
    )


def _require_readable(path: str, label: str, source: Source) -> None:
    try:
        label.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{label!r}: the name is not UTF-8; rename it") from error
    if not files.is_local(path):
        return
    try:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    except OSError as error:
        raise InputError(f"{label}: {error.strerror or error}") from error
    if kind in _KINDS:
        raise InputError(f"{label} is {_KINDS[kind]}; inputs are files that can be read twice")
