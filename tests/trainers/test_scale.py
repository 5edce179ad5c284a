"""What a run asks of a cluster, against sums done by hand."""

from pathlib import Path

import pytest
from torch import nn

from septet.trainers.commands import scale
from septet.trainers.engine.config import TrainSettings
from septet.trainers.engine.metrics import sample_flops
from septet.trainers.m6.presets import PRESETS as M6
from septet.trainers.nets.experts import Experts
from septet.trainers.nets.routing import ExpertSettings
from septet.trainers.pali.presets import PRESETS as PALI
from septet.trainers.scale.clusters import CLUSTERS, named
from septet.trainers.scale.estimate import estimate
from septet.trainers.scale.time import DECODED, REACHED_COMPUTE, REACHED_WIRE, time_of
from septet.trainers.scale.wire import Passes, exchanged, traffic
from septet.trainers.settings.overrides import override
from septet.trainers.task import ExpertModule
from tests.trainers.conftest import settings

MIB = 2**20


def matrix(numbers: int) -> nn.Linear:
    return nn.Linear(numbers, 1, bias=False, device="meta")


def sent(module, precision: str, shard: int, spread: int, ranks: int, passes, width: int = 0):
    train = TrainSettings(
        steps=1, global_batch=64, precision=precision, shard=shard, expert_parallel=spread
    )
    found = traffic(module, passes, train, width, ranks, 8)
    return {one.purpose: (one.near, one.far, one.overlaps) for one in found}


@pytest.mark.parametrize(
    ("precision", "shard", "ranks", "near", "far"),
    [
        ("fp32", 1, 1, 0, 0),
        ("fp32", 1, 8, 2 * 7 / 8 * 4, 0),  # One reduction of fp32 gradients a step.
        ("bf16", 1, 16, 0, 2 * 15 / 16 * 4),
        # Gathered three times forward and twice backward; gradients reduced twice.
        ("bf16", 8, 8, 7 / 8 * (2 * 5 + 4 * 2), 0),
        ("fp32", 8, 8, 7 / 8 * (4 * 5 + 4 * 2), 0),
        # Shards within a node, replicas beyond it: what each holds is reduced twice.
        ("bf16", 8, 16, 7 / 8 * (2 * 5 + 4 * 2), 2 * 1 / 2 * 4 / 8 * 2),
        ("bf16", 16, 16, 0, 15 / 16 * (2 * 5 + 4 * 2)),
    ],
)
def test_weights_and_gradients_on_the_wire(precision, shard, ranks, near, far):
    found = sent(matrix(MIB), precision, shard, 1, ranks, Passes(3, 2, 0, 0))
    if ranks == 1:
        assert found == {}
    else:
        expected = (near * MIB, far * MIB, True)
        assert found == {"weights and gradients": pytest.approx(expected)}


def test_experts_on_the_wire():
    layer = Experts(64, ExpertSettings(experts=16, inner=32)).to("meta")
    own, router = 2 * 16 * 64 * 32, 16 * 64
    found = sent(layer, "bf16", 1, 16, 16, Passes(1, 1, 1000, 0), width=64)
    # Each rank has one expert, which nobody else has.
    assert found["weights and gradients"][1] == pytest.approx(2 * 15 / 16 * 4 * router)
    assert "experts' weights and gradients" not in found
    # There and back, forward and backward, bf16: one of 16 stays, 7 are near, 8 far.
    tokens = 1000 * 64 * 2 * 4
    expected = (7 / 16 * tokens, 8 / 16 * tokens, False)
    assert found["tokens to experts and back"] == pytest.approx(expected)
    found = sent(layer, "bf16", 1, 4, 16, Passes(1, 1, 1000, 0), width=64)
    # Four ranks hold a quarter each, four times over, and reduce gradients after each pass.
    twice = sent(layer, "bf16", 1, 4, 16, Passes(2, 2, 1000, 0), width=64)
    name = "experts' weights and gradients"
    assert twice[name][1] == 2 * found[name][1]
    replicas = 2 * 3 / 4 * 4 * own / 4
    assert found["experts' weights and gradients"][1] == pytest.approx(replicas)
    assert found["tokens to experts and back"] == pytest.approx((3 / 4 * tokens, 0, False))


def test_vectors_that_losses_compare_are_counted():
    preset = settings()
    task = preset.task()
    brought = exchanged(task, task.build().eval().to("meta"), "pairs")
    assert brought.pooled == 2 * 4 * preset.model.embed
    needs = estimate(preset.task(), preset.train, preset.optimizer, {}, 8)
    (vectors,) = (one for one in needs.traffic if one.purpose == "vectors of pooled losses")
    share = preset.train.global_batch // 8
    assert vectors.near == 2 * 7 * share * 2 * 4 * preset.model.embed and not vectors.overlaps
    assert needs.images == preset.train.global_batch


def test_a_step_takes_as_long_as_what_bounds_it():
    preset = settings("train.global_batch=128")
    needs = estimate(preset.task(), preset.train, preset.optimizer, {}, 128, 8)
    cluster = named("128xA100-80")
    found = time_of(cluster, needs)
    assert found.compute == needs.step_flops / (312e12 * REACHED_COMPUTE * 128)
    assert found.loading == 128 / (DECODED * 128 * 16)
    (weights,) = (one for one in needs.traffic if one.overlaps)
    assert found.exchange == weights.far / (25e9 * REACHED_WIRE) > found.compute
    assert found.whole == found.exchange and found.bound == "network"


def test_what_is_frozen_has_no_backward_pass():
    preset = override(PALI["debug"], ["model.frozen=vision", "train.shard=2"])
    task = preset.task()
    flops = sample_flops(task)["images"]
    assert 0 < flops.frozen < flops.forward
    assert flops.training == 3 * (flops.forward - flops.frozen) + flops.frozen
    module = task.build()
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    whole = sum(p.numel() for p in module.parameters())
    found = traffic(module, Passes(1, 1, 0, 0), preset.train, 0, 2, 8)
    # fp32: gathered forward, what is trained backward too, and its gradients reduced.
    assert [one.near for one in found] == [4 * (whole + 2 * (whole - frozen)) / 2]


@pytest.mark.parametrize(
    ("model", "ranks", "spread", "why"),
    [
        ("debug-experts", 8, 3, "8 ranks in groups of train.shard=1 cannot"),
        ("debug-experts", 16, 16, "8 experts cannot be cut into 16"),
        ("debug", 8, 8, "this one has none"),
    ],
)
def test_what_a_run_would_refuse_is_refused(model, ranks, spread, why):
    preset = override(M6[model], [f"train.expert_parallel={spread}"])
    with pytest.raises(ValueError, match=why):
        estimate(preset.task(), preset.train, preset.optimizer, {}, ranks)


def test_a_rank_holds_its_part_of_the_experts():
    preset = override(M6["debug-experts"], ["train.precision=bf16"])
    spread = override(preset, ["train.expert_parallel=4"])
    module = preset.task().build()
    experts = sum(
        p.numel() for m in module.modules() if isinstance(m, ExpertModule) for p in m.parameters()
    )
    whole, part = (
        estimate(one.task(), one.train, one.optimizer, {}, 4) for one in (preset, spread)
    )
    away = experts * 3 // 4
    # fp32 weights, gradients and two moments; copies in bf16.
    assert whole.state_bytes - part.state_bytes == 16 * away
    assert whole.cast_bytes - part.cast_bytes == 2 * away


def test_the_page_says_what_the_code_does():
    page = Path("docs/scale.md").read_text()
    assert page.startswith(scale.HEAD)
    rows = [line for line in scale.lines(scale.RUNS[:1]) if line.startswith("| clip")]
    assert len(rows) == 2 and all(row in page for row in rows)


def test_an_unknown_cluster_is_named_beside_those_that_are():
    with pytest.raises(ValueError, match="no cluster 'mine'; there are 128xA100-80, 64xH200"):
        named("mine")
    assert all(c.ranks % c.ranks_a_node == 0 for c in CLUSTERS.values())
