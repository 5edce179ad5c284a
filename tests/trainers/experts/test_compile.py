"""Blocks with experts, compiled by the train setting, beside the same blocks as they are."""

import copy

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from septet.trainers.m6.model import M6
from tests.trainers.m6 import small

STEPS = [("denoising", 7), ("captioning", 11), ("language_modelling", 9), ("captioning", 13)]
"""Tasks, and lengths of their targets: shapes change from step to step, as they do in a run."""


def results(module: M6, task: str, length: int) -> tuple[list[Tensor], list[Tensor | None]]:
    """Losses and figures of a step, and gradients."""
    target = small.ids(3, length)
    kept = (target != 0).flatten().nonzero()[:, 0]
    sums = module(target, kept, **small.inputs(task))
    objective = sums["tokens"] + sums["balance"]
    gradients = torch.autograd.grad(objective, list(module.parameters()), allow_unused=True)
    return list(sums.values()), list(gradients)


@pytest.mark.slow
def test_compiled_blocks_with_experts_equal_plain_ones():
    """With the backend that traces forward and backward but writes no code: the compiler's own
    takes minutes for these blocks, and it is what comes before that experts are hard for."""
    torch._dynamo.reset()
    counters.clear()
    plain = small.module(small.SPARSE).train()
    compiled = copy.deepcopy(plain)
    for block in compiled.blocks:
        block.compile(backend="aot_eager")
    for task, length in STEPS:
        expected, found = (results(module, task, length) for module in (plain, compiled))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert counters["stats"]["unique_graphs"] > 0
    assert not [why for why in counters["graph_break"] if "recompile_limit" in why]
