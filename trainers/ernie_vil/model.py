"""ERNIE-ViL (Yu et al., "ERNIE-ViL: Knowledge Enhanced Vision-Language Representations Through
Scene Graph", arXiv 2006.16934): ViLBERT's two streams (Lu et al., arXiv 1908.02265), joined by
co-attention, with the heads of their losses. `weights.py` has the names of the released ones.

B batch, T tokens, R regions, W width of a stream, V the vocabulary. An image's sequence begins
with [IMG], the mean of its regions, so it is 1 + R long.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.ernie_vil.settings import ErnieVilSettings
from septet.trainers.nets.initial import truncated_normal_
from septet.trainers.nets.layers import LayerNorm, at

KINDS = ("mlm", "object", "attribute", "relation")
"""What a masked token belongs to, by its number in `kinds`."""


class Attention(nn.Module):
    """Multi-head attention from one sequence to another, or to itself."""

    def __init__(self, width: int, other: int, inside: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q = nn.Linear(width, inside)
        self.k = nn.Linear(other, inside)
        self.v = nn.Linear(other, inside)
        self.o = nn.Linear(inside, width)

    def forward(self, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        """Queries of [B, T, W], keys and values of [B, S, W'], to [B, T, W]; `mask` bool
        [B, 1, 1, S], what may be attended to."""
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.q(x), self.k(other), self.v(other))
        )
        p = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.o(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Post-norm attention and feed-forward layer with exact GELU."""

    def __init__(
        self, width: int, other: int, inside: int, heads: int, inner: int, s: ErnieVilSettings
    ):
        super().__init__()
        self.attention = Attention(width, other, inside, heads, s.dropout)
        self.norm1 = LayerNorm(width, s.norm_eps)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.norm2 = LayerNorm(width, s.norm_eps)
        self.drop = nn.Dropout(s.dropout)

    def forward(self, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        """See `Attention`."""
        x = self.norm1(x + self.drop(self.attention(x, other, mask)))
        return self.norm2(x + self.drop(self.fc2(F.gelu(self.fc1(x)))))


class CoLayer(nn.Module):
    """Each stream attends to the other one as it came in; there is no self-attention."""

    def __init__(self, s: ErnieVilSettings):
        super().__init__()
        text, image, inside, heads = s.text, s.image, s.co_width, s.co_heads
        self.text = Layer(text.width, image.width, inside, heads, text.inner, s)
        self.image = Layer(image.width, text.width, inside, heads, image.inner, s)

    def forward(
        self, text: Tensor, image: Tensor, text_mask: Tensor, image_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both streams' states in and out; masks as in `Attention`."""
        return self.text(text, image, image_mask), self.image(image, text, text_mask)


class TextTower(nn.Module):
    """Embeddings and layers of the text."""

    def __init__(self, s: ErnieVilSettings):
        super().__init__()
        t = s.text
        self.word = nn.Embedding(s.words, t.width)
        self.position = nn.Embedding(s.positions, t.width)
        self.segment = nn.Embedding(s.segments, t.width)
        self.norm = LayerNorm(t.width, s.norm_eps)
        self.drop = nn.Dropout(s.dropout)
        self.layers = nn.ModuleList(
            Layer(t.width, t.width, t.width, t.heads, t.inner, s) for _ in range(t.layers)
        )

    def embed(self, ids: Tensor, segments: Tensor | None) -> Tensor:
        """int64 [B, T] to [B, T, W]; no `segments` are all 0."""
        segment = self.segment.weight[0] if segments is None else self.segment(segments)
        x = self.word(ids) + self.position.weight[: ids.shape[1]] + segment
        return self.drop(self.norm(x))


class ImageTower(nn.Module):
    """Embeddings and layers of the regions."""

    def __init__(self, s: ErnieVilSettings):
        super().__init__()
        i = s.image
        self.feature = nn.Linear(s.features, i.width)
        self.location = nn.Linear(5, i.width)
        self.norm = LayerNorm(i.width, s.norm_eps)
        self.drop = nn.Dropout(s.dropout)
        self.layers = nn.ModuleList(
            Layer(i.width, i.width, i.width, i.heads, i.inner, s) for _ in range(i.layers)
        )

    def embed(self, features: Tensor, locations: Tensor) -> Tensor:
        """[B, 1 + R, F] and [B, 1 + R, 5] to [B, 1 + R, W]."""
        kind = self.feature.weight.dtype  # features are stored in float16
        x = self.feature(features.to(kind)) + self.location(locations.to(kind))
        return self.drop(self.norm(x))


class MaskedHead(nn.Module):
    """From states to what a decoder compares with its classes."""

    def __init__(self, width: int, s: ErnieVilSettings):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = LayerNorm(width, s.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """[n, W] to [n, W]."""
        return self.norm(F.gelu(self.dense(x)))


class WordHead(MaskedHead):
    """Scores of words; the decoder is the table of words (tied)."""

    def __init__(self, width: int, s: ErnieVilSettings):
        super().__init__(width, s)
        self.bias = nn.Parameter(torch.zeros(s.words))

    def scores(self, x: Tensor, words: Tensor) -> Tensor:
        """States [n, W] and the table of words [V, W] to [n, V]."""
        return F.linear(self(x), words, self.bias)


class RegionHead(MaskedHead):
    """Scores of the detector's classes."""

    def __init__(self, width: int, s: ErnieVilSettings):
        super().__init__(width, s)
        self.decoder = nn.Linear(width, s.classes)

    def forward(self, x: Tensor) -> Tensor:
        """[n, W] to [n, classes]."""
        return self.decoder(super().forward(x))


class ErnieVil(nn.Module):
    """Streams, co-layers, poolers and heads."""

    def __init__(self, s: ErnieVilSettings):
        super().__init__()
        self.settings = s
        self.text, self.image = TextTower(s), ImageTower(s)
        self.co = nn.ModuleList(CoLayer(s) for _ in s.text_places)
        self.text_pool = nn.Linear(s.text.width, s.co_width)
        self.image_pool = nn.Linear(s.image.width, s.co_width)
        self.word_head = WordHead(s.text.width, s)
        self.region_head = RegionHead(s.image.width, s)
        self.match_head = nn.Linear(s.co_width, 2)
        self.apply(partial(_initialise, s.initial_std))

    def states(
        self, text: Tensor, image: Tensor, text_mask: Tensor, image_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both streams from embeddings to last states, in the published order: before each
        co-layer the layers of each stream that come before its place, after the last one the rest.
        So the first co-layer sees raw region embeddings.

        Args:
            text: Embeddings [B, T, W].
            image: Embeddings [B, 1 + R, W].
            text_mask: bool [B, T], false at pads.
            image_mask: bool [B, 1 + R], likewise.
        """
        s, text_mask, image_mask = (
            self.settings,
            *(m[:, None, None] for m in (text_mask, image_mask)),
        )
        done_text = done_image = 0
        ends = zip([*s.text_places, s.text.layers], [*s.image_places, s.image.layers], strict=True)
        for number, (text_end, image_end) in enumerate(ends):
            for layer in self.text.layers[done_text:text_end]:
                text = layer(text, text, text_mask)
            for layer in self.image.layers[done_image:image_end]:
                image = layer(image, image, image_mask)
            done_text, done_image = text_end, image_end
            if number < len(self.co):
                text, image = self.co[number](text, image, text_mask, image_mask)
        return text, image

    def pooled(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of [CLS] and [IMG], each [B, co_width]."""
        return F.relu(self.text_pool(text[:, 0])), F.relu(self.image_pool(image[:, 0]))

    def forward(
        self,
        ids: Tensor,
        text_mask: Tensor,
        features: Tensor,
        locations: Tensor,
        region_mask: Tensor,
        places: Mapping[str, Tensor] = MappingProxyType({}),
        segments: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Scores of what is asked for.

        Args:
            ids: int64 [B, T], with what is masked.
            text_mask: bool [B, T], false at pads.
            features: [B, 1 + R, F], masked regions zero, [IMG] first.
            locations: [B, 1 + R, 5].
            region_mask: bool [B, 1 + R], false at pads.
            places: What to predict, flat positions int64 [n]: of each of `KINDS` those of tokens,
                and of `region` those of regions, [IMG] left out.
            segments: int64 [B, T]; all 0 when absent.

        Returns:
            `match` [B, 2] (first: they match), and for each of the places the scores [n, V], of
            regions [n, classes].
        """
        text, image = self.text.embed(ids, segments), self.image.embed(features, locations)
        text, image = self.states(text, image, text_mask, region_mask)
        a, b = self.pooled(text, image)
        both = a * b if self.settings.pooling == "mul" else a + b
        both = F.dropout(both, self.settings.dropout, self.training)
        found = {"match": self.match_head(both)}
        for name, chosen in places.items():
            if name == "region":
                found[name] = self.region_head(at(image[:, 1:], chosen))
            else:
                words = self.text.word.weight
                found[name] = self.word_head.scores(at(text, chosen), words)
        return found


def _initialise(std: float, module: nn.Module) -> None:
    """Truncated normal at two deviations, biases zero (ERNIE's code)."""
    if isinstance(module, nn.Linear | nn.Embedding):
        truncated_normal_(module.weight, std, 2 * std)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
