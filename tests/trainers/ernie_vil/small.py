"""An ERNIE-ViL of a few thousand weights, and batches for it."""

import numpy as np
import torch

from septet.preprocess.columns.members import pack_arrays, pack_json
from septet.preprocess.regions.detections import locations
from septet.preprocess.scene_graphs.graph import (
    Attribute,
    Number,
    Object,
    Relation,
    SceneGraph,
    Spans,
)
from septet.trainers.draws import generator
from septet.trainers.ernie_vil.model import ErnieVil
from septet.trainers.ernie_vil.settings import ErnieVilSettings, TowerSettings
from septet.trainers.ernie_vil.task import ErnieVilTask
from septet.trainers.loader.source import stack
from septet.trainers.task import Batch
from tests.trainers.test_clip import randomised

SMALL = ErnieVilSettings(
    text=TowerSettings(width=48, layers=3, heads=4, inner=96),
    image=TowerSettings(width=32, layers=2, heads=2, inner=48),
    co_width=64, co_heads=4, text_places=(1, 2), image_places=(0, 1), words=256, positions=40,
    features=16, classes=12, dropout=0.0, vocabulary="scenes", text_tokens=24, most_regions=5,
)  # fmt: skip

CAPTION = "a small red circle is standing right in front of two large blue squares, and also a dog"


def task(settings: ErnieVilSettings = SMALL, rows: int = 8) -> ErnieVilTask:
    return ErnieVilTask(settings, rows)


def module(settings: ErnieVilSettings = SMALL, seed: int = 1) -> ErnieVil:
    torch.manual_seed(seed)
    return randomised(ErnieVil(settings), seed)  # type: ignore[return-value]


def spans(caption: str, *words: str) -> Spans:
    """Characters of words, each sought behind the last one."""
    found, at = [], 0
    for word in words:
        begin = caption.index(word, at)
        at = begin + len(word)
        found.append((begin, at))
    return tuple(found)


def graph(caption: str = CAPTION) -> SceneGraph:
    """The graph of `CAPTION`; its relation is discontiguous."""
    c = caption
    return SceneGraph(
        objects=(
            Object("circle", spans(c, "circle"), "circle"),
            Object("square", spans(c, "squares"), "squares"),
            Object("dog", spans(c, "dog"), "dog"),
        ),
        attributes=(
            Attribute("small", spans(c, "small"), 0),
            Attribute("red", spans(c, "red"), 0),
            Attribute("large", spans(c, "large"), 1),
            Attribute("blue", spans(c, "blue"), 1),
        ),
        numbers=(Number("two", spans(c, "two"), 1, 2),),
        relations=(Relation("stand in front of", spans(c, "standing", "in front of"), 0, 1),),
    )


def regions(seed: int, n: int = 4, s: ErnieVilSettings = SMALL) -> bytes:
    draw = np.random.default_rng(seed)
    corners = np.sort(draw.random((n, 2, 2)), 1).reshape(n, 4).astype(np.float32)
    probs = draw.random((n, s.classes)) ** 4
    return pack_arrays(
        {
            "features": draw.normal(size=(n, s.features)).astype(np.float16),
            "boxes": corners,
            "locations": locations(corners),
            "probs": (probs / probs.sum(1, keepdims=True)).astype(np.float16),
        }
    )


def sample(i: int = 0, n: int = 4, s: ErnieVilSettings = SMALL) -> dict[str, bytes]:
    caption = CAPTION if i == 0 else f"{i} {CAPTION}"
    return {
        "txt": caption.encode(),
        "scene-graphs": pack_json(graph(caption).to_json()),
        "regions": regions(i, n, s),
    }


def draw(key: object, epoch: int = 0):
    return lambda: generator("draw", 0, "pairs", str(key), epoch)


def batch(
    t: ErnieVilTask | None = None, rows: int = 8, epoch: int = 0, regions: int | None = None
) -> Batch:
    """Rows as the loader gives them, images of one to five regions, some pairs mismatched."""
    t = t or task()
    found = stack(
        [
            t.read("pairs", sample(i, regions or 1 + i % 5, t.settings), draw(i, epoch))
            for i in range(rows)
        ]
    )
    return t.exchange(Batch("pairs", {n: torch.from_numpy(x) for n, x in found.items()}))
