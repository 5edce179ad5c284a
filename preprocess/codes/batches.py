"""Networks run over rows in batches, so that the result of a row does not depend on the others."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_batches(
    network: Callable[[Tensor], Tensor],
    rows: Tensor,
    device: torch.device,
    batch_size: int,
    together: int = 1,
) -> Tensor:
    """Run a network over rows, batch by batch.

    Kernels are chosen by shape, and their last bits differ. So on the CPU samples go one by one,
    which costs little there; elsewhere all batches have the same size, the last one padded.

    Args:
        network: [n, …] on `device` to [n, …].
        rows: [n, …] on the CPU.
        device: The device of the network.
        batch_size: Samples at once, where the device is not the CPU.
        together: Rows that make up one sample.

    Returns:
        [n, …] on the CPU.
    """
    step = together if device.type == "cpu" else together * batch_size
    found = []
    with torch.inference_mode():
        for part in rows.split(step):
            missing = step - len(part)
            whole = torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) if missing else part
            found.append(network(whole.to(device))[: len(part)].cpu())
    return torch.cat(found)


def unit_pixels(pixels: Tensor) -> Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in [0, 1]."""
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 255.0


def usable_device(name: str) -> torch.device:
    """The device of that name, checked.

    Raises:
        ValueError: this machine has none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda is set, but torch finds no GPU here; set device=cpu")
    return torch.device(name)
