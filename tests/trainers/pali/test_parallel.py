"""PaLI's update on one rank and on two, in fp32 and bf16; a step of texts alone."""

import pytest
import torch

from septet.trainers.engine.world import world
from septet.trainers.pali.presets import PRESETS
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch
from tests.trainers.ranks import run_ranks
from tests.trainers.updates import over_ranks, updater

TINY = (
    "model.vision.width=24", "model.vision.inner=32", "model.vision.patch=16",
    "model.vision.layers=1", "model.language.width=32", "model.language.inner=48",
    "model.language.heads=2", "model.language.layers=1", "optimizer.clip_norm=1.0",
)  # fmt: skip
STEPS = (("images", "spans"), ("spans",), ("images", "spans"))
"""Kinds of three steps: the second one has no image, so part of the parameters has no gradient."""


def made(kind: str, words: int) -> Batch:
    """A global batch; ranks' counts of tokens differ: the second half's answers are shorter, as
    those of other tasks are."""
    draw = torch.Generator().manual_seed(len(kind))
    data = {name: torch.randint(3, words, (8, 12), generator=draw) for name in ("source", "target")}
    data["target"][4:, 5:] = 0
    if kind == "images":
        pixels = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8, generator=draw)
        data["pixels"] = pixels
    return Batch(kind, data)


def updates(shard: int, frozen: str) -> dict[str, list[float]]:
    """Losses and gradient norms of three updates, in either precision."""
    found = {}
    with world() as ranks:
        for precision in ("fp32", "bf16"):
            more = f"train.precision={precision}", f"train.shard={shard}", f"model.frozen={frozen}"
            preset = override(PRESETS["debug"], [*TINY, *more])
            task = preset.task()
            parallel = over_ranks(task, preset.train, ranks)
            update = updater(task, parallel, preset.optimizer)
            figures = []
            for step, kinds in enumerate(STEPS):
                share = 8 // ranks.size
                cut = slice(ranks.rank * share, (ranks.rank + 1) * share)
                batches = [
                    [Batch(kind, {n: x[cut] for n, x in made(kind, 640).data.items()})]
                    for kind in kinds
                ]
                done = update(batches, step, 1e-3)
                assert done.total == pytest.approx(done.losses["tokens"] + done.losses["z"])
                figures += [done.losses["tokens"], done.gradient_norm]
            found[precision] = figures
    return found


@pytest.fixture(scope="module", params=["nothing", "vision"])
def alone(request) -> tuple[str, dict[str, list[float]]]:
    return request.param, updates(1, request.param)


@pytest.mark.slow
@pytest.mark.parametrize("shard", [1, 2], ids=["ddp", "fsdp"])
def test_two_ranks_are_one_process_in_steps_with_and_without_images(alone, shard):
    frozen, expected = alone
    first, second = run_ranks(2, updates, shard, frozen)
    assert first == second
    assert first["fp32"] == pytest.approx(expected["fp32"], rel=2e-5)
    # bf16 in either layout lies within its own error of the same.
    assert first["bf16"][::2] == pytest.approx(expected["bf16"][::2], rel=2**-7)
    assert first["bf16"][1::2] == pytest.approx(expected["bf16"][1::2], rel=2**-5)
    assert expected["bf16"] != expected["fp32"]
