"""The corpus manifest, `corpus.json`: what a corpus holds and how it came to be.

It has no time and no absolute path in it, so that two builds of one recipe write equal bytes.
"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

FORMAT_VERSION = 1
"""Raised whenever a reader of the previous version could misread what is written."""

MANIFEST_NAME = "corpus.json"


class ManifestError(ValueError):
    """A manifest that cannot be read, with what to do about it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputFile(_Strict):
    """A file that the build read."""

    path: str
    """As the recipe's pattern found it, relative to the recipe's folder where it lies below."""
    bytes: int
    digest: str
    """See `preprocess.files.content_digest`."""


class Shard(_Strict):
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


class Manifest(_Strict):
    """A whole corpus."""

    format_version: int = FORMAT_VERSION
    name: str
    septet: str
    """Version of Septet that wrote it."""
    recipe: dict[str, Any] | None = None
    """The resolved recipe; null for an indexed folder of foreign shards."""
    inputs: list[InputFile] = []
    shards: list[Shard]
    sorted_keys: bool
    """Whether keys ascend within and across shards (true for every build)."""
    counts: dict[str, int] = {}
    """Rows that entered and left the build; the funnel itself is in `stats/`."""

    @property
    def samples(self) -> int:
        """How many samples the shards hold together."""
        return sum(shard.samples for shard in self.shards)

    def to_json(self) -> str:
        """Canonical text: equal manifests give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = MANIFEST_NAME) -> "Manifest":
        """Parse a manifest.

        Raises:
            ManifestError: not JSON, of a newer format version, or not of this form.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ManifestError(f"{where} is not JSON ({error}); rebuild the corpus") from error
        version = data.get("format_version") if isinstance(data, dict) else None
        if not isinstance(version, int):
            raise ManifestError(f"{where} has no format_version: it is no Septet manifest")
        if version > FORMAT_VERSION:
            raise ManifestError(
                f"{where} has format version {version}, this Septet reads up to "
                f"{FORMAT_VERSION}: upgrade Septet"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ManifestError(f"{where} does not have a manifest's form: {error}") from error
