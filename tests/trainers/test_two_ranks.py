"""What the ranks of a run say to each other and share: two real processes do all of it once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septet.trainers.engine.loop import fit
from septet.trainers.engine.world import World, world
from septet.trainers.generate.write import unsharded
from septet.trainers.measures.parts import gathered, share, total
from septet.trainers.settings.overrides import override
from tests.trainers.conftest import run_of, settings
from tests.trainers.corpora import scenes_corpus
from tests.trainers.experts.small import SmallPreset
from tests.trainers.experts.test_parallel import updates
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import completed, figures
from tests.trainers.test_parallel import two_updates
from tests.trainers.updates import over_ranks

ALONE = World(0, 1, torch.device("cpu"))
LAYOUTS = {"replicated": 1, "sharded": 2}
"""`train.shard` of two ranks."""
EXPERTS = ("model.layers=1", "model.experts.chosen=2", "model.experts.group_rows=1")


def said(ranks: World) -> dict[str, Any]:
    """Each way to speak, once."""
    one = float(ranks.rank + 1)
    return {
        "sum": ranks.sum(torch.tensor(one)).item(),
        "max": ranks.max(torch.tensor(one)).item(),
        "all": [ranks.all(flag) for flag in (True, ranks.main, False)],
        "any": [ranks.any(flag) for flag in (True, ranks.main, False)],
        "objects": ranks.gather_objects({"rank": ranks.rank}),
        "gathered": gathered(ranks.rank),
        "total": total(Counter({"a": ranks.rank, "b": 2})),
    }


def measured() -> list[tuple[list[int], bool]]:
    """The rows of this rank's batches of two of ten samples of a corpus, and whether they count."""
    places = [(0, row) for row in range(9)]
    parts = share("texts", places, lambda shard, row: {"row": np.int64(row)}, 2, "corpus")
    return [(part.batch.data["row"].tolist(), part.counts) for part in parts]


def passes(ranks: World, number: int) -> list[list[list[float]]]:
    """What a layer of experts gives, in as many passes as this rank needs."""
    spread = f"train.expert_parallel={ranks.size}"
    preset = override(SmallPreset(), [*EXPERTS, spread])
    parallel = over_ranks(preset.task(), preset.train, ranks)
    networks = parallel.raw.blocks[0].experts.networks
    rows = torch.linspace(-1, 1, 8 * 16).view(8, 16)
    made = []
    with parallel.evaluating() as module, unsharded(module):
        for step in range(number):
            made.append(networks(rows * (step + 1), torch.tensor([3, 0, 4, 1])).tolist())
    assert networks.turn is None
    return made


def everything(corpus: Path, out: Path) -> dict[str, Any]:
    """What the tests below look at, on one rank."""
    torch.set_num_threads(1)
    with world() as ranks:
        found: dict[str, Any] = {"said": said(ranks), "measured": measured()}
        for name, shard in LAYOUTS.items():
            found[name] = two_updates(ranks, f"train.shard={shard}")
        spread = override(SmallPreset(), [*EXPERTS, "train.expert_parallel=2"])
        found["experts"] = updates(spread, ranks)
        found["passes"] = passes(ranks, 3 - 2 * ranks.rank)
        found["status"] = fit(run_of(settings("train.steps=2"), corpus, out), ranks)
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> tuple[list[dict[str, Any]], Path]:
    """What both ranks found, and the folder of their run."""
    folder = tmp_path_factory.mktemp("ranks")
    corpus = scenes_corpus(folder / "corpus", 1, 64)
    return run_ranks(2, everything, corpus, folder / "run"), folder / "run"


def test_ranks_add_up_agree_and_tell(ranks):
    for found in ranks[0]:
        assert found["said"] == {
            "sum": 3, "max": 2, "all": [True, False, False], "any": [True, True, False],
            "objects": [{"rank": 0}, {"rank": 1}], "gathered": [0, 1],
            "total": {"a": 1, "b": 4},
        }  # fmt: skip


def test_each_batch_of_a_measure_counts_on_one_rank(ranks):
    """Of five the second rank has two and runs one again, so that both run three."""
    first, second = (found["measured"] for found in ranks[0])
    assert first == [([0, 1], True), ([4, 5], True), ([8], True)]
    assert second == [([2, 3], True), ([6, 7], True), ([0, 1], False)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_updates_of_two_ranks_are_those_of_one(ranks, layout):
    alone = two_updates(ALONE)
    for found in ranks[0]:
        assert found[layout]["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert found[layout]["norm"] == pytest.approx(alone["norm"], rel=1e-4)
        assert found[layout]["whole"] == []


def test_experts_on_two_ranks_are_those_of_one(ranks):
    alone = updates(override(SmallPreset(), EXPERTS), ALONE)
    for found in ranks[0]:
        np.testing.assert_allclose(found["experts"]["losses"], alone["losses"], rtol=1e-4)
        for name, values in alone["gradients"].items():
            mine = found["experts"]["gradients"][name]
            np.testing.assert_allclose(mine, values, rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_rank_runs_experts_as_often_as_it_needs(ranks):
    alone = passes(ALONE, 3)
    first, second = (found["passes"] for found in ranks[0])
    assert (len(first), len(second)) == (3, 1)
    torch.testing.assert_close(torch.tensor(first), torch.tensor(alone))
    torch.testing.assert_close(torch.tensor(second), torch.tensor(alone[:1]))


def test_a_run_of_two_ranks_is_one_run(ranks):
    """Saved by both, and reported by one."""
    found, out = ranks
    assert [each["status"] for each in found] == [0, 0]
    assert [path.name for path in completed(out / "checkpoints")] == ["step-00000002"]
    assert figures(out).keys() == {1, 2}
