"""Scenes with the columns that ERNIE-ViL reads, really made of their pictures and captions."""

import sys
from pathlib import Path

from preprocess.scenes import captions, make_scene
from tests.corpora import run_annotation
from tests.trainers.corpora import scenes_corpus

COLUMNS = Path(__file__).parents[3] / "examples/columns"


def annotated(folder: Path, count: int, first: int = 0, seed: int = 1) -> Path:
    """Scenes told as "the red circle is left of the blue square": of a colour, a shape or a
    relation that is hidden, the rest of the text tells nothing."""

    def told(i: int, members: dict[str, bytes]) -> dict[str, bytes]:
        return {**members, "txt": captions(make_scene(seed, first + i))[1].encode()}

    corpus = scenes_corpus(folder, seed, count, first, change=told)
    if str(COLUMNS) not in sys.path:
        sys.path.append(str(COLUMNS))
    run_annotation(corpus, "scene_regions:SceneRegions", name="regions")
    run_annotation(corpus, "scene-graphs")
    return corpus
