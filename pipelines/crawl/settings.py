"""Settings of a crawl: where it may go, how far, and how it asks."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from septet.preprocess import files
from septet.schemas.recipe import Fetch

_NAME = "crawl.json"


class CrawlSettings(BaseModel):
    """The settings of a crawl. Those of `SCOPE` stay as they are when it is resumed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: list[str] = Field(
        default=[],
        description="Hosts beside those of the seeds; names below each belong to it.",
    )
    depth: int = Field(default=3, ge=0, description="Most links from a seed to a page.")
    images: bool = Field(default=False, description="Whether images on these hosts are kept, too.")
    sitemaps: bool = Field(default=True, description="Whether sitemaps are read.")
    max_page_bytes: int = Field(default=8 * 2**20, gt=0, description="Largest page.")
    pages: int = Field(default=1000, gt=0, description="Most pages that are asked for.")
    pages_per_host: int = Field(default=1000, gt=0, description="Most pages of one host.")
    pages_per_pattern: int = Field(
        default=500,
        gt=0,
        description="Most pages of one host whose addresses are alike but for numbers and the "
        "values of a query: so a calendar without end has one.",
    )
    per_domain: int = Field(
        default=4,
        gt=0,
        description="Most hosts of one registered domain that are asked at once. Together they are "
        "asked at most so many times as often as one of them.",
    )
    total_bytes: int = Field(default=10 * 2**30, gt=0, description="Most bytes of answers.")
    hours: float = Field(default=24, gt=0, description="Most hours of one run.")
    fetch: Fetch = Field(default=Fetch(), description="How servers are asked; as in a recipe.")


def parse_settings(given: Mapping[str, Any]) -> CrawlSettings:
    """The settings of a crawl from plain data.

    Raises:
        ValueError: every fault, one a line, with what was found.
    """
    try:
        return CrawlSettings.model_validate(given)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            key = ".".join(map(str, fault["loc"]))
            message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
            if fault["type"] == "extra_forbidden":
                model = Fetch if fault["loc"][0] == "fetch" else CrawlSettings
                near = difflib.get_close_matches(str(fault["loc"][-1]), model.model_fields, n=1)
                message = "unknown setting" + (f"; did you mean `{near[0]}`?" if near else "")
            faults.append(f"{key}: {message}, found {fault['input']!r}")
        raise ValueError("\n".join(faults)) from error


SCOPE = ("seeds", "hosts", "depth", "images", "sitemaps", "max_page_bytes")


_OWN = ("warc", "sites", "journal.jsonl")
"""What a crawl makes, and would cut or overwrite, in its folder."""


class ScopeError(ValueError):
    """Raised when a crawl is to be resumed with other settings that decide where it goes, or in a
    folder that holds something else."""


def keep_settings(folder: Path, settings: CrawlSettings, seeds: list[str]) -> None:
    """Write down the settings of a crawl, for the next run to compare.

    Raises:
        ScopeError: it was begun with others, or what is there is no crawl.
    """
    path = folder / _NAME
    told = settings.model_dump(mode="json") | {"seeds": seeds}
    if not path.exists():
        if foreign := [name for name in _OWN if (folder / name).exists()]:
            raise ScopeError(
                f"{folder} has {' and '.join(foreign)} but no {_NAME}: it is no folder of a crawl, "
                "and what is in it would be lost, so use another one"
            )
    else:
        known = _read(path)
        for name in SCOPE:
            if known.get(name) != told[name]:
                raise ScopeError(
                    f"{folder} was begun with {name}: {known.get(name)}, this run has "
                    f"{told[name]}: what was passed over then is not found again, so use another "
                    "folder, or the same setting"
                )
    files.write_bytes(str(path), json.dumps(told, indent=1).encode() + b"\n")


def _read(path: Path) -> dict[str, Any]:
    """The settings that a crawl was begun with.

    Raises:
        ScopeError: they are none.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, dict) or "seeds" not in known:
        raise ScopeError(f"{path} holds no settings of a crawl: use another folder")
    return known
