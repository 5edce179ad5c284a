"""Losses that several models share."""

import torch
import torch.nn.functional as F
from torch import Tensor

from septet.trainers.task import Gather


def contrastive(
    image: Tensor, text: Tensor, scale: Tensor, gather: Gather, kept: Tensor | None = None
) -> Tensor:
    """Half the cross-entropy of each image among all texts, half that of each text among all
    images (CLIP: Radford et al., arXiv 2103.00020, figure 3).

    Args:
        image: This rank's unit vectors [B, E].
        text: Those of the texts that belong to them.
        scale: Factor on the similarities, [1].
        gather: See `task.Gather`.
        kept: bool [B], rows that count; all rows are columns.

    Returns:
        The sum over this rank's rows, [].
    """
    (images, first), (texts, _) = gather(image), gather(text)
    right = first + torch.arange(len(image), device=image.device)
    if kept is not None:
        image, text, right = image[kept], text[kept], right[kept]
    by_image = F.cross_entropy(scale * image @ texts.T, right, reduction="sum")
    by_text = F.cross_entropy(scale * text @ images.T, right, reduction="sum")
    return (by_image + by_text) / 2
