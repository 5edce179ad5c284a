"""What is asked about the objects of an image, and what is said of them (paper, appendix A.2):
object-aware question answering in its four forms, and detection."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from septet.trainers.task import SampleError

FORMS = ("list_objects", "one_object", "all_objects", "which_objects")
"""As the instructions name them; all are equally likely."""

FEWEST, MOST = 2, 5
"""Objects that are named in the last two forms."""

YES, NO = "Yes", "No"


class Objects(NamedTuple):
    """What is known of an image; the labels are no complete list of what it shows."""

    present: Sequence[str]
    absent: Sequence[str]
    """Verified ones, or others of a set's classes where there are none."""


class Asked(NamedTuple):
    """A question about objects."""

    form: str
    parts: dict[str, str]
    """What the instruction is filled with."""
    answer: str


def known_objects(
    labels: Sequence[str], absent: Sequence[str], classes: Sequence[str], draw: np.random.Generator
) -> Objects:
    """An image's objects, each once; where no label is known to be absent, some of `classes` that
    are not among its labels stand in.

    Raises:
        SampleError: no box has a label.
    """
    present = list(dict.fromkeys(label for label in labels if label))
    if not present:
        raise SampleError("no box has a label", "no_box")
    missing = [label for label in dict.fromkeys(absent) if label not in present]
    if not missing:
        others = [label for label in classes if label not in present]
        missing = [others[i] for i in draw.permutation(len(others))[: 2 * MOST]]
    return Objects(present, missing)


def ask(found: Objects, draw: np.random.Generator) -> Asked:
    """A question about objects, in one of the forms that what is known allows."""
    forms = [f for f in FORMS if f == FORMS[0] or found.absent]
    if len(found.present) < FEWEST:  # There is no Yes to whether all of several are there.
        forms = [form for form in forms if form != "all_objects"]
    form = forms[int(draw.integers(len(forms)))]
    if form == "list_objects":
        return Asked(form, {}, ", ".join(found.present))
    yes = bool(draw.integers(2))
    if form == "one_object":
        chosen = _some(found.present if yes else found.absent, 1, draw)
        return Asked(form, {"object": chosen[0]}, YES if yes else NO)
    wanted = int(draw.integers(FEWEST, MOST + 1))
    if form == "all_objects" and yes:
        named = _some(found.present, wanted, draw)
        return Asked(form, {"objects": ", ".join(named)}, YES)
    here = _some(found.present, int(draw.integers(1, wanted)), draw)
    others = _some(found.absent, wanted - len(here), draw)
    mixed = [*here, *others]
    mixed = [mixed[i] for i in draw.permutation(len(mixed))]
    parts = {"objects": ", ".join(mixed)}
    if form == "all_objects":
        return Asked(form, parts, NO)
    return Asked(form, parts, ", ".join(name for name in mixed if name in here))


def classes_to_detect(found: Objects, most_absent: int, draw: np.random.Generator) -> str:
    """The classes that a detection prompt names, present and absent ones in any order."""
    names = [*found.present, *_some(found.absent, most_absent, draw)]
    return " and ".join(names[i] for i in draw.permutation(len(names)))


def _some(names: Sequence[str], most: int, draw: np.random.Generator) -> list[str]:
    return [names[i] for i in draw.permutation(len(names))[:most]]
