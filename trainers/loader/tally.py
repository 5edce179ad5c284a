"""Counts of what a step's rows really are: tasks, languages, outcomes."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple


class Counted(NamedTuple):
    """What is counted."""

    what: Literal["task", "moved", "joined", "language", "outcome"]
    name: str
    """A stream's for `task` (rows that it read), `moved` (rows that were drawn for it and went to
    another) and `joined` (samples behind the first one of a row); a language's code; or a name of
    `trainers.outcomes`."""


Tally = Counter[Counted]
"""Rows, by what is counted of them; losses are counted a sample that was tried."""


def tally_figures(tally: Tally, streams: Iterable[str]) -> dict[str, float]:
    """A tally as figures of a run.

    | figure | what it is |
    |---|---|
    | `share/TASK` | share of the rows that a task really has; of several tasks |
    | `language/CODE` | share of the rows of streams with languages that are in it |
    | `moved/TASK` | rows that went from this task to another, as the sample lacked something |
    | `joined/TASK` | samples that stand in rows of this task behind their first one |
    | `outcome/NAME` | samples with this outcome (`trainers.outcomes`) |
    """
    names = list(streams)
    rows = sum(n for (what, _), n in tally.items() if what == "task")
    known = sum(n for (what, _), n in tally.items() if what == "language")
    found = {}
    if len(names) > 1 and rows:
        found = {f"share/{name}": tally[Counted("task", name)] / rows for name in names}
    for (what, name), n in sorted(tally.items()):
        if what == "language":
            found[f"language/{name}"] = n / known
        elif what in ("moved", "joined", "outcome"):
            found[f"{what}/{name}"] = float(n)
    return found
