"""The contract between a build and its sources.

A source is one file: it knows one kind of input (web archives, lists, folders), and turns each of
its records into pairs, locations of images, and losses. `septet.pipelines.sources.table` lists
them; their settings are models of `septet.schemas.sources`.

An input is what the recipe names: a file, or a folder of images. Large inputs are cut into slices,
so that one list is work for many workers and no worker's memory grows with an input's size. The
driver asks a source to `describe` each input once, cuts it and checks it against the settings;
workers then read slices.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from septet.schemas.reasons import Rejected
from septet.schemas.sources import SourceSettings

Bound = int | str
AGENT = "septet"
"""Our product token where a recipe names no other."""
"""A slice's bound: a byte, a row, or a name, as its source counts."""


class InputError(ValueError):
    """Raised when a whole input cannot be used; says which, where it stopped, and what was expected
    and found."""


@dataclass(frozen=True)
class Facts:
    """What the driver finds out about an input without reading it whole: its slices and columns.

    `slices` are half-open ranges [start, stop) that together are the whole input; `columns` the
    names that its rows have, where it has any.
    """

    slices: list[tuple[Bound, Bound]]
    columns: list[str] | None = None


@dataclass(frozen=True)
class Input:
    """One slice of an input.

    Args:
        label: The input as the recipe spells it; never absolute unless the recipe's is.
        source: Number of its source in the recipe.
        path: Its path on this build's machines.
        bytes: Size of the whole input.
        digest: Digest of the whole input's content.
        slice: Range [start, stop) in the source's own units.
        number: The number of this slice of the input, from 0.
        slices: The number of slices of the input.
        folder: Where the recipe's relative paths start, on this build's machines.
        apart: Whether its pages are parsed in another process: an earlier attempt at the slice was
            killed, or a parser crashed.
        agent: Our product token in lower case, which pages' opt-outs may name.
    """

    label: str
    source: int
    path: str
    bytes: int
    digest: str
    slice: tuple[Bound, Bound]
    number: int = 0
    slices: int = 1
    folder: str = "."
    apart: bool = False
    agent: str = AGENT


def whole_inputs(slices: Iterable[Input]) -> list[Input]:
    """The inputs, each once, by its first slice."""
    return [one for one in slices if one.number == 0]


class Pair(NamedTuple):
    """A candidate sample: an image, a text, or both.

    Args:
        image_url: The image's identity; None for a text alone.
        caption: Cleaned text; None for an image alone.
        caption_from: The place of the text: alt, figcaption, title, list, `list:COLUMN`, sidecar,
            the extension of a tar's member; None for an image alone.
        page_url: The page that holds the pair.
        page_language: The language that the page or list declares.
        extra: JSON object carried into the sample.
        annotations: JSON value that is part of the sample's identity.
        image_hash: The digest that the image's bytes must have, `sha256:HEX` or the like; None
            where any will do.
    """

    image_url: str | None
    caption: str | None
    caption_from: str | None
    page_url: str | None = None
    page_language: str | None = None
    extra: str | None = None
    annotations: str | None = None
    image_hash: str | None = None


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """The place of an image's bytes in an input.

    Args:
        image_url: The image's identity.
        input: Label of the archive, or of the folder that holds the image.
        name: Path within that folder; None in an archive.
        offset: Byte offset of the record in an archive; None for a file of its own.
        length: Bytes of the record in the archive, where they are known.
        form: `tar` where the bytes at the offset are the image itself; `parquet` where a chunk of a
            column starts there; None for a record of a web archive and for a file of its own.
        row: Row within the chunk of a column.
    """

    image_url: str
    input: str
    name: str | None = None
    offset: int | None = None
    length: int | None = None
    form: Literal["tar", "parquet"] | None = None
    row: int | None = None


Found = Pair | ImageLocation | Rejected
"""What a record can hold."""


class Source(ABC):
    """One kind of input. Instances hold nothing: all methods are functions of their arguments."""

    kind: ClassVar[str]
    """The recipe's word for it."""
    version: ClassVar[int]
    """Raised when the code changes what the source gives for the same input and settings."""
    folders: ClassVar[bool] = False
    """Whether its inputs are folders and not files."""
    unit: ClassVar[str]
    """What a record is called in errors."""

    @abstractmethod
    def describe(self, path: str, size: int) -> Facts:
        """Cut an input, and find the names of its columns.

        Called in the driver; must not read the whole input where that can be avoided. The result
        is remembered beside the input's digest.

        Raises:
            InputError: an input that cannot be used whatever the settings are.
        """

    def check(self, settings: Any, label: str, facts: Facts) -> None:  # noqa: B027
        """Compare the settings with what `describe` found.

        Raises:
            InputError: a column that is not there.
        """

    @abstractmethod
    def records(self, settings: Any, source: Input, counts: Counter[str]) -> Iterator[Any]:
        """Walk the records of a slice, with bounded memory.

        A record that can be told apart but not read is given as a `Rejected`.

        Args:
            settings: The source's settings.
            source: The slice.
            counts: Figures that are no rows (pages, records passed over), to be added to.

        Raises:
            InputError: the input cannot be read on; whatever else is raised counts as the same.
        """

    @abstractmethod
    def read(
        self, settings: Any, source: Input, record: Any, counts: Counter[str]
    ) -> Iterable[Found]:
        """Turn one record into pairs, losses or counts: at least one of them.

        Whatever this raises becomes a reject row of this record alone: `RejectedError` with its
        own reason, any other exception as `record_error`.
        """

    def identity(self, settings: SourceSettings) -> dict[str, Any]:
        """The settings that decide the output for one input, as plain data."""
        return {
            "version": self.version,
            **settings.model_dump(mode="json", exclude={"paths"}),
        }
