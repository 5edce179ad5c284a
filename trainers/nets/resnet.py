"""A ResNet without its classifier, of as many stages as are asked for, whose features are an
image's tokens.

Version 1.5 of the bottleneck (stride in the second convolution), under torchvision's names (He et
al., arXiv 1512.03385).
"""

import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4
"""A bottleneck's channels, by those inside."""


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that may be frozen: it then goes by its stored statistics and is not trained."""

    def __init__(self, channels: int, frozen: bool):
        super().__init__(channels)
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "BatchNorm":
        """A frozen norm is never in training mode."""
        super().train(mode and not self.frozen)
        return self


class Bottleneck(nn.Module):
    """Three convolutions around a residual path; [B, inside, h, w] to [B, 4 width, h', w']."""

    def __init__(self, inside: int, width: int, stride: int, frozen: bool):
        super().__init__()
        outside = EXPANSION * width
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = BatchNorm(width, frozen)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm(width, frozen)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = BatchNorm(outside, frozen)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), BatchNorm(outside, frozen)
            )
            if stride > 1 or inside != outside
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Pixels [B, 3, H, W] to features [B, channels, H / s, W / s]: of n stages s is 2^(n + 1), and
    there are 2^(n + 1) `stem` channels."""

    def __init__(self, stages: tuple[int, ...], stem: int, frozen: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, 2, padding=3, bias=False)
        self.bn1 = BatchNorm(stem, frozen)
        inside = stem
        self.stages = len(stages)
        for number, blocks in enumerate(stages):
            width, layer = stem * 2**number, nn.Sequential()
            for i in range(blocks):
                layer.append(Bottleneck(inside, width, 2 if number and not i else 1, frozen))
                inside = EXPANSION * width
            self.add_module(f"layer{number + 1}", layer)
        self.channels = inside
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        x = F.relu(self.bn1(self.conv1(pixels)))
        x = F.max_pool2d(x, 3, 2, padding=1)
        for number in range(self.stages):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return x
