"""Faster R-CNN C4 once more, plainly: functions over a state dict by detectron2's names, loops
where loops are clearest, nothing of torchvision. And a random checkpoint to run it with.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

State = dict[str, Tensor]
CLASSES = 20
SIZES, RATIOS = (16.0, 24.0, 32.0, 64.0), (0.5, 1.0, 2.0)


def random_state(seed: int = 0, classes: int = CLASSES, anchors: int = 12) -> State:
    """A ResNet-50 C4 whose activations stay of moderate size and whose classes are decided."""
    g = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, out: int, into: int, side: int) -> None:
        std = math.sqrt(2 / (into * side * side))
        state[f"{name}.weight"] = torch.randn(out, into, side, side, generator=g) * std

    def norm(name: str, width: int, gain: float = 1.0) -> None:
        state[f"{name}.weight"] = gain * (0.8 + 0.4 * torch.rand(width, generator=g))
        state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=g)
        state[f"{name}.running_mean"] = 0.1 * torch.randn(width, generator=g)
        state[f"{name}.running_var"] = 0.8 + 0.4 * torch.rand(width, generator=g)

    def stage(name: str, blocks: int, into: int, middle: int) -> None:
        for b in range(blocks):
            block, width = f"{name}.{b}", into if b == 0 else 4 * middle
            shapes = ((middle, width, 1), (middle, middle, 3), (4 * middle, middle, 1))
            for k, shape in enumerate(shapes, 1):
                conv(f"{block}.conv{k}", *shape)
                norm(f"{block}.conv{k}.norm", shape[0], 0.3 if k == 3 else 1.0)
            if b == 0:
                conv(f"{block}.shortcut", 4 * middle, width, 1)
                norm(f"{block}.shortcut.norm", 4 * middle)

    conv("backbone.stem.conv1", 64, 3, 7)
    norm("backbone.stem.conv1.norm", 64, 0.02)  # pixels come as values up to 255
    for s, (blocks, into, middle) in enumerate(((3, 64, 64), (4, 256, 128), (6, 512, 256)), 2):
        stage(f"backbone.res{s}", blocks, into, middle)
    stage("roi_heads.res5", 3, 1024, 512)
    rpn, box = "proposal_generator.rpn_head", "roi_heads.box_predictor"
    for name, out, into, side, std in ((f"{rpn}.conv", 256, 1024, 3, 0.01),
                                       (f"{rpn}.objectness_logits", anchors, 256, 1, 0.3),
                                       (f"{rpn}.anchor_deltas", 4 * anchors, 256, 1, 0.05)):  # fmt: skip
        state[f"{name}.weight"] = std * torch.randn(out, into, side, side, generator=g)
        state[f"{name}.bias"] = 0.1 * torch.randn(out, generator=g)
    for name, out, std in ((f"{box}.cls_score", classes + 1, 0.2),
                           (f"{box}.bbox_pred", 4 * classes, 0.02)):  # fmt: skip
        state[f"{name}.weight"] = std * torch.randn(out, 2048, generator=g)
        state[f"{name}.bias"] = 0.1 * torch.randn(out, generator=g)
    return state


def random_image(seed: int, width: int, height: int) -> np.ndarray:
    """Blocks of colour, uint8 [height, width, 3]."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (5, 6, 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def normed(state: State, name: str, x: Tensor, stride: int = 1, padding: int = 0,
           dilation: int = 1) -> Tensor:  # fmt: skip
    x = F.conv2d(x, state[f"{name}.weight"], None, stride, padding, dilation)
    mean, var = state[f"{name}.norm.running_mean"], state[f"{name}.norm.running_var"]
    weight, bias = state[f"{name}.norm.weight"], state[f"{name}.norm.bias"]
    shape = (1, -1, 1, 1)
    return (x - mean.view(shape)) / torch.sqrt(var + 1e-5).view(shape) * weight.view(
        shape
    ) + bias.view(shape)


def stage(state: State, name: str, x: Tensor, stride: int, dilation: int = 1,
          in_1x1: bool = True) -> Tensor:  # fmt: skip
    b = 0
    while f"{name}.{b}.conv1.weight" in state:
        block, s = f"{name}.{b}", stride if b == 0 else 1
        first, second = (s, 1) if in_1x1 else (1, s)
        y = normed(state, f"{block}.conv1", x, first).relu()
        y = normed(state, f"{block}.conv2", y, second, dilation, dilation).relu()
        y = normed(state, f"{block}.conv3", y)
        x = normed(state, f"{block}.shortcut", x, s) if b == 0 else x
        x, b = (x + y).relu(), b + 1
    return x


def prepared(pixels: np.ndarray, shortest: int, longest: int) -> Tensor:
    """Resized, BGR, mean taken away: [1, 3, h, w]."""
    height, width = pixels.shape[:2]
    factor = min(shortest / min(height, width), longest / max(height, width))
    size = (int(width * factor + 0.5), int(height * factor + 0.5))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    rgb = torch.tensor(np.array(image), dtype=torch.float32)
    bgr = torch.stack([rgb[:, :, 2] - 103.53, rgb[:, :, 1] - 116.28, rgb[:, :, 0] - 123.675])
    return bgr[None]


def feature_map(state: State, x: Tensor, ceil: bool = False, in_1x1: bool = True) -> Tensor:
    x = normed(state, "backbone.stem.conv1", x, 2, 3).relu()
    x = F.max_pool2d(x, 3, 2, 0, ceil_mode=True) if ceil else F.max_pool2d(x, 3, 2, 1)
    x = stage(state, "backbone.res2", x, 1, in_1x1=in_1x1)
    x = stage(state, "backbone.res3", x, 2, in_1x1=in_1x1)
    return stage(state, "backbone.res4", x, 2, in_1x1=in_1x1)


def iou(a: list[float], b: list[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return common / (areas - common)


def proposals(state: State, features: Tensor, height: int, width: int, most: int,
              threshold: float = 0.7) -> list[list[float]]:  # fmt: skip
    rpn = "proposal_generator.rpn_head"

    def conv(name: str, x: Tensor, padding: int = 0) -> Tensor:
        weight, bias = state[f"{rpn}.{name}.weight"], state[f"{rpn}.{name}.bias"]
        return F.conv2d(x, weight, bias, padding=padding)

    hidden = conv("conv", features, 1).relu()
    scores, deltas = conv("objectness_logits", hidden)[0], conv("anchor_deltas", hidden)[0]
    found = []
    for row in range(features.shape[2]):
        for column in range(features.shape[3]):
            a = 0
            for size in SIZES:
                for ratio in RATIOS:
                    w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
                    dx, dy, dw, dh = deltas[4 * a : 4 * a + 4, row, column].tolist()
                    x, y = column * 16 + dx * w, row * 16 + dy * h
                    w = w * math.exp(min(dw, math.log(1000 / 16)))
                    h = h * math.exp(min(dh, math.log(1000 / 16)))
                    box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                    box = [
                        min(max(v, 0.0), s) for v, s in zip(box, (width, height) * 2, strict=True)
                    ]
                    if box[2] > box[0] and box[3] > box[1]:
                        found.append((scores[a, row, column].item(), box))
                    a += 1
    found.sort(key=lambda pair: -pair[0])
    kept: list[list[float]] = []
    for _, box in found:
        if len(kept) == most:
            break
        if all(iou(box, other) <= threshold for other in kept):
            kept.append(box)
    return kept


def bilinear(features: Tensor, y: float, x: float) -> Tensor:
    """[channels] of a map [channels, h, w] at a point; 0 further than one beyond its edge."""
    high, wide = features.shape[1:]
    if y < -1 or y > high or x < -1 or x > wide:
        return torch.zeros(features.shape[0])
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = min(int(y), high - 1), min(int(x), wide - 1)
    bottom, right = min(top + 1, high - 1), min(left + 1, wide - 1)
    v, u = (0.0 if top == bottom else y - top), (0.0 if left == right else x - left)
    return ((1 - v) * ((1 - u) * features[:, top, left] + u * features[:, top, right])
            + v * ((1 - u) * features[:, bottom, left] + u * features[:, bottom, right]))  # fmt: skip


def roi_align(features: Tensor, box: list[float], side: int = 14, ratio: int = 0) -> Tensor:
    """He et al. 2017, section 3, with the half-pixel shift of detectron2."""
    x0, y0, x1, y1 = (v / 16 - 0.5 for v in box)
    high, wide = (y1 - y0) / side, (x1 - x0) / side
    ny, nx = ratio or math.ceil(high), ratio or math.ceil(wide)
    out = torch.zeros(features.shape[1], side, side)
    for i in range(side):
        for j in range(side):
            for a in range(ny):
                for b in range(nx):
                    y, x = y0 + (i + (a + 0.5) / ny) * high, x0 + (j + (b + 0.5) / nx) * wide
                    out[:, i, j] += bilinear(features[0], y, x) / (ny * nx)
    return out[None]


def roi_pool(features: Tensor, box: list[float], side: int = 14) -> Tensor:
    """Girshick 2015, section 2.1: maxima over cells of whole places."""
    x0, y0, x1, y1 = (math.floor(v / 16 + 0.5) for v in box)
    high, wide = max(y1 - y0 + 1, 1) / side, max(x1 - x0 + 1, 1) / side
    out = torch.zeros(features.shape[1], side, side)
    rows, columns = features.shape[2:]
    for i in range(side):
        for j in range(side):
            top, bottom = math.floor(i * high) + y0, math.ceil((i + 1) * high) + y0
            left, right = math.floor(j * wide) + x0, math.ceil((j + 1) * wide) + x0
            part = features[
                0, :, max(top, 0) : min(bottom, rows), max(left, 0) : min(right, columns)
            ]
            if part.numel():
                out[:, i, j] = part.amax(dim=(1, 2))
    return out[None]


def described(state: State, features: Tensor, box: list[float], pool: bool = False,
              ratio: int = 0, dilate: bool = False, in_1x1: bool = True
              ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """A box's feature [2048], distribution [1 + classes] with background first, and its deltas
    [classes, 4]."""
    pooled = roi_pool(features, box) if pool else roi_align(features, box, ratio=ratio)
    stride, dilation = (1, 2) if dilate else (2, 1)
    vector = stage(state, "roi_heads.res5", pooled, stride, dilation, in_1x1).mean(dim=(2, 3))[0]
    head = "roi_heads.box_predictor"
    logits = state[f"{head}.cls_score.weight"] @ vector + state[f"{head}.cls_score.bias"]
    deltas = state[f"{head}.bbox_pred.weight"] @ vector + state[f"{head}.bbox_pred.bias"]
    probs = torch.exp(logits - logits.max())
    probs = probs / probs.sum()
    return vector, torch.cat([probs[-1:], probs[:-1]]), deltas.view(-1, 4)
