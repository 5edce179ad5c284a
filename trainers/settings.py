"""Settings, and `key=value` changes to them with errors that help."""

import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Base of every group of settings: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
        place[name] = yaml.safe_load(text)
    try:
        return type(settings).model_validate(data)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']} "
            f"(found {fault['input']!r})"
            for fault in error.errors()
        )
        raise ValueError(f"settings that cannot be: {faults}") from error
