"""Ranks of a run in one process each, over gloo: precision, statistics, initial values."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor

from septet.trainers.clip.presets import PRESETS
from septet.trainers.engine.parallel import Parallel
from septet.trainers.engine.world import World, world
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch
from tests.trainers.conftest import settings, train
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import same, stop_after, weights
from tests.trainers.updates import over_ranks, updater

ROWS = 8


def made(seed: int, first: int, rows: int, preset) -> Batch:
    """Rows of a made-up global batch."""
    draw = torch.Generator().manual_seed(seed)
    size = preset.model.image_size
    pixels = torch.randint(0, 256, (ROWS, size, size, 3), dtype=torch.uint8, generator=draw)
    ids = torch.randint(1, 400, (ROWS, preset.model.context), generator=draw)
    cut = slice(first, first + rows)
    return Batch("pairs", {"pixels": pixels[cut], "ids": ids[cut]})


def two_updates(ranks: World, *changes: str) -> dict[str, object]:
    """Losses, gradient norms and temperature of two updates, and what types its parameters had."""
    preset = settings("model.vocabulary=512", "optimizer.clip_norm=1.0", *changes)
    task = preset.task()
    parallel = over_ranks(task, preset.train, ranks)
    with torch.no_grad():
        parallel.raw.logit_scale.fill_(4.59)
    seen = {}
    forward = task.forward

    def noted(module, batch):
        outputs = forward(module, batch)
        seen.update({"scale": outputs["scale"].dtype, "factor": float(outputs["scale"])})
        return outputs

    task.forward = noted
    update = updater(task, parallel, preset.optimizer)
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


def everything(shard: int) -> dict[str, Any]:
    """What the tests below ask of a layout, of one set of ranks."""
    change = f"train.shard={shard}"
    with world() as ranks:
        return {
            **{p: two_updates(ranks, f"train.precision={p}", change) for p in ("fp32", "bf16")},
            "initial": initial_values(ranks, change),
            **{
                kind: with_a_frozen_tower(ranks, f"optimizer.kind={kind}", change)
                for kind in ("adamw", "adafactor")
            },
        }


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    told = {"alone": run_ranks(1, everything, 1)[0]}
    for layout, (ranks, shard) in LAYOUTS.items():
        every = run_ranks(ranks, everything, shard)
        assert all(one == every[0] for one in every), "ranks differ"
        told[layout] = every[0]
    return told


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision,within", [("fp32", 1e-5), ("bf16", 2**-7)])
def test_an_update_is_the_same_in_every_layout(found, layout, precision, within):
    """As autocast and shards round to bf16 in other places, each is held to fp32."""
    exact = found["alone"]["fp32"]
    for mine in (found[layout][precision], found["alone"][precision]):
        assert mine["loss"] == pytest.approx(exact["loss"], rel=within)
        assert mine["norm"] == pytest.approx(exact["norm"], rel=4 * within)
    assert found[layout]["bf16"]["norm"] != exact["norm"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_temperature_gains_and_biases_stay_fp32(found, layout):
    mine, alone = found[layout]["bf16"], found["alone"]["bf16"]
    assert mine["scale"] == torch.float32
    assert mine["factor"] == pytest.approx(alone["factor"], rel=1e-6)
    assert math.log(mine["factor"]) == pytest.approx(4.59, abs=2e-3)  # After one update.
    if layout != "ddp":
        assert "logit_scale" in mine["whole"] and "ln_final.weight" in mine["whole"]
        assert not any(name.endswith("c_fc.weight") for name in mine["whole"])
        assert found[layout]["fp32"]["whole"] == []


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


def whole_values(parallel: Parallel) -> dict[str, float]:
    """A figure of each parameter, whole."""
    whole = {
        name: x.full_tensor() if isinstance(x, DTensor) else x
        for name, x in parallel.raw.named_parameters()
    }
    return {name: x.detach().double().sum().item() for name, x in whole.items()}


def initial_values(ranks: World, *changes: str) -> dict[str, float]:
    preset = settings("model.vocabulary=512", *changes)
    return whole_values(over_ranks(preset.task(), preset.train, ranks, seed=3))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_initial_values_do_not_depend_on_the_sharding(found, layout):
    assert found[layout]["initial"] == found["alone"]["initial"]


def with_a_frozen_tower(ranks: World, *changes: str) -> dict[str, object]:
    """Two updates with the text tower's blocks frozen: losses, gradient norms, and by name what
    became of parameters."""
    preset = settings("model.vocabulary=512", "optimizer.clip_norm=0.1", *changes)
    task = preset.task()
    build = task.build

    def frozen():
        module = build()
        module.transformer.requires_grad_(False)
        return module

    parallel = over_ranks(task, preset.train, ranks, build=frozen)

    before = whole_values(parallel)
    update = updater(task, parallel, preset.optimizer)
    share = ROWS // ranks.size
    batch = made(0, ranks.rank * share, share, preset)
    found = [update([[batch]], step, 1e-3) for step in range(2)]
    after = whole_values(parallel)
    named = dict(parallel.raw.named_parameters())
    return {
        "loss": [one.total for one in found],
        "norm": [one.gradient_norm for one in found],
        "moved": sorted(name for name in after if after[name] != before[name]),
        "kept": sorted(name for name, x in named.items() if x in update.optimizer.state),
    }


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_frozen_parameters_stay_as_they_are_in_every_layout(found, layout, kind):
    """And clipping counts the gradients of the others alone."""
    alone, mine = found["alone"][kind], found[layout][kind]
    assert alone["norm"][0] > 0.1  # so that the second loss depends on clipping
    assert alone["moved"] and alone["moved"] == alone["kept"]
    assert not any(name.startswith("transformer.") for name in alone["moved"])
    assert mine["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert mine["norm"] == pytest.approx(alone["norm"], rel=1e-4)
    assert mine["moved"] == mine["kept"] == alone["moved"]
