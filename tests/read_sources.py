"""What the sources of a recipe hold, without a build."""

from collections import Counter
from pathlib import Path

from septet.pipelines.inputs import find_inputs
from septet.pipelines.sources.base import Found
from septet.pipelines.sources.table import SOURCES
from septet.pipelines.stages.source import read_slice
from septet.schemas.recipe_file import parse_recipe


def read_sources(recipe: Path) -> tuple[list[Found], Counter[str]]:
    """All that the inputs of a recipe hold, slice by slice, and the figures beside it."""
    parsed = parse_recipe(recipe.read_text())
    counts: Counter[str] = Counter()
    found: list[Found] = []
    for part in find_inputs(parsed, str(recipe.parent)):
        settings = parsed.sources[part.source]
        found += read_slice(SOURCES[settings.kind], settings, part, counts)
    return found, counts
