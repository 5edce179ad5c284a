"""The manifest of an annotation column, `columns/<name>/column.json`.

It lies with the column's own shards, so that a new column rewrites nothing of the corpus.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.manifest import ManifestError

FORMAT_VERSION = 1
"""Raised whenever a reader of the previous version could misread what is written."""

COLUMNS = "columns"
COLUMN_NAME = "column.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArrayFormat(_Strict):
    """One array of a member."""

    dtype: Literal["uint8", "uint16", "int32", "int64", "float16", "float32"]
    """Little-endian."""
    shape: tuple[int | str, ...]
    """Sizes, outermost first, in row-major order; a name where the size differs by sample. Equal
    names are equal sizes within a sample."""
    least: float | None = None
    greatest: float | None = None
    """Bounds of the values, both inclusive."""


class MemberFormat(_Strict):
    """What a column's member of one sample holds. A sample without a value has an empty member."""

    ext: str
    """Extension of the member, for example "codes.u16": a WebDataset reader that joins columns
    sees it under this name."""
    kind: Literal["raw", "safetensors", "json", "text"]
    """`raw`: one array's bytes and nothing else. `safetensors`: arrays by name. `json`, `text`:
    UTF-8."""
    arrays: dict[str, ArrayFormat] = {}
    """The arrays of a `raw` (one) or `safetensors` member."""
    notes: dict[str, Any] = {}
    """What a reader has to know besides: a grid, the order of classes, a tokenizer, views."""


class ColumnShard(_Strict):
    """One tar of a column with its sidecar; paths are relative to the corpus."""

    tar: str
    sidecar: str
    samples: int
    bytes: int
    """Size of the tar."""
    tar_sha256: str
    sidecar_sha256: str
    base_sha256: str
    """SHA-256 of the base shard's tar that it was made from."""


class ColumnManifest(_Strict):
    """A whole column."""

    format_version: int = FORMAT_VERSION
    name: str
    kind: str
    version: int
    """Version of the code that made the values."""
    septet: str
    fingerprint: str
    """Changes with whatever decides the values: kind, version, settings, models, columns read."""
    settings: dict[str, Any]
    models: dict[str, str] = {}
    """Digests of the files of weights that were used, by name."""
    reads: dict[str, str] = {}
    """Fingerprints of the columns that it was made from, by name."""
    member: MemberFormat
    shards: list[ColumnShard]
    counts: dict[str, int]
    """`samples`; `values`, those that have one; and for each reason how many have none."""

    @property
    def samples(self) -> int:
        """How many samples the column has a row for."""
        return self.counts["samples"]

    @property
    def values(self) -> int:
        """How many of them have a value."""
        return self.counts["values"]

    @property
    def reasons(self) -> dict[str, int]:
        """How many have none, by reason."""
        return {k: n for k, n in self.counts.items() if k not in ("samples", "values")}

    @property
    def size(self) -> int:
        """Bytes of the tars together."""
        return sum(shard.bytes for shard in self.shards)

    def to_json(self) -> str:
        """Canonical text: equal manifests give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = COLUMN_NAME) -> "ColumnManifest":
        """Parse a column's manifest.

        Raises:
            ManifestError: not JSON, of a newer format version, or not of this form.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ManifestError(f"{where} is not JSON ({error}); annotate again") from error
        version = data.get("format_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ManifestError(
                f"{where} has format version {version}, this Septet reads up to "
                f"{FORMAT_VERSION}: upgrade Septet"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ManifestError(f"{where} does not have a column's form: {error}") from error
