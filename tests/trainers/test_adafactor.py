from unittest import mock

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from septet.trainers.engine.world import world
from septet.trainers.optimizers import adafactor
from septet.trainers.optimizers.adafactor import Adafactor
from tests.trainers.conftest import settings, train
from tests.trainers.ranks import run_ranks
from tests.trainers.runs import figures, same, stop_after, weights


class Odd(nn.Module):
    """Matrices whose rows two ranks do not share evenly, a kernel, vectors, a scalar."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 7)
        self.second = nn.Linear(7, 3, bias=False)
        self.kernel = nn.Parameter(torch.randn(5, 3, 2, 2))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.second(self.first(x).tanh()).sum(1) * self.scale + self.kernel.square().sum()


def trained(kind: str, mesh=None, least: int = 1) -> dict[str, torch.Tensor]:
    with mock.patch.object(adafactor, "SMALLEST_FACTORED", least):
        return _trained(kind, mesh)


def _trained(kind: str, mesh) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    module = Odd()
    if mesh is not None:
        fully_shard(module, mesh=mesh)
    make = {"ours": Adafactor, "torch": torch.optim.Adafactor}[kind]
    optimizer = make(module.parameters(), lr=0.01, weight_decay=0.1)
    for step in range(6):
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        (module(x) * (10.0 if step == 2 else 1.0)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {
        name: (x.full_tensor() if isinstance(x, DTensor) else x).detach().clone()
        for name, x in module.named_parameters()
    }


def sharded(shape: tuple[int, ...], least: int) -> dict[str, torch.Tensor]:
    names = ("replicate", "shard")[-len(shape) :]
    with world():
        found = trained("ours", init_device_mesh("cpu", shape, mesh_dim_names=names), least)
        return {name: x.tolist() for name, x in found.items()}


def test_it_is_torchs_on_whole_parameters():
    mine, theirs = trained("ours"), trained("torch")
    for name, x in theirs.items():
        assert torch.allclose(mine[name], x, rtol=1e-5, atol=1e-7), name


@pytest.mark.slow
@pytest.mark.parametrize("shape,least", [((2,), 1), ((3,), 1), ((2, 2), 1), ((3,), 6)])
def test_sharded_parameters_are_updated_as_whole_ones(shape, least):
    alone = trained("ours", least=least)
    ranks = torch.Size(shape).numel()
    for found in run_ranks(ranks, sharded, shape, least):
        for name, x in alone.items():
            assert torch.allclose(torch.tensor(found[name]), x, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("shape,kept", [
    ((128, 500), {"row": (128, 1), "column": (1, 500)}),
    ((1, 256, 128), {"row": (1, 256, 1), "column": (1, 1, 128)}),
    ((127, 500), {"square": (127, 500)}),
    ((500, 3, 14, 14), {"square": (500, 3, 14, 14)}),
    ((500,), {"square": (500,)}),
    ((), {"square": ()}),
])  # fmt: skip
def test_large_matrices_are_kept_as_rows_and_columns(shape, kept):
    """As T5X has it: both of the two axes have 128 or more."""
    with torch.device("meta"):
        parameter = nn.Parameter(torch.empty(shape))
        found = Adafactor([parameter], lr=0.1).empty_state(parameter)
    assert {name: tuple(x.shape) for name, x in found.items()} == {"step": (), **kept}


CHANGES = ("optimizer.kind=adafactor", "optimizer.lr=0.01", "train.steps=6", "train.save_every=3")


def run(corpus, out, *changes) -> int:
    with mock.patch.object(adafactor, "SMALLEST_FACTORED", 16):
        return train(settings(*CHANGES, *changes), corpus, out)


def cut(corpus, out, *changes) -> None:
    with mock.patch.object(adafactor, "SMALLEST_FACTORED", 16):
        stop_after(2, settings(*CHANGES, *changes), corpus, out)


def test_a_run_resumes_exactly_and_keeps_little(scenes, tmp_path):
    assert run(scenes, tmp_path / "whole") == 0
    cut(scenes, tmp_path / "cut")
    assert run(scenes, tmp_path / "cut") == 0
    assert figures(tmp_path / "cut") == figures(tmp_path / "whole")
    assert same(tmp_path / "cut", tmp_path / "whole")
    found = weights(tmp_path / "whole")
    model = sum(x.numel() for name, x in found.items() if name.startswith("model."))
    assert sum(x.numel() for x in found.values()) < 1.1 * model


@pytest.mark.slow
def test_a_sharded_run_resumes_exactly_and_equals_one_rank(scenes, tmp_path):
    assert run(scenes, tmp_path / "alone") == 0
    run_ranks(2, run, scenes, tmp_path / "whole", "train.shard=2")
    run_ranks(2, cut, scenes, tmp_path / "cut", "train.shard=2")
    run_ranks(2, run, scenes, tmp_path / "cut", "train.shard=2")
    assert same(tmp_path / "cut", tmp_path / "whole")
    theirs = figures(tmp_path / "alone")
    assert figures(tmp_path / "whole") == {
        step: pytest.approx(loss, rel=1e-4) for step, loss in theirs.items()
    }


@pytest.mark.parametrize("least", [1, 128])
@pytest.mark.parametrize("shape", [(4, 3), (5,), (2, 3, 2)])
def test_steps_do_not_depend_on_the_scale_of_gradients(shape, least, monkeypatch):
    """Sums of squares of the smallest are 1e-20; torch's would be lost among its 1e-7."""
    monkeypatch.setattr(adafactor, "SMALLEST_FACTORED", least)
    draw = torch.Generator().manual_seed(0)
    begin, gradients = torch.randn(shape, generator=draw), torch.randn(3, *shape, generator=draw)
    found = []
    for scale in (1.0, 1e-10):
        x = nn.Parameter(begin.clone())
        optimizer = Adafactor([x], lr=0.1)
        for gradient in gradients:
            x.grad = scale * gradient
            optimizer.step()
        found.append(x.detach())
    assert torch.allclose(*found, rtol=1e-5)
    assert not torch.allclose(found[0], begin, rtol=1e-2)
