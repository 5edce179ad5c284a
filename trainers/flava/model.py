"""FLAVA (Singh et al., "FLAVA: A Foundational Language And Vision Alignment Model", arXiv
2112.04482): an image, a text and a multimodal encoder, with the heads of its six losses.
Equal in shape and result to `transformers.FlavaForPreTraining`; `weights.py` has its names.

B batch, N patches, T tokens, W width of an encoder, E width of the shared space, V a vocabulary.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.flava.settings import EncoderSettings, FlavaSettings
from septet.trainers.nets.layers import LayerNorm, at

EPS = 1e-12
"""Of the encoders' layer norms."""

CHANNELS = 3


class Attention(nn.Module):
    """Multi-head self-attention with one stacked projection of queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, W] to [B, T, W]; `mask` bool [B, 1, 1, T], what may be attended to."""
        b, t, w = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.heads, w // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(mixed.transpose(1, 2).reshape(b, t, w))


class Block(nn.Module):
    """Pre-norm transformer block with exact GELU."""

    def __init__(self, s: EncoderSettings):
        super().__init__()
        self.norm1 = LayerNorm(s.width, EPS)
        self.attn = Attention(s.width, s.heads)
        self.norm2 = LayerNorm(s.width, EPS)
        self.fc1 = nn.Linear(s.width, s.inner)
        self.fc2 = nn.Linear(s.inner, s.width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, W] to [B, T, W]; `mask` as in `Attention`."""
        x = x + self.attn(self.norm1(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    """A stack of blocks. `norm` is left to the caller: the multimodal encoder reads states before
    it, losses and vectors after it.

    `pooler` is there for the published checkpoints and for fine-tuning. No pretraining loss reads
    it, so it does not learn.
    """

    def __init__(self, s: EncoderSettings):
        super().__init__()
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = LayerNorm(s.width, EPS)
        self.pooler = nn.Linear(s.width, s.width).requires_grad_(False)

    def run(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, W] to states before `norm`, [B, T, W]; `mask` bool [B, T]."""
        wide = None if mask is None else mask[:, None, None, :]
        for block in self.blocks:
            x = block(x, wide)
        return x


class ImageEncoder(Encoder):
    """Patches behind a class token."""

    def __init__(self, s: FlavaSettings):
        super().__init__(s.image)
        width = s.image.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, s.grid**2 + 1, width))
        self.patches = nn.Conv2d(CHANNELS, width, s.patch, s.patch)

    def forward(self, pixels: Tensor, mask: Tensor | None = None, both: bool = False) -> Tensor:
        """States before `norm`.

        Args:
            pixels: Normalised images [B, 3, P, P].
            mask: bool [B, N], patches that give way to the mask token.
            both: Run images without mask, too; they come first.

        Returns:
            [B, 1 + N, W], or [2 B, 1 + N, W].
        """
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        if mask is not None:
            masked = torch.where(mask[..., None], self.mask_token.to(x.dtype), x)
            x = torch.cat([x, masked]) if both else masked
        first = self.cls_token.to(x.dtype).expand(len(x), 1, -1)
        return self.run(torch.cat([first, x], 1) + self.positions.to(x.dtype))


class TextEncoder(Encoder):
    """Words, [CLS] first. Their embeddings have a layer norm of their own, like BERT's."""

    def __init__(self, s: FlavaSettings):
        super().__init__(s.text)
        width = s.text.width
        self.word = nn.Embedding(s.words, width, padding_idx=0)
        self.position = nn.Embedding(s.positions, width)
        self.segment = nn.Embedding(2, width)
        self.norm0 = LayerNorm(width, EPS)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States before `norm`: ids [B, T] and bool [B, T], false at pads, to [B, T, W]."""
        x = self.word(ids) + self.segment.weight[0] + self.position.weight[: ids.shape[1]]
        return self.run(self.norm0(x), mask)


class FusionEncoder(Encoder):
    """The multimodal encoder: a class token of its own, then the image's and the text's states."""

    def __init__(self, s: FlavaSettings):
        super().__init__(s.fusion)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, s.fusion.width))
        self.sees_pads = s.fusion_sees_pads

    def forward(self, image: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """States after `norm`, [B, 2 + N + T, W]: image patches begin at 2, text at 2 + N.

        Args:
            image: Projected states [B, 1 + N, W].
            text: Projected states [B, T, W].
            text_mask: bool [B, T], false at pads.
        """
        first = self.cls_token.to(image.dtype).expand(len(image), 1, -1)
        mask = None
        if not self.sees_pads:
            seen = text_mask.new_ones(len(image), 1 + image.shape[1])
            mask = torch.cat([seen, text_mask], 1)
        return self.norm(self.run(torch.cat([first, image, text], 1), mask))


class MaskedHead(nn.Module):
    """What stood at a masked place. Its decoder is not tied to the embeddings."""

    def __init__(self, width: int, vocabulary: int, eps: float):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = LayerNorm(width, eps)
        self.decoder = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """[n, W] to scores [n, V]."""
        return self.decoder(self.norm(F.gelu(self.dense(x))))


class MatchHead(nn.Module):
    """Whether image and text belong together."""

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.decoder = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The multimodal class token [B, W] to scores [B, 2] of "no" and "yes"."""
        return self.decoder(torch.tanh(self.dense(x)))


class Flava(nn.Module):
    """Encoders, projections, temperature and heads."""

    def __init__(self, s: FlavaSettings):
        super().__init__()
        self.settings = s
        wide = s.fusion.width
        self.image, self.text, self.fusion = ImageEncoder(s), TextEncoder(s), FusionEncoder(s)
        self.image_projection = nn.Linear(s.image.width, s.embed)
        self.text_projection = nn.Linear(s.text.width, s.embed)
        self.image_to_fusion = nn.Linear(s.image.width, wide)
        self.text_to_fusion = nn.Linear(s.text.width, wide)
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / 0.07)))
        self.mim_head = MaskedHead(s.image.width, s.codes, s.head_norm_eps)
        self.mlm_head = MaskedHead(s.text.width, s.words, s.head_norm_eps)
        self.mmm_image_head = MaskedHead(wide, s.codes, s.head_norm_eps)
        self.mmm_text_head = MaskedHead(wide, s.words, s.head_norm_eps)
        self.itm_head = MatchHead(wide)
        self.apply(partial(_initialise, s.initial_std))

    def forward(self, kind: str, **inputs: Tensor) -> dict[str, Tensor]:
        """Outputs of one of the methods below, by its name."""
        ways: dict[str, Callable[..., dict[str, Tensor]]] = {
            "pairs": self.pairs,
            "images": self.images,
            "texts": self.texts,
            "vectors": self.vectors,
        }
        return ways[kind](**inputs)

    def images(self, pixels: Tensor, patch_mask: Tensor, patch_places: Tensor) -> dict[str, Tensor]:
        """Images alone: `mim` [n, codes], scores at the patches to predict.

        Args:
            pixels: Normalised images [B, 3, P, P].
            patch_mask: bool [B, N], patches to hide.
            patch_places: Those to predict, flat positions int64 [n].
        """
        x = self.image(pixels, patch_mask)[:, 1:]
        return {"mim": self.mim_head(self.image.norm(at(x, patch_places)))}

    def texts(
        self, ids_masked: Tensor, text_mask: Tensor, word_places: Tensor
    ) -> dict[str, Tensor]:
        """Texts alone: `mlm` [n, words], scores at the places to predict.

        Args:
            ids_masked: int64 [B, T].
            text_mask: bool [B, T], false at pads.
            word_places: Words to predict, flat positions int64 [n].
        """
        x = self.text(ids_masked, text_mask)
        return {"mlm": self.mlm_head(self.text.norm(at(x, word_places)))}

    def pairs(
        self, pixels: Tensor, patch_mask: Tensor, patch_places: Tensor, ids: Tensor,
        ids_masked: Tensor, text_mask: Tensor, word_places: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Images with texts: `image`, `text` [B, E] and `scale` [1] as in `vectors`, of the
        unmasked pair; `mmm_image` [n, codes], `mmm_text` [m, words] and `itm` [B, 2] of the pair
        with both sides masked. Arguments as above; `ids` int64 [B, T]."""
        b = len(pixels)
        images = self.image(pixels, patch_mask, both=True)
        texts = self.text(torch.cat([ids, ids_masked]), text_mask.repeat(2, 1))
        x = self.fusion(self.image_to_fusion(images[b:]), self.text_to_fusion(texts[b:]), text_mask)
        first = 2 + patch_mask.shape[1]
        return {
            "image": self._vector(self.image, self.image_projection, images[:b]),
            "text": self._vector(self.text, self.text_projection, texts[:b]),
            "scale": self.logit_scale.exp(),
            "mmm_image": self.mmm_image_head(at(x[:, 2:first], patch_places)),
            "mmm_text": self.mmm_text_head(at(x[:, first:], word_places)),
            "itm": self.itm_head(x[:, 0]),
        }

    def vectors(
        self,
        pixels: Tensor | None = None,
        ids: Tensor | None = None,
        text_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Unit vectors `image` and `text` [B, E] of what is given, and the temperature's factor
        `scale` [1]."""
        found = {"scale": self.logit_scale.exp()}
        if pixels is not None:
            x = self.image(pixels)
            found["image"] = self._vector(self.image, self.image_projection, x)
        if ids is not None:
            x = self.text(ids, text_mask)
            found["text"] = self._vector(self.text, self.text_projection, x)
        return found

    @staticmethod
    def _vector(encoder: Encoder, projection: nn.Linear, x: Tensor) -> Tensor:
        return F.normalize(projection(encoder.norm(x[:, 0])).float(), dim=-1)


def _initialise(std: float, module: nn.Module) -> None:
    """As Hugging Face: N(0, std²), biases zero; tokens and image positions stay zero."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear | nn.Conv2d):
        assert module.bias is not None
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
