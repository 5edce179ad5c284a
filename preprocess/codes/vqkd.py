"""VQ-KD, the tokenizer of BEiT v2 (Peng et al., "BEiT v2: Masked Image Modeling with
Vector-Quantized Visual Tokenizers", arXiv 2208.06366, section 2.1): a ViT whose patch vectors are
quantised on the unit sphere. BEiT-3 takes its targets from it.

Submodules have the names of microsoft/unilm's `beit2`, so its checkpoints load as they are; the
decoder, the teacher and the statistics of the codebook are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.preprocess.codes.published import PUBLISHED, Published
from septet.preprocess.codes.tokenizer import ImageTokenizer

_DROPPED = (
    "decoder.", "decode_task_layer.", "teacher", "scaling", "loss",
    "quantize.cluster_size", "quantize.embedding.cluster_size", "quantize.embedding.embed_avg",
    "quantize.embedding.initted",
)  # fmt: skip
_HEAD_WIDTH = 64


@dataclass(frozen=True)
class VqkdSettings:
    """The sizes of a VQ-KD encoder; the defaults are those of the released base encoders."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    patch: int = 16
    grid: int = 14
    """Patches on each axis that positions were learnt for."""
    codes: int = 8192
    code_width: int = 32


class Attention(nn.Module):
    """Self-attention; keys have no bias."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width], same shape."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias)
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers around an exact GELU."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width], same shape."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each behind its norm."""

    def __init__(self, s: VqkdSettings):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(s.width, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = Attention(s.width, s.heads), Mlp(s.width, s.mlp)

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens, width], same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    """A linear layer over each square of pixels."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] to [n, width, h / patch, w / patch]."""
        return self.proj(x)


class Encoder(nn.Module):
    """A ViT that gives its patch vectors."""

    def __init__(self, s: VqkdSettings):
        super().__init__()
        self.grid = s.grid
        self.patch_embed = Patches(s.width, s.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, s.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + s.grid**2, s.width))
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.depth))
        self.fc_norm = nn.LayerNorm(s.width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] to [n, h / patch * w / patch, width]."""
        patches = self.patch_embed(x)
        positions = self.positions(*patches.shape[2:])
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).mT], dim=1)
        tokens = tokens + positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.fc_norm(tokens[:, 1:])

    def positions(self, rows: int, columns: int) -> Tensor:
        """[1, 1 + rows * columns, width]: those learnt, or bicubic between them for a grid of
        another size."""
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        square = rest.mT.unflatten(2, (self.grid, self.grid))
        resized = F.interpolate(square, (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([first, resized.flatten(2).mT], dim=1)


class Quantiser(nn.Module):
    """The codebook; its rows are of unit length after training."""

    def __init__(self, codes: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(codes, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, places, width] to the nearest codes, int64 [n, places]."""
        rows = F.normalize(x.flatten(0, 1), dim=-1)
        vectors = self.embedding.weight
        distances = (
            rows.pow(2).sum(1, keepdim=True) + vectors.pow(2).sum(1) - 2 * (rows @ vectors.T)
        )
        return distances.argmin(1).view(x.shape[:2])


class Vqkd(ImageTokenizer):
    """VQ-KD's encoder with its codebook, from pixels to codes."""

    published: ClassVar[Published] = PUBLISHED["vqkd"]

    def __init__(self, settings: VqkdSettings):
        super().__init__()
        self.settings = settings
        self.stride, self.codebook_size = settings.patch, settings.codes
        self.encoder = Encoder(settings)
        self.encode_task_layer = nn.Sequential(
            nn.Linear(settings.width, settings.width),
            nn.Tanh(),
            nn.Linear(settings.width, settings.code_width),
        )
        self.quantize = Quantiser(settings.codes, settings.code_width)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], heads: int | None = None) -> Self:
        """Make the module from a released state dict.

        Args:
            state: Weights by name, on any device, `meta` too.
            heads: Attention heads, which shapes do not tell; by default of width 64.

        Raises:
            ValueError: they are no weights of a VQ-KD tokenizer.
        """
        patch, table = "encoder.patch_embed.proj.weight", "quantize.embedding.weight"
        needed = (patch, table, "encoder.pos_embed", "encoder.blocks.0.mlp.fc1.weight")
        lacks = [name for name in needed if name not in state]
        if lacks:
            raise ValueError(f"these weights are no VQ-KD tokenizer's: there is no {lacks[0]}")
        width = state[patch].shape[0]
        if heads is None and width % _HEAD_WIDTH:
            raise ValueError(f"width {width} is no multiple of {_HEAD_WIDTH}: say how many heads")
        places = state["encoder.pos_embed"].shape[1] - 1
        settings = VqkdSettings(
            width=width,
            depth=len({n.split(".")[2] for n in state if n.startswith("encoder.blocks.")}),
            heads=heads or width // _HEAD_WIDTH,
            mlp=state["encoder.blocks.0.mlp.fc1.weight"].shape[0],
            patch=state[patch].shape[-1],
            grid=round(places**0.5),
            codes=state[table].shape[0],
            code_width=state[table].shape[1],
        )
        with torch.device("meta"):
            module = cls(settings)
        return module._assign({n: x for n, x in state.items() if not n.startswith(_DROPPED)})

    def features(self, pixels: Tensor) -> Tensor:
        """The vectors that are quantised, before they are normalised: pixels in [0, 1], [n, 3, h,
        w], to [n, h / patch * w / patch, code_width]."""
        found: Tensor = self.encode_task_layer(self.encoder(pixels * 255.0 / 127.5 - 1.0))
        return found

    def _codes(self, pixels: Tensor) -> Tensor:
        height, width = (side // self.stride for side in pixels.shape[2:])
        codes: Tensor = self.quantize(self.features(pixels))
        return codes.unflatten(1, (height, width))
