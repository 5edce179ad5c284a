"""The base class of columns that run a network over images: each image is opened once, and one that
cannot be opened spoils no other."""

import os
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal

from PIL import Image
from pydantic import Field

from septet.preprocess.columns.base import IMAGE, Column, FilePath, Item, NoValue, Settings, Value
from septet.preprocess.columns.images import image_of


class ImageSettings(Settings):
    """The settings of a column that runs a network over images."""

    weights: FilePath = Field(default="", description="File of weights.")
    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="Where the network runs, always in fp32. Values are the same whenever the "
        "device and, on cuda, the batch size are.",
    )
    threads: int = Field(
        default=1, ge=1, description="CPU threads a worker; they decide the last bits."
    )


class ImageColumn(Column):
    """A column that runs a network over images.

    A sample has no value for `no_image` or `image`, see `image_of`.
    """

    Settings: ClassVar[type[Settings]] = ImageSettings
    members: ClassVar[tuple[str, ...]] = (IMAGE,)

    settings: ImageSettings

    @abstractmethod
    def prepare(self, item: Item, image: Image.Image) -> Any:
        """Make of an image (RGB, upright) what `values` needs; called in threads.

        Returns:
            Anything; a `NoValue` is the sample's.
        """

    @abstractmethod
    def values(self, prepared: Sequence[Any]) -> list[Value | NoValue]:
        """Make the values of at least one sample, in their order."""

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """See `Column.annotate`."""
        from septet.preprocess.regions.threads import cpu_threads

        with cpu_threads(self.settings.threads):
            if self.settings.device == "cpu":  # one image's pixels at a time
                return [value for item in items for value in self._run([self._open(item)])]
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                return self._run(list(pool.map(self._open, items)))

    def _run(self, opened: Sequence[Any]) -> list[Value | NoValue]:
        good = [one for one in opened if not isinstance(one, NoValue)]
        values = iter(self.values(good) if good else [])
        return [one if isinstance(one, NoValue) else next(values) for one in opened]

    def _open(self, item: Item) -> Any:
        pixels = image_of(item)
        if isinstance(pixels, NoValue):
            return pixels
        return self.prepare(item, Image.fromarray(pixels))
