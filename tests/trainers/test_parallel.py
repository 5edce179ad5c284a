"""Ranks of a run in one process each, over gloo: precision, statistics, initial values."""

import math
from pathlib import Path

import pytest
import torch
from torch.distributed.tensor import DTensor

from septet.trainers.clip.presets import PRESETS
from septet.trainers.engine.initial import Initial
from septet.trainers.engine.optim import make_optimizer
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.update import Updater
from septet.trainers.engine.world import world
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch
from tests.trainers.conftest import settings, train
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import same, stop_after, weights

ROWS = 8


def made(seed: int, first: int, rows: int, preset) -> Batch:
    """Rows of a made-up global batch."""
    draw = torch.Generator().manual_seed(seed)
    size = preset.model.image_size
    pixels = torch.randint(0, 256, (ROWS, size, size, 3), dtype=torch.uint8, generator=draw)
    ids = torch.randint(1, 400, (ROWS, preset.model.context), generator=draw)
    cut = slice(first, first + rows)
    return Batch("pairs", {"pixels": pixels[cut], "ids": ids[cut]})


def one_update(*changes: str) -> dict[str, object]:
    """Loss, gradient norm and temperature of an update, and what types its parameters had."""
    preset = settings("model.vocabulary=512", "optimizer.clip_norm=1.0", *changes)
    task = preset.task()
    with world() as ranks:
        initial = Initial(task.build, 0)
        parallel = Parallel(
            initial.module, task, preset.train, ranks, lambda module: initial.fill(module, {})
        )
        with torch.no_grad():
            parallel.raw.logit_scale.fill_(4.59)
        seen = {}
        forward = task.forward

        def noted(module, batch):
            outputs = forward(module, batch)
            seen.update({"scale": outputs["scale"].dtype, "factor": float(outputs["scale"])})
            return outputs

        task.forward = noted
        optimizer = make_optimizer(parallel.raw, task, preset.optimizer)
        update = Updater(task, parallel, optimizer, 0, preset.optimizer.clip_norm)
        share = ROWS // ranks.size
        batch = made(0, ranks.rank * share, share, preset)
        found = [update([[batch]], step, 1e-3) for step in range(2)]
        kept = {
            name
            for name, x in parallel.raw.named_parameters()
            if preset.train.shard > 1 and not isinstance(x, DTensor)
        }
        return {
            "loss": [one.total for one in found],
            "norm": [one.gradient_norm for one in found],
            "whole": sorted(kept),
            **seen,
        }


LAYOUTS = {"ddp": (2, 1), "fsdp": (2, 2), "hsdp": (4, 2)}


@pytest.fixture(scope="module")
def updates() -> dict[tuple[str, str], dict]:
    found = {
        ("alone", p): run_ranks(1, one_update, f"train.precision={p}")[0] for p in ("fp32", "bf16")
    }
    for layout, (ranks, shard) in LAYOUTS.items():
        for precision in ("fp32", "bf16"):
            changes = f"train.precision={precision}", f"train.shard={shard}"
            every = run_ranks(ranks, one_update, *changes)
            assert all(one == every[0] for one in every), "ranks differ"
            found[layout, precision] = every[0]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision,within", [("fp32", 1e-5), ("bf16", 2**-7)])
def test_an_update_is_the_same_in_every_layout(updates, layout, precision, within):
    mine, alone = updates[layout, precision], updates["alone", precision]
    assert mine["loss"] == pytest.approx(alone["loss"], rel=within)
    assert mine["norm"] == pytest.approx(alone["norm"], rel=4 * within)
    # bf16 is another computation than fp32, so the bound says something.
    assert updates["alone", "bf16"]["norm"] != updates["alone", "fp32"]["norm"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_temperature_gains_and_biases_stay_fp32(updates, layout):
    mine, alone = updates[layout, "bf16"], updates["alone", "bf16"]
    assert mine["scale"] == torch.float32
    assert mine["factor"] == pytest.approx(alone["factor"], rel=1e-6)
    assert math.log(mine["factor"]) == pytest.approx(4.59, abs=2e-3)  # After one update.
    if layout != "ddp":
        assert "logit_scale" in mine["whole"] and "ln_final.weight" in mine["whole"]
        assert not any(name.endswith("c_fc.weight") for name in mine["whole"])
        assert updates[layout, "fp32"]["whole"] == []


RESNET = (
    "model.layers=[1,1,1,1]", "model.patch=null", "model.width=16", "model.image_size=32",
    "model.embed=64", "model.text_layers=1", "model.text_width=64", "train.global_batch=16",
    "train.log_every=1",
    "optimizer.warmup_steps=2",
)  # fmt: skip


def resnet(steps: int, corpus: Path, out: Path, cut: int | None, *changes: str) -> dict[str, float]:
    """Train; sums of this rank's statistics as the measures see them."""
    found: dict[str, float] = {}

    class Statistics:
        name = "statistics"

        def __call__(self, module, device):
            buffers = [(n, b) for n, b in module.named_buffers() if "running" in n]
            found.update({name: float(x.double().sum()) for name, x in buffers})
            return {}

    preset = override(PRESETS["debug"], [*RESNET, f"train.steps={steps}", *changes])
    if cut:
        stop_after(cut, preset, corpus, out)
    else:
        train(preset, corpus, out, evaluators=[Statistics()])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("shard", [1, 2])
def test_ranks_share_the_statistics_of_batch_norms(scenes, tmp_path, shard):
    change = f"train.shard={shard}"
    first, second = run_ranks(2, resnet, 4, scenes, tmp_path / "whole", None, change)
    assert first and first == second
    saved = weights(tmp_path / "whole")
    assert all(float(saved[f"model.{n}"].double().sum()) == x for n, x in first.items())
    run_ranks(2, resnet, 4, scenes, tmp_path / "cut", 2, change)
    assert run_ranks(2, resnet, 4, scenes, tmp_path / "cut", None, change) == [first, first]
    assert same(tmp_path / "whole", tmp_path / "cut")


def values(shard: int) -> dict[str, float]:
    preset = settings("model.vocabulary=512", f"train.shard={shard}")
    task = preset.task()
    with world() as ranks:
        initial = Initial(task.build, 3)
        parallel = Parallel(
            initial.module, task, preset.train, ranks, lambda module: initial.fill(module, {})
        )
        whole = {
            name: x.full_tensor() if isinstance(x, DTensor) else x
            for name, x in parallel.raw.named_parameters()
        }
        return {name: x.double().sum().item() for name, x in whole.items()}


@pytest.mark.slow
def test_initial_values_do_not_depend_on_the_sharding():
    alone = run_ranks(1, values, 1)[0]
    assert run_ranks(2, values, 1) == [alone] * 2
    assert run_ranks(4, values, 2) == [alone] * 4


def with_a_frozen_tower(*changes: str) -> dict[str, object]:
    """Two updates with the text tower's blocks frozen: losses, gradient norms, and by name what
    became of parameters."""
    preset = settings("model.vocabulary=512", "optimizer.clip_norm=0.1", *changes)
    task = preset.task()
    build = task.build

    def frozen():
        module = build()
        module.transformer.requires_grad_(False)
        return module

    with world() as ranks:
        initial = Initial(frozen, 0)
        parallel = Parallel(
            initial.module, task, preset.train, ranks, lambda module: initial.fill(module, {})
        )

        def values() -> dict[str, float]:
            whole = {
                name: x.full_tensor() if isinstance(x, DTensor) else x
                for name, x in parallel.raw.named_parameters()
            }
            return {name: x.detach().double().sum().item() for name, x in whole.items()}

        before = values()
        optimizer = make_optimizer(parallel.raw, task, preset.optimizer)
        update = Updater(task, parallel, optimizer, 0, preset.optimizer.clip_norm)
        share = ROWS // ranks.size
        batch = made(0, ranks.rank * share, share, preset)
        found = [update([[batch]], step, 1e-3) for step in range(2)]
        after = values()
        named = dict(parallel.raw.named_parameters())
        return {
            "loss": [one.total for one in found],
            "norm": [one.gradient_norm for one in found],
            "moved": sorted(name for name in after if after[name] != before[name]),
            "kept": sorted(name for name, x in named.items() if x in optimizer.state),
        }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_frozen_parameters_stay_as_they_are_in_every_layout(kind):
    """And clipping counts the gradients of the others alone."""
    change = f"optimizer.kind={kind}"
    (alone,) = run_ranks(1, with_a_frozen_tower, change)
    assert alone["norm"][0] > 0.1  # so that the second loss depends on clipping
    assert alone["moved"] and alone["moved"] == alone["kept"]
    assert not any(name.startswith("transformer.") for name in alone["moved"])
    for shard in (1, 2):
        for mine in run_ranks(2, with_a_frozen_tower, change, f"train.shard={shard}"):
            assert mine["loss"] == pytest.approx(alone["loss"], rel=1e-5)
            assert mine["norm"] == pytest.approx(alone["norm"], rel=1e-4)
            assert mine["moved"] == mine["kept"] == alone["moved"]
