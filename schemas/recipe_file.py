"""A parser of recipe files, with errors that name the line, the key and the nearest valid
spelling."""

import difflib
import typing
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from septet.schemas.recipe import Recipe
from septet.schemas.sources import source_models
from septet.schemas.strict_yaml import YamlError, parse_yaml

_WORDS_OF_IMG2DATASET = {
    "url_list": "`paths` of a source",
    "input_format": "its ending says what kind of list a file is",
    "save_additional_columns": "`extra_cols` of a source",
    "verify_hash": "`hash_col` and `hash` of a source",
    "compute_hash": "each sample's sidecar has the SHA-256",
    "output_folder": "the second argument of `septet build`",
    "output_format": "shards are WebDataset tars",
    "number_sample_per_shard": "`write.samples_per_shard`",
    "processes_count": "`--workers` of `septet build`",
    "thread_count": "`fetch.concurrency`",
    "timeout": "`fetch.total_timeout`",
    "min_image_size": "`curate.min_side`",
    "max_image_area": "`image.max_pixels`",
    "user_agent_token": "`fetch.user_agent`",
    "disallowed_header_directives": "`fetch.opt_out`",
    "incremental_mode": "a build that is run again does what is not yet done",
}
"""What the settings of img2dataset are here, that have other names."""


class RecipeError(ValueError):
    """Raised when a recipe cannot be used: every fault with its line, one a line."""


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """Parse a recipe's YAML text.

    Args:
        text: The file's content.
        where: Its name in errors, usually its path.

    Raises:
        RecipeError: not YAML, a key twice, an unknown key or a value that does not fit.
    """
    try:
        node, data = parse_yaml(text, where)
    except YamlError as error:
        raise RecipeError(str(error)) from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        raise RecipeError(
            f"{where}: expected keys such as `name:` and `sources:` at the top, "
            f"found {'nothing' if data is None else type(data).__name__}"
        )
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        faults = [_explain(fault, node, data, where) for fault in error.errors()]
        raise RecipeError("\n".join(faults)) from error


def _explain(fault: Any, node: yaml.Node, data: Any, where: str) -> str:
    """Format one fault of pydantic's as `file:line: key: what was expected, what was found`."""
    path, line = _locate(fault["loc"], node)
    key = ".".join(str(part) for part in path)
    prefix = f"{where}:{line}: {key}: " if key else f"{where}: "
    if fault["type"] == "extra_forbidden":
        if ours := _WORDS_OF_IMG2DATASET.get(str(path[-1])):
            return f"{prefix}a word of img2dataset's; here: {ours}"
        known = sorted(_known_keys(path[:-1], data))
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
        return f"{prefix}unknown key; {hint}"
    if fault["type"] == "missing":
        return f"{prefix}this key is needed and missing"
    found = fault.get("input")
    message = str(fault["msg"]).removeprefix("Input ").strip()
    if fault["type"] == "value_error":  # raised by the recipe's own checks, which say it all
        return prefix + message.removeprefix("Value error, ")
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
