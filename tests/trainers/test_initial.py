import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from septet.trainers.beit3.presets import PRESETS as BEIT3
from septet.trainers.clip.presets import PRESETS as CLIP
from septet.trainers.engine.initial import Initial
from septet.trainers.ernie_vil.presets import PRESETS as ERNIE_VIL
from septet.trainers.flava.presets import PRESETS as FLAVA
from septet.trainers.m6.presets import PRESETS as M6
from septet.trainers.nets.experts import Experts
from septet.trainers.nets.initial import truncated_normal_
from septet.trainers.nets.routing import ExpertSettings
from septet.trainers.settings.overrides import override
from septet.trainers.task import ExpertModule

RESNET = ["model.layers=[1,1,1,1]", "model.patch=null", "model.width=64", "model.image_size=32"]
TASKS = {
    "clip": CLIP["debug"].task(),
    "resnet": override(CLIP["debug"], RESNET).task(),
    "flava": FLAVA["debug"].task(),
    "ernie_vil": ERNIE_VIL["debug"].task(),
    "beit3": BEIT3["debug"].task(),
    "m6": M6["debug-experts"].task(),
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


def test_what_a_constructor_draws_over_leaves_no_trace():
    """As of a layer whose own rule the model's replaces."""

    def twice() -> nn.Linear:
        layer = nn.Linear(5, 4)  # It draws by a rule of its own.
        nn.init.uniform_(layer.weight)
        nn.init.normal_(layer.weight, std=0.02)
        return layer

    class Once(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(4, 5).normal_(std=0.02))

    found = filled(twice, 3).weight
    assert torch.equal(found, filled(Once, 3).weight)
    assert 0.01 < float(found.detach().std()) < 0.03


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


def sparse(experts: int) -> Experts:
    return Experts(16, ExpertSettings(experts=experts, inner=32))


def test_an_expert_begins_alike_however_many_there_are():
    four, eight = (filled(lambda n=n: sparse(n), 3).networks for n in (4, 8))
    for few, many in ((four.up, eight.up), (four.down, eight.down)):
        assert torch.equal(few, many[:4])
        assert len(torch.stack([each.flatten() for each in many]).unique(dim=0)) == 8
        assert float(many.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(four.up.flatten(), four.down.flatten())


def test_no_more_than_one_expert_is_drawn_at_once():
    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, given=(), options=None):
            if torch.Tag.nondeterministic_seeded in function.tags:
                drawn.append(given[0].numel())
            return function(*given, **(options or {}))

    drawn: list[int] = []
    initial = Initial(lambda: sparse(64), 0)
    module = initial.module.to_empty(device="cpu")
    with Sizes():
        initial.fill(module, {})
    assert drawn.count(16 * 32) == 2 * 64 and set(drawn) == {16 * 32, 64 * 16}


class Mixing(ExpertModule):
    """Experts whose values depend on each other, or on which they are."""

    def __init__(self, how: str):
        super().__init__()
        self.up = nn.Parameter(torch.randn(4, 3, 2))
        with torch.no_grad():
            if how == "one of them":
                self.up[1].zero_()
            elif how == "their mean":
                self.up -= self.up.mean(0)


def test_experts_that_cannot_be_drawn_one_by_one_are_refused():
    alone = filled(lambda: Mixing("each"), 0)
    assert alone.up.std() > 0.5 and not torch.equal(alone.up[0], alone.up[1])
    for how in ("one of them", "their mean"):
        with pytest.raises(ValueError, match="up holds experts, which are drawn one by one"):
            filled(lambda how=how: Mixing(how), 0)
