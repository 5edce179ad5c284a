"""The base class of image tokenizers: frozen modules that give a grid of codes for an image."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from septet.preprocess.codes.published import Published
from septet.preprocess.weights import misfit


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Compute without gradient, in plain fp32, whatever a trainer has set.

    A code is an argmax among thousands: bf16 and TF32 change some percent of them.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.autocast(device.type, enabled=False))
            if device.type == "cuda":
                plain = torch.backends.cudnn.flags(
                    enabled=True, deterministic=True, allow_tf32=False
                )
                stack.enter_context(plain)
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class ImageTokenizer(nn.Module, ABC):
    """A frozen module from images to codes.

    A trainer may use it online: it lives on any device, holds no gradient, and is always in
    evaluation mode.
    """

    published: ClassVar[Published]
    """The images with which the published pipelines feed it."""
    stride: int
    """The number of pixels on each axis that share one code."""
    codebook_size: int
    """The number of codes, which are in [0, codebook_size)."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Make the module that published weights belong to, with them; sizes are read from shapes.

        Raises:
            ValueError: they are no weights of such a tokenizer.
        """

    @abstractmethod
    def _codes(self, pixels: Tensor) -> Tensor:
        """`codes`, in the precision that is set."""

    def codes(self, pixels: Tensor) -> Tensor:
        """The codes of images.

        Args:
            pixels: float32 [n, 3, h, w], RGB in [0, 1]; `h` and `w` are multiples of `stride`.

        Returns:
            int64 [n, h / stride, w / stride], row-major from the top left.

        Raises:
            ValueError: `pixels` are of another shape or type.
        """
        channels, height, width = pixels.shape[1:] if pixels.ndim == 4 else (0, 0, 0)
        if channels != 3 or height % self.stride or width % self.stride or not height * width:
            raise ValueError(
                f"expected pixels [n, 3, h, w] with h and w multiples of {self.stride}, found "
                f"{list(pixels.shape)}"
            )
        if pixels.dtype != torch.float32:
            raise ValueError(
                f"expected float32 pixels in [0, 1], found {pixels.dtype}; divide bytes by 255"
            )
        with exact(pixels.device):
            return self._codes(pixels)

    def _assign(self, state: Mapping[str, Tensor]) -> Self:
        """Take weights over, as fp32; they are shared with `state`, not copied.

        Raises:
            ValueError: names or shapes do not fit.
        """
        if faults := misfit(self.state_dict(), state):
            raise ValueError(f"these weights are no {type(self).__name__}'s: {faults}")
        self.load_state_dict({name: x.float() for name, x in state.items()}, assign=True)
        return self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)
