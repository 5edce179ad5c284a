"""A writer of the recipe reference: `python -m septet.schemas.recipe_reference`."""

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from septet.schemas.decontaminate import EvaluationList
from septet.schemas.filter import OwnRule
from septet.schemas.recipe import Annotation, Recipe
from septet.schemas.sources import source_models

_HEAD = """# Recipe reference

Generated from `schemas/recipe.py` and `schemas/sources.py` by `make docs`; a test keeps it true.

A recipe is one YAML file. Unknown keys are errors that name the line and the nearest valid
spelling. `septet build RECIPE --explain` prints it with every default filled in.
"""


def reference() -> str:
    """The reference as Markdown."""
    parts = [_HEAD, *_section("top level", Recipe, [])]
    for kind, source in source_models().items():
        parts += _section(f"sources: `kind: {kind}`", source, ["kind"])
    for name, field in Recipe.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            parts += _section(name, model, [])
    parts += _section("decontaminate.against", EvaluationList, [])
    parts += _section("filter.own_rules", OwnRule, [])
    parts += _section("annotate", Annotation, [])
    return "\n".join(parts)


def _section(title: str, model: type[BaseModel], skip: list[str]) -> Iterator[str]:
    yield f"## {title}\n\n{' '.join((model.__doc__ or '').split())}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for name, field in model.model_fields.items():
        if name not in skip:
            kind, default = _type(field.annotation), _default(field.default)
            yield f"| `{name}` | {kind} | {default} | {field.description or ''} |"
    yield ""


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "*needed*"
    if isinstance(value, BaseModel):
        return "see below"
    return "none" if value is None else f"`{value}`"


def _type(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return "section" if issubclass(annotation, BaseModel) else annotation.__name__
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is typing.Annotated:
        return _type(arguments[0])
    return " or ".join(_type(part) for part in arguments if part is not type(None))


if __name__ == "__main__":
    print(reference())
