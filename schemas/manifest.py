"""The corpus manifest, `corpus.json`: what a corpus holds and how it came to be.

It has no time and no absolute path in it, so that two builds of one recipe write equal bytes.
"""

from typing import Any, ClassVar

from pydantic import Field

from septet.schemas.layout import MANIFEST
from septet.schemas.versioned import Strict, Versioned

FORMAT_VERSION = 1
"""Raised whenever a reader of the previous version could misread what is written."""

MANIFEST_NAME = MANIFEST


class InputFile(Strict):
    """A file that the build read."""

    path: str
    """As the recipe's pattern found it, relative to the recipe's folder where it lies below."""
    bytes: int
    digest: str
    """See `septet.preprocess.files.content_digest`."""


class Shard(Strict):
    """One tar with its sidecar; paths are relative to the corpus."""

    tar: str
    sidecar: str
    samples: int
    bytes: int
    """Size of the tar."""
    tar_sha256: str
    sidecar_sha256: str
    first_key: str
    last_key: str


class Manifest(Versioned):
    """A whole corpus."""

    file: ClassVar[str] = MANIFEST_NAME
    remedy: ClassVar[str] = "rebuild the corpus"
    newest: ClassVar[int] = FORMAT_VERSION

    format_version: int = FORMAT_VERSION
    name: str
    septet: str
    """Version of Septet that wrote it."""
    recipe: dict[str, Any] | None = None
    """The resolved recipe; null for an indexed folder of foreign shards."""
    inputs: list[InputFile] = Field(default_factory=list)
    shards: list[Shard]
    sorted_keys: bool
    """Whether keys ascend within and across shards (true for every build)."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Rows that entered and left the build; the funnel itself is in `stats/`."""

    @property
    def samples(self) -> int:
        """How many samples the shards hold together."""
        return sum(shard.samples for shard in self.shards)
