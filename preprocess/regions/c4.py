"""The detector backend that runs Faster R-CNN C4 on torchvision's parts."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from septet.preprocess.regions.checkpoint import read_state
from septet.preprocess.regions.detections import Detections
from septet.preprocess.regions.network import C4Options, FasterRcnnC4
from septet.preprocess.regions.pixels import PIXEL_MEAN, resize
from septet.preprocess.regions.threads import cpu_threads


class C4Detector:
    """The detector Faster R-CNN C4 with a checkpoint.

    Args:
        weights: Path of the checkpoint, see `checkpoint`.
        options: See `C4Options`.
        shortest: Short side that images are resized to, pixels.
        longest: Greatest long side.
        mean: Subtracted from BGR values 0-255.
        std: Divides them.
        refined: Give the boxes that the head regresses, not the proposals that were described.
        device: The device to compute on: "cpu", "cuda", ….
        bfloat16: Convolutions in bfloat16; on a GPU only.
        threads: CPU threads; they decide the last bits.

    Raises:
        ValueError: see `read_state` and `FasterRcnnC4`; bfloat16 on the CPU; no such device.
    """

    def __init__(
        self,
        weights: str,
        options: C4Options,
        shortest: int = 600,
        longest: int = 1000,
        mean: tuple[float, float, float] = PIXEL_MEAN,
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        refined: bool = False,
        device: str = "cpu",
        bfloat16: bool = False,
        threads: int = 1,
    ):
        if bfloat16 and not device.startswith("cuda"):
            raise ValueError("bfloat16 is for GPUs: set device=cuda, or leave float32")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device {device}: torch sees no GPU; set device=cpu")
        self.network = FasterRcnnC4(read_state(weights), options).to(device)
        self.device, self.refined, self._bfloat16 = device, refined, bfloat16
        self._sides, self._threads = (shortest, longest), threads
        self._mean = torch.tensor(mean).reshape(3, 1, 1)
        self._std = torch.tensor(std).reshape(3, 1, 1)

    def prepare(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Prepare an image: RGB uint8 [H, W, 3] to BGR float32 [1, 3, h, w], by Pillow's bilinear
        resize on whole numbers, then mean and std."""
        bgr = resize(image, *self._sides)[:, :, ::-1].astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(bgr.transpose(2, 0, 1)))
        return ((tensor - self._mean) / self._std)[None].to(self.device)

    def detect(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """Find all proposals of each image, the RPN's best first, see `Detector`.

        The head is by far the dearest part and has all proposals of an image as its batch:
        feeding several images at once would save little and make values depend on them.
        """
        return [self._run(image, None) for image in images]

    def describe(self, image: NDArray[np.uint8], boxes: NDArray[Any]) -> Detections:
        """Compute features and classes at given boxes [n, 4], normalised, in their order."""
        return self._run(image, np.asarray(boxes, np.float32).reshape(-1, 4))

    def _run(self, image: NDArray[np.uint8], given: NDArray[np.float32] | None) -> Detections:
        network = self.network
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(cpu_threads(self._threads))
            if self.device.startswith("cuda"):
                exact = torch.backends.cudnn.flags(True, deterministic=True, allow_tf32=False)
                stack.enter_context(exact)
                stack.enter_context(torch.autocast("cuda", torch.bfloat16, self._bfloat16))
            pixels = self.prepare(image)
            height, width = pixels.shape[-2:]
            sides = torch.tensor([width, height] * 2, dtype=torch.float32, device=self.device)
            features = network.features(pixels)
            if given is None:
                boxes = network.propose(features, height, width)
            else:
                boxes = torch.from_numpy(given).to(self.device) * sides
            if not len(boxes):
                return empty(network.classes, network.attributes is not None)
            vectors, probs, deltas = network.describe(features, boxes)
            labels = probs[:, 1:].argmax(dim=1)
            scores = probs[:, 1:].amax(dim=1)
            if self.refined and given is None:
                boxes = network.refine(boxes, deltas, labels)
            corners = np.clip((boxes / sides).cpu().numpy(), 0, 1)
            found = Detections(
                vectors.cpu().numpy(), corners if given is None else given, probs.cpu().numpy(),
                labels.int().cpu().numpy(), scores.cpu().numpy(),
            )  # fmt: skip
            if network.attributes is None:
                return found
            named, sure = (x.cpu().numpy() for x in network.attributes(vectors, probs))
            return replace(found, attributes=named.astype(np.int32), attribute_scores=sure)


def empty(classes: int, attributes: bool = False) -> Detections:
    """Detections without regions."""
    labels, scores = np.zeros(0, np.int32), np.zeros(0, np.float32)
    return Detections(
        np.zeros((0, 2048), np.float32), np.zeros((0, 4), np.float32),
        np.zeros((0, 1 + classes), np.float32), labels, scores,
        labels if attributes else None, scores if attributes else None,
    )  # fmt: skip
