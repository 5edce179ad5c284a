"""The input files that a recipe names: found, ordered and digested."""

import glob
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fsspec

from septet.preprocess import files
from septet.schemas.recipe import ListSource, Recipe
from septet.schemas.recipe_file import RecipeError


@dataclass(frozen=True)
class Input:
    """An input file: where it is, how the manifest calls it, and which source it belongs to."""

    path: str
    label: str
    source: int
    bytes: int
    digest: str


def find_inputs(
    recipe: Recipe, folder: str, advance: Callable[[int], None] = lambda _: None
) -> tuple[Input, ...]:
    """All input files in the recipe's order: sources as listed, files by name.

    Args:
        recipe: A parsed recipe.
        folder: Where relative paths start.
        advance: Told how many files have been digested, of `count_inputs`.

    Raises:
        RecipeError: a pattern that matches no file.
    """
    found = []
    for number, source in enumerate(recipe.sources):
        for pattern in source.paths:
            matches = _expand(pattern, folder)
            if not matches:
                raise RecipeError(
                    f"sources.{number}.paths: no file matches {pattern!r} "
                    f"(relative paths start at {folder})"
                )
            found += [(path, label, number) for path, label in matches]

    def digest(item: tuple[str, str, int]) -> Input:
        path, label, number = item
        size, content = files.content_digest(path)
        advance(1)
        return Input(path, label, number, size, content)

    with ThreadPoolExecutor(8) as pool:
        return tuple(pool.map(digest, found))


def with_absolute_roots(recipe: Recipe, folder: str) -> Recipe:
    """The recipe with `image_root`s that do not depend on the working directory."""
    sources = [
        source.model_copy(update={"image_root": _absolute(source.image_root, folder)})
        if isinstance(source, ListSource) and source.image_root is not None
        else source
        for source in recipe.sources
    ]
    return recipe.model_copy(update={"sources": sources})


def _absolute(path: str, folder: str) -> str:
    return str((Path(folder) / files.local_path(path)).resolve()) if files.is_local(path) else path


def _expand(pattern: str, folder: str) -> list[tuple[str, str]]:
    """Files that match, as (path, label)."""
    if files.is_local(pattern):
        full = Path(folder) / files.local_path(pattern)
        # Path.glob takes no absolute pattern.
        paths = sorted(p for p in glob.glob(str(full), recursive=True) if Path(p).is_file())  # noqa: PTH207
        return [(str(Path(path).resolve()), _label(path, folder)) for path in paths]
    fs, plain = fsspec.url_to_fs(pattern)
    return [(fs.unstrip_protocol(path),) * 2 for path in sorted(fs.glob(plain))]


def _label(path: str, folder: str) -> str:
    resolved, base = Path(path).resolve(), Path(folder).resolve()
    return resolved.relative_to(base).as_posix() if resolved.is_relative_to(base) else path
