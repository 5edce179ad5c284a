"""The network against the plain one of `reference`."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from septet.preprocess.regions.c4 import C4Detector
from septet.preprocess.regions.checkpoint import CELL_ANCHORS
from septet.preprocess.regions.network import C4Options, FasterRcnnC4, anchors_for, cell_anchors
from septet.preprocess.regions.pixels import resized_size
from tests.preprocess.regions import reference as plain

OPTIONS = C4Options(proposals=12, anchor_sizes=plain.SIZES)
SIDES = 96, 160


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.fixture(scope="module")
def detector(weights: str) -> C4Detector:
    return C4Detector(weights, OPTIONS, *SIDES)


def test_images_are_prepared_as_the_plain_one_does(detector: C4Detector) -> None:
    for width, height in [(130, 97), (90, 120), (400, 60)]:
        pixels = plain.random_image(1, width, height)
        assert torch.equal(detector.prepare(pixels), plain.prepared(pixels, *SIDES))


def test_a_whole_detection(detector: C4Detector, state: plain.State) -> None:
    pixels = plain.random_image(2, 130, 97)
    x = plain.prepared(pixels, *SIDES)
    height, width = x.shape[2:]
    features = plain.feature_map(state, x)
    boxes = plain.proposals(state, features, height, width, most=12)
    (found,) = detector.detect([pixels])
    assert len(found) == len(boxes) == 12
    sides = np.array([width, height] * 2)
    assert np.allclose(found.boxes * sides, boxes, atol=1e-2)
    assert abs(found.boxes * sides - boxes).max() < 1e-2
    assert found.probs is not None and found.labels is not None and found.scores is not None
    for row in (0, 5, 11):
        # At the boxes that were found, so that their last bits do not count twice.
        vector, probs, _ = plain.described(state, features, (found.boxes[row] * sides).tolist())
        close(torch.from_numpy(found.features[row]), vector)
        close(torch.from_numpy(found.probs[row]), probs)
        assert found.labels[row] == int(probs[1:].argmax())
        assert np.isclose(found.scores[row], float(probs[1:].max()), atol=1e-5)
    assert np.allclose(found.probs.sum(axis=1), 1, atol=1e-6)
    assert found.scores.max() > 0.2  # the random classes are decided, so the test says something


@pytest.mark.parametrize(
    "changed",
    [
        {"pooler": "pool", "head": "dilate", "stem": "ceil"},
        {"sampling_ratio": 2, "stride_in_1x1": False},
    ],
    ids=["caffe", "torchvision strides"],
)
def test_other_arrangements(state: plain.State, changed: dict) -> None:
    network = FasterRcnnC4(state, replace(OPTIONS, **changed))
    in_1x1 = changed.get("stride_in_1x1", True)
    x = plain.prepared(plain.random_image(3, 120, 100), *SIDES)
    features = plain.feature_map(state, x, changed.get("stem") == "ceil", in_1x1)
    boxes = [[10.3, 7.7, 60.2, 90.9], [3.0, 50.0, 115.0, 95.5]]
    with torch.inference_mode():
        found = network.features(x)
        close(found, features)
        vectors, probs, deltas = network.describe(features, torch.tensor(boxes))
    for row, box in enumerate(boxes):
        wanted = plain.described(
            state, features, box, changed.get("pooler") == "pool", changed.get("sampling_ratio", 0),
            changed.get("head") == "dilate", in_1x1,
        )  # fmt: skip
        for got, want in zip((vectors, probs, deltas), wanted, strict=True):
            close(got[row], want)


def test_refined_boxes(weights: str, state: plain.State, detector: C4Detector) -> None:
    pixels = plain.random_image(4, 140, 100)
    refined = C4Detector(weights, OPTIONS, *SIDES, refined=True)
    (raw,), (moved,) = detector.detect([pixels]), refined.detect([pixels])
    height, width = plain.prepared(pixels, *SIDES).shape[2:]
    features = plain.feature_map(state, plain.prepared(pixels, *SIDES))
    sides = np.array([width, height] * 2)
    for row in (0, 3):
        box = (raw.boxes[row] * sides).tolist()
        _, probs, deltas = plain.described(state, features, box)
        dx, dy, dw, dh = (deltas[probs[1:].argmax()] / torch.tensor([10.0, 10, 5, 5])).tolist()
        w, h = box[2] - box[0], box[3] - box[1]
        x, y = (box[0] + box[2]) / 2 + dx * w, (box[1] + box[3]) / 2 + dy * h
        w, h = w * np.exp(dw), h * np.exp(dh)
        wanted = np.clip(np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) / sides, 0, 1)
        assert np.allclose(moved.boxes[row], wanted, atol=1e-4)
    assert abs(moved.boxes - raw.boxes).max() > 1e-3


def test_given_boxes_are_described_as_proposals_are(detector: C4Detector) -> None:
    pixels = plain.random_image(5, 100, 100)
    (found,) = detector.detect([pixels])
    again = detector.describe(pixels, found.boxes)
    assert np.array_equal(again.boxes, found.boxes)
    assert np.allclose(again.features, found.features, rtol=1e-4, atol=1e-3)
    assert len(detector.describe(pixels, np.zeros((0, 4)))) == 0


def test_no_image_depends_on_others(detector: C4Detector) -> None:
    images = [plain.random_image(s, w, h) for s, w, h in ((6, 130, 97), (7, 97, 130), (8, 130, 97))]
    together = detector.detect(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        assert all(np.array_equal(vars(alone)[name], value) for name, value in vars(found).items()
                   if value is not None)  # fmt: skip


def test_chunks_of_the_head_change_nothing(state: plain.State, monkeypatch: object) -> None:
    network = FasterRcnnC4(state, OPTIONS)
    features = torch.randn(1, 1024, 6, 8, generator=torch.Generator().manual_seed(0)).relu()
    corner = torch.arange(5.0)[:, None]
    boxes = torch.cat([corner, corner, corner + 60, corner + 50], dim=1)
    with torch.inference_mode():
        whole = network.describe(features, boxes)
        monkeypatch.setattr("septet.preprocess.regions.network.CHUNK", 2)  # type: ignore[attr-defined]
        parts = network.describe(features, boxes)
    for a, b in zip(whole, parts, strict=True):
        close(a, b)


@pytest.mark.parametrize(
    ("width", "height", "shortest", "longest", "wanted"),
    [
        (640, 480, 800, 1333, (1067, 800)),  # detectron2's default on COCO's usual size
        (480, 640, 800, 1333, (800, 1067)),
        (640, 480, 600, 1000, (800, 600)),
        (500, 375, 600, 1000, (800, 600)),
        (1000, 300, 600, 1000, (1000, 300)),
        (333, 500, 600, 1000, (600, 901)),
        (7, 7, 600, 1000, (600, 600)),
        (1, 5000, 600, 1000, (1, 1000)),
        (5000, 1, 600, 1000, (1000, 1)),
    ],
)
def test_sizes(width: int, height: int, shortest: int, longest: int, wanted: tuple) -> None:
    assert resized_size(width, height, shortest, longest) == wanted


def test_images_of_any_shape_go_through(detector: C4Detector) -> None:
    for width, height in [(1, 1), (1, 700), (700, 1), (31, 32)]:
        (found,) = detector.detect([plain.random_image(9, width, height)])
        assert np.isfinite(found.features).all()


def test_anchors_are_not_rounded() -> None:
    cells = cell_anchors([32], [0.5, 1, 2])
    assert np.allclose(cells[0].tolist(), [-22.627417, -11.313708, 22.627417, 11.313708])
    assert cells[1].tolist() == [-16, -16, 16, 16]


def test_the_checkpoint_has_the_first_word_on_anchors(state: plain.State) -> None:
    unset = C4Options()
    assert torch.equal(anchors_for(state, unset), cell_anchors([64, 128, 256, 512], [0.5, 1, 2]))
    held = cell_anchors([10, 20, 30, 40], [0.5, 1, 2])
    told = {**state, CELL_ANCHORS: held}
    assert torch.equal(anchors_for(told, unset), held)
    # The trap: a configuration that names 4 to 32, where the network was trained otherwise.
    with pytest.raises(ValueError, match="other anchors"):
        anchors_for(told, replace(unset, anchor_sizes=(4, 8, 16, 32)))
    with pytest.raises(ValueError, match="has 12 anchors a place"):
        anchors_for(state, replace(unset, anchor_sizes=(32, 64, 128)))
    odd = {"proposal_generator.rpn_head.objectness_logits.weight": torch.zeros(9, 8, 1, 1)}
    with pytest.raises(ValueError, match="set anchor_sizes"):
        anchors_for(odd, unset)


def test_bfloat16_and_missing_gpus_are_refused(weights: str) -> None:
    with pytest.raises(ValueError, match="GPU"):
        C4Detector(weights, OPTIONS, bfloat16=True)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU"):
            C4Detector(weights, OPTIONS, device="cuda")
