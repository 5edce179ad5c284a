"""The manifest of an annotation column, `columns/<name>/column.json`.

It lies with the column's own shards, so that a new column rewrites nothing of the corpus.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from septet.schemas.layout import COLUMN_MANIFEST
from septet.schemas.versioned import Strict, Versioned

FORMAT_VERSION = 1
"""Raised whenever a reader of the previous version could misread what is written."""


class ArrayFormat(Strict):
    """One array of a member."""

    dtype: Literal["uint8", "uint16", "int32", "int64", "float16", "float32"]
    """Little-endian."""
    shape: tuple[int | str, ...]
    """Sizes, outermost first, in row-major order; a name where the size differs by sample. Equal
    names are equal sizes within a sample."""
    least: float | None = None
    greatest: float | None = None
    """Bounds of the values, both inclusive."""


class MemberFormat(Strict):
    """What a column's member of one sample holds. A sample without a value has an empty member."""

    ext: str
    """Extension of the member, for example "codes.u16": a WebDataset reader that joins columns
    sees it under this name."""
    kind: Literal["raw", "safetensors", "json", "text"]
    """`raw`: one array's bytes and nothing else. `safetensors`: arrays by name. `json`, `text`:
    UTF-8."""
    arrays: dict[str, ArrayFormat] = Field(default_factory=dict)
    """The arrays of a `raw` (one) or `safetensors` member."""
    notes: dict[str, Any] = Field(default_factory=dict)
    """What a reader has to know besides: a grid, the order of classes, a tokenizer, views."""


class ColumnShard(Strict):
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


class ColumnManifest(Versioned):
    """A whole column."""

    file: ClassVar[str] = COLUMN_MANIFEST
    remedy: ClassVar[str] = "annotate again"
    newest: ClassVar[int] = FORMAT_VERSION

    format_version: int = FORMAT_VERSION
    name: str
    kind: str
    version: int
    """Version of the code that made the values."""
    septet: str
    fingerprint: str
    """Changes with whatever decides the values: kind, version, settings, models, columns read."""
    settings: dict[str, Any]
    models: dict[str, str] = Field(default_factory=dict)
    """Digests of the files of weights that were used, by name."""
    reads: dict[str, str] = Field(default_factory=dict)
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
