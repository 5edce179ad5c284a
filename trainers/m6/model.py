"""M6 (Lin et al., "M6: A Chinese Multimodal Pretrainer", arXiv 2103.00823): one Transformer stack
that is encoder and decoder at once. A row has up to three segments: an image's pieces and a source
text, which attend to each other both ways, and a target text, which attends to both and to what
stands before in itself.

B rows, N pieces of an image, S tokens of the source, P = N + S, T tokens of the target, W width, H
heads, V words and image codes. 0 is the padding of texts. No state of a prefix depends on a target,
so its keys and values are made once and kept while a target is written.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.generate.cache import Cache, LayerCache
from septet.trainers.m6.settings import PAD, PIECES, START, M6Settings
from septet.trainers.nets.experts import Experts
from septet.trainers.nets.layers import LayerNorm, at
from septet.trainers.nets.losses import token_loss
from septet.trainers.nets.resnet import ResNet
from septet.trainers.nets.routing import ExpertSums

IMAGE, SOURCE, TARGET = 0, 1, 2
"""Rows of the table of segments."""

SEGMENTS = 3


class Attention(nn.Module):
    """Multi-head self-attention, whose keys and values may go on from a cache."""

    def __init__(self, s: M6Settings):
        super().__init__()
        self.heads, self.dropout = s.heads, s.dropout
        self.qkv, self.out = nn.Linear(s.width, 3 * s.width), nn.Linear(s.width, s.width)

    def forward(self, x: Tensor, seen: Tensor, cache: LayerCache | None, prefix: bool) -> Tensor:
        """States [B, t, W] to [B, t, W].

        Args:
            x: States.
            seen: bool [B, 1, t or 1, all], keys that a query may attend to.
            cache: Keys so far, of prefix and target; grows by these. None keeps nothing.
            prefix: Whether these states are the prefix's.
        """
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None and prefix:
            cache.cross_keys, cache.cross_values = k, v
        elif cache is not None:
            k, v = cache.extend(k, v)
            if cache.cross_keys is not None and cache.cross_values is not None:
                k = torch.cat([cache.cross_keys, k], 2)
                v = torch.cat([cache.cross_values, v], 2)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        return self.out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, s: M6Settings):
        super().__init__()
        self.up, self.down = nn.Linear(s.width, s.inner), nn.Linear(s.inner, s.width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, t, W] to [B, t, W]."""
        found: Tensor = self.down(F.gelu(self.up(x)))
        return found


class Block(nn.Module):
    """Attention and a feed-forward network or experts, each behind a norm and beside a residual
    path."""

    def __init__(self, s: M6Settings, number: int):
        super().__init__()
        self.dropout = s.dropout
        self.norm_attention, self.attention = LayerNorm(s.width), Attention(s)
        self.norm_feed, experts = LayerNorm(s.width), s.experts_of(number)
        self.feed = FeedForward(s) if experts is None else Experts(s.width, experts)

    def forward(
        self,
        x: Tensor,
        seen: Tensor,
        real: Tensor,
        cache: LayerCache | None = None,
        prefix: bool = False,
    ) -> tuple[Tensor, ExpertSums | None]:
        """States [B, t, W] to the same, and the experts' figures where there are experts.

        Args:
            x: States.
            seen: See `Attention.forward`.
            real: bool [B, t], states that are no pads: experts are given no others.
            cache: See `Attention.forward`.
            prefix: The same.
        """
        y = self.attention(self.norm_attention(x), seen, cache, prefix)
        x = x + F.dropout(y, self.dropout, self.training)
        y, sums = self.norm_feed(x), None
        if isinstance(self.feed, Experts):
            y, sums = self.feed(y, real)
        else:
            y = self.feed(y)
        return x + F.dropout(y, self.dropout, self.training), sums


class Embedding(nn.Module):
    """What goes into the stack: content, position and segment, summed and normed. Each text numbers
    its own tokens, from behind the places of an image on."""

    def __init__(self, s: M6Settings):
        super().__init__()
        self.dropout, self.tiles = s.dropout, s.image_size // 4
        self.words = nn.Embedding(s.vocabulary_size, s.width)
        self.positions = nn.Embedding(s.positions, s.width)
        self.segments = nn.Embedding(SEGMENTS, s.width)
        self.norm = LayerNorm(s.width)
        self.image = nn.Linear(s.features, s.width)
        self.resnet = ResNet(s.stages, s.stem, s.batch_norm == "frozen") if s.stages else None

    def text(self, ids: Tensor, segment: int, first: int = 0) -> Tensor:
        """Tokens `first` and on of a text, int64 [B, t], as states [B, t, W]."""
        begin = PIECES + first
        return self._placed(self.words(ids), begin, segment)

    def patches(self, features: Tensor) -> Tensor:
        """An image's features [B, N, F] as states [B, N, W]."""
        weight = self.image.weight
        return self._placed(self.image(features.to(weight.dtype)), 0, IMAGE)

    def pixels(self, pixels: Tensor) -> Tensor:
        """Normalised images [B, 3, side, side] as states [B, N, W]: each piece through the ResNet,
        averaged."""
        assert self.resnet is not None
        tiles = pixels.unfold(2, self.tiles, self.tiles).unfold(3, self.tiles, self.tiles)
        tiles = tiles.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        features = self.resnet(tiles).mean((2, 3))
        return self.patches(features.unflatten(0, (len(pixels), PIECES)))

    def _placed(self, x: Tensor, begin: int, segment: int) -> Tensor:
        places = self.positions.weight[begin : begin + x.shape[1]]
        x = self.norm(x + places + self.segments.weight[segment])
        return F.dropout(x, self.dropout, self.training)


class M6(nn.Module):
    """Embedding, blocks, a norm; scores are products with the table of words, and a bias."""

    def __init__(self, s: M6Settings):
        super().__init__()
        self.settings = s
        self.embedding = Embedding(s)
        self.blocks = nn.ModuleList(Block(s, number) for number in range(s.layers))
        self.norm = LayerNorm(s.width)
        self.bias = nn.Parameter(torch.zeros(s.vocabulary_size))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=s.initial_std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, target: Tensor, kept: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """What writing targets costs, as sums over their tokens: `tokens` (cross-entropy) and
        `right` (how many are the likeliest of all words); with experts also their figures, summed
        over tokens and layers (`nets.routing.ExpertSums`).

        Args:
            target: What is to be written, int64 [B, T].
            kept: Which of its tokens are no padding, flat positions int64 [n].
            inputs: See `encode`.
        """
        states, experts = self._run(target, **inputs)
        hidden, labels = (at(x, kept) for x in (states, target))
        sums = token_loss(
            hidden, self.embedding.words.weight, labels, bias=self.bias, chunk=self.settings.chunk
        )
        more = {} if experts is None else experts._asdict()
        return {"tokens": sums.cross_entropy, "right": sums.right, **more}

    def states(self, target: Tensor, **inputs: Tensor) -> Tensor:
        """Final states [B, T, W] before each token of the targets; arguments as in `forward`."""
        return self._run(target, **inputs)[0]

    def _run(self, target: Tensor, **inputs: Tensor) -> tuple[Tensor, ExpertSums | None]:
        """All segments in one pass: final states before each token of the targets, and the experts'
        figures."""
        before = F.pad(target[:, :-1], (1, 0), value=START)
        x, seen = self._prefix(**inputs)
        width, length = x.shape[1], target.shape[1]
        x = torch.cat([x, self.embedding.text(before, TARGET)], 1)
        mask, real = prefix_mask(seen, length), torch.cat([seen, target != PAD], 1)
        found: ExpertSums | None = None
        for block in self.blocks:
            x, sums = block(x, mask, real)
            if sums is not None:
                found = sums if found is None else found.plus(sums)
        return self.norm(x[:, width:]), found

    def encode(self, **inputs: Tensor) -> Cache:
        """The prefix's keys and values, ready to decode.

        Args:
            inputs: `source`, int64 [B, S], pads behind; `patches`, features of an image's pieces
                [B, N, F], or `pixels`, normalised images [B, 3, side, side]; `rows` [B, ...] where
                there is neither, for a target that stands alone.
        """
        x, seen = self._prefix(**inputs)
        cache = Cache.of(x, ~seen, len(self.blocks))
        if x.shape[1]:
            for block, layer in zip(self.blocks, cache.layers, strict=True):
                x, _ = block(x, seen[:, None, None], seen, layer, prefix=True)
        return cache

    def decode(self, ids: Tensor, cache: Cache) -> Tensor:
        """Final states [B, t, W] of further target tokens int64 [B, t]; the cache grows by them."""
        first, length = cache.length, ids.shape[1]
        x = self.embedding.text(ids, TARGET, first)
        own = causal(length, first + length, x.device).expand(len(ids), 1, -1, -1)
        prefix = ~cache.memory_pads[:, None, None].expand(-1, 1, length, -1)
        mask, real = torch.cat([prefix, own], 3), torch.ones_like(ids, dtype=torch.bool)
        for block, layer in zip(self.blocks, cache.layers, strict=True):
            x, _ = block(x, mask, real, layer)
        cache.length += length
        found: Tensor = self.norm(x)
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of words and image codes, [..., V]."""
        table = self.embedding.words.weight
        return hidden @ table.to(hidden.dtype).T + self.bias.to(hidden.dtype)

    def _prefix(
        self,
        source: Tensor | None = None,
        patches: Tensor | None = None,
        pixels: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Image and source as they go into the stack [B, P, W], and which of them are no pads, bool
        [B, P]; see `encode`."""
        parts, seen = list[Tensor](), list[Tensor]()
        if patches is not None:
            parts.append(self.embedding.patches(patches))
        if pixels is not None:
            parts.append(self.embedding.pixels(pixels))
        seen += [torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) for x in parts]
        if source is not None:
            parts.append(self.embedding.text(source, SOURCE))
            seen.append(source != PAD)
        if not parts:
            assert rows is not None
            table = self.embedding.positions.weight
            empty = rows.new_zeros(len(rows), 0, dtype=torch.bool)
            return table.new_zeros(len(rows), 0, table.shape[1]), empty
        return torch.cat(parts, 1), torch.cat(seen, 1)


def causal(queries: int, keys: int, device: torch.device) -> Tensor:
    """bool [queries, keys]: the last query sees all keys, each one before it one less."""
    ones = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return ones.tril(keys - queries)


def prefix_mask(seen: Tensor, length: int) -> Tensor:
    """Who sees whom: prefix and target see the prefix but for its pads, a target's token those of
    the target up to itself, and no one of the prefix any of the target.

    Args:
        seen: bool [B, P], places of the prefix that are no pads.
        length: Of the target, T.

    Returns:
        bool [B, 1, P + T, P + T], by query and key.
    """
    width = seen.shape[1]
    targets = F.pad(causal(length, length, seen.device), (0, 0, width, 0))
    whole = seen[:, None, None].expand(-1, 1, width + length, -1)
    return torch.cat([whole, targets.expand(len(seen), 1, -1, -1)], 3)
