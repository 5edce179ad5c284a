"""The base class of columns: settings, a `setup`, and a function over batches of samples.

`septet annotate` reads the base shards, gives each column its samples batch by batch, in shard
order, and writes what comes back. A column knows neither shards nor Beam.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from septet.schemas.columns import MemberFormat
from septet.schemas.layout import IMAGE_EXTENSIONS

IMAGE = "|".join(IMAGE_EXTENSIONS)
"""The members that may hold a sample's image."""


class FormError(RuntimeError):
    """Raised when a column does not give what its class says, whatever the sample: no sample is
    tried alone then, and the run ends."""


@dataclass(frozen=True)
class NamesFile:
    """A mark of a setting whose text may be the path of a file or folder; with `after`, where the
    text begins so, and the path follows. `FilePath` is the usual form."""

    after: str = ""

    def path(self, text: str) -> str | None:
        """The path in the text; None where it holds none, so what it names lies elsewhere."""
        return text.removeprefix(self.after) if text.startswith(self.after) else None

    def without_place(self, text: str) -> str:
        """The text with the last part of its path alone."""
        path = self.path(text)
        return text if path is None else self.after + path.rstrip("/").rpartition("/")[2]


FilePath = Annotated[str, NamesFile()]
"""A setting that names a file or folder, or something that may be one. The place of the file
decides nothing (its digest in `Column.models` does) and stays out of corpora: fingerprints and
manifests have its last part alone."""


class Settings(BaseModel):
    """The settings of a column; subclass it and give every field a description. Those that name
    files are of type `FilePath`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    indifferent: ClassVar[frozenset[str]] = frozenset({"batch_size", "weights"})
    """Settings that do not decide values: how many at once, and where weights lie (their digests
    decide)."""

    batch_size: int = Field(default=32, ge=1, description="Samples that the model sees at once.")

    def deciding(self) -> dict[str, Any]:
        """The settings that decide values, as plain data."""
        found = self.model_dump(mode="json", exclude=set(self.indifferent))
        for name, setting in type(self).model_fields.items():
            for mark in setting.metadata:
                if name in found and isinstance(mark, NamesFile):
                    found[name] = mark.without_place(found[name])
        return found

    def named_paths(self) -> list[str | None]:
        """Paths in the settings that name files: "" where unset, None where it names no path."""
        return [
            mark.path(getattr(self, name))
            for name, setting in type(self).model_fields.items()
            for mark in setting.metadata
            if isinstance(mark, NamesFile)
        ]


@dataclass(frozen=True)
class Item:
    """A sample as a column sees it."""

    key: str
    members: Mapping[str, bytes]
    """Members of the base shard by extension."""
    metadata: Mapping[str, Any]
    """The sidecar's row of the sample: caption, language, width, height, extra…, where known."""
    columns: Mapping[str, bytes] = field(default_factory=dict)
    """Values, by name, of the columns that it asked for; empty bytes where there is no value."""

    @property
    def caption(self) -> str:
        """The caption; empty where the sample has none."""
        return self.members.get("txt", b"").decode("utf-8", "replace")

    @property
    def image(self) -> bytes | None:
        """The image's file, None where the sample has none."""
        return next((self.members[e] for e in IMAGE.split("|") if e in self.members), None)


@dataclass(frozen=True)
class Value:
    """A sample's value: the member's content, and facts that go into the sidecar."""

    data: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NoValue:
    """The reason why a sample has no value, in snake_case, and what was found, as text."""

    reason: str
    found: str = ""


@dataclass(frozen=True)
class Mark:
    """A labelled box to draw upon an image: normalised (x0, y0, x1, y1), y downwards."""

    box: tuple[float, float, float, float]
    label: str


@dataclass(frozen=True)
class Drawing:
    """A drawing of a value, for the report."""

    marks: Sequence[Mark] = ()
    nodes: Sequence[str] = ()
    """Nodes of a graph."""
    edges: Sequence[tuple[int, str, int]] = ()
    """Edges of the graph: from, label, to; positions in `nodes`."""
    image: bytes | None = None
    """A PNG that stands beside the sample's own image."""
    lines: Sequence[str] = ()
    """Text."""


class Column(ABC):
    """A kind of annotation, the base class of all columns.

    Everything that decides its values is in `settings`, `version`, `models()` and `columns()`:
    a change of any of them makes the column anew. Equal inputs must give equal bytes, whatever
    the process; a sample's value must not depend on its batch.
    """

    kind: str = ""
    """The name by which `septet annotate --column` found it; set when it is made."""
    notes: Mapping[str, Any] = {}
    """The notes of its manifest on the form of its values; set when it is planned or was stored."""
    version: ClassVar[int]
    """Raised when the code changes the values."""
    Settings: ClassVar[type[Settings]] = Settings
    members: ClassVar[tuple[str, ...]] = ()
    """Extensions that it reads of the base shard, alternatives separated by `|`."""
    facts: ClassVar[pa.Schema] = pa.schema([])
    """Fields of `Value.facts`, written to the sidecar."""

    def __init__(self, settings: Any):
        self.settings = settings

    def columns(self) -> tuple[str, ...]:
        """Names of other columns that it reads."""
        return ()

    def models(self) -> dict[str, str]:
        """The digests of the files of weights that it will load, by name; see `weights_digest`.

        Raises:
            ValueError: a file is missing or an extra is not installed; says what to do.
        """
        return {}

    def index(self) -> dict[str, dict[str, int]]:
        """Make what workers share of big files that it reads; called once before they start.

        Returns:
            Of each such file, by the setting that names it or by its part: how many rows are
            `given`, how many of them are `used`, and how many are not, by reason.

        Raises:
            ValueError: a file has another form.
        """
        return {}

    @property
    @abstractmethod
    def member(self) -> MemberFormat:
        """The form of its values."""

    def setup(self) -> None:  # noqa: B027 (optional)
        """Load models; called once in each worker process before the first batch."""

    @abstractmethod
    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """Make the values of at most `settings.batch_size` samples, in their order.

        An exception for a batch makes the samples be tried one by one; one that fails alone has
        no value, for reason `error`.
        """

    def check(self, data: bytes) -> None:  # noqa: B027 (optional)
        """Check one value beyond what `member` says.

        Raises:
            ValueError: what is wrong.
        """

    def drawing(self, data: bytes) -> Drawing | None:
        """Draw a value for the report; None shows it as text."""
        return None
