"""Vision halves that learn scenes by themselves (`benchmarks.vision`): what tokens are said to show,
and that the models begin with what was learnt."""

import numpy as np
import pytest
import torch

from benchmarks import vision
from septet.preprocess.synthetic.scenes import (
    COLOURS,
    GROUNDS,
    SHAPES,
    SIGN_BOX,
    SIGN_WORDS,
    make_scene,
)
from septet.trainers.ofa.presets import PRESETS as OFA
from septet.trainers.pali.presets import PRESETS as PALI


def overlaps(token: int, grid: int, box: tuple[float, ...]) -> bool:
    y, x = (place / grid for place in divmod(token, grid))
    side = 1 / grid
    return x < box[2] and box[0] < x + side and y < box[3] and box[1] < y + side


@pytest.mark.parametrize("grid", [4, 8])
def test_each_token_tells_the_thing_that_it_shows_most_of(grid):
    scenes = [make_scene(0, i, (2, 2), signs=True) for i in range(8)]
    for scene, labels in zip(scenes, vision.labels_of(scenes, grid).numpy(), strict=True):
        told = dict(zip(vision.CLASSES, labels.T, strict=True))
        assert (told["ground"] == GROUNDS.index(scene.ground)).all()
        shown = np.zeros(grid**2, bool)
        for thing in scene.things:
            its = told["shape"] == SHAPES.index(thing.shape)
            its &= told["colour"] == list(COLOURS).index(thing.colour)
            assert its.any() and all(overlaps(i, grid, thing.box) for i in np.flatnonzero(its))
            for edge, at in zip(("left", "top", "right", "bottom"), thing.box, strict=True):
                assert (told[edge][its] == int(at * vision.BINS)).all()
            shown |= its
        assert np.array_equal(told["there"], shown)
        assert (told["size"][~shown] == vision.UNTOLD).all()
        signed = np.flatnonzero(told["sign"] == SIGN_WORDS.index(scene.sign))
        assert len(signed) >= grid - 1 and all(overlaps(i, grid, SIGN_BOX) for i in signed)


@pytest.mark.parametrize(
    ("half", "preset", "part"),
    [
        (vision.resnet, OFA["debug"], "encoder.embed_images."),
        (vision.vit, PALI["debug"], "vision."),
    ],
)
def test_a_model_begins_with_the_half_that_learnt(half, preset, part, tmp_path, monkeypatch):
    monkeypatch.setattr(vision, "SCENES", 16)
    monkeypatch.setattr(vision, "HELD", 8)
    learns = half()._replace(steps=2, rows=8)
    before = {name: x.clone() for name, x in learns.module.state_dict().items()}
    found = vision.learn(learns, tmp_path / "half.pth")
    assert found.keys() == vision.CLASSES.keys() and all(0 <= x <= 1 for x in found.values())
    state = {part + name: x for name, x in learns.module.state_dict().items()}
    assert any(not torch.equal(x, before[n.removeprefix(part)]) for n, x in state.items())
    weights = preset.task().forms.read(tmp_path / "half.pth", preset.model).weights
    assert weights and all(torch.equal(x, state[name]) for name, x in weights.items())
    again = vision.learn(half()._replace(steps=10**9), tmp_path / "half.pth")
    assert again == found
