"""Settings of the column `regions`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from septet.preprocess.columns import base
from septet.preprocess.regions.pixels import PIXEL_MEAN

DETECTORS = ("c4", "detectron2")
READERS = ("tsv", "npz", "lmdb")


class RegionsSettings(base.Settings):
    """Settings of the column `regions`."""

    batch_size: int = Field(default=8, ge=1, description="Samples handed over at once.")
    backend: Literal["c4", "given", "detectron2", "tsv", "npz", "lmdb"] = Field(
        default="c4",
        description="`c4`: Faster R-CNN C4 on torchvision. `given`: the same network's features "
        "at boxes that a column has. `detectron2`: an installed detectron2. `tsv`, `npz`, `lmdb`: "
        "files of features that exist.",
    )
    weights: base.FilePath = Field(default="", description="Checkpoint, with detectron2's names.")
    labels: base.FilePath = Field(
        default="", description="File of class names, one a line, for drawings."
    )

    # Which proposals become regions
    threshold: float = Field(default=0.2, ge=0, le=1, description="Least confidence of a region.")
    min_regions: int = Field(default=10, ge=0, description="Regions an image, at least.")
    max_regions: int = Field(
        default=36, ge=1, description="Regions an image, at most; equal to the least: as many."
    )
    nms: float = Field(default=0.3, gt=0, le=1, description="Greatest IoU within a class.")

    # What an image goes through
    shortest: int = Field(default=600, ge=16, description="Short side fed in, pixels.")
    longest: int = Field(default=1000, ge=16, description="Greatest long side, pixels.")
    mean: tuple[float, float, float] = Field(
        default=PIXEL_MEAN, description="Subtracted from BGR values, 0 to 255."
    )
    std: tuple[float, float, float] = Field(default=(1, 1, 1), description="Divides them.")

    # What a checkpoint does not say of itself
    proposals: int = Field(default=300, ge=1, description="Proposals that the RPN hands on.")
    candidates: int = Field(default=6000, ge=1, description="Anchors that enter the RPN's NMS.")
    rpn_nms: float = Field(default=0.7, gt=0, le=1, description="Greatest IoU of proposals.")
    pooler: Literal["align", "pool"] = Field(
        default="align", description="RoIAlign (aligned), or RoIPool as Caffe has it."
    )
    sampling_ratio: int = Field(
        default=0, ge=0, description="Samples a side of a RoIAlign bin; 0: by the bin's size."
    )
    head: Literal["halve", "dilate"] = Field(
        default="halve", description="res5 with stride 2, or with dilation 2 as Caffe has it."
    )
    stem: Literal["padded", "ceil"] = Field(
        default="padded", description="First max-pool: padded, or in ceil mode as Caffe has it."
    )
    stride_in_1x1: bool = Field(
        default=True, description="Stride in a block's first 1x1 (MSRA), not its 3x3."
    )
    anchor_sizes: tuple[float, ...] | None = Field(
        default=None, description="Roots of the anchors' areas, pixels; unset: the checkpoint's."
    )
    anchor_ratios: tuple[float, ...] = Field(
        default=(0.5, 1, 2), description="Anchors' height / width."
    )
    refined: bool = Field(
        default=False, description="Write regressed boxes; else the boxes that were described."
    )
    device: str = Field(default="cpu", description="Where to compute: cpu, cuda, cuda:1, ….")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Of the convolutions; bfloat16 on a GPU only."
    )
    threads: int = Field(
        default=1, ge=1, description="CPU threads a worker; they decide the last bits of features."
    )
    config: base.FilePath = Field(
        default="", description="backend detectron2: YAML file, or name in its model zoo."
    )

    # Where given boxes and existing features are
    boxes: str = Field(default="boxes", description="backend given: name of the column of boxes.")
    source: base.FilePath = Field(
        default="", description="backends tsv, npz, lmdb: file or folder."
    )
    source_index: base.FilePath = Field(
        default="", description="backend tsv: where its index lies or is to lie; empty: beside it."
    )
    layout: Literal["lxmert", "bottom-up"] = Field(
        default="lxmert", description="backend tsv: fields of a row, see docs/regions.md."
    )
    key: str = Field(
        default="url_stem",
        description="A sample's key in the source: `url_stem` (name of the image's file without "
        "its ending), `key` (the sample's own), or `extra.NAME`.",
    )
    source_probs: bool = Field(
        default=False, description="backend lmdb: records hold `cls_prob`; without it, no value."
    )
    source_labels: bool = Field(
        default=True,
        description="backend npz: files hold `info` with labels and scores; a file without it has "
        "no value. false: features and boxes alone, whatever files hold.",
    )
    attributes: bool = Field(
        default=False,
        description="Attributes and their scores: backends c4 and given from the checkpoint's "
        "attribute head, tsv (lxmert) and npz from the files.",
    )

    def deciding(self) -> dict[str, Any]:
        """See `Settings.deciding`: which card computes decides nothing, and of features that are
        read from files nothing is computed."""
        found = super().deciding()
        found["device"] = self.device.partition(":")[0]
        if self.backend in READERS:
            del found["device"], found["threads"]
        if self.source_labels:
            del found["source_labels"]  # so that columns of before there was a choice stay current
        return found

    @model_validator(mode="after")
    def _consistent(self) -> "RegionsSettings":
        if self.min_regions > self.max_regions:
            raise ValueError(f"min_regions {self.min_regions} > max_regions {self.max_regions}")
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} > longest {self.longest}")
        has_attributes = self.backend in ("c4", "given", "npz") or (
            self.backend == "tsv" and self.layout == "lxmert"
        )
        if self.attributes and not has_attributes:
            raise ValueError(
                "attributes come from backends c4, given, tsv (layout lxmert) and npz only"
            )
        return self

    @property
    def has_probs(self) -> bool:
        """Whether values hold class distributions."""
        return self.backend not in READERS or (self.backend == "lmdb" and self.source_probs)

    @property
    def has_labels(self) -> bool:
        """Whether values hold labels and scores."""
        tsv = self.backend == "tsv" and self.layout == "lxmert"
        return self.has_probs or tsv or (self.backend == "npz" and self.source_labels)
