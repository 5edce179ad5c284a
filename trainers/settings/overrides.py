"""`key=value` changes to settings, with errors that help."""

import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from septet.schemas.strict_yaml import YamlError, parse_yaml
from septet.trainers.settings.base import Settings

S = TypeVar("S", bound=Settings)


def _nearest(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"did you mean {close[0]!r}? " if close else ""


def _keys(settings: BaseModel, prefix: str = "") -> list[str]:
    keys = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        is_group = isinstance(value, BaseModel)
        keys += _keys(value, f"{prefix}{name}.") if is_group else [prefix + name]
    return keys


def override(settings: S, changes: Sequence[str]) -> S:
    """Apply `a.b=value` changes, values in YAML's spelling.

    Raises:
        ValueError: no `=`, a key that does not exist, or a value of the wrong kind.
    """
    known = _keys(settings)
    data: dict[str, Any] = settings.model_dump()
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set {change}: expected KEY=VALUE, for example optimizer.lr=1e-4")
        if key not in known:
            raise ValueError(
                f"--set {change}: there is no setting {key!r}; {_nearest(key, known)}"
                f"The settings are: {', '.join(known)}"
            )
        *groups, name = key.split(".")
        place = data
        for group in groups:
            place = place[group]
        try:
            place[name] = parse_yaml(text, f"--set {change}")[1]
        except YamlError as error:
            raise ValueError(" ".join(str(error).split())) from error
    try:
        return type(settings).model_validate(data)
    except ValidationError as error:
        faults = "; ".join(_told(fault) for fault in error.errors())
        raise ValueError(f"invalid settings: {faults}") from error


def _told(fault: Any) -> str:
    where = ".".join(map(str, fault["loc"])) or "settings"
    found = fault["input"]
    told = f"{where}: {fault['msg']}"
    if not isinstance(found, dict):  # Of a whole group of settings the fault says enough.
        told += f" (found {found!r})"
    if fault["type"] in ("tuple_type", "list_type") and isinstance(found, str):
        told += f"; write lists as [{found.strip('()[] ')}]"
    return told
