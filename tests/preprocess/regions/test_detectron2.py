"""The backend detectron2. Where the package is installed, its features equal those of c4."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from septet.preprocess.annotators.regions import Regions
from septet.preprocess.regions.c4 import C4Detector
from septet.preprocess.regions.checkpoint import CELL_ANCHORS
from septet.preprocess.regions.detectron2_backend import Detectron2Detector
from septet.preprocess.regions.network import C4Options, cell_anchors
from tests.preprocess.regions import reference as plain

INSTALLED = importlib.util.find_spec("detectron2") is not None
needs_it = pytest.mark.skipif(not INSTALLED, reason="detectron2 is not installed")

CONFIG = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  RPN: {PRE_NMS_TOPK_TEST: 6000, POST_NMS_TOPK_TEST: 300}
  ANCHOR_GENERATOR: {SIZES: [[SIZES_HERE]]}
  RESNETS: {DEPTH: 50}
  ROI_HEADS: {NAME: Res5ROIHeads, NUM_CLASSES: 20}
INPUT: {MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 160}
"""


@pytest.mark.skipif(INSTALLED, reason="detectron2 is installed")
def test_without_the_package_the_error_says_where_to_read() -> None:
    column = Regions(Regions.Settings(backend="detectron2", weights="w.pth", config="c.yaml"))
    with pytest.raises(ValueError, match=r"docs/regions\.md.*backend c4"):
        column.models()
    with pytest.raises(ValueError, match=r"docs/regions\.md"):
        column.setup()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> plain.State:
    """A checkpoint with the RPN's width that detectron2 builds."""
    state = plain.random_state()
    g = torch.Generator().manual_seed(5)
    rpn = "proposal_generator.rpn_head"
    state[f"{rpn}.conv.weight"] = 0.01 * torch.randn(1024, 1024, 3, 3, generator=g)
    state[f"{rpn}.conv.bias"] = torch.zeros(1024)
    state[f"{rpn}.objectness_logits.weight"] = 0.15 * torch.randn(12, 1024, 1, 1, generator=g)
    state[f"{rpn}.anchor_deltas.weight"] = 0.03 * torch.randn(48, 1024, 1, 1, generator=g)
    return state


@needs_it
@pytest.mark.parametrize("held", [False, True], ids=["anchors of the config", "of the checkpoint"])
def test_it_equals_c4(wide: plain.State, tmp_path: Path, held: bool) -> None:
    weights, config = str(tmp_path / "w.safetensors"), tmp_path / "c.yaml"
    state = {**wide, CELL_ANCHORS: cell_anchors(plain.SIZES, plain.RATIOS)} if held else wide
    save_file(state, weights)
    sizes = "4, 8, 16, 32" if held else "16, 24, 32, 64"
    config.write_text(CONFIG.replace("SIZES_HERE", sizes))
    theirs = Detectron2Detector(str(config), weights, proposals=20)
    ours = C4Detector(weights, C4Options(proposals=20, anchor_sizes=None if held else plain.SIZES),
                      96, 160)  # fmt: skip
    images = [plain.random_image(1, 130, 97), plain.random_image(2, 97, 130)]
    for a, b in zip(ours.detect(images), theirs.detect(images), strict=True):
        assert len(a) == len(b) > 10
        assert np.allclose(a.boxes, b.boxes, atol=1e-4)
        assert np.allclose(a.features, b.features, rtol=1e-3, atol=1e-2)
        assert np.allclose(a.probs, b.probs, atol=2e-3) and np.array_equal(a.labels, b.labels)


@needs_it
def test_what_does_not_fit_is_said(wide: plain.State, tmp_path: Path) -> None:
    weights, config = str(tmp_path / "w.safetensors"), tmp_path / "c.yaml"
    save_file({n: t for n, t in wide.items() if "cls_score" not in n}, weights)
    config.write_text(CONFIG.replace("SIZES_HERE", "16, 24, 32, 64"))
    with pytest.raises(ValueError, match="lack 2 tensors"):
        Detectron2Detector(str(config), weights)
    with pytest.raises(ValueError, match="no such model"):
        Detectron2Detector("no/such.yaml", weights)
    config.write_text(CONFIG.replace("SIZES_HERE", "16, 24, 32, 64").replace("20}", "30}"))
    save_file(wide, weights)
    with pytest.raises(ValueError, match="do not fit"):
        Detectron2Detector(str(config), weights)
