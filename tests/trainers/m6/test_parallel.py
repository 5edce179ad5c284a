"""M6's update on one rank and on two, in fp32 and bf16, in steps with and without images."""

import pytest
import torch

from septet.trainers.engine.world import world
from septet.trainers.m6.presets import PRESETS
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch
from tests.trainers.ranks import run_ranks
from tests.trainers.updates import over_ranks, updater

TINY = (
    "model.width=32", "model.inner=48", "model.heads=2", "model.layers=2", "model.stages=[]",
    "model.features=20", "optimizer.clip_norm=1.0", "train.global_batch=8",
)  # fmt: skip
STEPS = ("image_denoising", "language_modelling", "denoising", "captioning")
"""Kinds of four steps: the layer of images has no gradient in two of them."""


def made(kind: str, preset) -> Batch:
    """A global batch; ranks' counts of tokens differ: the second half's targets are shorter."""
    draw = torch.Generator().manual_seed(len(kind))
    data = dict(preset.task().example(kind, 8).data)
    for name in ("target", "source"):
        if name in data:
            data[name] = torch.randint(104, 512, (8, 12), generator=draw)
    data["target"][4:, 5:] = 0
    if "patches" in data:
        data["patches"] = torch.rand(data["patches"].shape, generator=draw).half()
    return Batch(kind, data)


def updates(shard: int, *changes: str) -> dict[str, list[float]]:
    """Losses and gradient norms of the updates, in either precision."""
    found = {}
    with world() as ranks:
        for precision in ("fp32", "bf16"):
            more = f"train.precision={precision}", f"train.shard={shard}"
            name = "debug-experts" if any("experts" in c for c in changes) else "debug"
            preset = override(PRESETS[name], [*TINY, *more, *changes])
            task = preset.task()
            parallel = over_ranks(task, preset.train, ranks)
            update = updater(task, parallel, preset.optimizer)
            figures, share = [], 8 // ranks.size
            cut = slice(ranks.rank * share, (ranks.rank + 1) * share)
            for step, kind in enumerate(STEPS):
                rows = {n: x[cut] for n, x in made(kind, preset).data.items()}
                done = update([[Batch(kind, rows)]], step, 1e-3)
                figures += [done.losses["tokens"], done.gradient_norm]
            found[precision] = figures
    return found


@pytest.mark.slow
def test_two_ranks_are_one_process_in_steps_with_and_without_images():
    """Under DDP and FSDP2, activations recomputed or not."""
    expected = updates(1)
    assert expected["bf16"] != expected["fp32"]
    for shard, *more in ((1,), (2,), (2, "train.activation_checkpointing=true")):
        first, second = run_ranks(2, updates, shard, *more)
        assert first == second
        assert first["fp32"] == pytest.approx(expected["fp32"], rel=2e-5)
        # bf16 in either layout lies within its own error of the same.
        assert first["bf16"][::2] == pytest.approx(expected["bf16"][::2], rel=2**-7)
        assert first["bf16"][1::2] == pytest.approx(expected["bf16"][1::2], rel=2**-5)


EXPERTS = (
    "model.experts.experts=4", "model.experts.inner=24", "model.experts.group_rows=2",
    "model.experts.balance=0.01",
)  # fmt: skip


@pytest.mark.slow
def test_experts_on_two_ranks_are_those_of_one_process():
    """Held together by both ranks, beside shards of the rest or not. In fp32: of nearly equal
    scores in bf16 a router may take the other."""
    expected = updates(1, *EXPERTS)["fp32"]
    for shard in (1, 2):
        first, second = run_ranks(2, updates, shard, *EXPERTS, "train.expert_parallel=2")
        assert first == second and first["fp32"] == pytest.approx(expected, rel=2e-5)
