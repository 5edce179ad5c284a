"""The head of a corpus, `corpus.json`, and the rows of its lists of shards and input files.

The head is small whatever the corpus's size; the lists are Parquet files beside it. Neither has a
time or an absolute path in it, so that two builds of one recipe write equal bytes.
"""

from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from septet.schemas.layout import MANIFEST
from septet.schemas.versioned import Strict, Versioned

FORMAT_VERSION = 2
"""Raised whenever a reader of the previous version could misread what is written."""
FORMAT_MINOR = 0
"""Raised whenever keys or columns are added that a reader of the previous one may pass over."""

SHARD_FILE = pa.schema(
    [
        pa.field("tar", pa.string(), nullable=False),
        pa.field("sidecar", pa.string(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("tar_sha256", pa.string(), nullable=False),
        pa.field("sidecar_sha256", pa.string(), nullable=False),
    ]
)
"""The fields of a row of any list of shards, see `ShardFile`."""

SHARD_LIST = pa.schema(
    [
        *SHARD_FILE,
        pa.field("first_key", pa.string(), nullable=False),
        pa.field("last_key", pa.string(), nullable=False),
    ]
)
"""The rows of a corpus's `shards.parquet`, see `Shard`."""

INPUT_LIST = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
    ]
)
"""The rows of a corpus's `inputs.parquet`, see `InputFile`."""


class InputFile(Strict):
    """A file that the build read."""

    path: str
    """Its label: the path as the recipe's pattern spells it."""
    bytes: int
    digest: str
    """See `septet.preprocess.files.content_digest`."""


class ShardFile(Strict):
    """A tar of samples or of a column's values, with its sidecar.

    Paths are relative to the corpus.
    """

    tar: str
    sidecar: str
    samples: int = Field(ge=0)
    bytes: int = Field(ge=0)
    """Size of the tar."""
    tar_sha256: str
    sidecar_sha256: str


class Shard(ShardFile):
    """A shard of a corpus."""

    first_key: str
    last_key: str
    """The least and the greatest key."""


class ListFile(Strict):
    """A list that lies in a Parquet file of its own."""

    path: str
    """Relative to the corpus."""
    rows: int = Field(ge=0)
    sha256: str


class Manifest(Versioned):
    """The head of a complete corpus."""

    file: ClassVar[str] = MANIFEST
    remedy: ClassVar[str] = "rebuild the corpus"
    newest: ClassVar[int] = FORMAT_VERSION
    newest_minor: ClassVar[int] = FORMAT_MINOR

    format_version: int = FORMAT_VERSION
    format_minor: int = FORMAT_MINOR
    name: str
    septet: str
    """Version of Septet that wrote it."""
    recipe: dict[str, Any] | None = None
    """The resolved recipe; null for an indexed folder of foreign shards."""
    sorted_keys: bool
    """Whether keys ascend within and across shards (true for every build)."""
    samples: int = Field(ge=0)
    """The number of samples in all shards."""
    bytes: int = Field(ge=0)
    """Size of the tars together."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Rows that entered and left the build; the funnel itself is in `stats/`."""
    shard_list: ListFile
    """Rows of `SHARD_LIST`."""
    input_list: ListFile
    """Rows of `INPUT_LIST`."""

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self.shard_list.rows


class ManifestV1(Versioned):
    """A `corpus.json` of format version 1, which holds both lists itself."""

    file: ClassVar[str] = MANIFEST
    remedy: ClassVar[str] = "rebuild the corpus"
    newest: ClassVar[int] = 1

    name: str
    septet: str
    recipe: dict[str, Any] | None = None
    inputs: list[InputFile] = Field(default_factory=list)
    shards: list[Shard]
    sorted_keys: bool
    counts: dict[str, int] = Field(default_factory=dict)

    def head(self) -> Manifest:
        """The same content as a head of today; its lists point to `corpus.json` itself."""
        return Manifest(
            format_version=self.format_version,
            name=self.name,
            septet=self.septet,
            recipe=self.recipe,
            sorted_keys=self.sorted_keys,
            samples=sum(shard.samples for shard in self.shards),
            bytes=sum(shard.bytes for shard in self.shards),
            counts=self.counts,
            shard_list=ListFile(path=MANIFEST, rows=len(self.shards), sha256=""),
            input_list=ListFile(path=MANIFEST, rows=len(self.inputs), sha256=""),
        )
