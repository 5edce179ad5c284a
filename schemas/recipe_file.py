"""Reading a recipe file, with errors that name the line, the key and the nearest valid spelling."""

import difflib
import typing
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from septet.schemas.recipe import Recipe
from septet.schemas.sources import source_models


class RecipeError(ValueError):
    """A recipe that cannot be used: every fault with its line, one a line."""


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """Parse a recipe's YAML text.

    Args:
        text: The file's content.
        where: How to call it in errors, usually its path.

    Raises:
        RecipeError: not YAML, a key twice, an unknown key or a value that does not fit.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: not YAML: {error}") from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        raise RecipeError(
            f"{where}: expected keys such as `name:` and `sources:` at the top, "
            f"found {'nothing' if data is None else type(data).__name__}"
        )
    twice = list(_duplicate_keys(node))
    if twice:
        raise RecipeError("\n".join(f"{where}:{line}: key `{key}` twice" for line, key in twice))
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        faults = [_explain(fault, node, data, where) for fault in error.errors()]
        raise RecipeError("\n".join(faults)) from error


def _duplicate_keys(node: yaml.Node) -> typing.Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicate_keys(value)


def _explain(fault: Any, node: yaml.Node, data: Any, where: str) -> str:
    """One fault of pydantic's as `file:line: key: what was expected, what was found`."""
    path, line = _locate(fault["loc"], node)
    key = ".".join(str(part) for part in path)
    prefix = f"{where}:{line}: {key}: " if key else f"{where}: "
    if fault["type"] == "extra_forbidden":
        known = sorted(_known_keys(path[:-1], data))
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
        return f"{prefix}unknown key; {hint}"
    if fault["type"] == "missing":
        return f"{prefix}this key is needed and missing"
    found = fault.get("input")
    message = str(fault["msg"]).removeprefix("Input ").strip()
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kinds = ", ".join(repr(kind) for kind in source_models())
        found = found.get("kind") if isinstance(found, dict) else found
        key_prefix = prefix.rstrip(": ") + ".kind: "
        return f"{key_prefix}expected one of {kinds}, found {found!r}"
    if fault["type"] == "literal_error" and isinstance(found, str):
        options = [
            part.strip(" '\"") for part in fault["ctx"]["expected"].replace(" or ", ",").split(",")
        ]
        near = difflib.get_close_matches(found, options, n=1, cutoff=0.5)
        message += f"; did you mean `{near[0]}`?" if near else ""
    return f"{prefix}{message}, found {found!r}"


def _locate(loc: Sequence[int | str], node: yaml.Node) -> tuple[list[int | str], int]:
    """The parts of `loc` that the file itself has (union tags are pydantic's), and the line."""
    path: list[int | str] = []
    line = node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(part)]
            if found:
                line, node = found[0][0].start_mark.line + 1, found[0][1]
            elif part != loc[-1]:
                continue  # a union's tag
            path.append(part)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
            path.append(part)
    return path, line


def _known_keys(path: Sequence[int | str], data: Any) -> list[str]:
    """The keys that the recipe's models know at a place."""
    model: type[BaseModel] = Recipe
    for part in path:
        data = data[part]
        if isinstance(part, int):
            continue
        field = model.model_fields[str(part)]
        model = _model_of(field, data)
    if isinstance(data, dict) and isinstance(path[-1] if path else "", int):
        model = _pick(_models_in(field.annotation), data)
    return list(model.model_fields)


def _model_of(field: FieldInfo, data: Any) -> type[BaseModel]:
    models = _models_in(field.annotation)
    return _pick(models, data) if models else Recipe


def _pick(models: list[type[BaseModel]], data: Any) -> type[BaseModel]:
    for model in models:
        kind = model.model_fields.get("kind")
        if kind and isinstance(data, dict) and data.get("kind") in typing.get_args(kind.annotation):
            return model
    return models[0]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]
