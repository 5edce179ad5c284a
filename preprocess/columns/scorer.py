"""The base class of scorers: columns of named numbers, by which `septet curate` chooses samples.

`examples/scorers/exposure.py` is one.
"""

import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from septet.preprocess.columns.base import IMAGE, Column, FormError, Item, NoValue, Settings, Value
from septet.preprocess.columns.images import image_of
from septet.preprocess.columns.members import pack_json, strict_json
from septet.schemas.columns import MemberFormat
from septet.schemas.tables import COLUMN_INDEX

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WORDS = frozenset({"and", "or", "not", "in", "top", "bottom", "exists", "missing"})
"""Words of conditions, which name no field."""


def _numbers(given: Any) -> NDArray[np.float64]:
    """What a scorer gave, float64; what a mask hides is no value.

    Raises:
        TypeError: it holds no numbers.
        OverflowError: it holds larger ones than a float.
        RuntimeError: a library has no array of it.
    """
    array = np.asarray(given)
    if array.dtype.kind not in "biufO":  # an object is None, or a number of Python's
        raise TypeError(f"expected numbers, found {array.dtype}")
    numbers = array.astype(np.float64)
    numbers[np.ma.getmaskarray(given)] = np.nan
    return numbers


class ScorerSettings(Settings):
    """Settings of a scorer; subclass it for more."""

    batch_size: int = Field(
        default=1, ge=1, description="Samples that are scored at once, their images in memory."
    )


class Scorer(Column):
    """A column of named numbers of each sample, the base class of scorers.

    Reasons for no value: `no_image`, `image` (it cannot be decoded), `no_caption`, where the
    scorer reads them; `not_finite` (none of its numbers is one).
    """

    reads: ClassVar[tuple[Literal["image", "caption"], ...]]
    """What it needs of a sample."""
    scores: ClassVar[Mapping[str, str]]
    """Its numbers by name, lower case, and what each is."""
    Settings: ClassVar[type[Settings]] = ScorerSettings

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        reads, scores = getattr(cls, "reads", ()), getattr(cls, "scores", {})
        taken = _WORDS.union(COLUMN_INDEX.names)
        if not reads or not set(reads) <= {"image", "caption"}:
            raise TypeError(f"{cls.__name__}.reads: expected `image`, `caption` or both")
        if not scores or any(not _NAME.fullmatch(one) or one in taken for one in scores):
            raise TypeError(
                f"{cls.__name__}.scores: expected names in lower case, such as `sharpness`, but "
                f"none of {', '.join(sorted(taken))}"
            )
        cls.members = tuple(IMAGE if one == "image" else "txt" for one in reads)
        cls.facts = pa.schema([(name, pa.float64()) for name in scores])

    @abstractmethod
    def score(
        self, images: Sequence[NDArray[np.uint8]], captions: Sequence[str]
    ) -> Mapping[str, Sequence[float | None]]:
        """The numbers of n samples: for each name of `scores` n of them, in the samples' order.

        None, NaN and infinities say nothing of a sample.

        Args:
            images: uint8 [height, width, 3] each, RGB, upright; empty where none are read.
            captions: As many texts; empty where none are read.
        """

    @property
    def member(self) -> MemberFormat:
        """An object of the numbers by name, null for one that is not known."""
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(self).__name__).lower()
        return MemberFormat(ext=f"{name}.json", kind="json", notes={"scores": dict(self.scores)})

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """See `Column.annotate`.

        Raises:
            FormError: `score` does not give what its class says.
        """
        inputs = [self._input(item) for item in items]
        good = [one for one in inputs if not isinstance(one, NoValue)]
        values = iter(self._values(good) if good else [])
        return [one if isinstance(one, NoValue) else next(values) for one in inputs]

    def _input(self, item: Item) -> NoValue | tuple[NDArray[np.uint8] | None, str]:
        image = image_of(item) if "image" in self.reads else None
        if isinstance(image, NoValue):
            return image
        if "caption" in self.reads and "txt" not in item.members:
            return NoValue("no_caption")
        return image, item.caption

    def _values(
        self, inputs: Sequence[tuple[NDArray[np.uint8] | None, str]]
    ) -> list[Value | NoValue]:
        images = [image for image, _ in inputs if image is not None]
        captions = [text for _, text in inputs] if "caption" in self.reads else []
        numbers = self._checked(self.score(images, captions), len(inputs))
        rows = zip(*numbers, strict=True)
        found: list[Value | NoValue] = []
        for row in rows:
            facts = {
                name: float(one) if math.isfinite(one) else None
                for name, one in zip(self.scores, row, strict=True)
            }
            known = any(one is not None for one in facts.values())
            found.append(Value(pack_json(facts), facts) if known else NoValue("not_finite"))
        return found

    def _checked(self, found: object, count: int) -> list[NDArray[np.float64]]:
        """What `score` gave, float64 [count] for each name."""
        if not isinstance(found, Mapping) or found.keys() != self.scores.keys():
            given = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise FormError(f"{type(self).__name__}.score gave {given}, not {[*self.scores]}")
        arrays = []
        for name in self.scores:
            try:
                array = _numbers(found[name])
            except (TypeError, ValueError, OverflowError, RuntimeError) as error:
                raise FormError(f"{type(self).__name__}.score: {name}: {error}") from error
            if array.shape != (count,):
                raise FormError(
                    f"{type(self).__name__}.score gave {name} of shape {list(array.shape)} for "
                    f"{count} samples"
                )
            arrays.append(array)
        return arrays

    def check(self, data: bytes) -> None:
        """Check a value: its names, and that there is a number.

        Raises:
            ValueError: what is wrong.
        """
        value = strict_json(data)
        if not isinstance(value, dict) or value.keys() != self.scores.keys():
            raise ValueError(f"expected an object of {', '.join(self.scores)}")
        known = [one for one in value.values() if one is not None]
        if not known or any(isinstance(one, bool | str | list | dict) for one in known):
            raise ValueError(f"expected numbers, at least one, found {value}")
