import pytest
import torch
from torch import nn

from septet.trainers.beit3.presets import PRESETS as BEIT3
from septet.trainers.clip.presets import PRESETS as CLIP
from septet.trainers.engine.initial import Initial
from septet.trainers.ernie_vil.presets import PRESETS as ERNIE_VIL
from septet.trainers.flava.presets import PRESETS as FLAVA
from septet.trainers.nets.initial import truncated_normal_
from septet.trainers.settings.overrides import override

RESNET = ["model.layers=[1,1,1,1]", "model.patch=null", "model.width=64", "model.image_size=32"]
TASKS = {
    "clip": CLIP["debug"].task(),
    "resnet": override(CLIP["debug"], RESNET).task(),
    "flava": FLAVA["debug"].task(),
    "ernie_vil": ERNIE_VIL["debug"].task(),
    "beit3": BEIT3["debug"].task(),
}


def filled(build, seed: int) -> nn.Module:
    initial = Initial(build, seed)
    module = initial.module.to_empty(device="cpu")
    initial.fill(module, {})
    return module


@pytest.mark.parametrize("name", TASKS)
def test_values_have_the_distribution_that_the_constructor_draws(name):
    torch.manual_seed(0)
    plain = TASKS[name].build().state_dict()
    module = filled(TASKS[name].build, 0)
    found = module.state_dict()
    assert list(found) == list(plain)
    for key, theirs in plain.items():
        mine = found[key]
        assert (mine.shape, mine.dtype, mine.stride()) == (
            theirs.shape,
            theirs.dtype,
            theirs.stride(),
        )
        if theirs.numel() > 500 and theirs.std() > 0:
            mean, std, most = float(theirs.mean()), float(theirs.std()), float(theirs.abs().max())
            assert float(mine.mean()) == pytest.approx(mean, abs=0.2 * std), key
            assert float(mine.std()) == pytest.approx(std, rel=0.15), key
            assert float(mine.abs().max()) == pytest.approx(most, rel=0.5), key
            assert not torch.equal(mine, theirs)
        elif theirs.numel() == 1 or theirs.double().std() == 0:
            assert torch.equal(mine, theirs), key
    again, other = filled(TASKS[name].build, 0), filled(TASKS[name].build, 1)
    same = [torch.equal(x, y) for x, y in zip(module.parameters(), again.parameters(), strict=True)]
    differ = [
        not torch.equal(x, y) for x, y in zip(module.parameters(), other.parameters(), strict=True)
    ]
    assert all(same) and sum(differ) > len(differ) / 4


class Odd(nn.Module):
    """Constructor's habits that a plain list of rules would miss."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(0.1 * torch.randn(4, 5))
        self.copied = nn.Parameter(self.one.detach().clone() + 1)
        self.part = nn.Parameter(torch.zeros(6, 5))
        with torch.no_grad():
            self.part[2:4].normal_()
            self.part[0] = torch.arange(5.0)
        self.two = nn.Linear(5, 4)
        self.two.weight.data.div_(2.0)
        self.register_buffer("steps", torch.tensor([1.0, 2.5]))
        self.register_buffer("places", torch.arange(6).view(2, 3).T)


def test_expressions_copies_views_and_constants():
    module = filled(Odd, 0)
    assert torch.equal(module.copied, module.one + 1) and module.one.std() < 0.3
    assert module.part[0].tolist() == [0, 1, 2, 3, 4] and not module.part[[1, 4, 5]].any()
    assert module.part[2:4].std() > 0.3 and module.two.weight.abs().max() <= 5**-0.5 / 2
    assert module.steps.tolist() == [1.0, 2.5]
    assert torch.equal(module.places, torch.arange(6).view(2, 3).T)


def test_a_value_does_not_depend_on_what_else_there_is():
    wide = filled(lambda: nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}), 0)
    alone = filled(lambda: nn.ModuleDict({"b": nn.Linear(3, 3)}), 0)
    assert torch.equal(wide["b"].weight, alone["b"].weight)
    assert not torch.equal(wide["b"].weight, wide["a"].weight)


def test_what_cannot_be_noted_is_an_error():
    class Truncated(nn.Linear):
        def __init__(self):
            super().__init__(3, 3)
            nn.init.trunc_normal_(self.weight)

    with pytest.raises(TypeError, match=r"nets\.initial"):
        Initial(Truncated, 0)

    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(3))

    with pytest.raises(ValueError, match="gives weight no initial value"):
        filled(Empty, 0)


def test_a_truncated_normal():
    torch.manual_seed(0)
    x = truncated_normal_(torch.empty(200_000), 0.02, 0.04)
    reference = nn.init.trunc_normal_(torch.empty(200_000), std=0.02, a=-0.04, b=0.04)
    assert x.abs().max() <= 0.04 and abs(float(x.mean())) < 2e-4
    assert float(x.std()) == pytest.approx(float(reference.std()), rel=0.01)
    for share in (0.1, 0.3, 0.9):
        assert float(x.quantile(share)) == pytest.approx(float(reference.quantile(share)), abs=4e-4)
