"""The layer of experts, held to a reading of its rules token by token."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from septet.trainers.loader.buffers import BatchBuffer
from septet.trainers.nets.experts import Experts
from septet.trainers.nets.grouped import SMALL, by_grouped_gemm, by_loop, grouped_product, in_batch
from septet.trainers.nets.routing import ExpertSettings
from septet.trainers.task import Lengths

WIDTH = 6


def made(**changes) -> Experts:
    torch.manual_seed(0)
    settings = {"experts": 4, "inner": 5, "std": 1.0, **changes}
    return Experts(WIDTH, ExpertSettings.model_validate(settings))


def rows_of(count: int, length: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths, the second without a token; what stands in pads is great."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, length, WIDTH, generator=draw)
    lengths = torch.randint(1, length + 1, (count,), generator=draw)
    lengths[1] = 0
    real = torch.arange(length) < lengths[:, None]
    return x.masked_fill(~real[..., None], 1e3), real


def by_hand(layer: Experts, x: torch.Tensor, real: torch.Tensor, limited: bool = True):
    """Output, sums (balance, variation, overflow), with one token after the other."""
    s = layer.settings
    each = s.experts // s.prototypes
    out, sums = torch.zeros_like(x), [torch.zeros(()) for _ in range(3)]
    for begin in range(0, len(x), s.group_rows if limited else len(x)):
        rows = range(begin, begin + s.group_rows) if limited else range(len(x))
        tokens = [(r, i) for r in rows for i in range(x.shape[1]) if real[r, i]]
        if not tokens:
            continue
        chances, chosen = {}, {}
        for t in tokens:
            scores = (layer.router @ x[t]).split(each)
            chances[t] = [one.softmax(0) for one in scores]
            chosen[t] = [
                (p * each + int(e), one[e])
                for p, one in enumerate(chances[t])
                for e in one.argsort(descending=True)[: s.chosen]
            ]
        share = Fraction(str(s.capacity_factor)) * len(tokens) / s.experts
        capacity = math.ceil(share * (s.choices if s.capacity == "k" else 1))
        taken, within = [0] * s.experts, {t: [] for t in tokens}
        load = torch.zeros(s.experts)
        for rank in range(s.choices):
            for t in tokens:
                expert, _ = chosen[t][rank]
                load[expert] += 1
                if not limited or taken[expert] < capacity:
                    taken[expert] += 1
                    within[t].append(rank)
        for t in tokens:
            gates = [gate for _, gate in chosen[t]]
            if s.chosen > 1 and s.renormalise == "before":
                total = sum(gates)
            elif s.chosen > 1 and s.renormalise == "after":
                total = sum(gates[rank] for rank in within[t])
            else:
                total = 1.0
            for rank in within[t]:
                expert = chosen[t][rank][0]
                networks = layer.networks
                inner = networks.activation(x[t] @ networks.up[expert])
                out[t] = out[t] + gates[rank] / total * (inner @ networks.down[expert])
        balance = torch.zeros(())
        for p, e in itertools.product(range(s.prototypes), range(each)):
            firsts = [chosen[t][p if s.prototypes > 1 else 0][0] for t in tokens]
            share_of_first = firsts.count(p * each + e) / len(tokens)
            mean = sum(chances[t][p][e] for t in tokens) / len(tokens)
            balance = balance + each * share_of_first * mean / s.prototypes
        sums[0] = sums[0] + len(tokens) * balance
        sums[1] += len(tokens) * load.std(correction=0) / load.mean()
        sums[2] += (load.sum() - sum(taken)) / s.choices
    return out, sums


RULES = [
    {},
    {"capacity_factor": 0.5},
    {"capacity_factor": 0.5, "renormalise": "after"},  # of one choice it changes nothing
    {"group_rows": 2, "capacity_factor": 0.75},
    {"chosen": 2},
    {"chosen": 2, "capacity_factor": 0.5, "renormalise": "after"},
    {"chosen": 2, "capacity_factor": 0.5, "renormalise": "none", "group_rows": 3},
    {"chosen": 2, "capacity": "1", "group_rows": 6},
    {"chosen": 3, "capacity_factor": 0.6, "activation": "relu"},
    {"prototypes": 2, "capacity_factor": 0.7, "group_rows": 2},
    {"prototypes": 2, "capacity": "1"},
    {"prototypes": 4, "group_rows": 6},
    {"experts": 1},
    {"experts": 16, "chosen": 2},  # more experts than tokens of a row: some get none
]


def gradients(layer: nn.Module, x: torch.Tensor, out: torch.Tensor, sums) -> list[torch.Tensor]:
    factor = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    objective = (out * factor).sum() + sums[0]
    return list(torch.autograd.grad(objective, [x, *layer.parameters()]))


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_it_is_what_its_rules_say(rules, training):
    layer = made(**rules).train(training)
    x, real = rows_of(6)
    x.requires_grad_()
    out, sums = layer(x, real)
    expected, right = by_hand(layer, x, real, limited=training)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(list(sums), right, rtol=1e-5, atol=1e-5)
    if training and rules.get("capacity_factor", 1) < 0.7:
        assert sums.overflow > 0
    for mine, theirs in zip(
        gradients(layer, x, out, sums), gradients(layer, x, expected, right), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
        assert mine.isfinite().all()


def test_a_capacity_is_rounded_up_once():
    """1.1 * 10 / 11 is 1.0000000000000002 in float64."""
    layer = made(experts=11, capacity_factor=1.1)
    with torch.no_grad():
        layer.router.zero_()
        layer.router[3] = 1.0
    x, real = torch.ones(1, 10, WIDTH), torch.ones(1, 10, dtype=torch.bool)
    out, sums = layer(x, real)
    assert out[0, 0].abs().sum() > 0 and not out[0, 1:].any()
    assert float(sums.overflow) == 9


def test_even_loads_have_a_balance_of_one_and_no_variation():
    layer = made(experts=4, chosen=1)
    with torch.no_grad():
        layer.router.zero_()
        layer.router[:, :4] = 1e-6 * torch.eye(4)
    x = torch.eye(4, WIDTH)[None].repeat(1, 2, 1)
    _, sums = layer(x, torch.ones(1, 8, dtype=torch.bool))
    assert [one.item() / 8 for one in sums] == pytest.approx([1, 0, 0], abs=1e-5)


@pytest.mark.parametrize("rules", [{"chosen": 2}, {"prototypes": 2}])
def test_a_pass_over_groups_is_one_over_each(rules):
    """So nothing depends on how a batch is cut into micro-batches."""
    layer = made(**rules, group_rows=2, capacity_factor=0.5)
    x, real = rows_of(6)
    whole, sums = layer(x, real)
    parts = [layer(x[i : i + 2], real[i : i + 2]) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat([out for out, _ in parts]), whole)
    added = parts[0][1].plus(parts[1][1]).plus(parts[2][1])
    torch.testing.assert_close(list(added), list(sums))
    wider = F.pad(x, (0, 0, 0, 3), value=9.0), F.pad(real, (0, 3))
    torch.testing.assert_close(layer(*wider)[0][:, : x.shape[1]], whole)


def test_in_evaluation_a_token_is_what_it_is_alone():
    """So writing token by token equals one pass over all."""
    layer = made(chosen=2, capacity_factor=0.1).eval()
    x, real = rows_of(2)
    whole, _ = layer(x, real)
    for i in range(x.shape[1]):
        alone, _ = layer(x[:, i : i + 1], real[:, i : i + 1])
        torch.testing.assert_close(alone, whole[:, i : i + 1])


def test_the_router_works_in_fp32_under_autocast():
    layer = made(experts=8)
    x, real = rows_of(6)
    seen = []
    layer.networks.register_forward_hook(lambda _, given, made: seen.append((given, made)))
    exact, sums = layer(x, real)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, others = layer(x, real)
    assert rounded.dtype == torch.float32
    assert seen[1][1].dtype == torch.bfloat16
    assert torch.equal(seen[0][0][1], seen[1][0][1])  # counts: the same choices to the last
    assert torch.equal(torch.stack(others), torch.stack(sums))
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05 * exact.abs().max().item())
    with pytest.raises(ValueError, match=r"router works in float32, found torch\.bfloat16"):
        layer.bfloat16()(x, real)


@pytest.mark.parametrize(
    "changes,said",
    [
        ({"chosen": 2, "prototypes": 2}, "set one of 2 and 2 to 1"),
        ({"experts": 5, "prototypes": 2}, "5 experts cannot be split into 2"),
        ({"chosen": 5}, "cannot choose 5 of 4 experts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        made(**changes)


def test_micro_batches_are_whole_groups():
    layer = made(group_rows=4)
    with pytest.raises(ValueError, match="6 rows at once are no whole number of groups of 4 rows"):
        layer(*rows_of(6))
    layer.eval()(*rows_of(6))


def test_without_memory_it_costs_what_its_choices_do():
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        layer = made(chosen=2, experts=16)
        x, real = torch.empty(2, 9, WIDTH), torch.empty(2, 9, dtype=torch.bool)
        with FlopCounterMode(display=False) as counter:
            out, _ = layer(x, real)
    assert out.shape == x.shape
    tokens = 18
    assert counter.get_total_flops() == 2 * tokens * (16 * WIDTH + 2 * 2 * 5 * WIDTH)


COUNTS = [[3, 0, 5, 1], [0, 0, 9, 0], [0, 0, 0, 0], [9, 0, 0, 0]]


def slopes(product, rows, weights, counts):
    rows, weights = rows.detach().requires_grad_(), weights.detach().requires_grad_()
    made = product(rows, weights, counts)
    factor = torch.linspace(-1, 1, made.numel(), dtype=made.dtype).view_as(made)
    return made, *torch.autograd.grad((made * factor).sum(), [rows, weights])


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_ways_of_multiplying_agree(counts):
    counts = torch.tensor(counts)
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(int(counts.sum()), 8, generator=draw)
    weights = torch.randn(4, 8, 16, generator=draw)
    expert = torch.arange(4).repeat_interleave(counts)

    def plain(rows, weights, counts):
        return torch.bmm(rows[:, None], weights[expert])[:, 0]

    expected = slopes(plain, rows, weights, counts)
    for way in (by_loop, grouped_product):
        torch.testing.assert_close(slopes(way, rows, weights, counts), expected)
    if len(rows):  # torch's own, where it runs
        rows, weights = rows.bfloat16(), weights.bfloat16()
        ours = slopes(by_loop, rows, weights, counts)
        torch.testing.assert_close(slopes(by_grouped_gemm, rows, weights, counts), ours)


@pytest.mark.parametrize("counts", [[3, 3, 2, 3], [3, 0, 3, 3], [7], [1, 1]], ids=str)
def test_products_of_a_batch_of_experts_are_those_of_a_loop(counts):
    counts = torch.tensor(counts)
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(int(counts.sum()), 8, generator=draw)
    weights = torch.randn(len(counts), 8, 16, generator=draw)

    def batched(rows, weights, counts):
        batch, places = in_batch(rows, weights, counts)
        assert batch.shape == (len(counts), counts.max(), 8)
        return torch.bmm(batch, weights).flatten(0, 1)[places]

    found, expected = (slopes(way, rows, weights, counts) for way in (batched, by_loop))
    torch.testing.assert_close(found, expected)


def test_a_batch_is_made_only_where_it_is_worth_it():
    def made(counts, size=(8, 16), device="cpu"):
        rows = torch.zeros(sum(counts), size[0], device=device)
        weights = torch.empty(len(counts), *size, device=device)
        return in_batch(rows, weights, torch.tensor(counts, device=device))

    assert made([4, 2, 4]) is not None
    assert made([4, 2, 1]) is None  # 12 places for 7 rows
    assert made([0, 0]) is None
    assert made([2, 2], (SMALL // 8, 8)) is not None and made([2, 2], (SMALL // 8 + 1, 8)) is None
    assert made([4, 2, 4], device="meta") is None


def test_rows_that_queue_together_stay_together_whatever_their_lengths():
    for together, expected in (2, [[6, 7, 2, 3], [4, 5, 0, 1]]), (1, [[0, 6, 4, 7], [2, 3, 5, 1]]):
        buffer = BatchBuffer(8, {"ids": Lengths((2, 4, 8))}, together)
        for i, length in enumerate([1, 8, 3, 3, 2, 5, 1, 2]):
            buffer.put(i, {"ids": np.full(length, i), "row": np.array(i)})
        assert [data["row"].tolist() for data, _ in buffer.cut(4)] == expected
