"""BEiT-3 (Wang et al., "Image as a Foreign Language: BEiT Pretraining for All Vision and
Vision-Language Tasks", arXiv 2208.10442): one Multiway Transformer in which images and texts
attend to each other while experts of their own transform them.

Two architectures carry the name; settings choose between them.
- The released base and large ("Magneto with decoupled Multiway", microsoft/unilm, `beit3`): every
  linear layer and norm of a block is there twice, and attention joins both modalities.
- The paper's giant: attention and its norm are shared; feed-forward networks are experts for vision
  and language, and in the top layers a vision-language expert takes both sides of a pair.

Parameters have the names of the released checkpoints. B batch, N patches, T tokens, W width,
L layers, V a vocabulary. Pads are True, as in those: the opposite of Hugging Face's masks.
"""

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.trainers.beit3.initial import initialise
from septet.trainers.beit3.settings import UNUSED_ROWS, Beit3Settings
from septet.trainers.nets.layers import LayerNorm, at

EPS = 1e-5
"""Of layer norms."""

CHANNELS = 3

VISION, LANGUAGE, BOTH, PAIRS = "A", "B", "AB", "VL"
"""Experts: for each modality (named as in the checkpoints), one for both, one for pairs."""

Parts = tuple[Tensor | None, Tensor | None]
"""Vision [B, 1 + N, W] and language [B, T, W]: both of a pair, else one is None."""


class Multiway(nn.ModuleDict):
    """Experts of equal form, one for each kind of token (paper, section 2.1)."""

    def forward(self, vision: Tensor | None, text: Tensor | None) -> Parts:
        """Each part through its expert; where there is one for pairs, pairs go through that."""
        first, second = VISION, LANGUAGE
        if BOTH in self:
            first = second = BOTH
        elif PAIRS in self and vision is not None and text is not None:
            first = second = PAIRS
        return (
            None if vision is None else self[first](vision),
            None if text is None else self[second](text),
        )


def multiway(names: Iterable[str], make: Callable[[], nn.Module]) -> Multiway:
    """An expert for each name."""
    return Multiway({name: make() for name in names})


def joined(vision: Tensor | None, text: Tensor | None) -> Tensor:
    """Both parts as one sequence, vision first."""
    present = [part for part in (vision, text) if part is not None]
    return torch.cat(present, 1) if len(present) > 1 else present[0]


class Attention(nn.Module):
    """Multi-head self-attention over all tokens, whatever their modality."""

    def __init__(self, s: Beit3Settings):
        super().__init__()
        self.heads = s.heads
        names = (BOTH,) if s.attention == "shared" else (VISION, LANGUAGE)

        def linear() -> Multiway:
            return multiway(names, lambda: nn.Linear(s.width, s.width))

        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (linear() for _ in range(4))
        self.inner_attn_ln = multiway(names, lambda: _norm(s.width)) if s.sub_norm else None

    def forward(self, vision: Tensor | None, text: Tensor | None, seen: Tensor | None) -> Parts:
        """Parts to parts; `seen` bool [B, 1, 1, tokens], what may be attended to."""
        q, k, v = (
            joined(*project(vision, text)).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        mixed = mixed.transpose(1, 2).flatten(2)
        patches = 0 if vision is None else vision.shape[1]
        parts: Parts = (
            None if vision is None else mixed[:, :patches],
            None if text is None else mixed[:, patches:],
        )
        if self.inner_attn_ln is not None:
            parts = self.inner_attn_ln(*parts)
        found: Parts = self.out_proj(*parts)
        return found


class FeedForward(nn.Module):
    """An expert: two linear layers around an exact GELU."""

    def __init__(self, s: Beit3Settings):
        super().__init__()
        self.fc1 = nn.Linear(s.width, s.inner)
        self.fc2 = nn.Linear(s.inner, s.width)
        self.ffn_layernorm = _norm(s.inner) if s.sub_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]."""
        x = F.gelu(self.fc1(x))
        return self.fc2(x if self.ffn_layernorm is None else self.ffn_layernorm(x))


class Block(nn.Module):
    """Attention, then experts, each behind its norm."""

    def __init__(self, s: Beit3Settings, fuses: bool):
        super().__init__()
        shared = s.attention == "shared"
        experts = (VISION, LANGUAGE, PAIRS) if fuses else (VISION, LANGUAGE)
        self.self_attn = Attention(s)
        self.self_attn_layer_norm = multiway(
            (BOTH,) if shared else (VISION, LANGUAGE), lambda: _norm(s.width)
        )
        self.ffn = multiway(experts, lambda: FeedForward(s))
        self.final_layer_norm = multiway(experts, lambda: _norm(s.width))

    def forward(
        self,
        vision: Tensor | None,
        text: Tensor | None,
        seen: Tensor | None,
        kept: Tensor | None = None,
    ) -> Parts:
        """Parts to parts; `seen` as in `Attention`, `kept` [2, B, 1, 1]: factors on the rows of
        both residual branches (stochastic depth)."""
        first, second = (None, None) if kept is None else kept.unbind()
        vision, text = _add(
            (vision, text), self.self_attn(*self.self_attn_layer_norm(vision, text), seen), first
        )
        return _add((vision, text), self.ffn(*self.final_layer_norm(vision, text)), second)


def _add(parts: Parts, change: Parts, factor: Tensor | None) -> Parts:
    """Residual connection of each part."""
    added = (
        None if x is None or y is None else x + (y if factor is None else y * factor.to(y.dtype))
        for x, y in zip(parts, change, strict=True)
    )
    vision, text = added
    return vision, text


def _norm(width: int) -> LayerNorm:
    return LayerNorm(width, EPS)


class VisionEmbedding(nn.Module):
    """Patches behind a class token."""

    def __init__(self, s: Beit3Settings):
        super().__init__()
        self.proj = nn.Conv2d(CHANNELS, s.width, s.patch, s.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, s.width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, s.width))

    def forward(self, pixels: Tensor, mask: Tensor | None) -> Tensor:
        """[B, 3, P, P] and bool [B, N], patches that give way to the mask token: [B, 1 + N, W]."""
        x = self.proj(pixels).flatten(2).transpose(1, 2)
        if mask is not None:
            x = torch.where(mask[..., None], self.mask_token.to(x.dtype), x)
        return torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], 1)


class Encoder(nn.Module):
    """Positions, blocks, and the norm at their end."""

    def __init__(self, s: Beit3Settings):
        super().__init__()
        sizes = {VISION: s.grid**2 + 1 + UNUSED_ROWS, LANGUAGE: s.text_positions}
        self.embed_positions = nn.ModuleDict(
            {name: nn.Embedding(rows, s.width) for name, rows in sizes.items()}
        )
        plain = s.layers - s.fusion_layers
        self.layers = nn.ModuleList(Block(s, fuses=i >= plain) for i in range(s.layers))
        names = (BOTH,) if s.attention == "shared" else (VISION, LANGUAGE)
        self.layer_norm = multiway(names, lambda: _norm(s.width))
        self.drop_path = s.drop_path

    def forward(self, vision: Tensor | None, text: Tensor | None, padding: Tensor | None) -> Parts:
        """Embedded parts to final states; `padding` bool [B, T], True at pads of the text."""
        if vision is not None:
            vision = vision + self._positions(VISION, vision)
        seen = None
        if text is not None:
            text = text + self._positions(LANGUAGE, text)
            if padding is not None:  # Pads are nothing at the start, and nobody looks at them.
                text = text.masked_fill(padding[..., None], 0)
                seen = ~padding
                if vision is not None:
                    seen = torch.cat([seen.new_ones(vision.shape[:2]), seen], 1)
                seen = seen[:, None, None]
        drawn = self._draw(joined(vision, text)) if self.training and self.drop_path else None
        for i, block in enumerate(self.layers):
            vision, text = block(vision, text, seen, None if drawn is None else drawn[i])
        parts: Parts = self.layer_norm(vision, text)
        return parts

    def _positions(self, name: str, x: Tensor) -> Tensor:
        rows = self.embed_positions[name].weight
        assert isinstance(rows, Tensor)
        return rows[UNUSED_ROWS : UNUSED_ROWS + x.shape[1]].to(x.dtype)

    def _draw(self, x: Tensor) -> Tensor:
        """Which rows of `x` keep which branch: [L, 2, B, 1, 1] of 0 and 1 / probability."""
        keep = 1 - torch.linspace(0, self.drop_path, len(self.layers), device=x.device)
        dice = torch.rand(len(self.layers), 2, len(x), 1, 1, device=x.device)
        keep = keep.view(-1, 1, 1, 1, 1)
        return (dice < keep) / keep


class Backbone(nn.Module):
    """What is under `beit3.` in the released checkpoints."""

    def __init__(self, s: Beit3Settings):
        super().__init__()
        self.text_embed = nn.Embedding(s.words, s.width)
        self.vision_embed = VisionEmbedding(s)
        self.encoder = Encoder(s)

    def forward(
        self,
        pixels: Tensor | None = None,
        patch_mask: Tensor | None = None,
        ids: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Parts:
        """Final states of an image, a text or a pair.

        Args:
            pixels: Normalised images [B, 3, P, P].
            patch_mask: bool [B, N], patches to hide.
            ids: int64 [B, T].
            padding: bool [B, T], True at pads.
        """
        vision = None if pixels is None else self.vision_embed(pixels, patch_mask)
        text = None if ids is None else self.text_embed(ids)
        parts: Parts = self.encoder(vision, text, padding)
        return parts


class Beit3(nn.Module):
    """The backbone with the heads of its stage: two plain linear layers that say what was masked
    (`mlm_head`, `mim_head`), or projections of class tokens and a temperature."""

    def __init__(self, s: Beit3Settings):
        super().__init__()
        self.settings = s
        self.beit3 = Backbone(s)
        if s.stage == "masked":
            self.mlm_head = nn.Linear(s.width, s.words)
            self.mim_head = nn.Linear(s.width, s.codes)
        else:
            self.vision_head = nn.Linear(s.width, s.width, bias=False)
            self.language_head = nn.Linear(s.width, s.width, bias=False)
            self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / 0.07)))
            self.beit3.vision_embed.mask_token.requires_grad_(False)  # Nothing is masked.
        initialise(self, s)

    def forward(self, kind: str, **inputs: Tensor) -> dict[str, Tensor]:
        """Outputs of one of the methods below, by its name."""
        ways: dict[str, Callable[..., dict[str, Tensor]]] = {
            "images": self.images,
            "texts": self.texts,
            "pairs": self.pairs,
            "vectors": self.vectors,
        }
        return ways[kind](**inputs)

    def images(self, pixels: Tensor, patch_mask: Tensor, patch_places: Tensor) -> dict[str, Tensor]:
        """Images alone: `mim` [n, codes], scores at the masked patches. Arguments as in
        `Backbone`; `patch_places` are the masked patches' flat positions, int64 [n]."""
        vision, _ = self.beit3(pixels, patch_mask)
        return {"mim": self.mim_head(at(vision[:, 1:], patch_places))}

    def texts(self, ids: Tensor, padding: Tensor, word_places: Tensor) -> dict[str, Tensor]:
        """Texts alone: `mlm` [n, words], scores at the flat positions `word_places`,
        int64 [n]."""
        _, text = self.beit3(ids=ids, padding=padding)
        return {"mlm": self.mlm_head(at(text, word_places))}

    def pairs(
        self, pixels: Tensor, patch_mask: Tensor, patch_places: Tensor,
        ids: Tensor, padding: Tensor, word_places: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Pairs with both sides masked, each seeing what is left of the other: `mvlm_image`
        [n, codes] and `mvlm_text` [m, words]."""
        vision, text = self.beit3(pixels, patch_mask, ids, padding)
        return {
            "mvlm_image": self.mim_head(at(vision[:, 1:], patch_places)),
            "mvlm_text": self.mlm_head(at(text, word_places)),
        }

    def vectors(
        self,
        pixels: Tensor | None = None,
        ids: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Unit vectors `image` and `text` [B, W] of what is given, each side alone, and the
        temperature's factor `scale` [1]."""
        found = {"scale": self.logit_scale.exp()}
        if pixels is not None:
            vision, _ = self.beit3(pixels)
            found["image"] = F.normalize(self.vision_head(vision[:, 0]).float(), dim=-1)
        if ids is not None:
            _, text = self.beit3(ids=ids, padding=padding)
            found["text"] = F.normalize(self.language_head(text[:, 0]).float(), dim=-1)
        return found
