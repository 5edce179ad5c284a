"""Losses that several models share."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from septet.trainers.sharded import is_sharded
from septet.trainers.task import Gather

IGNORED = -100
"""The label of a row that does not count."""


def contrastive(
    image: Tensor, text: Tensor, scale: Tensor, gather: Gather, kept: Tensor | None = None
) -> Tensor:
    """Half the cross-entropy of each image among all texts, half that of each text among all
    images (CLIP: Radford et al., arXiv 2103.00020, figure 3).

    Args:
        image: This rank's unit vectors [B, E].
        text: Those of the texts that belong to them.
        scale: Factor on the similarities, [1].
        gather: See `task.Gather`.
        kept: bool [B], rows that count; all rows are columns.

    Returns:
        The sum over this rank's rows, [].
    """
    (images, first), (texts, _) = gather(image), gather(text)
    right = first + torch.arange(len(image), device=image.device)
    if kept is not None:  # Not `image[kept]`: the host would wait to learn how many they are.
        right = right.masked_fill(~kept, IGNORED)
    by_image, by_text = (
        F.cross_entropy(scale * own @ others.T, right, ignore_index=IGNORED, reduction="sum")
        for own, others in ((image, texts), (text, images))
    )
    return (by_image + by_text) / 2


class TokenSums(NamedTuple):
    """Sums over target tokens, fp32 []; see `token_loss`."""

    cross_entropy: Tensor
    """The smoothed cross-entropy. The gradients of both sums flow through this one."""
    z: Tensor
    """The z-loss, its factor in it; without gradient."""
    right: Tensor
    """How many tokens are the likeliest word of all; without gradient."""


def token_loss(
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    z: float = 0.0,
    chunk: int | None = None,
) -> TokenSums:
    """Cross-entropy over a vocabulary in chunks of tokens, whose logits never stand in memory
    whole; with label smoothing and z-loss.

    A token costs, with p its softmax over V words,
    -(1 - smoothing) log p_label - smoothing / (V - 1) * (sum of log p of the other words)
    (fairseq's smoothing; torch's with ε is this one with ε (V - 1) / V), and in the z-loss
    z * (log of the softmax's denominator)² (Chowdhery et al., arXiv 2204.02311, section 5).
    Logits are made by matrix products in the head's type, or autocast's; all else is fp32. The
    gradients are made in the same pass, so a step costs no more products than with whole logits.

    Call it inside the module's `forward`: there the head of a module sharded by FSDP2 is whole,
    and DDP and FSDP2 see its gradient as that of any parameter. Let `forward` return the sums, and
    give both the weight 1 and the same count, as the gradient flows through the first.

    Args:
        hidden: Final states of the target places [n, d]; n may be 0.
        head: Vectors of the words [V, d]. Some of its rows where only those words are allowed,
            with labels counted from the first.
        labels: int64 [n], in [0, V).
        bias: Added to the words' logits, [V].
        weights: Factor of each token's loss, [n]; without gradient.
        smoothing: Share of the target that goes to all other words, in [0, 1).
        z: Factor of the z-loss; 0 for none.
        chunk: Tokens at once; by default as many as have 2^25 logits.

    Raises:
        ValueError: the head or its bias is sharded.
    """
    if is_sharded(head) or is_sharded(bias):
        raise ValueError(
            "token_loss needs the whole head and got a sharded one; call it inside the forward of "
            "the module that owns the head"
        )
    chunk = chunk or max(1, 2**25 // len(head))
    return TokenSums(*_TokenLoss.apply(hidden, head, bias, labels, weights, smoothing, z, chunk))


class _TokenLoss(torch.autograd.Function):
    """Sums in chunks, with the gradients of hidden states and head made beside them."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, bias: Tensor | None, labels: Tensor,
        weights: Tensor | None, smoothing: float, z: float, chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        # Counting FLOPs on the meta device, which autocast does not know.
        device = "cpu" if hidden.is_meta else hidden.device.type
        mixed = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if mixed else head.dtype
        words, states = head.to(dtype), hidden.to(dtype)
        of_hidden, of_head, of_bias = ctx.needs_input_grad[:3]
        sums = torch.zeros(3, dtype=torch.float32, device=hidden.device)
        by_hidden = torch.empty_like(hidden) if of_hidden else None
        by_head = torch.zeros_like(head, dtype=torch.float32) if of_head else None
        by_bias = None
        if of_bias and bias is not None:
            by_bias = torch.zeros_like(bias, dtype=torch.float32)
        others = smoothing / max(len(head) - 1, 1)
        with torch.autocast(device, enabled=False):
            for begin in range(0, len(labels), chunk):
                part = slice(begin, begin + chunk)
                label = labels[part, None]
                logits = (states[part] @ words.T).float()
                if bias is not None:
                    logits += bias.float()
                at_label = logits.gather(1, label)
                most, likeliest = logits.max(1, keepdim=True)
                all_words = logits.sum(1, keepdim=True) if smoothing else at_label
                logits.sub_(most).exp_()
                denominator = logits.sum(1, keepdim=True)
                log_z = most + denominator.log()
                weight = 1.0 if weights is None else weights[part, None].float()
                loss = log_z - (1 - smoothing) * at_label - others * (all_words - at_label)
                sums += torch.stack(
                    [
                        (weight * loss).sum(),
                        (weight * z * log_z**2).sum(),
                        (likeliest == label).sum(),
                    ]
                )
                if not (of_hidden or of_head or of_bias):
                    continue
                logits.mul_(weight * (1 + 2 * z * log_z) / denominator)
                if smoothing:
                    logits.sub_(weight * others)
                down = torch.zeros_like(at_label) + weight * (others - (1 - smoothing))
                exact = logits.scatter_add_(1, label, down)
                if by_bias is not None:
                    by_bias += exact.sum(0)
                slopes = exact.to(dtype)
                if by_hidden is not None:
                    by_hidden[part] = slopes @ words
                if by_head is not None and dtype == torch.float32:
                    by_head.addmm_(slopes.T, states[part])
                elif by_head is not None:
                    by_head += slopes.T @ states[part]
        ctx.gradients = (
            by_hidden,
            None if by_head is None else by_head.to(head.dtype),
            None if by_bias is None or bias is None else by_bias.to(bias.dtype),
        )
        cross_entropy, z_loss, right = (x.clone() for x in sums)
        ctx.mark_non_differentiable(z_loss, right)
        return cross_entropy, z_loss, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        del ctx.gradients  # A second backward pass fails, as without retain_graph.
        return *(x.mul_(slope) if x is not None else None for x in gradients), *[None] * 5
