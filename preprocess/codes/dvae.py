"""The encoder of DALL-E's discrete VAE (Ramesh et al., "Zero-Shot Text-to-Image Generation", arXiv
2102.12092), which FLAVA takes its targets from (Singh et al., arXiv 2112.04482, section 4).

Submodules have the names of `transformers.FlavaImageCodebook`; OpenAI's own names are turned into
them.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from septet.preprocess.codes.published import PUBLISHED, Published
from septet.preprocess.codes.tokenizer import ImageTokenizer

EPSILON = 0.1
"""Pixels are mapped to [epsilon, 1 - epsilon], where the logit-Laplace likelihood is defined."""

GROUPS = 4


@dataclass(frozen=True)
class DvaeSettings:
    """The sizes of the encoder; the defaults are the published ones."""

    width: int = 256
    """Channels of the first group; each further group has twice as many."""
    blocks: int = 2
    """Residual blocks a group."""
    codes: int = 8192


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights the names of `FlavaImageCodebook`.

    They may come from `facebook/flava-image-codebook`, from OpenAI's `encoder.pkl` (`….conv_1.w`),
    from torchmultimodal's `DalleVAEEncoder` (`encoder.….conv_1.w`), or from a whole FLAVA of either
    library, of which everything but the codebook is left out.
    """
    for prefix in ("image_codebook.", "encoder."):
        if any(name.startswith(prefix) for name in state):
            state = {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)}
    out = {}
    for name, x in state.items():
        found = re.fullmatch(r"(.+)\.(w|b)", name)
        if found:
            place = re.sub(r"(blocks\.group_\d+)\.(block_)", r"\1.group.\2", found[1])
            place = place.replace(".res_path.conv_", ".res_path.path.conv_")
            name = f"{place}.{'weight' if found[2] == 'w' else 'bias'}"
        out[name] = x
    return out


class Block(nn.Module):
    """A bottleneck of four convolutions beside the identity or a 1 x 1 convolution."""

    def __init__(self, inside: int, outside: int, gain: float):
        super().__init__()
        inner = outside // 4
        widths = [inside, inner, inner, inner, outside]
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(4):
            kernel = 3 if i < 3 else 1
            parts[f"relu_{i + 1}"] = nn.ReLU()
            parts[f"conv_{i + 1}"] = nn.Conv2d(
                widths[i], widths[i + 1], kernel, padding=kernel // 2
            )
        self.gain = gain
        self.id_path = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
        self.res_path = nn.Sequential(OrderedDict(path=nn.Sequential(parts)))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inside, h, w] to [n, outside, h, w]."""
        return self.id_path(x) + self.gain * self.res_path(x)


class Dvae(ImageTokenizer):
    """DALL-E's encoder, from pixels to codes."""

    published: ClassVar[Published] = PUBLISHED["dvae"]

    def __init__(self, settings: DvaeSettings):
        super().__init__()
        self.settings = settings
        self.stride, self.codebook_size = 2 ** (GROUPS - 1), settings.codes
        gain = 1 / (GROUPS * settings.blocks) ** 2
        width = settings.width
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            input=nn.Conv2d(3, width, 7, padding=3),
        )
        for i in range(GROUPS):
            outside = settings.width * 2**i
            group: OrderedDict[str, nn.Module] = OrderedDict()
            for j in range(settings.blocks):
                group[f"block_{j + 1}"] = Block(outside if j else width, outside, gain)
            if i < GROUPS - 1:
                group["pool"] = nn.MaxPool2d(2)
            parts[f"group_{i + 1}"] = nn.Sequential(OrderedDict(group=nn.Sequential(group)))
            width = outside
        parts["output"] = nn.Sequential(
            OrderedDict(relu=nn.ReLU(), conv=nn.Conv2d(width, settings.codes, 1))
        )
        self.blocks = nn.Sequential(parts)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Make the encoder from weights under any of the names that `rename` knows.

        Raises:
            ValueError: they are no weights of the dVAE's encoder.
        """
        state = rename(state)
        first, last = "blocks.input.weight", "blocks.output.conv.weight"
        if first not in state or last not in state:
            raise ValueError(f"these weights are no dVAE encoder's: there is no {first} or {last}")
        counted = re.compile(r"blocks\.group_1\.group\.(block_\d+)\.")
        blocks = {found[1] for name in state if (found := counted.match(name))}
        settings = DvaeSettings(state[first].shape[0], len(blocks), state[last].shape[0])
        with torch.device("meta"):
            module = cls(settings)
        return module._assign(state)

    def logits(self, pixels: Tensor) -> Tensor:
        """Scores of all codes: pixels in [0, 1], [n, 3, h, w], to [n, codes, h / 8, w / 8]."""
        scores: Tensor = self.blocks((1 - 2 * EPSILON) * pixels + EPSILON)
        return scores

    def _codes(self, pixels: Tensor) -> Tensor:
        return self.logits(pixels).argmax(1)
