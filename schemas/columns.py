"""The head of an annotation column, `column.json`, and the rows of its list of shards.

Both lie with the column's own shards, so that a new column rewrites nothing of the corpus.
"""

from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from septet.schemas.layout import COLUMN_MANIFEST, column_manifest
from septet.schemas.manifest import SHARD_FILE, ListFile, ShardFile
from septet.schemas.versioned import Strict, Versioned

FORMAT_VERSION = 2
"""Raised whenever a reader of the previous version could misread what is written."""
FORMAT_MINOR = 1
"""Raised whenever keys or columns are added that a reader of the previous one may pass over."""

COLUMN_SHARD_LIST = pa.schema([*SHARD_FILE, pa.field("base_sha256", pa.string(), nullable=False)])
"""The rows of a column's `shards.parquet`, see `ColumnShard`."""


class ArrayFormat(Strict):
    """The format of one array of a member."""

    dtype: Literal["uint8", "uint16", "int32", "int64", "float16", "float32"]
    """Little-endian."""
    shape: tuple[int | str, ...]
    """Sizes, outermost first, in row-major order; a name where the size differs by sample. Equal
    names are equal sizes within a sample."""
    least: float | None = None
    greatest: float | None = None
    """Bounds of the values, both inclusive."""


class MemberFormat(Strict):
    """The format of a column's member of one sample. A sample without a value has an empty
    member."""

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


class ColumnShard(ShardFile):
    """One tar of a column with its sidecar."""

    base_sha256: str
    """SHA-256 of the base shard's tar that it was made from."""


class ColumnManifest(Versioned):
    """The head of a complete column."""

    file: ClassVar[str] = COLUMN_MANIFEST
    remedy: ClassVar[str] = "annotate again"
    newest: ClassVar[int] = FORMAT_VERSION
    newest_minor: ClassVar[int] = FORMAT_MINOR

    format_version: int = FORMAT_VERSION
    format_minor: int = FORMAT_MINOR
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
    bytes: int = Field(ge=0)
    """Size of the tars together."""
    counts: dict[str, int]
    """`samples`; `values`, those that have one; and for each reason how many have none."""
    languages: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Of each language of the corpus (`und` where it is not known): `samples`; `values`, those
    that have one."""
    rows: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Of each file of many rows that it was made from, or part of one: `given`; `used`, those that
    a sample can have; and for each reason how many are not. A part is named where a file has
    several, as COCO's instances have `annotations` and `images`."""
    base_list: str = ""
    """SHA-256 of the corpus's list of shards when the column was made."""
    shard_list: ListFile
    """Rows of `COLUMN_SHARD_LIST`, one for each shard of the corpus, in its order."""

    @property
    def samples(self) -> int:
        """The number of samples that the column has a row for."""
        return self.counts["samples"]

    @property
    def values(self) -> int:
        """The number of samples that have a value."""
        return self.counts["values"]

    @property
    def reasons(self) -> dict[str, int]:
        """The numbers of samples without a value, by reason."""
        return {k: n for k, n in self.counts.items() if k not in ("samples", "values")}


class ColumnManifestV1(Versioned):
    """A `column.json` of format version 1, which holds its list of shards itself."""

    file: ClassVar[str] = COLUMN_MANIFEST
    remedy: ClassVar[str] = "annotate again"
    newest: ClassVar[int] = 1

    name: str
    kind: str
    version: int
    septet: str
    fingerprint: str
    settings: dict[str, Any]
    models: dict[str, str] = Field(default_factory=dict)
    reads: dict[str, str] = Field(default_factory=dict)
    member: MemberFormat
    shards: list[ColumnShard]
    counts: dict[str, int]

    def head(self) -> ColumnManifest:
        """The same content as a head of today; its list points to `column.json` itself."""
        return ColumnManifest(
            **self.model_dump(exclude={"shards", "format_minor"}),
            bytes=sum(shard.bytes for shard in self.shards),
            shard_list=ListFile(path=column_manifest(self.name), rows=len(self.shards), sha256=""),
        )
