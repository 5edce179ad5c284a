"""Products of rows with the weights of the expert that each row belongs to (a grouped GEMM)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SMALL = 2**19
"""Numbers of a matrix that fits into a core's cache. Cores that each do the products of other
experts are then up to twice as fast as all at one product after the other."""

WASTE = 1.5
"""How many rows, pads among them, are worth it, for each that is none."""


def in_batch(rows: Tensor, weights: Tensor, counts: Tensor) -> tuple[Tensor, Tensor] | None:
    """Rows as a batch of experts, each with as many as the fullest, for `torch.bmm`.

    Args:
        rows: [n, A], those of the first expert first.
        weights: [E, A, B], of the rows' type.
        counts: How many rows each expert has, int64 [E].

    Returns:
        The batch [E, most, A], zero where there are no rows; and where each row lies among its
        E * most places, int64 [n]. None where `grouped_product` is as fast: not on a CPU, for large
        matrices, and where the fullest expert has many more rows than the others.
    """
    if rows.device.type != "cpu" or weights[0].numel() > SMALL:
        return None
    experts, most = len(counts), int(counts.max())
    if not 0 < experts * most <= WASTE * len(rows):
        return None
    begin = torch.arange(0, experts * most, most) - counts.cumsum(0) + counts
    places = torch.arange(len(rows)) + begin.repeat_interleave(counts, output_size=len(rows))
    batch = rows.new_zeros(experts * most, rows.shape[1]).index_copy(0, places, rows)
    return batch.view(experts, most, -1), places


def grouped_product(rows: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """Each row times the matrix of its expert, by whatever is fastest on its device.

    Args:
        rows: [n, A], those of the first expert first.
        weights: [E, A, B], of the rows' type.
        counts: How many rows each expert has, int64 [E].

    Returns:
        [n, B].
    """
    if rows.is_meta:  # Nobody knows whose rows they are; any matrix costs the same.
        return rows @ weights[0]
    if runs_grouped(rows, weights):
        return by_grouped_gemm(rows, weights, counts)
    return by_loop(rows, weights, counts)


def runs_grouped(rows: Tensor, weights: Tensor) -> bool:
    """Whether the device has a grouped GEMM for these: CUDA from compute capability 8.0 on, for
    bf16 rows of whole 16 bytes."""
    return (
        rows.is_cuda
        and rows.dtype == torch.bfloat16
        and all(size % 8 == 0 for size in weights.shape[1:])
        and torch.cuda.get_device_capability(rows.device) >= (8, 0)
    )


def by_grouped_gemm(rows: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """One call of torch's grouped GEMM; the host does not wait."""
    return F.grouped_mm(rows, weights, offs=counts.cumsum(0, dtype=torch.int32))


def by_loop(rows: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """One product for each expert that has rows."""
    product: Tensor = _Loop.apply(rows, weights, counts.tolist())
    return product


class _Loop(torch.autograd.Function):
    """The loop with gradients written in place: autograd's own would add up, for each expert, one
    the size of all weights."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor, counts: list[int]) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.counts = counts
        out = rows.new_empty(len(rows), weights.shape[2])
        for x, weight, y in zip(rows.split(counts), weights, out.split(counts), strict=True):
            if len(x):
                torch.mm(x, weight, out=y)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights = ctx.saved_tensors
        slopes = slope.split(ctx.counts)
        by_rows = by_weights = None
        if ctx.needs_input_grad[0]:
            by_rows = torch.empty_like(rows)
            for y, weight, x in zip(slopes, weights, by_rows.split(ctx.counts), strict=True):
                if len(y):
                    torch.mm(y, weight.T, out=x)
        if ctx.needs_input_grad[1]:
            by_weights = torch.empty_like(weights)
            for x, y, weight in zip(rows.split(ctx.counts), slopes, by_weights, strict=True):
                if len(y):
                    torch.mm(x.T, y, out=weight)
                else:
                    weight.zero_()
        return by_rows, by_weights, None
