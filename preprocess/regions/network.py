"""Faster R-CNN C4 (Ren et al. 2015; He et al. 2016, figure "C4") on torchvision's parts, with
the arithmetic of detectron2's `Res5ROIHeads`.

The parts are torchvision's ResNet, RoIAlign, RoIPool and NMS. What detectron2 does otherwise than
torchvision's detectors is here: anchors that are not rounded, the head from `layer4`, its mean as
the region's feature, background as the last class of the checkpoint. One image goes through at
a time, with all of its regions as the batch of the head, so no image's values depend on others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d, clip_boxes_to_image, nms, roi_align, roi_pool

from septet.preprocess.regions.attributes import AttributeHead
from septet.preprocess.regions.checkpoint import CELL_ANCHORS, State, split_state

STRIDE = 16
POOLED = 14
CHUNK = 100
"""Regions that the head sees at once: bounds its memory (0.1 GB for the pooled maps)."""
_MAX_LOG_SCALE = math.log(1000 / STRIDE)
_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of the four stages by ResNet depth."""


@dataclass(frozen=True)
class C4Options:
    """The options of a network that a checkpoint does not say of itself. Defaults are detectron2's
    for C4."""

    proposals: int = 1000
    """Regions that the RPN hands on."""
    candidates: int = 6000
    """Anchors that enter the RPN's NMS."""
    rpn_nms: float = 0.7
    pooler: Literal["align", "pool"] = "align"
    """RoIAlign with half-pixel shift (ROIAlignV2), or RoIPool."""
    sampling_ratio: int = 0
    """Samples a side of a RoIAlign bin; 0: as many as its size asks for."""
    head: Literal["halve", "dilate"] = "halve"
    """First block of `layer4`: stride 2, or stride 1 with dilation 2 in the whole stage (Caffe).
    """
    stem: Literal["padded", "ceil"] = "padded"
    """Max-pool of the stem: padding 1, or none and ceil mode (Caffe)."""
    stride_in_1x1: bool = True
    """Whether a block's stride lies in the first 1x1 (MSRA's weights) or in the 3x3
    (torchvision's)."""
    anchor_sizes: tuple[float, ...] | None = None
    """Square roots of the anchors' areas, pixels; None: those of the checkpoint, see `anchors`."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height / width."""
    attributes: bool = False
    """Run the attribute head."""


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Make anchors around (0, 0), float32 [sizes · ratios, 4], sizes outermost; nothing is
    rounded."""
    corners = []
    for size in sizes:
        for ratio in ratios:
            width = math.sqrt(size * size / ratio)
            height = ratio * width
            corners.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(corners)


_SIZES_BY_ANCHORS = {15: (32.0, 64.0, 128.0, 256.0, 512.0), 12: (64.0, 128.0, 256.0, 512.0)}


def anchors_for(state: State, options: C4Options) -> Tensor:
    """A checkpoint's anchors, float32 [a, 4].

    Configuration files of bottom-up attention name sizes that current detectron2 reads otherwise
    than the network was trained, so the checkpoint has the first word: its own anchors, where it
    holds them. Else `anchor_sizes`, else what fits its number of anchors a place: 15 are sizes
    32 to 512, 12 are 64 to 512 (three ratios each).

    Raises:
        ValueError: sizes that were set contradict the checkpoint, or none fit.
    """
    count = state["proposal_generator.rpn_head.objectness_logits.weight"].shape[0]
    told = state.get(CELL_ANCHORS)
    sizes = options.anchor_sizes
    if sizes is None and told is None:
        sizes = _SIZES_BY_ANCHORS.get(count, ())
    wanted = cell_anchors(sizes, options.anchor_ratios) if sizes is not None else None
    if wanted is not None and len(wanted) != count:
        raise ValueError(
            f"the checkpoint has {count} anchors a place; {len(sizes or ())} sizes and "
            f"{len(options.anchor_ratios)} ratios make {len(wanted)}: set anchor_sizes and "
            "anchor_ratios as it was trained"
        )
    if told is not None and wanted is not None and not torch.allclose(told, wanted, atol=0.51):
        raise ValueError(
            f"the checkpoint holds other anchors (widths {(told[:, 2] - told[:, 0]).tolist()}) "
            f"than anchor_sizes {sizes} gives: leave anchor_sizes unset"
        )
    found = told if told is not None else wanted
    assert found is not None
    return found.float()


def grid_anchors(cells: Tensor, height: int, width: int) -> Tensor:
    """Make the anchors of every place of a map, [height · width · a, 4], row by row."""
    x = torch.arange(width, device=cells.device, dtype=torch.float32) * STRIDE
    y = torch.arange(height, device=cells.device, dtype=torch.float32) * STRIDE
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([columns, rows, columns, rows], dim=-1).reshape(-1, 1, 4)
    return (shifts + cells).reshape(-1, 4)


def apply_deltas(
    boxes: Tensor, deltas: Tensor, weights: tuple[float, float, float, float] = (1, 1, 1, 1)
) -> Tensor:
    """Move boxes [n, 4] by deltas [n, k, 4] (dx, dy, dw, dh) to [n, k, 4]: Girshick et al. 2014,
    appendix C, with dw and dh at most log(1000 / 16)."""
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    centres = boxes[:, None, :2] + 0.5 * sides
    scaled = deltas / deltas.new_tensor(weights)
    moved = scaled[..., :2] * sides + centres
    half = 0.5 * torch.exp(scaled[..., 2:].clamp(max=_MAX_LOG_SCALE)) * sides
    return torch.cat([moved - half, moved + half], dim=-1)


def _depth(resnet: State) -> int:
    blocks = {int(name.split(".")[1]) for name in resnet if name.startswith("layer3.")}
    for depth, stages in BLOCKS.items():
        if len(blocks) == stages[2]:
            return depth
    raise ValueError(
        f"weights: res4 has {len(blocks)} blocks; a ResNet of depth {', '.join(map(str, BLOCKS))} "
        "with detectron2's C4 names is expected (backbone.res4.0.conv1.weight, …)"
    )


class FasterRcnnC4(nn.Module):
    """The network, built for a checkpoint.

    Raises:
        ValueError: the checkpoint lacks a part, or has another shape; says which.
    """

    def __init__(self, state: State, options: C4Options | None = None):
        super().__init__()
        self.options = options = options or C4Options()
        resnet, rest = split_state(state)
        rpn, box = "proposal_generator.rpn_head.", "roi_heads.box_predictor."
        for name in (f"{rpn}conv", f"{rpn}objectness_logits", f"{rpn}anchor_deltas",
                     f"{box}cls_score", f"{box}bbox_pred"):  # fmt: skip
            if f"{name}.weight" not in rest or f"{name}.bias" not in rest:
                raise ValueError(f"weights: no {name}.weight and bias; is it a Faster R-CNN C4?")
        groups, width = 1, 64
        if "layer1.0.conv2.weight" in resnet:
            conv2 = resnet["layer1.0.conv2.weight"]
            groups = conv2.shape[0] // conv2.shape[1]
            width = conv2.shape[0] // groups
        self.body = ResNet(
            Bottleneck,
            list(BLOCKS[_depth(resnet)]),
            groups=groups,
            width_per_group=width,
            norm_layer=FrozenBatchNorm2d,
        )
        del self.body.fc
        self._arrange(self.body)
        self.rpn_conv = nn.Conv2d(1024, rest[f"{rpn}conv.weight"].shape[0], 3, padding=1)
        hidden, count = self.rpn_conv.out_channels, rest[f"{rpn}objectness_logits.weight"].shape[0]
        self.objectness = nn.Conv2d(hidden, count, 1)
        self.deltas = nn.Conv2d(hidden, 4 * count, 1)
        self.classes = rest[f"{box}cls_score.weight"].shape[0] - 1
        self.cls_score = nn.Linear(2048, self.classes + 1)
        self.bbox_pred = nn.Linear(2048, rest[f"{box}bbox_pred.weight"].shape[0])
        self.register_buffer("cells", anchors_for(rest, options), persistent=False)
        try:
            self.body.load_state_dict(resnet)
            for part, name in (
                (self.rpn_conv, f"{rpn}conv"), (self.objectness, f"{rpn}objectness_logits"),
                (self.deltas, f"{rpn}anchor_deltas"), (self.cls_score, f"{box}cls_score"),
                (self.bbox_pred, f"{box}bbox_pred"),
            ):  # fmt: skip
                part.load_state_dict({n: rest[f"{name}.{n}"] for n in ("weight", "bias")})
        except RuntimeError as error:
            raise ValueError(f"weights do not fit a Faster R-CNN C4: {error}") from error
        self.attributes = AttributeHead(rest, 2048, self.classes) if options.attributes else None
        self.eval()

    def _arrange(self, body: ResNet) -> None:
        """Move strides, dilation and padding to where the checkpoint had them."""
        for layer in (body.layer2, body.layer3, body.layer4):
            if self.options.stride_in_1x1:
                layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
        if self.options.head == "dilate":
            layer4 = body.layer4
            layer4[0].conv1.stride = layer4[0].conv2.stride = (1, 1)
            layer4[0].downsample[0].stride = (1, 1)
            for block in layer4:
                block.conv2.padding = block.conv2.dilation = (2, 2)
        if self.options.stem == "ceil":
            body.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)

    def features(self, image: Tensor) -> Tensor:
        """Compute the map that regions are pooled from: [1, 3, h, w] to [1, 1024, h/16, w/16]."""
        body = self.body
        x = body.maxpool(F.relu(body.bn1(body.conv1(image))))
        out: Tensor = body.layer3(body.layer2(body.layer1(x)))
        return out

    def propose(self, features: Tensor, height: int, width: int) -> Tensor:
        """Compute the RPN's proposals, [n, 4] in pixels of the image fed in, the best first."""
        hidden = F.relu(self.rpn_conv(features))
        scores = self.objectness(hidden).permute(0, 2, 3, 1).flatten().float()
        deltas = self.deltas(hidden)[0].permute(1, 2, 0).reshape(-1, 1, 4).float()
        anchors = grid_anchors(self.cells, *features.shape[-2:])  # type: ignore[arg-type]
        scores, order = scores.sort(descending=True, stable=True)
        scores, order = scores[: self.options.candidates], order[: self.options.candidates]
        boxes = apply_deltas(anchors[order], deltas[order])[:, 0]
        valid = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores)
        boxes, scores = clip_boxes_to_image(boxes[valid], (height, width)), scores[valid]
        wide = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        boxes, scores = boxes[wide], scores[wide]
        return boxes[nms(boxes, scores, self.options.rpn_nms)[: self.options.proposals]]

    def describe(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what the head says of boxes.

        Args:
            features: [1, 1024, h/16, w/16].
            boxes: [n, 4] in pixels of the image fed in.

        Returns:
            Features float32 [n, 2048]; class distribution float32 [n, 1 + classes], background
            first; box deltas float32 [n, classes or 1, 4].
        """
        parts = [self._pool(features, part) for part in boxes.to(features.dtype).split(CHUNK)]
        vectors = torch.cat(parts)
        probs = self.cls_score(vectors).float().softmax(dim=-1)
        probs = torch.cat([probs[:, -1:], probs[:, :-1]], dim=1)
        deltas = self.bbox_pred(vectors).float().reshape(len(boxes), -1, 4)
        return vectors.float(), probs, deltas

    def _pool(self, features: Tensor, boxes: Tensor) -> Tensor:
        if self.options.pooler == "align":
            pooled = roi_align(
                features, [boxes], POOLED, 1 / STRIDE, self.options.sampling_ratio, aligned=True
            )
        else:
            pooled = roi_pool(features, [boxes], POOLED, 1 / STRIDE)
        return self.body.layer4(pooled).mean(dim=(2, 3))

    def refine(self, boxes: Tensor, deltas: Tensor, classes: Tensor) -> Tensor:
        """Move boxes [n, 4] as the head says for classes [n], counted without background."""
        chosen = deltas[torch.arange(len(boxes)), classes if deltas.shape[1] > 1 else 0]
        return apply_deltas(boxes, chosen[:, None], _BOX_WEIGHTS)[:, 0]
