"""JSON files that state the version of their form.

A newer minor version only adds keys: a reader that does not know them passes over them. A newer
major version means something else by what it says, and is refused.
"""

import json
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class ManifestError(ValueError):
    """Raised when a manifest cannot be read, with what to do about it."""


class Strict(BaseModel):
    """Plain data whose values never change; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Versioned(Strict):
    """The content of a JSON file with a version."""

    file: ClassVar[str]
    """Its name."""
    remedy: ClassVar[str]
    """The advice where the file is damaged."""
    newest: ClassVar[int]
    """The major version that is written, and the highest that can be read."""
    newest_minor: ClassVar[int] = 0
    """The minor version that is written."""

    format_version: int
    format_minor: int = 0

    def to_json(self) -> str:
        """Canonical text: equal content gives equal bytes."""
        data = self.model_dump(mode="json")
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "") -> Self:
        """Parse a file's content.

        Raises:
            ManifestError: not JSON, of a newer major version, or not of this form.
        """
        where = where or cls.file
        data = parse_versioned(text, where, cls.newest, cls.remedy)
        minor = data.get("format_minor", 0)
        newer = isinstance(minor, int) and minor > cls.newest_minor
        try:
            return cls.model_validate(data, extra="ignore" if newer else "forbid")
        except ValidationError as error:
            raise ManifestError(f"{where} does not have a manifest's form: {error}") from error


def parse_versioned(text: str | bytes, where: str, newest: int, remedy: str) -> dict[str, object]:
    """The JSON object of a versioned file.

    Args:
        text: The file's content.
        where: The file's name in errors.
        newest: The highest major version that can be read.
        remedy: The advice where it is damaged.

    Raises:
        ManifestError: not JSON, without a version, or of a newer major version.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where} is not JSON ({error}); {remedy}") from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise ManifestError(f"{where} has no format_version: it is no Septet manifest")
    if version > newest:
        raise ManifestError(
            f"{where} has format version {version}, this Septet reads up to {newest}: "
            "upgrade Septet"
        )
    return dict(data)
