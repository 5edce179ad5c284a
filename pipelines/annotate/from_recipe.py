"""The columns that a recipe asks for: the last stage of a build."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from septet.pipelines.annotate.annotate import annotate, plan_column, resolve_column
from septet.pipelines.progress import BuildProgress
from septet.pipelines.runners import Runner
from septet.preprocess.columns.base import Column
from septet.preprocess.columns.registry import ColumnError, make_column
from septet.schemas.columns import ColumnManifest
from septet.schemas.recipe import Annotation, Recipe
from septet.schemas.recipe_file import RecipeError


def recipe_columns(recipe: Recipe, folder: str) -> dict[str, Column]:
    """The columns that a recipe asks for, by name; their models are found, not loaded.

    Args:
        recipe: A parsed recipe.
        folder: Where its relative paths start.

    Raises:
        RecipeError: no such kind, settings that do not fit, models that are missing, or a column
            that is to be made from one that comes after it.
    """
    return _columns(recipe, folder, lambda kind, settings: resolve_column(kind, settings)[0])


def unresolved_columns(recipe: Recipe, folder: str) -> dict[str, Column]:
    """The same, their models not looked for yet.

    Raises:
        RecipeError: see `recipe_columns`; models are not missed.
    """
    return _columns(recipe, folder, make_column)


def _columns(
    recipe: Recipe, folder: str, make: Callable[[str, Mapping[str, Any]], Column]
) -> dict[str, Column]:
    found: dict[str, Column] = {}
    later = [annotation.title for annotation in recipe.annotate]
    for number, annotation in enumerate(recipe.annotate):
        try:
            column = make(annotation.column, column_settings(annotation, folder))
            first = next((name for name in column.columns() if name in later), None)
            if first is not None:
                raise ColumnError(f"column {annotation.title!r} is made from {first!r}: list it "
                                  "after that one")  # fmt: skip
        except ValueError as error:
            raise RecipeError(f"annotate.{number}: {error}") from error
        found[annotation.title] = column
        later.remove(annotation.title)
    return found


def annotate_corpus(
    recipe: Recipe, folder: str, corpus: str, runner: Runner, progress: BuildProgress
) -> tuple[list[ColumnManifest], dict[str, Column], bool]:
    """Make the columns of a recipe, in its order; those that are up to date are left as they are.

    Returns:
        All manifests, the columns by name, and whether there was anything to do.

    Raises:
        ValueError: see `plan_column` and `annotate`.
    """
    manifests, made, worked = [], {}, False
    for one in recipe.annotate:
        plan = plan_column(corpus, one.title, one.column, column_settings(one, folder))
        manifest, any_work = annotate(plan, False, runner, progress)
        manifests.append(manifest)
        made[plan.name] = plan.column
        worked = worked or any_work
    return manifests, made, worked


def column_settings(annotation: Annotation, folder: str) -> dict[str, Any]:
    """An annotation's settings; paths that begin with `./` or `../` start at `folder`."""

    def placed(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(("./", "../")):
            return os.path.normpath(Path(folder).absolute() / value)  # links keep their names
        if isinstance(value, list):
            return [placed(item) for item in value]
        return value

    return {key: placed(value) for key, value in annotation.settings.items()}
