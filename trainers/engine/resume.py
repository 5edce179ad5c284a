"""What a run must share with the one that it resumes, and what may differ."""

from collections.abc import Mapping
from typing import Any

REFUSED: dict[str, set[str] | None] = {
    "model": None,
    "corpora": None,
    "shares": None,
    "parameters": None,
    "train": {"global_batch", "seed", "shuffle_window", "ema", "complete_only"},
}
"""What may not differ: the function that weights mean, the data and its order, and the state that
is kept. None stands for everything below a name."""

ORDER = "order"
"""Digests of the orders of streams: they follow from the data and the settings, and differ besides
only where the program or numpy draws otherwise than the version that began the run."""

SHOWN = 4
"""So many parameters of other shapes are named; a changed size changes most."""

Described = Mapping[str, Any]
"""A run's settings, corpora and shapes of parameters by group and name; values are JSON's."""


def differences(then: Described, now: Described) -> tuple[list[str], list[str]]:
    """Phrases of what differs between the run that saved and this one: what makes it another run,
    and what may change."""
    refused: list[str] = []
    told: list[str] = []
    for group in sorted((then.keys() | now.keys()) - {ORDER}):
        before, after = _flat(then.get(group, {})), _flat(now.get(group, {}))
        names = [n for n in sorted(before.keys() | after.keys()) if _at(before, n) != _at(after, n)]
        only = REFUSED.get(group, set[str]())
        for name in names[: SHOWN if group == "parameters" else None]:
            phrase = (
                f"{group}{name and '.' + name} was {_at(before, name)}, now is {_at(after, name)}"
            )
            (refused if only is None or name in only else told).append(phrase)
    before, after = then.get(ORDER, {}), now.get(ORDER, {})
    if not refused and (odd := [name for name in after if before.get(name) != after[name]]):
        refused.append(
            f"the samples of {', '.join(odd)} come in another order: the version of septet or of "
            "numpy that began the run drew them otherwise"
        )
    return refused, told


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(inner, f"{prefix}.{name}" if prefix else name)
    return found


def _at(flat: dict[str, Any], name: str) -> str:
    return repr(flat[name]) if name in flat else "absent"
