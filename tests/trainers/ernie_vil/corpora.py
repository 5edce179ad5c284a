"""Scenes with the columns that ERNIE-ViL reads, really made of their images and captions."""

import sys
from collections.abc import Container
from pathlib import Path

import cv2
import numpy as np

from septet.preprocess.synthetic.scenes import captions, make_scene
from tests.corpora import run_annotation
from tests.trainers.corpora import scenes_corpus

TWO = (2, 2)
COLUMNS = Path(__file__).parents[3] / "examples/columns"


def annotated(
    folder: Path,
    count: int,
    first: int = 0,
    seed: int = 1,
    blank: Container[int] = (),
    silent: Container[int] = (),
) -> Path:
    """Scenes of two things, told as "the red circle is left of the blue square": of a colour, a
    shape or a relation that is hidden, the rest of the text tells nothing. Images of `blank`
    show nothing, captions of `silent` say nothing."""

    def told(i: int, members: dict[str, bytes]) -> dict[str, bytes]:
        caption = "" if i in silent else captions(make_scene(seed, first + i, TWO))[1]
        nothing = cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))[1].tobytes()
        png = nothing if i in blank else members["png"]
        return {**members, "txt": caption.encode(), "png": png}

    corpus = scenes_corpus(folder, seed, count, first, change=told, things=TWO)
    if str(COLUMNS) not in sys.path:
        sys.path.append(str(COLUMNS))
    run_annotation(corpus, "scene_regions:SceneRegions", name="regions")
    run_annotation(corpus, "scene-graphs")
    return corpus
