"""The chunked loss over a vocabulary equals plain torch's, values and gradients, sharded or not."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from septet.trainers.engine.world import world
from septet.trainers.nets.losses import token_loss
from tests.trainers.ranks import run_ranks


def plain(
    hidden: Tensor, head: Tensor, labels: Tensor, weights: Tensor, smoothing: float, z: float
) -> tuple[Tensor, Tensor]:
    """By the formulas, word by word, with whole logits."""
    logits = hidden @ head.T
    logs = F.log_softmax(logits, -1)
    target = torch.full_like(logs, smoothing / (len(head) - 1))
    target.scatter_(1, labels[:, None], 1 - smoothing)
    return (
        (weights * -(target * logs).sum(1)).sum(),
        (weights * z * logits.logsumexp(1) ** 2).sum(),
    )


def inputs(rows: int = 13, width: int = 8, words: int = 29) -> tuple[Tensor, Tensor, Tensor]:
    """States, head and labels in double precision's reach."""
    torch.manual_seed(0)
    hidden = torch.randn(rows, width, requires_grad=True)
    head = torch.randn(words, width, requires_grad=True)
    return hidden, head, torch.randint(words, (rows,))


@pytest.mark.parametrize(
    ("smoothing", "z", "weighted", "chunk"),
    [*itertools.product((0.0, 0.1, 0.7), (0.0, 1e-2), (False, True), (1, 5, 13, 100, None))],
)
def test_values_and_gradients_equal_the_formulas(
    smoothing: float, z: float, weighted: bool, chunk: int | None
) -> None:
    """For chunks that divide the rows and chunks that do not."""
    hidden, head, labels = inputs()
    weights = torch.rand(13) * 2 if weighted else None
    if weights is not None:
        weights[3] = 0
    found = token_loss(hidden, head, labels, weights=weights, smoothing=smoothing, z=z, chunk=chunk)
    (0.5 * (found.cross_entropy + found.z)).backward()
    ours = hidden.grad, head.grad
    hidden.grad = head.grad = None
    ones = torch.ones(13) if weights is None else weights
    entropy, z_loss = plain(hidden, head, labels, ones, smoothing, z)
    (0.5 * (entropy + z_loss)).backward()
    torch.testing.assert_close(found.cross_entropy, entropy)
    torch.testing.assert_close(found.z, z_loss)
    torch.testing.assert_close(ours[0], hidden.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours[1], head.grad, rtol=1e-4, atol=1e-6)
    assert found.right == ((hidden @ head.T).argmax(1) == labels).sum()
    assert not found.z.requires_grad and not found.right.requires_grad


@pytest.mark.parametrize("chunk", [4, 13])
def test_a_bias_of_words_is_a_further_column_of_the_head(chunk: int) -> None:
    """Of states that have a one there."""
    hidden, head, labels = inputs()
    bias, weights = torch.randn(29, requires_grad=True), torch.rand(13)
    given = {"weights": weights, "smoothing": 0.1, "z": 1e-2, "chunk": chunk}
    found = token_loss(hidden, head, labels, bias=bias, **given)  # type: ignore[arg-type]
    (0.5 * found.cross_entropy).backward()
    ours = hidden.grad, head.grad, bias.grad
    hidden.grad = head.grad = bias.grad = None
    wider, more = F.pad(hidden, (0, 1), value=1.0), torch.cat([head, bias[:, None]], 1)
    entropy, z_loss = plain(wider, more, labels, weights, 0.1, 1e-2)
    (0.5 * (entropy + z_loss)).backward()
    torch.testing.assert_close(found.cross_entropy, entropy)
    torch.testing.assert_close(found.z, z_loss)
    for mine, expected in zip(ours, (hidden.grad, head.grad, bias.grad), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)
    assert found.right == ((hidden @ head.T + bias).argmax(1) == labels).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_torch_smooths_over_all_words(smoothing: float) -> None:
    """torch's ε over V words is ours of ε (V - 1) / V over the others; the two differ otherwise."""
    hidden, head, labels = inputs()
    logits = (hidden @ head.T).detach()
    torchs = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
    same = token_loss(hidden, head, labels, smoothing=smoothing * 28 / 29)
    torch.testing.assert_close(same.cross_entropy, torchs)
    other = token_loss(hidden, head, labels, smoothing=smoothing)
    apart = (other.cross_entropy - torchs).abs().item()
    assert apart > 0.01 if smoothing else apart < 1e-4


def test_frozen_parts_get_no_gradient() -> None:
    """Nor is one made where none is asked for."""
    hidden, head, labels = inputs()
    token_loss(hidden, head.detach(), labels).cross_entropy.backward()
    assert hidden.grad is not None and head.grad is None
    hidden.grad = None
    token_loss(hidden.detach(), head, labels).cross_entropy.backward()
    assert head.grad is not None and hidden.grad is None
    with torch.no_grad():
        assert not token_loss(hidden, head, labels).cross_entropy.requires_grad


def test_no_token_costs_nothing() -> None:
    """A micro-batch without target tokens takes part in the backward pass, with zeros."""
    hidden, head, labels = inputs(0)
    found = token_loss(hidden, head, labels, smoothing=0.1, z=1e-4)
    found.cross_entropy.backward()
    assert found.cross_entropy == 0 and head.grad is not None and not head.grad.any()


def test_a_word_is_right_where_it_is_what_would_be_written() -> None:
    """Ties go to the first word, as in greedy writing: who knows nothing is not right by that."""
    found = token_loss(torch.zeros(5, 4), torch.zeros(10, 4), torch.tensor([0, 1, 2, 3, 9]))
    assert found.right == 1


def test_extreme_logits_stay_finite() -> None:
    """As log-softmax, and unlike softmax and then log."""
    hidden = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    head = torch.tensor([[1.0], [0.0], [-1.0]])
    found = token_loss(hidden, head, torch.tensor([2, 2]))
    found.cross_entropy.backward()
    assert found.cross_entropy == 600 and found.right == 1
    assert hidden.grad is not None and torch.isfinite(hidden.grad).all()


def test_a_range_of_words_alone() -> None:
    """Rows of the head: the loss of image codes among codes only."""
    hidden, head, labels = inputs()
    low, high = 7, 17
    codes = labels % (high - low)
    found = token_loss(hidden, head[low:high], codes)
    logits = (hidden @ head.T)[:, low:high]
    torch.testing.assert_close(found.cross_entropy, F.cross_entropy(logits, codes, reduction="sum"))
    found.cross_entropy.backward()
    assert head.grad is not None
    assert head.grad[low:high].any() and not head.grad[:low].any() and not head.grad[high:].any()


def test_bf16_is_as_close_as_bf16_is() -> None:
    """Under autocast products are in bf16, sums of exponentials in fp32."""
    hidden, head, labels = inputs(256, 64, 500)
    with torch.autocast("cpu", torch.bfloat16):
        found = token_loss(hidden, head, labels, smoothing=0.1, z=1e-4, chunk=50)
    found.cross_entropy.backward()
    ours = hidden.grad, head.grad
    hidden.grad = head.grad = None
    entropy, z_loss = plain(hidden, head, labels, torch.ones(256), 0.1, 1e-4)
    (entropy + z_loss).backward()
    torch.testing.assert_close(found.cross_entropy, entropy, rtol=2e-3, atol=0)
    for mine, exact in zip(ours, (hidden.grad, head.grad), strict=True):
        assert mine is not None and exact is not None and mine.dtype == torch.float32
        assert (mine - exact).norm() < 0.02 * exact.norm()


class Largest(TorchFunctionMode):
    """Records the largest tensor that is made."""

    numbers = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Call it, and look at what it gave."""
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


def test_chunks_hold_few_logits() -> None:
    """Nothing larger than states, head and a chunk's logits is made."""
    hidden, head, labels = inputs(1000, 4, 300)
    with Largest() as made:
        F.cross_entropy(hidden @ head.T, labels).backward()
    assert made.numbers == 300_000
    with Largest() as made:
        token_loss(hidden, head, labels, smoothing=0.1, z=1e-4, chunk=10).cross_entropy.backward()
    assert made.numbers == 4000


class Tied(nn.Module):
    """Word vectors in and out, with the loss in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(29, 8)
        self.layer = nn.Linear(8, 8)

    def forward(self, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Both sums."""
        found = token_loss(
            self.layer(self.words(ids)), self.words.weight, labels, smoothing=0.1, z=1e-2, chunk=3
        )
        return found.cross_entropy, found.z


def step(*ways: str) -> list[list[list[float]]]:
    """By way, the gradients of the mean over 20 tokens of which a rank sees its share."""
    torch.manual_seed(0)
    start, (ids, labels) = Tied(), torch.randint(29, (2, 20))
    found = []
    with world() as ranks:
        for way in ways:
            module: nn.Module = copy.deepcopy(start)
            if way == "fsdp":
                mesh = init_device_mesh("cpu", (2,))
                fully_shard(module.layer, mesh=mesh)
                fully_shard(module, mesh=mesh)
                with pytest.raises(ValueError, match="inside the forward"):
                    token_loss(torch.zeros(1, 8), module.words.weight, ids[:1])
            elif way == "ddp":
                module = DistributedDataParallel(module)
            mine = [slice(0, 20)] if ranks.size == 1 else [slice(0, 15), slice(15, 20)]
            entropy, z = module(ids[mine[ranks.rank]], labels[mine[ranks.rank]])
            ((entropy + z) * ranks.size / 20).backward()
            gradients = [p.grad for p in module.parameters()]
            found.append(
                [
                    (x.full_tensor() if isinstance(x, DTensor) else x).flatten().tolist()
                    for x in gradients
                    if x is not None
                ]
            )
    return found


def test_ranks_give_the_gradient_of_one() -> None:
    """Under DDP and FSDP2, where the head is also the table of words."""
    (alone,) = step("alone")
    assert len(alone) == 3
    for rank in run_ranks(2, step, "ddp", "fsdp"):
        for gradients in rank:
            for mine, expected in zip(gradients, alone, strict=True):
                assert mine == pytest.approx(expected, rel=1e-5, abs=1e-6)
