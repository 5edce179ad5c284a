"""OFA's update on one rank and on two, in fp32 and bf16; patches that are recomputed."""

import pytest
import torch

from septet.trainers.engine.world import world
from septet.trainers.ofa.presets import PRESETS
from septet.trainers.settings.overrides import override
from septet.trainers.task import Batch
from tests.trainers.ranks import run_ranks
from tests.trainers.updates import over_ranks, updater

ROWS = {"pairs": 4, "plain": 8}
CHANGES = (
    "model.batch_norm=frozen", "model.blanks=false", "model.patches=9", "optimizer.clip_norm=1.0",
    "model.width=64", "model.inner=96", "model.stem=8", "train.global_batch=8",
)  # fmt: skip


def made(kind: str, preset) -> Batch:
    """A global batch. Of the plain rows the first half writes codes, the others have no image: so
    each of two ranks lacks the other's tasks."""
    s, rows = preset.model, ROWS[kind]
    draw = torch.Generator().manual_seed(len(kind))
    each = 2 if kind == "pairs" else 1
    first = torch.arange(rows) < rows // 2

    def ids(length: int) -> torch.Tensor:
        found = torch.randint(4, s.vocabulary_size, (rows, length, each), generator=draw)
        # The ranks' counts differ: one has shorter targets.
        found[rows // 2 :, length - 3 :] = 1
        return found

    data = {
        "pixels": torch.randint(0, 256, (rows, 64, 64, 3), dtype=torch.uint8, generator=draw),
        "seen": torch.ones(rows, dtype=torch.bool) if each == 2 else first,
        "source": ids(12),
        "target": ids(9),
        "weight": torch.rand(rows, each, generator=draw),
        "unscored": torch.zeros(rows, each).long(),
    }
    if kind == "pairs":
        patches = torch.rand(rows, each, 16, generator=draw).argsort(2)[..., : s.patches]
        data["patches"] = patches.sort(2).values
        data["unscored"][0] = 2
    else:
        data["codes"] = first
    return Batch(kind, data)


def updates(shard: int, *changes: str) -> dict[str, list[float]]:
    """Losses and gradient norms of two updates, in either precision."""
    found = {}
    with world() as ranks:
        for precision in ("fp32", "bf16"):
            more = f"train.precision={precision}", f"train.shard={shard}"
            preset = override(PRESETS["debug"], [*CHANGES, *more, *changes])
            task = preset.task()
            parallel = over_ranks(task, preset.train, ranks)
            update = updater(task, parallel, preset.optimizer)
            batches = []
            for kind, rows in ROWS.items():
                share = rows // ranks.size
                cut = slice(ranks.rank * share, (ranks.rank + 1) * share)
                data = {n: x[cut] for n, x in made(kind, preset).data.items()}
                batches.append([Batch(kind, data)])
            done = [update(batches, step, 1e-3) for step in range(2)]
            figures = [x for one in done for x in (one.losses["pairs"], one.losses["plain"])]
            assert [one.total for one in done] == pytest.approx(
                [figures[0] + 2 * figures[1], figures[2] + 2 * figures[3]]
            )
            found[precision] = [*figures, *(one.gradient_norm for one in done)]
    return found


@pytest.fixture(scope="module")
def alone() -> dict[str, list[float]]:
    return updates(1)


@pytest.mark.slow
@pytest.mark.parametrize("shard", [1, 2], ids=["ddp", "fsdp"])
def test_two_ranks_are_one_process_though_each_lacks_tasks(alone, shard):
    first, second = run_ranks(2, updates, shard)
    assert first == second
    assert first["fp32"] == pytest.approx(alone["fp32"], rel=2e-5)
    # bf16 in either layout lies within its own error of the same.
    assert first["bf16"][:4] == pytest.approx(alone["bf16"][:4], rel=2**-7)
    assert first["bf16"][4:] == pytest.approx(alone["bf16"][4:], rel=2**-5)
    assert alone["bf16"] != alone["fp32"]


def test_recomputed_layers_see_the_same_patches_and_dropout(alone):
    changes = "model.dropout=0.3", "model.drop_path=0.3"
    stored = updates(1, *changes)
    again = updates(1, *changes, "train.activation_checkpointing=true")
    assert again["fp32"] == pytest.approx(stored["fp32"], rel=1e-6)
    assert stored["fp32"][:2] != pytest.approx(alone["fp32"][:2], rel=1e-3)
