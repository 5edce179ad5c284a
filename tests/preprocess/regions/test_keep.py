import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.preprocess.regions.select import keep, max_confidences


def slow_iou(a: list, b: list) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


def slow(boxes: list, probs: list, threshold: float, least: int, most: int, nms: float) -> list:
    """The rule in plain Python: a list of (position, confidence)."""
    n = len(boxes)
    best = [0.0] * n
    for c in range(1, len(probs[0]) if n else 1):
        ranked = sorted(range(n), key=lambda i: (-probs[i][c], i))
        survivors: list[int] = []
        for i in ranked:
            if all(slow_iou(boxes[i], boxes[j]) <= nms for j in survivors):
                survivors.append(i)
                best[i] = max(best[i], probs[i][c])
    order = sorted(range(n), key=lambda i: (-best[i], i))
    reach = [i for i in order if best[i] >= threshold]
    if len(reach) < least:
        reach = order[:least]
    elif len(reach) > most:
        reach = order[:most]
    return [(i, best[i]) for i in reach]


@st.composite
def cases(draw: st.DrawFn) -> tuple:
    n, classes = draw(st.integers(0, 12)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (n, 2)).round(draw(st.integers(0, 3)))
    boxes = np.concatenate([corners, corners + rng.integers(1, 60, (n, 2))], axis=1)
    sharp = draw(st.sampled_from([0.5, 3.0]))
    logits = rng.normal(0, sharp, (n, 1 + classes)).round(draw(st.integers(0, 6)))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    least = draw(st.integers(0, 6))
    return (
        boxes,
        probs.astype(np.float32),
        least,
        least + draw(st.integers(0, 6)),
        draw(st.floats(0.05, 0.9)),
    )


@settings(max_examples=300)
@given(cases(), st.sampled_from([0.3, 0.7]))
def test_it_is_the_plain_rule(case: tuple, nms: float) -> None:
    boxes, probs, least, most, threshold = case
    rows, confidences = keep(boxes, probs, threshold, least, most, nms)
    wanted = slow(boxes.tolist(), probs.tolist(), threshold, least, most, nms)
    assert list(zip(rows.tolist(), confidences.tolist(), strict=True)) == wanted


def test_bounds() -> None:
    boxes = np.array([[10 * i, 0, 10 * i + 5, 5] for i in range(8)], np.float32)
    high = np.linspace(0.1, 0.8, 8, dtype=np.float32)
    probs = np.stack([1 - high, high], axis=1)
    assert keep(boxes, probs, 0.45, 0, 10)[0].tolist() == [7, 6, 5, 4]
    assert keep(boxes, probs, 0.45, 6, 10)[0].tolist() == [7, 6, 5, 4, 3, 2]
    assert keep(boxes, probs, 0.45, 0, 2)[0].tolist() == [7, 6]
    assert keep(boxes, probs, 0.45, 3, 3)[0].tolist() == [7, 6, 5]
    assert keep(boxes, probs, 0.9, 0, 10)[0].tolist() == []
    assert keep(boxes, probs, 0.9, 20, 30)[0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert keep(boxes[:0], probs[:0], 0.2, 5, 9)[0].tolist() == []
    with pytest.raises(ValueError, match="least <= most"):
        keep(boxes, probs, 0.2, 5, 4)


def test_a_box_that_loses_in_one_class_may_win_in_another() -> None:
    same = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
    probs = np.array([[0.1, 0.6, 0.3], [0.1, 0.5, 0.4]], np.float32)
    assert np.allclose(max_confidences(same, probs), [0.6, 0.4])
    assert np.allclose(max_confidences(same, probs[:, :2]), [0.6, 0.0])
    # Background never counts.
    assert np.allclose(max_confidences(same[:1], np.array([[0.9, 0.1]], np.float32)), [0.1])
