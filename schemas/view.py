"""A view of a corpus: some of its samples, by their ids, and what they were chosen by."""

import re
from typing import ClassVar

from pydantic import Field

from septet.schemas.versioned import Strict, Versioned

VIEW = "view.json"
IDS = "ids.npy"
PLACES = "places.npy"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
"""The form of a view's name, which is the name of a folder."""


class Kept(Strict):
    """How many samples one condition keeps, of all that were looked at."""

    keep: str
    samples: int = Field(ge=0)


class View(Versioned):
    """The head of a view. It never changes; a view of equal choices has equal bytes."""

    file: ClassVar[str] = VIEW
    remedy: ClassVar[str] = "make the view again with `septet curate`"
    newest: ClassVar[int] = 1
    newest_minor: ClassVar[int] = 1

    format_version: int = 1
    format_minor: int = 1
    name: str
    corpus: str
    """The corpus's name."""
    of: str | None = None
    """The view that it was chosen from; null for the whole corpus."""
    shard_list: str
    """SHA-256 of the corpus's list of shards when it was chosen. Ids hold whatever becomes of
    shards; places as long as the list is the same."""
    keep: list[Kept] = Field(default_factory=list)
    by: str | None = None
    """The field within whose values fractions are taken."""
    split: dict[str, float] = Field(default_factory=dict)
    """Shares that were held out, by name."""
    part: str | None = None
    """Which of these this is; null for the rest."""
    given: int = Field(ge=0)
    """Samples that were looked at."""
    samples: int = Field(ge=0)
    ids_sha256: str
    """Of `ids.npy`."""
    places_sha256: str = ""
    """Of `places.npy`; views of minor version 0 have none."""
    septet: str
