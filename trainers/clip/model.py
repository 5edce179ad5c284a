"""CLIP's two towers (Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", arXiv 2103.00020), parameter for parameter as in OpenAI's release
(github.com/openai/CLIP, `clip/model.py`): names, shapes, initialisation and outputs are the same,
but for `logit_scale`, which has one element here and none there.

B batch, T tokens, W width, E width of the shared space, P image side in pixels.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from septet.preprocess.tokenizers.clip import VOCABULARY
from septet.trainers.nets.layers import LayerNorm
from septet.trainers.settings.base import Settings

HEAD_WIDTH = 64
RESNET_STRIDE = 32


class ClipSettings(Settings):
    """Sizes of a CLIP. `layers` of four numbers make the image tower a ResNet."""

    embed: int = Field(gt=0)
    """Width of the shared space."""
    image_size: int = Field(gt=0)
    layers: int | tuple[int, int, int, int]
    """Of the image tower: transformer blocks, or bottlenecks of the four ResNet stages."""
    width: int = Field(gt=0)
    """Of the transformer, or of the ResNet's stem (its last stage has 32 times that)."""
    patch: int | None = Field(default=None, gt=0)
    """Side of a patch in pixels; null for a ResNet."""
    text_width: int = Field(gt=0)
    text_layers: int = Field(default=12, gt=0)
    context: int = Field(default=77, ge=2)
    vocabulary: int = VOCABULARY
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    """OpenAI's weights need quick_gelu; many of open_clip's need gelu."""
    head_width: int = Field(default=HEAD_WIDTH, gt=0)
    """Of the image transformer's attention heads; the text's are 64 wide."""
    inner: int | None = Field(default=None, gt=0)
    """Width between the two linear layers of the image transformer's blocks; null for four times
    its own."""
    crop: tuple[float, float] = (0.9, 1.0)
    """Range of a random crop's area in training, as a share of the image: open_clip's form of the
    paper's random square crop."""

    @model_validator(mode="after")
    def _fit(self) -> "ClipSettings":
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop is a range within (0, 1]; found {self.crop}")
        return self

    @property
    def grid(self) -> int:
        """Patches, or positions of a ResNet's last stage, on each axis."""
        return self.image_size // (self.patch or RESNET_STRIDE)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the form of GELU that OpenAI trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """[...] to [...]."""
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention with one stacked projection of queries, keys and values."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]."""
        b, t, w = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(b, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_proj(mixed.transpose(1, 2).reshape(b, t, w))


class Mlp(nn.Module):
    """Two linear layers, `inner` wide between."""

    def __init__(self, width: int, inner: int, activation: str):
        super().__init__()
        self.c_fc = nn.Linear(width, inner)
        self.gelu = QuickGELU() if activation == "quick_gelu" else nn.GELU()
        self.c_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]."""
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, causal: bool, activation: str, head: int, inner: int):
        super().__init__()
        self.attn = Attention(width, width // head, causal)
        self.ln_1 = LayerNorm(width)
        self.mlp = Mlp(width, inner, activation)
        self.ln_2 = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of blocks."""

    def __init__(
        self,
        width: int,
        layers: int,
        causal: bool,
        activation: str,
        head: int = HEAD_WIDTH,
        inner: int | None = None,
    ):
        super().__init__()
        self.resblocks = nn.ModuleList(
            Block(width, causal, activation, head, inner or 4 * width) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]."""
        for block in self.resblocks:
            x = block(x)
        return x


class VisionTransformer(nn.Module):
    """Image tower: patches, class token, blocks; the class token is the image."""

    def __init__(self, s: ClipSettings, layers: int, patch: int):
        super().__init__()
        grid, scale = s.image_size // patch, s.width**-0.5
        self.conv1 = nn.Conv2d(3, s.width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(s.width).mul_(scale))
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, s.width).mul_(scale))
        self.ln_pre = LayerNorm(s.width)
        self.transformer = Transformer(s.width, layers, False, s.activation, s.head_width, s.inner)
        self.ln_post = LayerNorm(s.width)
        self.proj = nn.Parameter(torch.randn(s.width, s.embed).mul_(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, P, P] to [B, E]."""
        x = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        x = torch.cat([first, x], 1) + self.positional_embedding.to(x.dtype)
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class Bottleneck(nn.Module):
    """ResNet bottleneck that halves the image by average pooling, after its second convolution
    and in its shortcut."""

    def __init__(self, inside: int, width: int, stride: int):
        super().__init__()
        outside = 4 * width
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride > 1 or inside != outside:
            self.downsample = nn.Sequential()
            self.downsample.add_module("-1", nn.AvgPool2d(stride))
            self.downsample.add_module("0", nn.Conv2d(inside, outside, 1, bias=False))
            self.downsample.add_module("1", nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inside, h, w] to [B, 4 width, h / stride, w / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self.avgpool(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class AttentionPool(nn.Module):
    """The image as what its mean attends to."""

    def __init__(self, grid: int, width: int, heads: int, embed: int):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, width).div_(width**0.5))
        self.k_proj, self.q_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.c_proj = nn.Linear(width, width), nn.Linear(width, embed)

    def forward(self, x: Tensor) -> Tensor:
        """[B, W, h, w] to [B, E]."""
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding.to(x.dtype)
        b, _, w = x.shape

        def heads(y: Tensor) -> Tensor:
            return y.view(b, -1, self.heads, w // self.heads).transpose(1, 2)

        q, k, v = heads(self.q_proj(x[:, :1])), heads(self.k_proj(x)), heads(self.v_proj(x))
        return self.c_proj(F.scaled_dot_product_attention(q, k, v).reshape(b, w))


class ModifiedResNet(nn.Module):
    """Image tower: three-convolution stem, anti-aliased bottlenecks, attention pooling."""

    def __init__(self, s: ClipSettings, layers: tuple[int, int, int, int]):
        super().__init__()
        half, w = s.width // 2, s.width
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, w, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(w)
        inside = w
        for stage, blocks in enumerate(layers):
            width, parts = w * 2**stage, []
            for i in range(blocks):
                parts.append(Bottleneck(inside, width, 2 if stage and i == 0 else 1))
                inside = 4 * width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*parts))
        self.attnpool = AttentionPool(s.grid, 32 * w, 32 * w // HEAD_WIDTH, s.embed)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, P, P] to [B, E]."""
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        x = F.avg_pool2d(x, 2)
        for stage in range(4):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return self.attnpool(x)


class Clip(nn.Module):
    """Both towers, the shared space and the temperature."""

    def __init__(self, s: ClipSettings):
        super().__init__()
        widths = [("text_width", s.text_width, HEAD_WIDTH)]
        widths += [("width", s.width, s.head_width)] if s.patch else []
        for name, width, head in widths:
            if width % head:
                raise ValueError(f"model.{name} must be a multiple of {head}; found {width}")
        divisor = s.patch or RESNET_STRIDE
        if s.image_size % divisor or isinstance(s.layers, int) != (s.patch is not None):
            raise ValueError(
                f"model.image_size must be a multiple of {divisor}, and model.layers one number "
                "exactly when model.patch is set; found "
                f"{s.image_size}, {s.layers} and {s.patch}"
            )
        self.settings = s
        self.visual: nn.Module
        if isinstance(s.layers, int):
            assert s.patch is not None
            self.visual = VisionTransformer(s, s.layers, s.patch)
        else:
            self.visual = ModifiedResNet(s, s.layers)
        self.transformer = Transformer(s.text_width, s.text_layers, True, s.activation)
        self.token_embedding = nn.Embedding(s.vocabulary, s.text_width)
        self.positional_embedding = nn.Parameter(torch.empty(s.context, s.text_width))
        self.ln_final = LayerNorm(s.text_width)
        self.text_projection = nn.Parameter(torch.empty(s.text_width, s.embed))
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / 0.07)))
        self._initialise()

    def _initialise(self) -> None:
        """As OpenAI's `initialize_parameters`; what it leaves out keeps torch's defaults."""
        width, layers = self.settings.text_width, self.settings.text_layers
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        for block in self.transformer.resblocks:
            assert isinstance(block, Block)
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
        if isinstance(self.visual, ModifiedResNet):
            pool = self.visual.attnpool
            for linear in (pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj):
                nn.init.normal_(linear.weight, std=pool.q_proj.in_features**-0.5)
            for module in self.visual.modules():
                if isinstance(module, Bottleneck):
                    nn.init.zeros_(module.bn3.weight)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised images [B, 3, P, P] to unit vectors [B, E]."""
        return F.normalize(self.visual(pixels).float(), dim=-1)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Token ids [B, T], each row with an end token, to unit vectors [B, E]."""
        x = self.token_embedding(ids)
        x = x + self.positional_embedding[: ids.shape[1]].to(x.dtype)
        x = self.ln_final(self.transformer(x))
        # The end token has the highest id of all.
        last = x[torch.arange(len(x), device=x.device), ids.argmax(1)]
        return F.normalize((last @ self.text_projection).float(), dim=-1)

    def forward(
        self, pixels: Tensor | None, ids: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Unit vectors of what is given (either may be None), and the temperature's factor
        exp(logit_scale), [1]."""
        return (
            self.encode_image(pixels) if pixels is not None else None,
            self.encode_text(ids) if ids is not None else None,
            self.logit_scale.exp(),
        )
