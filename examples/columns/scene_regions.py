"""Regions of synthetic scenes, for models that read regions, without a detector's weights.

PYTHONPATH=examples/columns septet annotate corpora/scenes --column scene_regions:SceneRegions --name regions

Scenes (`septet.preprocess.synthetic.scenes`) are plain shapes on a plain ground, so their things are the connected
stretches of pixels that are unlike the ground. A region's feature is its outline and its pixels;
its class distribution compares them with each colour and each shape. Nothing but the image is looked at.
"""  # noqa: E501 (a command)

import cv2
import numpy as np
import pyarrow as pa

from septet.preprocess.columns.base import IMAGE, Column, NoValue, Value
from septet.preprocess.columns.images import image_of
from septet.preprocess.columns.members import pack_arrays
from septet.preprocess.regions.detections import FEATURES, locations
from septet.preprocess.synthetic.scenes import COLOURS, GROUNDS, SHAPES, Scene, Thing, render
from septet.schemas.columns import ArrayFormat, MemberFormat

SIDE, SMALL = 32, 18
"""Pixels on each side: of a region's outline, and of its colours."""
UNLIKE = 40
"""Difference from the ground in some channel, of 255."""
FEWEST = 12
"""Pixels of a thing; fewer are noise of a JPEG."""
CLASSES = 1600
"""As many as Visual Genome's detectors have; the first 48 are colours times shapes."""


def foreground(image, ground):
    """Pixels unlike the ground, bool [height, width]."""
    return (abs(image.astype(int) - ground).max(2) > UNLIKE).astype(np.uint8)


def templates():
    """Each shape as it fills its box, bool [6, SIDE, SIDE]."""
    found = []
    for shape in SHAPES:
        scene = Scene(0, 0, GROUNDS[0], (Thing(shape, "black", "large", (0.0, 0.0, 1.0, 1.0)),))
        mask = foreground(render(scene, 4 * SIDE), np.array(GROUNDS[0]))
        found.append(square(mask, mask) > 0)
    return np.stack(found)


def square(image, mask):
    """The image within the bounds of a mask, SIDE x SIDE."""
    x, y, w, h = cv2.boundingRect(mask)
    return cv2.resize(image[y : y + h, x : x + w], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


class SceneRegions(Column):
    """Things of a scene as regions, from left to right; reason for none: `no_region`."""

    version = 1
    members = (IMAGE,)
    facts = pa.schema([("regions", pa.int32())])
    member = MemberFormat(
        ext="regions.safetensors",
        kind="safetensors",
        arrays={
            "features": ArrayFormat(dtype="float16", shape=("n", FEATURES)),
            "boxes": ArrayFormat(dtype="float32", shape=("n", 4), least=0, greatest=1),
            "locations": ArrayFormat(dtype="float32", shape=("n", 5), least=0, greatest=1),
            "probs": ArrayFormat(dtype="float16", shape=("n", 1 + CLASSES), least=0, greatest=1),
        },
        notes={"probs": "background first, then colours times shapes"},
    )

    def setup(self):
        self._templates = templates()

    def annotate(self, items):
        return [self._one(item) for item in items]

    def _one(self, item):
        image = image_of(item)
        if isinstance(image, NoValue):
            return image
        height, width = image.shape[:2]
        ground = np.median(image[[0, -1]].reshape(-1, 3), 0)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(foreground(image, ground))
        things = [i for i in range(1, count) if stats[i][4] >= FEWEST]
        if not things:
            return NoValue("no_region")
        things.sort(key=lambda i: tuple(stats[i]))
        boxes = np.array([self._box(stats[i], width, height) for i in things], np.float32)
        found = [self._look(image, (labels == i).astype(np.uint8)) for i in things]
        arrays = {
            "features": np.stack([feature for feature, _ in found]).astype(np.float16),
            "boxes": boxes,
            "locations": locations(boxes),
            "probs": np.stack([probs for _, probs in found]).astype(np.float16),
        }
        return Value(pack_arrays(arrays), {"regions": len(things)})

    @staticmethod
    def _box(stats, width, height):
        x, y, w, h = stats[:4]
        return x / width, y / height, (x + w) / width, (y + h) / height

    def _look(self, image, mask):
        """Feature [2048] and class distribution [1 + CLASSES] of a thing."""
        outline = square(mask.astype(np.float32), mask)
        colours = (cv2.resize(square(image, mask), (SMALL, SMALL)) - 128.0) / 256
        feature = np.zeros(FEATURES)
        # So weak that a region's place, which is added, is not drowned by a thousand pixels.
        whole = np.concatenate([outline.reshape(-1) - 0.5, colours.reshape(-1)]) / 32
        feature[: len(whole)] = whole
        colour = np.median(image[mask > 0], 0)
        off = np.array([np.linalg.norm(colour - rgb) for rgb in COLOURS.values()]) / 20
        shape = outline > 0.5
        common = (self._templates & shape).sum((1, 2)) / (self._templates | shape).sum((1, 2))
        odds = -off[:, None] + 20 * common[None]
        likely = np.exp(odds - odds.max()).reshape(-1)
        probs = np.zeros(1 + CLASSES)
        probs[0] = 0.01
        probs[1 : 1 + len(likely)] = 0.99 * likely / likely.sum()
        return feature, probs
