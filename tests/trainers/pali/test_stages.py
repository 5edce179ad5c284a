"""The second stage begins with the first one's run: at a higher resolution, everything trained."""

import torch

from septet.trainers.engine.checkpoint import SavedWeights
from septet.trainers.engine.initial import Initial
from septet.trainers.pali.vit import resize_positions
from septet.trainers.settings.overrides import override
from tests.trainers.pali.test_training import TINY, preset
from tests.trainers.test_cli import call

SECOND = ("model.frozen=nothing", "model.vision.image_size=96",
          "model.mixture={ocr: 2, caption: 2, vqa: 1, vqg: 1}")  # fmt: skip
POSITIONS = "vision.positions"


def run(corpus, out, *arguments, changes):
    sets = [part for change in changes for part in ("--set", change)]
    found = call("pali", corpus, "--out", out, "--set", "train.workers=0", *sets, *arguments)
    assert found.exit_code == 0, found.output
    return found.output


def saved(out):
    found = SavedWeights(str(out / "checkpoints"))
    return {name: found[name] for name in found.empty}


def test_the_second_stage_goes_on_from_a_run_of_the_first(small, tmp_path):
    tiny = override(preset(), ["model.frozen=vision"])
    first = [*TINY, "model.frozen=vision", "train.steps=2"]
    run(small, tmp_path / "one", changes=first)
    before, initial = saved(tmp_path / "one"), Initial(tiny.task().build, tiny.train.seed)
    moved = {n for n, x in before.items() if not torch.equal(x, initial.value(n))}
    assert moved and not any(name.startswith("vision") for name in moved)

    still = [*TINY, *SECOND, "train.steps=1", "train.seed=4", "optimizer.lr=1e-12"]
    said = run(small, tmp_path / "two", "--initial", tmp_path / "one", changes=still)
    assert "weights from files; at random: none" in said
    after = saved(tmp_path / "two")
    assert after.keys() == before.keys() and after[POSITIONS].shape == (1, 36, 24)
    expected = {**before, POSITIONS: resize_positions(before[POSITIONS], 6)}
    assert all(torch.allclose(after[n], x, atol=1e-6) for n, x in expected.items())

    on = [*TINY, *SECOND, "train.steps=2", "train.seed=4"]
    assert "resuming after step 1" in run(small, tmp_path / "two", changes=on)
    trained = saved(tmp_path / "two")
    assert not torch.equal(trained[POSITIONS], after[POSITIONS])
    assert not torch.equal(trained["connector.weight"], after["connector.weight"])
