"""The OCR engine RapidOCR (Apache-2.0) with the models in its own package: PP-OCR, for Latin
letters, Chinese and Japanese. Nothing is downloaded, whatever its configuration says."""

import importlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from septet.preprocess import files
from septet.preprocess.columns.weights import need
from septet.preprocess.ocr.engines import Engine
from septet.preprocess.ocr.lines import Line, as_quad

MAX_ASPECT = 4
"""Longer images are padded to this: the detector enlarges the short side to 736 pixels, which
would make an image of 2000 x 30 one of 36 million."""

_TASKS = {"Det": "*_det_*.onnx", "Cls": "*_cls_*.onnx", "Rec": "*_rec_*.onnx"}


def _model_files() -> dict[str, Path]:
    need("rapidocr", "ocr")
    need("onnxruntime", "ocr")
    folder = Path(importlib.import_module("rapidocr").__path__[0]) / "models"
    found = {task: sorted(folder.glob(pattern)) for task, pattern in _TASKS.items()}
    for task, paths in found.items():
        if len(paths) != 1:
            raise ValueError(
                f"rapidocr should carry one model for {task}, there are {len(paths)} in {folder}: "
                "pip install --force-reinstall 'septet[ocr]'"
            )
    return {task: paths[0] for task, paths in found.items()}


class RapidOcr(Engine):
    """RapidOCR as an `Engine`; one thread in ONNX Runtime unless told otherwise."""

    def __init__(self, threads: int = 1):
        super().__init__(threads)
        params: dict[str, Any] = {
            "Global.log_level": "critical",
            "Global.text_score": 0.0,  # the column decides what is too uncertain
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
        # A path that is given is loaded as it is; without one the package may fetch another model.
        params |= {f"{task}.model_path": str(path) for task, path in _model_files().items()}
        self._engine: Any = importlib.import_module("rapidocr").RapidOCR(params=params)
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)

    @classmethod
    def models(cls) -> dict[str, str]:
        """Digests of the package's three models."""
        return {path.name: files.content_digest(str(path))[1] for path in _model_files().values()}

    def read(self, image: NDArray[np.uint8]) -> list[Line]:
        """See `Engine.read`."""
        height, width = image.shape[:2]
        found = self._engine(_padded(np.ascontiguousarray(image[:, :, ::-1])))
        boxes, texts, scores = (getattr(found, name, None) for name in ("boxes", "txts", "scores"))
        if boxes is None or texts is None or scores is None:
            return []
        return [
            Line(text.strip(), as_quad(box, width, height), round(min(float(score), 1.0), 4))
            for box, text, score in zip(boxes, texts, scores, strict=True)
            if text.strip()
        ]


def _padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad an image to its right or below with black, to MAX_ASPECT at most."""
    height, width = image.shape[:2]
    right = max(0, -(-height // MAX_ASPECT) - width)
    below = max(0, -(-width // MAX_ASPECT) - height)
    return np.pad(image, ((0, below), (0, right), (0, 0)))
