"""The column `objects`: names of the objects in an image, with counts."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from septet.preprocess.columns import base
from septet.preprocess.columns.base import Column, Drawing, Item, NoValue, Value
from septet.preprocess.columns.members import pack_json, unpack_arrays, unpack_json
from septet.preprocess.columns.weights import weights_digest
from septet.preprocess.regions.labels import name_of, read_labels
from septet.schemas.columns import MemberFormat


class Objects(Column):
    """The column of words for the objects of a sample and how many of each there are, from its
    regions or boxes: OFA's caption rows and PaLI's object-aware questions ask for it.

    Words are in lower case, each once, in the order in which they first come (with regions: by
    confidence).

    Reasons for no value: `no_source` (the column that is read has no value for the sample),
    `no_object` (no label is left), `labels_missing` (regions without labels).
    """

    version: ClassVar[int] = 1
    facts: ClassVar[pa.Schema] = pa.schema(
        [("objects", pa.list_(pa.string())), ("things", pa.int32())]
    )

    class Settings(base.Settings):
        """Settings of the column."""

        source: str = Field(default="regions", description="Name of the column that is read.")
        form: Literal["regions", "boxes"] = Field(
            default="regions", description="The kind of that column."
        )
        labels: base.FilePath = Field(
            default="",
            description="With regions: file of class names, one a line; the first of several "
            "synonyms counts.",
        )
        min_score: float = Field(
            default=0.3, description="With regions: least confidence that counts."
        )
        max_objects: int = Field(default=20, ge=1, description="Words a sample, at most.")

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self._names: list[str] = []

    def columns(self) -> tuple[str, ...]:
        """The column that is read, regions or boxes."""
        return (self.settings.source,)

    def models(self) -> dict[str, str]:
        """The digest of the file of class names.

        Raises:
            ValueError: regions, but no such file.
        """
        if self.settings.form == "boxes":
            return {}
        return {"labels": weights_digest(self.settings.labels, "class names", "labels")}

    def setup(self) -> None:
        """Read the class names."""
        if self.settings.form == "regions":
            self._names = read_labels(self.settings.labels)

    @property
    def member(self) -> MemberFormat:
        """JSON: `objects`, words; `counts`, a number each; `scores`, the best of each."""
        return MemberFormat(
            ext="objects.json",
            kind="json",
            notes={
                "objects": "words, each once, in the order of the source",
                "counts": "how many of each",
                "scores": "the highest confidence of each; 1 with boxes",
            },
        )

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """See `Column.annotate`."""
        return [self._annotate(item) for item in items]

    def _annotate(self, item: Item) -> Value | NoValue:
        data = item.columns.get(self.settings.source, b"")
        if not data:
            return NoValue("no_source", f"column {self.settings.source}")
        if self.settings.form == "boxes":
            found = [(label, 1.0) for label in unpack_json(data)["labels"]]
        else:
            arrays = unpack_arrays(data)
            if "labels" not in arrays:
                return NoValue("labels_missing", f"column {self.settings.source}")
            scores = arrays["scores"].astype(np.float64)
            found = [
                (name_of(int(label), self._names), round(float(score), 4))
                for label, score in zip(arrays["labels"], scores, strict=True)
                if score >= self.settings.min_score
            ]
        words = [(" ".join(str(label).lower().split()), score) for label, score in found]
        words = [(word, score) for word, score in words if word]
        if not words:
            return NoValue("no_object", f"{len(found)} labels")
        counts = Counter(word for word, _ in words)
        best: dict[str, float] = {}
        for word, score in words:
            best[word] = max(score, best.get(word, 0.0))
        objects = list(counts)[: self.settings.max_objects]
        value = {
            "objects": objects,
            "counts": [counts[word] for word in objects],
            "scores": [best[word] for word in objects],
        }
        return Value(pack_json(value), {"objects": objects, "things": len(words)})

    def check(self, data: bytes) -> None:
        """Check that words are distinct, counts positive, lists equally long."""
        value = unpack_json(data)
        if value.keys() != {"objects", "counts", "scores"}:
            raise ValueError(f"a value of objects holds {sorted(value)}")
        objects, counts, scores = value["objects"], value["counts"], value["scores"]
        if not len(objects) == len(counts) == len(scores) or len(set(objects)) != len(objects):
            raise ValueError("objects, counts and scores are not equally long or repeat a word")
        if not objects or min(counts) < 1:
            raise ValueError("objects without a word or with a count below 1")

    def drawing(self, data: bytes) -> Drawing:
        """One line for each word."""
        value = unpack_json(data)
        pairs = zip(value["objects"], value["counts"], strict=True)
        return Drawing(lines=[word if n == 1 else f"{n} x {word}" for word, n in pairs])
