"""The vision half: a Vision Transformer whose patches all go on, without class token and pooling
(Zhai et al., arXiv 2106.04560; big_vision's `models/vit.py`).

B batch, N patches, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.nets.layers import LayerNorm
from septet.trainers.pali.settings import VitSettings

EPS = 1e-6
"""Of layer norms."""

CHANNELS = 3


class Block(nn.Module):
    """Pre-norm transformer block; GELU in its tanh approximation."""

    def __init__(self, s: VitSettings):
        super().__init__()
        self.heads = s.heads
        self.norm1, self.norm2 = LayerNorm(s.width, EPS), LayerNorm(s.width, EPS)
        self.qkv, self.proj = nn.Linear(s.width, 3 * s.width), nn.Linear(s.width, s.width)
        self.fc1, self.fc2 = nn.Linear(s.width, s.inner), nn.Linear(s.inner, s.width)
        for linear in (self.qkv, self.proj, self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, W] to [B, N, W]."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).unbind(2)
        mixed = F.scaled_dot_product_attention(*(y.transpose(1, 2) for y in (q, k, v)))
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class Vit(nn.Module):
    """Patches with learned positions, blocks, a norm."""

    def __init__(self, s: VitSettings):
        super().__init__()
        self.patches = nn.Conv2d(CHANNELS, s.width, s.patch, s.patch)
        self.positions = nn.Parameter(torch.empty(1, s.grid**2, s.width))
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = LayerNorm(s.width, EPS)
        nn.init.normal_(self.positions, std=s.width**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        """Images [B, 3, P, P] with values in [-1, 1] to states of their patches [B, N, W]."""
        x = self.patches(pixels).flatten(2).transpose(1, 2).float() + self.positions.float()
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """A table of positions [1, N, W] for another grid, [1, grid * grid, W]: bilinear, corners on
    corners, as big_vision resizes them (`scipy.ndimage.zoom` of order 1)."""
    old = round(table.shape[1] ** 0.5)
    if old == grid:
        return table
    square = table.float().transpose(1, 2).unflatten(2, (old, old))
    resized = F.interpolate(square, (grid, grid), mode="bilinear", align_corners=True)
    return resized.flatten(2).transpose(1, 2).to(table.dtype)
