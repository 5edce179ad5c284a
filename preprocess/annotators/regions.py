"""The column `regions`: features, boxes and class distributions of an image's regions."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from septet.preprocess.boxes.annotated import SizeError, check_aspect
from septet.preprocess.columns.base import IMAGE, Column, Drawing, Item, Mark, NoValue, Value
from septet.preprocess.columns.images import image_of
from septet.preprocess.columns.left_out import BOX_FACTS, left_out
from septet.preprocess.columns.members import Arrays, pack_arrays, unpack_arrays, unpack_json
from septet.preprocess.columns.weights import need, weights_digest
from septet.preprocess.regions.detections import FEATURES, Detections, locations
from septet.preprocess.regions.labels import name_of, read_labels
from septet.preprocess.regions.select import keep
from septet.preprocess.regions.settings import DETECTORS, READERS, RegionsSettings
from septet.schemas.columns import ArrayFormat, MemberFormat

PROBS_TOLERANCE = 1e-3
"""The greatest distance of a distribution's sum in float16 from 1: 1,601 roundings and then
some."""


class Regions(Column):
    """The column of regions of an image: from a detector, at given boxes, or from files that exist.

    Reasons for no value: `no_image`, `image` (it cannot be decoded), `no_region` (nothing was
    kept), `features_overflow` (beyond float16); with backend given also `no_boxes` and
    `too_many_boxes` (more than `proposals`); with backends that read files `no_key` (the sample
    has none), `no_region_for_key`, `record_malformed`, `record_lacks` (features, boxes or the
    image's size; or labels, scores or attributes that the settings ask for) and `size_disagrees`
    (the image was cut or padded since its regions were found). A region of a file that is
    malformed, outside of the image or without area is left out; `dropped` counts them, `faults`
    says what was wrong. One that hangs over the image's edge is clipped; `clipped` counts them.
    Where most are malformed or outside, the record is.
    """

    version: ClassVar[int] = 1
    Settings = RegionsSettings
    members: ClassVar[tuple[str, ...]] = (IMAGE,)
    facts: ClassVar[pa.Schema] = pa.schema(
        [("regions", pa.int32()), ("best_score", pa.float32()), ("mean_score", pa.float32())]
    )

    def __init__(self, settings: RegionsSettings):
        super().__init__(settings)
        if settings.backend in READERS:
            self.members = ()  # type: ignore[misc]  # features that exist need no pixels
            self.facts = pa.schema([*self.facts, *BOX_FACTS])  # type: ignore[misc]
            self.version = 4  # type: ignore[misc]
        self._detector: Any = None
        self._source: Any = None

    def columns(self) -> tuple[str, ...]:
        """The column of boxes that is read, with backend given."""
        return (self.settings.boxes,) if self.settings.backend == "given" else ()

    def models(self) -> dict[str, str]:
        """The digests of the weights, of the file of regions, of detectron2's configuration. Class
        names are only drawn, so their file has none.

        Raises:
            ValueError: a file or a package is missing.
        """
        settings = self.settings
        found = {}
        if settings.backend in (*DETECTORS, "given"):
            need("torchvision", "vision")
            if settings.backend == "detectron2":
                from septet.preprocess.regions.detectron2_backend import config_digest

                found["config"] = config_digest(settings.config)
            found["weights"] = weights_digest(settings.weights, "weights of Faster R-CNN C4")
            return found
        if settings.backend == "lmdb":
            need("lmdb", "vision")
        from septet.preprocess.regions.sources.records import source_digest

        found["source"] = source_digest(settings.source)
        return found

    def index(self) -> dict[str, dict[str, int]]:
        """See `Column.index`: of a tsv."""
        if self.settings.backend != "tsv":
            return {}
        self.setup()
        rows: dict[str, dict[str, int]] = self._source.rows
        return rows

    def setup(self) -> None:
        """Load the detector, or open the files.

        Raises:
            ValueError: weights or files do not have the expected form.
        """
        settings = self.settings
        if settings.backend == "tsv":
            from septet.preprocess.regions.sources.tsv import TsvSource

            self._source = TsvSource(settings.source, settings.layout, settings.source_index)
        elif settings.backend == "npz":
            from septet.preprocess.regions.sources.npz import NpzSource

            self._source = NpzSource(settings.source)
        elif settings.backend == "lmdb":
            from septet.preprocess.regions.sources.lmdb import LmdbSource

            self._source = LmdbSource(settings.source, settings.source_probs)
        elif settings.backend == "detectron2":
            from septet.preprocess.regions.detectron2_backend import Detectron2Detector

            self._detector = Detectron2Detector(
                settings.config,
                settings.weights,
                settings.proposals,
                settings.device,
                settings.threads,
            )
        else:
            from septet.preprocess.regions.c4 import C4Detector
            from septet.preprocess.regions.network import C4Options

            same = C4Options.__dataclass_fields__
            self._detector = C4Detector(
                settings.weights,
                C4Options(**{name: getattr(settings, name) for name in same}),
                settings.shortest, settings.longest, settings.mean, settings.std,
                settings.refined, settings.device, settings.dtype == "bfloat16", settings.threads,
            )  # fmt: skip

    @property
    def member(self) -> MemberFormat:
        """Safetensors; docs/regions.md has the arrays."""
        settings = self.settings
        arrays = {
            "features": ArrayFormat(dtype="float16", shape=("n", FEATURES)),
            "boxes": ArrayFormat(dtype="float32", shape=("n", 4), least=0, greatest=1),
            "locations": ArrayFormat(dtype="float32", shape=("n", 5), least=0, greatest=1),
        }
        if settings.has_probs:
            arrays["probs"] = ArrayFormat(
                dtype="float16", shape=("n", "classes"), least=0, greatest=1
            )
        if settings.has_labels:
            arrays["labels"] = ArrayFormat(dtype="int32", shape=("n",), least=0)
            arrays["scores"] = ArrayFormat(dtype="float32", shape=("n",), least=0, greatest=1)
        if settings.attributes:
            arrays["attributes"] = ArrayFormat(dtype="int32", shape=("n",), least=0)
            arrays["attribute_scores"] = ArrayFormat(
                dtype="float32", shape=("n",), least=0, greatest=1
            )
        detector = settings.backend in (*DETECTORS, "given")
        sorted_by = "confidence, falling" if settings.backend in DETECTORS else "as the source has"
        return MemberFormat(
            ext="regions.safetensors",
            kind="safetensors",
            arrays=arrays,
            notes={
                "backend": settings.backend,
                "detector": "digest `weights` of the models" if detector else "see the source",
                "boxes": "normalised corners x0, y0, x1, y1, y downwards",
                "locations": "x0, y0, x1, y1, share of the area",
                "probs": "background first, then the detector's classes"
                if settings.has_probs
                else "absent: the source holds no class distribution",
                "labels": "likeliest class, counted without background",
                **({"classes": self._classes} if settings.labels else {}),
                "order": sorted_by,
            },
        )

    @cached_property
    def _classes(self) -> list[str]:
        return read_labels(self.settings.labels)

    def annotate(self, items: Sequence[Item]) -> list[Value | NoValue]:
        """See `Column.annotate`."""
        one = self._read if self._source is not None else self._look
        return [one(item) for item in items]

    def _read(self, item: Item) -> Value | NoValue:
        from septet.preprocess.regions.sources.records import LackError, RecordError, record_key

        settings = self.settings
        key = record_key(item.key, item.metadata, settings.key)
        if key is None:
            return NoValue("no_key", settings.key)
        try:
            record = self._source.get(key)
            if record is None:
                return NoValue("no_region_for_key", key)
            check_aspect(item.metadata, (record.width, record.height))
        except LackError as error:
            return NoValue("record_lacks", str(error))
        except RecordError as error:
            return NoValue("record_malformed", f"{key}: {error}")
        except SizeError as error:
            return NoValue("size_disagrees", f"{key}: {error}")
        more = left_out(record.faults) | {"clipped": record.clipped}
        return self._value(record.detections, more=more)

    def _look(self, item: Item) -> Value | NoValue:
        image = image_of(item)
        if isinstance(image, NoValue):
            return image
        settings = self.settings
        if settings.backend == "given":
            boxes = _given(item.columns.get(settings.boxes, b""))
            if not len(boxes):
                return NoValue("no_boxes", f"column {settings.boxes}")
            if len(boxes) > settings.proposals:
                return NoValue("too_many_boxes", f"{len(boxes)}, at most {settings.proposals}")
            return self._value(self._detector.describe(image, boxes))
        (found,) = self._detector.detect([image])
        rows, confidences = keep(
            found.boxes, found.probs, settings.threshold, settings.min_regions,
            settings.max_regions, settings.nms,
        )  # fmt: skip
        kept = found.take(rows)
        return self._value(kept, confidences)

    def _value(
        self,
        found: Detections,
        confidences: NDArray[np.float32] | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Value | NoValue:
        if not len(found):
            return NoValue("no_region")
        arrays: dict[str, NDArray[Any] | None] = {
            "features": found.features.astype(np.float16),
            "boxes": found.boxes.astype(np.float32),
            "locations": locations(found.boxes),
            "probs": None if found.probs is None else found.probs.astype(np.float16),
            "labels": found.labels,
            "scores": found.scores if confidences is None else confidences,
            "attributes": found.attributes,
            "attribute_scores": found.attribute_scores,
        }
        whole: Arrays = {}
        for name in self.member.arrays:
            array = arrays[name]
            if array is None:
                return NoValue("record_lacks", name)
            whole[name] = array
        if not np.isfinite(whole["features"]).all():
            return NoValue("features_overflow", f"{abs(found.features).max():.3g}")
        facts: dict[str, Any] = {"regions": len(found), **more}
        if "scores" in whole:
            facts["best_score"] = float(whole["scores"].max())
            facts["mean_score"] = float(whole["scores"].mean(dtype=np.float64))
        return Value(pack_arrays(whole), facts)

    def check(self, data: bytes) -> None:
        """Check that boxes are corners, locations are theirs, and distributions sum to 1."""
        arrays = unpack_arrays(data)
        boxes = arrays["boxes"]
        if not len(boxes):
            raise ValueError("a value without regions")
        if (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError("boxes are no corners x0, y0, x1, y1")
        if not np.array_equal(arrays["locations"], locations(boxes)):
            raise ValueError("locations are not those of the boxes")
        if "probs" in arrays:
            off = abs(arrays["probs"].astype(np.float64).sum(axis=1) - 1).max()
            if off > PROBS_TOLERANCE:
                raise ValueError(f"probs sum to 1 within {PROBS_TOLERANCE}; found {off:.2g} off")
            if (arrays["labels"] >= arrays["probs"].shape[1] - 1).any():
                raise ValueError("labels beyond the classes of probs")

    def drawing(self, data: bytes) -> Drawing:
        """Boxes with class and score."""
        arrays = unpack_arrays(data)
        names = self.notes.get("classes", [])
        marks = []
        for row, (x0, y0, x1, y1) in enumerate(arrays["boxes"].tolist()):
            label = str(row)
            if "labels" in arrays:
                name = name_of(int(arrays["labels"][row]), names)
                label = f"{name} {arrays['scores'][row]:.2f}"
            marks.append(Mark((x0, y0, x1, y1), label))
        return Drawing(marks=marks)


def _given(data: bytes) -> NDArray[np.float32]:
    """The boxes of a value of the column `boxes`, float32 [n, 4]."""
    boxes = unpack_json(data)["boxes"] if data else []
    return np.array(boxes, np.float32).reshape(-1, 4)
