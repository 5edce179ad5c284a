"""What the rules of a recipe measure of one sample, beside the cuts that they hold it to.

The recipe is the corpus's own word, and may be a stranger's: rules that bound a number are asked,
none that would read a file or import a module.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from septet.preprocess.rules.apply import as_text, asked_rules
from septet.preprocess.rules.captions import Captions
from septet.schemas.cuts import CUTS, is_least
from septet.schemas.filter import Filter
from septet.schemas.tables import CANDIDATES


@dataclass(frozen=True)
class Measured:
    """A number that a rule measured of a sample: the reason that rows beyond the cut are dropped
    for, the setting, the value, and what is kept."""

    stage: str
    reason: str
    setting: str
    value: str
    kept: str
    passes: bool


def measure(recipe: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> list[Measured]:
    """What is measured of a sample, by the rules that a recipe asks for.

    Args:
        recipe: The recipe; None where the corpus has none.
        facts: The sample's row of the sidecar.

    Raises:
        ValueError: the recipe is none, or a caption cannot be measured.
    """
    return [*_of_caption(_section(recipe, "filter"), facts),
            *_of_image(_section(recipe, "curate"), facts)]  # fmt: skip


def _section(recipe: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    section = (recipe or {}).get(name)
    return section if isinstance(section, Mapping) else {}


def _of_caption(section: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Measured]:
    caption = facts.get("caption")
    if not section or not isinstance(caption, str):
        return []
    off = {name: 0 if is_least(name) and "letters" not in name and "script" not in name else None
           for name in CUTS["filter"]}  # fmt: skip
    numbers = {name: section.get(name, unset) for name, unset in off.items()}
    settings = Filter.model_validate(
        {"rules": "none", "scripts": section.get("scripts") or [], **numbers}
    )
    known = {name: facts.get(name) for name in CANDIDATES.names}
    known |= {"id": "", "source": "", "image_url": facts.get("url")}
    if facts.get("language_from") == "page":
        known["page_language"] = facts.get("language")
    captions = Captions(pa.Table.from_pylist([known], CANDIDATES))
    found = []
    for rule in (one for one in asked_rules(settings) if one.cuts):
        verdict = rule.judge(captions)
        setting = rule.cuts[0 if verdict.held_to is None else int(verdict.held_to[0])]
        value = as_text(verdict.value)[0].as_py()
        kept = _kept("filter", setting, getattr(settings, setting))
        passes = not verdict.failed[0].as_py()
        found.append(Measured("filter", rule.reason, setting, str(value), kept, passes))
    return found


def _of_image(section: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Measured]:
    names = ("original_bytes", "original_width", "original_height")
    size, width, height = (facts.get(name) for name in names)
    values: dict[str, Any] = {"min_bytes": size}
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        ratio = round(max(width, height) / min(width, height), 3)
        values |= {"min_side": min(width, height), "min_pixels": width * height,
                   "max_aspect_ratio": ratio}  # fmt: skip
    found = []
    for setting, cut in CUTS["curate"].items():
        bound, value = section.get(setting), values.get(setting)
        if not bound or not isinstance(bound, int | float) or not isinstance(value, int | float):
            continue
        passes = value >= bound if is_least(setting) else value <= bound
        kept = _kept("curate", setting, bound)
        found.append(Measured("curate", cut.reason, setting, str(value), kept, passes))
    return found


def _kept(stage: str, setting: str, bound: Any) -> str:
    side = "at least" if is_least(setting) else "at most"
    return f"{side} {bound} {CUTS[stage][setting].unit}"
