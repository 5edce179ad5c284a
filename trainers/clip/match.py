"""What a trained CLIP can be asked: which of several texts fits an image."""

from collections.abc import Sequence

import torch
from torch import nn

from septet.trainers.inputs.images import centre
from septet.trainers.prediction import Ability, Answer, Asked
from septet.trainers.task import Batch, Task

ABILITIES = {
    "match": Ability(
        "says which of several texts, with | between them, fits the image best; the score is its "
        "share of their softmax",
        ("image", "text"),
        text="a red circle|a blue star",
    )
}


def match(task: Task, module: nn.Module, asked: Sequence[Asked], side: int) -> list[Answer]:
    """The text that fits best, of each image; images are read as squares of `side` pixels.

    Raises:
        ValueError: there is no text.
    """
    device, found = next(module.parameters()).device, []
    for each in asked:
        texts = [text.strip() for text in each.text.split("|") if text.strip()]
        if each.image is None or not texts:
            raise ValueError("match needs an image, and texts with | between them")
        pixels = torch.from_numpy(centre(each.image, side).copy())[None]
        batch = Batch("pairs", {"pixels": pixels, **task.texts("pairs", texts).data})
        outputs = task.forward(module, batch.to(device))
        fits = (outputs["scale"] * outputs["image"] @ outputs["text"].T)[0].softmax(0)
        best = int(fits.argmax())
        found.append(Answer(texts[best], score=float(fits[best])))
    return found
