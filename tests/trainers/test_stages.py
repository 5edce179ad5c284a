"""Stages of one recipe: a run begins with an earlier run's weights, at another resolution."""

import weakref

import pytest
import torch

from septet.trainers.beit3.presets import PRESETS as BEIT3
from septet.trainers.clip.presets import PRESETS as CLIP
from septet.trainers.clip.weights import resize_positions
from septet.trainers.commands.models import MODELS, presets_of
from septet.trainers.engine.checkpoint import CheckpointError, SavedWeights, read_weights
from septet.trainers.flava.presets import PRESETS as FLAVA
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import TINY
from tests.trainers.corpora import scenes_corpus
from tests.trainers.test_cli import call

QUICK = [
    part
    for change in (*TINY, "train.workers=0", "train.save_every=99")
    for part in ("--set", change)
]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of a tiny CLIP at 64 pixels, with a moving average, and its corpus."""
    folder = tmp_path_factory.mktemp("stages")
    corpus = scenes_corpus(folder / "corpus", seed=2, count=64)
    found = call("clip", corpus, *QUICK, "--steps", "2", "--set", "train.ema=0.5",
                 "--out", folder / "run")  # fmt: skip
    assert found.exit_code == 0, found.output
    return folder / "run", corpus


def saved(run):
    found = SavedWeights(str(run / "checkpoints"))
    return {name: found[name] for name in found.empty}


def start(first, out, *arguments):
    run, corpus = first
    return call("clip", corpus, *QUICK, "--steps", "1", "--set", "optimizer.lr=1e-12",
                "--seed", "5", "--out", out, "--initial", run, *arguments)  # fmt: skip


@pytest.mark.parametrize("side", [64, 96])
def test_a_stage_begins_with_the_last_ones_weights(first, tmp_path, side):
    found = start(first, tmp_path / "run", "--set", f"model.image_size={side}")
    assert found.exit_code == 0, found.output
    assert "weights from files; at random: none" in found.output
    before, after = (saved(out) for out in (first[0], tmp_path / "run"))
    expected = resize_positions(
        before, override(CLIP["debug"], [*TINY, f"model.image_size={side}"]).model
    )
    assert after.keys() == expected.keys()
    for name, x in after.items():
        assert torch.allclose(x, expected[name], atol=1e-6), name
    name = "visual.positional_embedding"
    assert after[name].shape[0] == (side // 16) ** 2 + 1
    if side == 96:  # Interpolated positions vary as before: not drawn anew.
        assert after[name].std() == pytest.approx(float(before[name].std()), rel=0.2)
        # The stage itself is a run of its own: it resumes, and needs the earlier one no more.
        again = call("clip", first[1], *QUICK, "--steps", "2", "--set", "optimizer.lr=1e-12",
                     "--seed", "5", "--out", tmp_path / "run",
                     "--set", "model.image_size=96")  # fmt: skip
        assert again.exit_code == 0 and "resuming after step 1" in again.output, again.output


def test_the_moving_average_is_what_is_passed_on(first):
    module = override(CLIP["debug"], TINY).task().build()
    assert read_weights(str(first[0] / "checkpoints"), module) == "step-00000002"
    kept = saved(first[0])
    assert all(torch.equal(x, kept[name]) for name, x in module.state_dict().items())
    other = override(CLIP["debug"], [*TINY, "model.width=128"]).task().build()
    with pytest.raises(CheckpointError, match=r"another model's: of \d+ weights \d+ are missing"):
        read_weights(str(first[0] / "checkpoints"), other)


def test_a_stage_holds_one_of_the_last_ones_weights_at_a_time(first, tmp_path, monkeypatch):
    held, most, get = weakref.WeakSet(), [], SavedWeights.__getitem__

    def watched(saved, name):
        found = get(saved, name)
        held.add(found)
        most.append(len(held))
        return found

    monkeypatch.setattr(SavedWeights, "__getitem__", watched)
    found = start(first, tmp_path / "run", "--set", "model.image_size=96")
    assert found.exit_code == 0, found.output
    monkeypatch.undo()
    assert len(most) == len(saved(tmp_path / "run")) and max(most) <= 2


@pytest.mark.parametrize("presets,changes,sides,name", [
    (BEIT3, [], (64, 96), "beit3.encoder.embed_positions.A.weight"),
    (FLAVA, [], (64, 96), "image.positions"),
])  # fmt: skip
def test_each_model_interpolates_its_positions(presets, changes, sides, name):
    small, large = (
        override(presets["debug"], [*changes, f"model.image_size={side}"]).task() for side in sides
    )
    with torch.device("meta"):
        wanted = {n: x.shape for n, x in large.build().state_dict().items()}
    state = {n: torch.rand(x.shape) for n, x in small.build().state_dict().items()}
    found = large.from_stage(state)
    assert {n: x.shape for n, x in found.items()} == wanted
    assert found[name].shape != state[name].shape
    assert all(torch.equal(found[n], state[n]) for n in state if n != name)


def test_heads_of_another_stage_are_left_out():
    masked, contrastive = (BEIT3[name].task() for name in ("debug", "debug-itc"))
    found = contrastive.from_stage(masked.build().state_dict())
    lacks = contrastive.build().state_dict().keys() - found.keys()
    assert not found.keys() - contrastive.build().state_dict().keys()
    assert {name.split(".")[0] for name in lacks} == {
        "vision_head", "language_head", "logit_scale",
    }  # fmt: skip


def test_a_preset_names_the_stage_that_it_goes_on_from(first, tmp_path):
    later = {
        (model, name): preset.after
        for model in MODELS
        for name, preset in presets_of(model).items()
        if preset.after
    }
    assert later[("clip", "vit-l-14-336")] == "vit-l-14" and later[("ofa", "huge-480")] == "huge"
    assert all(after in presets_of(model) for (model, _), after in later.items())
    alone = call("clip", first[1], "--preset", "vit-l-14-336", "--out", tmp_path / "x")
    assert alone.exit_code == 1
    assert "vit-l-14-336 goes on from the weights of vit-l-14: give a run of it" in alone.output
    other = call("beit3", first[1], "--initial", first[0], "--out", tmp_path / "x")
    assert other.exit_code == 1 and "is a run of clip, not of beit3" in other.output
    misfit = start(first, tmp_path / "y", "--set", "model.width=128")
    assert misfit.exit_code == 1 and "the module has" in misfit.output
    assert not (tmp_path / "x").exists()
