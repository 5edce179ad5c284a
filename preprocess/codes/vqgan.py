"""VQGAN (Esser et al., "Taming Transformers for High-Resolution Image Synthesis", arXiv
2012.09841): an autoencoder with a codebook in the middle.

Submodules have the names of CompVis/taming-transformers, so its checkpoints load as they are. Of
the two kinds of codebook, the plain one takes the nearest code vector. The Gumbel kind ("GumbelVQ")
scores all codes by a linear layer; there the published code draws Gumbel noise even in evaluation,
so that its codes differ from run to run. Here a code is the argmax of the scores, always.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from septet.preprocess.codes.published import PUBLISHED, Published
from septet.preprocess.codes.tokenizer import ImageTokenizer


@dataclass(frozen=True)
class VqganSettings:
    """The sizes of a VQGAN; the defaults are those of "VQGAN OpenImages (f=8), 8192, Gumbel"."""

    channels: int = 128
    """Channels of the first level; a multiple of 32."""
    multipliers: tuple[int, ...] = (1, 1, 2, 4)
    """Channels of each level, in multiples; each level but the last halves the image."""
    blocks: int = 2
    """Residual blocks a level; the decoder has one more."""
    attention: tuple[int, ...] = (3,)
    """Levels with attention after each block."""
    latent: int = 256
    """Channels that the encoder gives."""
    embed: int = 256
    """Width of code vectors."""
    codes: int = 8192
    gumbel: bool = True


def sizes(state: Mapping[str, Tensor]) -> VqganSettings:
    """Read the sizes from the shapes of taming's weights.

    Raises:
        ValueError: they are no VQGAN's.
    """
    gumbel = "quantize.proj.weight" in state
    quantiser = "quantize.embed.weight" if gumbel else "quantize.embedding.weight"
    needed = ("encoder.conv_in.weight", "encoder.conv_out.weight", "quant_conv.weight", quantiser)
    lacks = [name for name in needed if name not in state]
    if lacks:
        raise ValueError(f"these weights are no VQGAN's: there is no {', '.join(lacks)}")
    channels = state["encoder.conv_in.weight"].shape[0]
    levels = _count(state, "encoder.down.")
    widths = [state[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
    return VqganSettings(
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        blocks=_count(state, "encoder.down.0.block."),
        attention=tuple(i for i in range(levels) if f"encoder.down.{i}.attn.0.q.weight" in state),
        latent=state["encoder.conv_out.weight"].shape[0],
        embed=state["quant_conv.weight"].shape[0],
        codes=state[quantiser].shape[0],
        gumbel=gumbel,
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)}
    return len(numbers)


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class Block(nn.Module):
    """Two 3 x 3 convolutions around a residual path."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.norm1, self.conv1 = _norm(inside), nn.Conv2d(inside, outside, 3, padding=1)
        self.norm2, self.conv2 = _norm(outside), nn.Conv2d(outside, outside, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[n, inside, h, w] to [n, outside, h, w]."""
        h = self.conv1(_swish(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(_swish(self.norm2(h)))


class Attention(nn.Module):
    """Attention of one head over all places."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in "qkvo")

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w], same shape."""
        h = self.norm(x)
        q, k, v = self.q(h).flatten(2), self.k(h).flatten(2), self.v(h).flatten(2)
        weights = (q.mT @ k * q.shape[1] ** -0.5).softmax(2)
        return x + self.proj_out((v @ weights.mT).view_as(x))


class Downsample(nn.Module):
    """A convolution that halves the size; pads right and bottom only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] to [n, c, h / 2, w / 2]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """A convolution behind twice the size, each pixel repeated."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] to [n, c, 2h, 2w]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Blocks of one resolution, with attention or not, and the way to the next resolution."""

    def __init__(self, inside: int, outside: int, blocks: int, attention: bool):
        super().__init__()
        self.block = nn.ModuleList(Block(outside if i else inside, outside) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(outside) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inside, h, w] to [n, outside, h', w']."""
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        for name in ("downsample", "upsample"):
            if name in self._modules:
                x = getattr(self, name)(x)
        return x


class Middle(nn.Module):
    """The middle of encoder and decoder: block, attention, block."""

    def __init__(self, channels: int):
        super().__init__()
        self.block_1, self.attn_1 = Block(channels, channels), Attention(channels)
        self.block_2 = Block(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w], same shape."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """The encoder, from pixels to latents."""

    def __init__(self, s: VqganSettings):
        super().__init__()
        self.conv_in = nn.Conv2d(3, s.channels, 3, padding=1)
        width = s.channels
        self.down = nn.ModuleList()
        for i, multiplier in enumerate(s.multipliers):
            level = Level(width, s.channels * multiplier, s.blocks, i in s.attention)
            width = s.channels * multiplier
            if i < len(s.multipliers) - 1:
                level.downsample = Downsample(width)
            self.down.append(level)
        self.mid, self.norm_out = Middle(width), _norm(width)
        self.conv_out = nn.Conv2d(width, s.latent, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] to [n, latent, h / stride, w / stride]."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(_swish(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """The decoder, from latents to pixels."""

    def __init__(self, s: VqganSettings):
        super().__init__()
        width = s.channels * s.multipliers[-1]
        self.conv_in, self.mid = nn.Conv2d(s.latent, width, 3, padding=1), Middle(width)
        levels = []
        for i, multiplier in reversed(list(enumerate(s.multipliers))):
            level = Level(width, s.channels * multiplier, s.blocks + 1, i in s.attention)
            width = s.channels * multiplier
            if i:
                level.upsample = Upsample(width)
            levels.append(level)
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = _norm(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, latent, h, w] to [n, 3, h * stride, w * stride]."""
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(_swish(self.norm_out(x)))


class Quantiser(nn.Module):
    """The codebook, of either kind: the nearest vector, or the Gumbel logits' greatest."""

    def __init__(self, s: VqganSettings):
        super().__init__()
        if s.gumbel:
            self.proj, self.embed = nn.Conv2d(s.embed, s.codes, 1), nn.Embedding(s.codes, s.embed)
        else:
            self.embedding = nn.Embedding(s.codes, s.embed)
        self.gumbel = s.gumbel

    def forward(self, z: Tensor) -> Tensor:
        """Latents [n, embed, h, w] to codes int64 [n, h, w]."""
        if self.gumbel:
            return self.proj(z).argmax(1)
        rows = z.permute(0, 2, 3, 1).flatten(0, 2)
        vectors = self.embedding.weight
        distances = (
            rows.pow(2).sum(1, keepdim=True) + vectors.pow(2).sum(1) - 2 * (rows @ vectors.T)
        )
        return distances.argmin(1).view(z.shape[0], *z.shape[2:])

    def vectors(self, codes: Tensor) -> Tensor:
        """Codes int64 [n, h, w] to their vectors [n, embed, h, w]."""
        table = self.embed if self.gumbel else self.embedding
        return table(codes).permute(0, 3, 1, 2)


class Vqgan(ImageTokenizer):
    """A VQGAN: pixels to codes, and back where it has its decoder."""

    published: ClassVar[Published] = PUBLISHED["vqgan"]

    def __init__(self, settings: VqganSettings, decoder: bool = True):
        """
        Args:
            settings: Sizes.
            decoder: Whether `decode` will be needed; codes do not need it.
        """
        super().__init__()
        self.settings = settings
        self.stride, self.codebook_size = 2 ** (len(settings.multipliers) - 1), settings.codes
        self.encoder = Encoder(settings)
        self.quant_conv = nn.Conv2d(settings.latent, settings.embed, 1)
        self.quantize = Quantiser(settings)
        if decoder:
            self.post_quant_conv = nn.Conv2d(settings.embed, settings.latent, 1)
            self.decoder = Decoder(settings)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], decoder: bool = False) -> Self:
        """Make the module from taming's state dict; the discriminator and the perceptual loss are
        left out.

        Args:
            state: Weights by name, on any device, `meta` too.
            decoder: Whether `decode` will be needed.

        Raises:
            ValueError: they are no weights of a VQGAN.
        """
        found = sizes(state)
        dropped = ("loss.",) if decoder else ("loss.", "decoder.", "post_quant_conv.")
        with torch.device("meta"):
            module = cls(found, decoder)
        return module._assign({n: x for n, x in state.items() if not n.startswith(dropped)})

    def latents(self, x: Tensor) -> Tensor:
        """The vectors that are quantised: pixels in [-1, 1], [n, 3, h, w], to [n, embed, h',
        w']."""
        z: Tensor = self.quant_conv(self.encoder(x))
        return z

    def _codes(self, pixels: Tensor) -> Tensor:
        codes: Tensor = self.quantize(self.latents(2.0 * pixels - 1.0))
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """The image that codes stand for.

        Args:
            codes: int64 [n, h, w].

        Returns:
            float32 [n, 3, h * stride, w * stride], not yet clipped to [0, 1].

        Raises:
            ValueError: the module was made without its decoder.
        """
        if not hasattr(self, "decoder"):
            raise ValueError("this VQGAN was made without its decoder: pass decoder=True")
        z = self.post_quant_conv(self.quantize.vectors(codes))
        pixels: Tensor = (self.decoder(z) + 1.0) / 2.0
        return pixels
