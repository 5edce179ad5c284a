"""The detector backend that runs a C4 model in an installed detectron2.

detectron2 is on no package index, so no extra installs it; docs/regions.md says how to. It is
imported when this backend is asked for and nowhere else.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from septet.preprocess.columns.weights import weights_digest
from septet.preprocess.regions.c4 import empty
from septet.preprocess.regions.checkpoint import CELL_ANCHORS, read_state
from septet.preprocess.regions.detections import Detections
from septet.preprocess.regions.pixels import resize
from septet.preprocess.regions.threads import cpu_threads

_LEFT_TO_CONFIG = ("pixel_mean", "pixel_std")


def need_detectron2() -> None:
    """Check that detectron2 can be imported.

    Raises:
        ValueError: it cannot; says where the way to install it is described.
    """
    try:
        importlib.import_module("detectron2.modeling")
    except ImportError as error:
        raise ValueError(
            "backend detectron2 needs the package detectron2, which is on no package index: see "
            f"'detectron2' in docs/regions.md, or use backend c4, which needs none ({error})"
        ) from error


def find_config(config: str) -> str:
    """Find the path of a configuration: a file, or a name in detectron2's model zoo.

    Raises:
        ValueError: detectron2 is missing, or there is neither.
    """
    need_detectron2()
    if config and Path(config).is_file():
        return config
    model_zoo = importlib.import_module("detectron2.model_zoo")
    try:
        return str(model_zoo.get_config_file(config))
    except RuntimeError as error:
        raise ValueError(
            f"config: no such file and no such model {config!r}; set it with --set config=PATH"
        ) from error


def config_digest(config: str) -> str:
    """The digest of a configuration file, see `find_config`. Files that it builds upon are
    detectron2's own."""
    return weights_digest(find_config(config), "configuration of detectron2")


class Detectron2Detector:
    """A C4 model that detectron2 builds from a configuration file.

    Weights are read as plain data (see `checkpoint.read_state`), not by detectron2's loader,
    which would run whatever a pickle holds. Anchors that the checkpoint holds replace those of
    the configuration: detectron2 leaves them out since May 2021 and would build others from the
    sizes that configurations of bottom-up attention name.

    Args:
        config: Path of the YAML file, or a name in detectron2's model zoo.
        weights: Path of the checkpoint.
        proposals: Regions that the RPN hands on; overrides the configuration.
        device: The device to compute on.
        threads: CPU threads; they decide the last bits.

    Raises:
        ValueError: detectron2 is missing, the model is no C4, or the weights do not fit.
    """

    def __init__(
        self, config: str, weights: str, proposals: int = 300, device: str = "cpu", threads: int = 1
    ):
        need_detectron2()
        cfg: Any = importlib.import_module("detectron2.config").get_cfg()
        cfg.merge_from_file(find_config(config))
        cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = device, ""
        cfg.MODEL.RPN.POST_NMS_TOPK_TEST = proposals
        build = importlib.import_module("detectron2.modeling").build_model
        self.model: Any = build(cfg).eval()
        if not hasattr(self.model.roi_heads, "res5"):
            raise ValueError(f"config {config}: no C4 model (its RoI heads have no res5)")
        self._sides = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        self._bgr = cfg.INPUT.FORMAT == "BGR"
        self.classes = int(cfg.MODEL.ROI_HEADS.NUM_CLASSES)
        self._threads = threads
        self._load(weights)

    def _load(self, weights: str) -> None:
        state = read_state(weights)
        anchors = state.pop(CELL_ANCHORS, None)
        try:
            missing, _ = self.model.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise ValueError(f"weights {weights} do not fit the configuration: {error}") from error
        missing = [name for name in missing if name not in _LEFT_TO_CONFIG
                   and "cell_anchors" not in name]  # fmt: skip
        if missing:
            raise ValueError(f"weights {weights} lack {len(missing)} tensors, first {missing[0]}")
        if anchors is None:
            return
        generator = self.model.proposal_generator.anchor_generator
        built = next(iter(generator.cell_anchors.buffers()))
        if built.shape != anchors.shape:
            raise ValueError(
                f"the checkpoint has {len(anchors)} anchors a place, the configuration {len(built)}"
            )
        built.copy_(anchors)

    def detect(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """Find all proposals, one image at a time; see `Detector`."""
        with torch.inference_mode(), cpu_threads(self._threads):
            return [self._run(image) for image in images]

    def _run(self, image: NDArray[np.uint8]) -> Detections:
        model, roi_heads = self.model, self.model.roi_heads
        resized = resize(image, *self._sides)
        channels = resized[:, :, ::-1] if self._bgr else resized
        pixels = torch.from_numpy(np.ascontiguousarray(channels.transpose(2, 0, 1))).float()
        prepared = model.preprocess_image([{"image": pixels}])
        features = model.backbone(prepared.tensor)
        (proposals,), _ = model.proposal_generator(prepared, features, None)
        boxes = proposals.proposal_boxes
        if not len(boxes):
            return empty(self.classes)
        maps = [features[name] for name in roi_heads.in_features]
        vectors = roi_heads._shared_roi_transform(maps, [boxes]).mean(dim=(2, 3))
        logits = roi_heads.box_predictor(vectors)[0]
        probs = logits.softmax(dim=-1)
        probs = torch.cat([probs[:, -1:], probs[:, :-1]], dim=1)
        sides = np.array([resized.shape[1], resized.shape[0]] * 2, np.float32)
        corners = np.clip(boxes.tensor.cpu().numpy() / sides, 0, 1)
        return Detections(
            vectors.cpu().numpy(), corners, probs.cpu().numpy(),
            probs[:, 1:].argmax(dim=1).int().cpu().numpy(),
            probs[:, 1:].amax(dim=1).cpu().numpy(),
        )  # fmt: skip
