"""The head of a corpus, `corpus.json`, and the rows of its lists of shards and input files.

The head is small whatever the corpus's size; the lists are Parquet files beside it. Neither has a
time or an absolute path in it, so that two builds of one recipe write equal bytes.
"""

from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field, model_validator

from septet.schemas.layout import MANIFEST
from septet.schemas.versioned import Strict, Versioned

FORMAT_VERSION = 2
"""Raised whenever a reader of the previous version could misread what is written."""
FORMAT_VERSION_REMOVED = 3
"""Version of a corpus from which samples were removed: readers of version 2 would read them."""
FORMAT_MINOR = 1
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

REMOVED_LIST = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("shard", pa.int64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("tar_sha256", pa.string(), nullable=False),
    ]
)
"""The rows of a corpus's list of removed samples, see `RemovedSample`."""


BARRED_LIST = pa.schema(
    [
        pa.field("what", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("aspect", pa.float64()),
        pa.field("thumbnail", pa.binary()),
    ]
)
"""The rows of a corpus's list of what later builds drop. `what` is `id`, `url`, `domain`, `phash`
or `text`; `value` the id, the domain, the perceptual hash, or 16 hex digits of a hash of the URL or
text. An image that was shown itself has `aspect` (the logarithm of width / height) and
`thumbnail`."""


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


class RemovedSample(Strict):
    """A sample that was removed, and that no later build brings back."""

    key: str
    sha256: str
    """Digest of its image as it was fetched; empty where it has none, or none is known."""
    shard: int = Field(ge=-1)
    """Place, in the list of shards, of the shard with a row of it; -1 where none has."""
    row: int = Field(ge=-1)
    tar_sha256: str
    """Digest of that shard's tar before a sample was taken out of it."""


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
    newest: ClassVar[int] = FORMAT_VERSION_REMOVED
    newest_minor: ClassVar[int] = FORMAT_MINOR

    format_version: int = FORMAT_VERSION
    """2, or 3 where samples were removed."""
    format_minor: int = FORMAT_MINOR
    name: str
    septet: str
    """Version of Septet that wrote it."""
    recipe: dict[str, Any] | None = None
    """The resolved recipe; null for an indexed folder of foreign shards."""
    sorted_keys: bool
    """Whether keys ascend within and across shards (true for every build)."""
    samples: int = Field(ge=0)
    """The number of rows in all shards, those of removed samples among them."""
    bytes: int = Field(ge=0)
    """Size of the tars together."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Rows that entered and left the build; the funnel itself is in `stats/`."""
    shard_list: ListFile
    """Rows of `SHARD_LIST`."""
    input_list: ListFile
    """Rows of `INPUT_LIST`."""
    removed: ListFile | None = Field(default=None, exclude_if=lambda value: value is None)
    """Rows of `REMOVED_LIST`: readers pass over those samples. Not there where there are none."""

    @model_validator(mode="after")
    def _versions_differ(self) -> "Manifest":
        if (self.removed is not None) != (self.format_version == FORMAT_VERSION_REMOVED):
            raise ValueError("`removed` goes with format version 3, and with no other")
        return self

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
