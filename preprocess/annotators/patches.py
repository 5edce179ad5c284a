"""The column `patches`: ResNet features of the 4 x 4 pieces of an image, as M6 reads images.

M6 (Lin et al., "M6: A Chinese Multimodal Pretrainer", arXiv 2103.00823) cuts an image into 4 x 4
patches and takes each through a ResNet-50. What it does not publish is fixed here: the image is
resized to a square (bicubic), pieces keep their pixels, vectors are those before the classifier,
averaged over the piece.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from septet.preprocess.columns.base import Item, NoValue, Value
from septet.preprocess.columns.base import Settings as ColumnSettings
from septet.preprocess.columns.image_column import ImageColumn, ImageSettings
from septet.preprocess.columns.weights import need, weights_digest
from septet.schemas.columns import ArrayFormat, MemberFormat

if TYPE_CHECKING:  # torch is an extra, whose absence `models` tells
    from torch import Tensor, nn

GRID = 4
WIDTH = 2048
"""The width of a feature vector."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""The standard deviations of RGB in [0, 1], over ImageNet; `MEAN` likewise."""


class PatchesSettings(ImageSettings):
    """Settings of `patches`."""

    size: int = Field(
        default=448,
        ge=128,
        le=4096,
        multiple_of=4,
        description="Side in pixels that the image is resized to; a piece has a quarter of it.",
    )


def pieces(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Cut an image that was resized to `size` x `size` into its pieces, row-major from the top
    left.

    Returns:
        uint8 [16, size / 4, size / 4, 3].
    """
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    side = size // GRID
    grid = pixels.reshape(GRID, side, GRID, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(GRID * GRID, side, side, 3))


def resnet_trunk(state: "dict[str, Tensor]") -> "nn.Module":
    """Make torchvision's ResNet-50 without its classifier: float32 [n, 3, h, w] in [0, 1] to [n,
    2048].

    Args:
        state: torchvision's state dict, with or without `fc`; or that of DINO's teacher or
            student, whose trunk is below `backbone.`, beside heads that are left out.

    Raises:
        ValueError: it is no ResNet-50's.
    """
    import torch
    from torch import nn
    from torchvision.models import resnet50
    from torchvision.transforms.v2 import Normalize

    from septet.preprocess.weights import misfit

    with torch.device("meta"):
        trunk = resnet50()
        trunk.fc = nn.Identity()
    inside = "backbone." if any(name.startswith("backbone.") for name in state) else ""
    weights = {n.removeprefix(inside): x for n, x in state.items() if n.startswith(inside)}
    weights = {name: x for name, x in weights.items() if not name.startswith("fc.")}
    for name, x in trunk.state_dict().items():  # counters that old files lack and none reads
        if name.endswith("num_batches_tracked"):
            weights.setdefault(name, torch.zeros(x.shape, dtype=x.dtype))
    if faults := misfit(trunk.state_dict(), weights):
        raise ValueError(f"these weights are no torchvision resnet50's: {faults}")
    trunk.load_state_dict(weights, assign=True)
    whole = nn.Sequential(Normalize(MEAN, STD), trunk.float())
    return whole.eval().requires_grad_(False)


class Patches(ImageColumn):
    """The column of ResNet-50 vectors of an image's 4 x 4 pieces, row-major, as M6 reads it.

    Reasons for no value: `no_image`, `image` (it cannot be decoded, or has more than 100 million
    pixels), `not_finite` (the network's answer does not fit float16).
    """

    version: ClassVar[int] = 1
    Settings: ClassVar[type[ColumnSettings]] = PatchesSettings
    settings: PatchesSettings

    def __init__(self, settings: PatchesSettings):
        super().__init__(settings)
        self._trunk: nn.Module | None = None

    def models(self) -> dict[str, str]:
        """The digest of the file of weights."""
        need("torchvision", "vision")
        return {"resnet50": weights_digest(self.settings.weights, "patches")}

    @property
    def member(self) -> MemberFormat:
        """float16 [16, 2048], not negative."""
        return MemberFormat(
            ext="patches.f16",
            kind="raw",
            arrays={"patches": ArrayFormat(dtype="float16", shape=(GRID**2, WIDTH), least=0)},
            notes={
                "network": "torchvision resnet50 without fc, averaged over the piece",
                "grid": [GRID, GRID],
                "order": "row-major from the top left",
                "size": self.settings.size,
                "resample": "bicubic",
                "mean": list(MEAN),
                "std": list(STD),
            },
        )

    def setup(self) -> None:
        """Load the network."""
        from septet.preprocess.codes.batches import usable_device
        from septet.preprocess.weights import read_state

        device = usable_device(self.settings.device)
        self._trunk = resnet_trunk(read_state(self.settings.weights)).to(device)

    def prepare(self, item: Item, image: Image.Image) -> NDArray[np.uint8]:
        """The pieces, uint8 [16, side, side, 3]."""
        return pieces(image, self.settings.size)

    def values(self, prepared: Sequence[Any]) -> list[Value | NoValue]:
        """The vectors of all pieces."""
        import torch

        from septet.preprocess.codes.batches import in_batches, unit_pixels
        from septet.preprocess.codes.tokenizer import exact

        trunk = self._trunk
        assert trunk is not None, "setup() comes first"
        device = torch.device(self.settings.device)
        with exact(device):
            found = in_batches(
                lambda pixels: trunk(unit_pixels(pixels)),
                torch.from_numpy(np.concatenate(prepared)),
                device,
                self.settings.batch_size,
                together=GRID**2,
            )
        vectors = found.half().numpy().astype("<f2")
        return [
            Value(one.tobytes()) if np.isfinite(one).all() else NoValue("not_finite")
            for one in np.split(vectors, len(prepared))
        ]
