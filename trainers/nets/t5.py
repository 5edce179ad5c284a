"""T5 in the form of mT5 (Raffel et al., arXiv 1910.10683; Xue et al., arXiv 2010.11934): an encoder
and a decoder with relative positions, gated feed-forward networks and an output head of its own.
Equal in result to `transformers.MT5ForConditionalGeneration` with an untied head.

B batch, S tokens of the encoder, T tokens of the decoder, W width, V vocabulary. `seen` masks are
True where there is something to attend to.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from septet.trainers.generate.cache import Cache, LayerCache
from septet.trainers.settings.base import Settings

EPS = 1e-6
"""Of norms."""

PAD = 0
"""What fills texts up, and what every target begins with."""


class T5Settings(Settings):
    """Sizes of a T5; the defaults are those of mT5-Large."""

    width: int = Field(default=1024, gt=0)
    inner: int = Field(default=2816, gt=0)
    """Width inside feed-forward networks."""
    heads: int = Field(default=16, gt=0)
    head_width: int = Field(default=64, gt=0)
    layers: int = Field(default=24, gt=0)
    """Of the encoder, and of the decoder."""
    words: int = Field(default=250_112, gt=2)
    """Rows of the table of words and of the head."""
    buckets: int = Field(default=32, gt=3, multiple_of=4)
    """Of relative positions."""
    reach: int = Field(default=128, gt=0)
    """Distance from which on all positions share the last bucket."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On embeddings, attention weights, feed-forward networks and residual branches."""


class RmsNorm(nn.Module):
    """Division by the root mean square, in fp32; a gain and no bias."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] to [..., W], in fp32."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), EPS)


class RelativeBias(nn.Module):
    """What a token's distance adds to its attention score, for each head: T5's buckets, one for
    each small distance, then rising with its logarithm up to `reach`."""

    def __init__(self, s: T5Settings, both_ways: bool):
        super().__init__()
        self.both_ways, self.reach = both_ways, s.reach
        self.weight = nn.Parameter(torch.empty(s.buckets, s.heads))

    def buckets(self, queries: Tensor, keys: Tensor) -> Tensor:
        """The bucket of each pair, int64 [q, k], from positions int64 [q] and [k]."""
        count = self.weight.shape[0]
        distance = keys[None] - queries[:, None]
        if self.both_ways:
            count //= 2
            side, distance = (distance > 0) * count, distance.abs()
        else:
            side, distance = torch.zeros_like(distance), (-distance).clamp(min=0)
        exact = count // 2
        far = (distance.clamp(min=1).float() / exact).log() / math.log(self.reach / exact)
        far = (exact + (far * (count - exact)).long()).clamp(max=count - 1)
        return side + torch.where(distance < exact, distance, far)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Float [1, heads, q, k]; where it goes one way, -inf at what comes later."""
        bias = F.embedding(self.buckets(queries, keys), self.weight).float()
        bias = bias.permute(2, 0, 1)[None]
        if not self.both_ways:
            bias = bias.masked_fill(keys[None] > queries[:, None], -torch.inf)
        return bias


class Attention(nn.Module):
    """Multi-head attention without biases; scores are not scaled by the heads' width, as the
    initial values allow for it."""

    def __init__(self, s: T5Settings):
        super().__init__()
        self.heads, self.dropout = s.heads, s.dropout
        inside = s.heads * s.head_width
        self.q, self.k, self.v = (nn.Linear(s.width, inside, bias=False) for _ in range(3))
        self.o = nn.Linear(inside, s.width, bias=False)
        nn.init.normal_(self.q.weight, std=(s.width * s.head_width) ** -0.5)
        nn.init.normal_(self.k.weight, std=s.width**-0.5)
        nn.init.normal_(self.v.weight, std=s.width**-0.5)
        nn.init.normal_(self.o.weight, std=inside**-0.5)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of states [B, S, W]: each [B, heads, S, head width]."""
        k, v = (f(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for f in (self.k, self.v))
        return k, v

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """States [B, T, W] to [B, T, W]; `bias` is added to scores [B, heads, T, S]."""
        q = self.q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        kept = None if bias is None else bias.to(q.dtype)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, keys, values, kept, dropout, scale=1.0)
        return self.o(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """wo(gelu(wi_0 x) * wi_1 x), with GELU's tanh approximation."""

    def __init__(self, s: T5Settings):
        super().__init__()
        self.dropout = s.dropout
        self.wi_0, self.wi_1 = (nn.Linear(s.width, s.inner, bias=False) for _ in range(2))
        self.wo = nn.Linear(s.inner, s.width, bias=False)
        nn.init.normal_(self.wi_0.weight, std=s.width**-0.5)
        nn.init.normal_(self.wi_1.weight, std=s.width**-0.5)
        nn.init.normal_(self.wo.weight, std=s.inner**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]."""
        x = F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x)
        return self.wo(F.dropout(x, self.dropout, self.training))


class Block(nn.Module):
    """Self-attention, in the decoder attention to the encoder's states, and a feed-forward network,
    each behind its norm."""

    def __init__(self, s: T5Settings, decodes: bool):
        super().__init__()
        self.dropout = s.dropout
        self.norm_self, self.attention = RmsNorm(s.width), Attention(s)
        self.norm_cross = RmsNorm(s.width) if decodes else None
        self.cross = Attention(s) if decodes else None
        self.norm_inner, self.inner = RmsNorm(s.width), FeedForward(s)

    def forward(
        self,
        x: Tensor,
        bias: Tensor,
        memory: Tensor | None = None,
        memory_bias: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """States [B, T, W] to [B, T, W].

        Args:
            x: States.
            bias: On scores of self-attention, broadcast to [B, heads, T, T so far].
            memory: The encoder's states [B, S, W].
            memory_bias: On scores of attention to them, broadcast to [B, heads, T, S].
            cache: Keys and values of the tokens so far, which grow by those of `x`.
        """
        y = self.norm_self(x)
        keys, values = self.attention.keys_values(y)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        x = x + self._drop(self.attention(y, keys, values, bias))
        if self.cross is not None and self.norm_cross is not None and memory is not None:
            if cache is None or cache.cross_keys is None or cache.cross_values is None:
                keys, values = self.cross.keys_values(memory)
                if cache is not None:
                    cache.cross_keys, cache.cross_values = keys, values
            else:
                keys, values = cache.cross_keys, cache.cross_values
            x = x + self._drop(self.cross(self.norm_cross(x), keys, values, memory_bias))
        return x + self._drop(self.inner(self.norm_inner(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Stack(nn.Module):
    """The encoder, or the decoder: blocks that share a table of relative positions, and a norm."""

    def __init__(self, s: T5Settings, decodes: bool):
        super().__init__()
        self.dropout = s.dropout
        self.relative = RelativeBias(s, both_ways=not decodes)
        nn.init.normal_(self.relative.weight, std=s.width**-0.5)
        self.blocks = nn.ModuleList(Block(s, decodes) for _ in range(s.layers))
        self.norm = RmsNorm(s.width)

    def forward(
        self,
        x: Tensor,
        seen: Tensor | None = None,
        memory: Tensor | None = None,
        memory_seen: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Embedded tokens [B, T, W] to final states [B, T, W].

        Args:
            x: Embedded tokens; with `cache` those that follow what it holds.
            seen: bool [B, T], None where all are.
            memory: The encoder's states [B, S, W], for the decoder.
            memory_seen: bool [B, S], None where all are.
            cache: Of the decoder; its layers grow by T, `length` is the caller's to raise.
        """
        begin = cache.length if cache else 0
        places = torch.arange(begin + x.shape[1], device=x.device)
        bias = self.relative(places[begin:], places)
        if seen is not None:
            bias = bias + _bias(seen)
        memory_bias = None if memory_seen is None else _bias(memory_seen)
        x = F.dropout(x.float(), self.dropout, self.training)
        for i, block in enumerate(self.blocks):
            x = block(x, bias, memory, memory_bias, cache.layers[i] if cache else None)
        return F.dropout(self.norm(x), self.dropout, self.training)


def _bias(seen: Tensor) -> Tensor:
    """bool [B, S] to 0 and -inf, [B, 1, 1, S]."""
    zero = torch.zeros(seen.shape, device=seen.device)
    return zero.masked_fill(~seen, -torch.inf)[:, None, None]


class T5(nn.Module):
    """The table of words, both stacks, and a head that shares nothing with the table."""

    def __init__(self, s: T5Settings):
        super().__init__()
        self.settings = s
        self.words = nn.Embedding(s.words, s.width)
        self.encoder, self.decoder = Stack(s, decodes=False), Stack(s, decodes=True)
        self.head = nn.Linear(s.width, s.words, bias=False)
        nn.init.normal_(self.words.weight)
        nn.init.normal_(self.head.weight, std=s.width**-0.5)

    def forward(self, ids: Tensor, before: Tensor) -> Tensor:
        """The decoder's final states [B, T, W] where its inputs are known.

        Args:
            ids: The encoder's, int64 [B, S]; 0 is padding.
            before: The decoder's, int64 [B, T]: 0, then the target without its last token.
        """
        seen = ids != PAD
        memory = self.encoder(self.words(ids), seen)
        return self.decoder(self.words(before), None, memory, seen)

    def encode(self, ids: Tensor) -> Cache:
        """See `generate.cache.Generative`; `ids` as in `forward`."""
        memory = self.encoder(self.words(ids), ids != PAD)
        return Cache.of(memory, ids == PAD, self.settings.layers)

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        """See `generate.cache.Generative`."""
        x = self.words(ids)
        hidden = self.decoder(x, None, cache.memory, ~cache.memory_pads, cache)
        cache.length += ids.shape[1]
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of words, [..., V]."""
        return self.head(hidden)
