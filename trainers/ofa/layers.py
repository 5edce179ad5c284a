"""OFA's layers: attention with biases of position and a factor a head, and norms at both ends of
each branch.

B rows, N image tokens, T source tokens, S = N + T, t target tokens, W width, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.generate.cache import LayerCache
from septet.trainers.nets.layers import LayerNorm
from septet.trainers.ofa.settings import OfaSettings


class Attention(nn.Module):
    """Multi-head attention with a bias, and a factor for each head (`c_attn`)."""

    def __init__(self, s: OfaSettings):
        super().__init__()
        self.heads, self.scale = s.heads, (2 * s.width / s.heads) ** -0.5
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (
            nn.Linear(s.width, s.width) for _ in range(4)
        )
        self.c_attn = nn.Parameter(torch.ones(s.heads))

    def keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, n, head] of states [B, n, W]."""
        return split(self.k_proj(x), self.heads), split(self.v_proj(x), self.heads)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """States [B, t, W] to [B, t, W]; `bias` [B or 1, H, t, n], minus infinity hides."""
        q = split(self.q_proj(x), self.heads)
        bias = bias.to(q.dtype)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=self.scale)
        y = y * self.c_attn.to(y.dtype)[:, None, None]
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """What layers of both sides have: the feed-forward branch, and how branches are added."""

    def __init__(self, s: OfaSettings):
        super().__init__()
        self.dropout = s.dropout
        self.self_attn, self.self_attn_layer_norm = Attention(s), LayerNorm(s.width)
        self.fc1, self.fc2 = nn.Linear(s.width, s.inner), nn.Linear(s.inner, s.width)
        self.ffn_layernorm, self.final_layer_norm = LayerNorm(s.inner), LayerNorm(s.width)

    def add(self, x: Tensor, branch: Tensor, kept: Tensor | None) -> Tensor:
        """Residual connection; `kept` [B, 1, 1] is the rows' factor (stochastic depth)."""
        branch = F.dropout(branch, self.dropout, self.training)
        return x + (branch if kept is None else branch * kept.to(branch.dtype))

    def feed(self, x: Tensor, kept: Tensor | None) -> Tensor:
        """The feed-forward branch, added."""
        y = F.gelu(self.fc1(self.final_layer_norm(x)))
        return self.add(x, self.fc2(self.ffn_layernorm(y)), kept)


class EncoderLayer(Block):
    """Self-attention and feed-forward."""

    def __init__(self, s: OfaSettings):
        super().__init__(s)
        self.attn_ln = LayerNorm(s.width)

    def forward(
        self,
        x: Tensor,
        bias: Tensor,
        text: tuple[Tensor, Tensor],
        image: tuple[Tensor, Tensor] | None,
        kept: Tensor | None,
    ) -> Tensor:
        """[B, S, W] to [B, S, W].

        Args:
            x: States.
            bias: Of absolute positions and pads, [B or 1, H, S, S].
            text: The layer's table of relative positions and its rows [T, T].
            image: The same for image tokens, rows [B or 1, N, N].
            kept: See `Block.add`, [2, B, 1, 1].
        """
        near = F.pad(relative(*text)[None], (bias.shape[-1] - len(text[1]), 0))
        if image is not None:
            here = F.pad(relative(*image), (0, len(text[1])))
            near = torch.cat([here, near.expand(len(here), -1, -1, -1)], 2)
        y = self.self_attn_layer_norm(x)
        y = self.self_attn(y, *self.self_attn.keys(y), bias + near)
        first, second = (None, None) if kept is None else kept.unbind()
        return self.feed(self.add(x, self.attn_ln(y), first), second)


class DecoderLayer(Block):
    """Self-attention, attention to the encoder's states, feed-forward."""

    def __init__(self, s: OfaSettings):
        super().__init__(s)
        self.self_attn_ln, self.cross_attn_ln = LayerNorm(s.width), LayerNorm(s.width)
        self.encoder_attn, self.encoder_attn_layer_norm = Attention(s), LayerNorm(s.width)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        bias: Tensor,
        tables: tuple[tuple[Tensor, Tensor], ...],
        codes: Tensor | None,
        cross_bias: Tensor,
        cache: LayerCache | None,
        kept: Tensor | None,
    ) -> Tensor:
        """[B, t, W] to [B, t, W].

        Args:
            x: States.
            memory: Of the encoder, [B, S, W].
            bias: Of absolute positions, and of what comes later, [B or 1, H, t, all].
            tables: Relative positions of text, and with `codes` of images: table, rows [t, all].
            codes: bool [B], rows that write image codes.
            cross_bias: Of the encoder's positions and pads, [B, H, t, S].
            cache: Keys so far; None keeps nothing.
            kept: See `Block.add`, [3, B, 1, 1].
        """
        near = [relative(*table)[None] for table in tables]
        y = self.self_attn_layer_norm(x)
        keys, values = self.self_attn.keys(y)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        y = self.self_attn(y, keys, values, bias + either(codes, *near))
        first, second, third = (None,) * 3 if kept is None else kept.unbind()
        x = self.add(x, self.self_attn_ln(y), first)
        if cache is None:
            keys, values = self.encoder_attn.keys(memory)
        elif cache.cross_keys is None or cache.cross_values is None:
            keys, values = cache.cross_keys, cache.cross_values = self.encoder_attn.keys(memory)
        else:
            keys, values = cache.cross_keys, cache.cross_values
        y = self.encoder_attn(self.encoder_attn_layer_norm(x), keys, values, cross_bias)
        return self.feed(self.add(x, self.cross_attn_ln(y), second), third)


def split(x: Tensor, heads: int) -> Tensor:
    """[.., n, W] to [.., H, n, head]."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def relative(table: Tensor, rows: Tensor) -> Tensor:
    """The bias [.., H, n, m] of rows [.., n, m] of a table [rows, H]."""
    return F.embedding(rows, table).movedim(-1, -3)


def either(codes: Tensor | None, text: Tensor, image: Tensor | None = None) -> Tensor:
    """`image` [B or 1, ..] in the rows of `codes` bool [B], else `text`."""
    if codes is None or image is None:
        return text
    return torch.where(codes.view(-1, *[1] * (text.ndim - 1)), image, text)
