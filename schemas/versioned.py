"""JSON files that say which version of their form they have."""

import json
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class ManifestError(ValueError):
    """A manifest that cannot be read, with what to do about it."""


class Strict(BaseModel):
    """Unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Versioned(Strict):
    """What such a file holds."""

    file: ClassVar[str]
    """Its name."""
    remedy: ClassVar[str]
    """What to do where it is damaged."""
    newest: ClassVar[int]
    """The version that is written, and the highest that can be read."""

    format_version: int

    def to_json(self) -> str:
        """Canonical text: equal content gives equal bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "") -> Self:
        """Parse a file's content.

        Raises:
            ManifestError: not JSON, of a newer format version, or not of this form.
        """
        where = where or cls.file
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ManifestError(f"{where} is not JSON ({error}); {cls.remedy}") from error
        version = data.get("format_version") if isinstance(data, dict) else None
        if not isinstance(version, int):
            raise ManifestError(f"{where} has no format_version: it is no Septet manifest")
        if version > cls.newest:
            raise ManifestError(
                f"{where} has format version {version}, this Septet reads up to {cls.newest}: "
                "upgrade Septet"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ManifestError(f"{where} does not have a manifest's form: {error}") from error
