import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from septet.preprocess.boxes import transforms as t

unit = st.one_of(st.just(0.0), st.floats(1e-9, 1))


@st.composite
def boxes(draw: st.DrawFn, count: int = 5) -> np.ndarray:
    corners = draw(st.lists(st.tuples(unit, unit, unit, unit), max_size=count))
    array = np.array(corners, np.float64).reshape(-1, 4)
    return np.concatenate(
        [np.minimum(array[:, :2], array[:, 2:]), np.maximum(array[:, :2], array[:, 2:])], axis=1
    )


whole = st.lists(
    st.tuples(*[st.integers(0, 2**20)] * 4).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
    ),
    max_size=5,
)


@given(whole, st.integers(2**20, 2**21))
def test_flip_of_whole_pixels_is_its_own_inverse(corners: list, width: int) -> None:
    there = t.flip(corners, width)
    assert np.array_equal(t.flip(there, width), t.as_boxes(corners))
    assert (there[:, 2] >= there[:, 0]).all()


@given(boxes())
def test_flip_of_shares_is_its_own_inverse_within_a_rounding(corners: np.ndarray) -> None:
    assert abs(t.flip(t.flip(corners)) - corners).max(initial=0) <= 2**-53


@given(boxes(), st.integers(-20, 20), st.integers(-20, 20))
def test_scale_by_powers_of_two_is_undone_exactly(corners: np.ndarray, x: int, y: int) -> None:
    there = t.scale(corners, 2.0**x, 2.0**y)
    assert np.array_equal(t.scale(there, 2.0**-x, 2.0**-y), corners)


@given(boxes(), st.integers(1, 10_000), st.integers(1, 10_000))
def test_normalise_undoes_denormalise(corners: np.ndarray, width: int, height: int) -> None:
    pixels = t.denormalise(corners, width, height)
    assert np.allclose(t.normalise(pixels, width, height), corners, rtol=0, atol=2**-51)


@given(whole)
def test_width_and_height_and_back(corners: list) -> None:
    assert np.array_equal(t.from_xywh(t.to_xywh(corners)), t.as_boxes(corners))


@given(boxes(), st.tuples(unit, unit, unit, unit), st.floats(0, 1))
def test_crop_keeps_what_lies_within(corners: np.ndarray, w: tuple, share: float) -> None:
    window = (min(w[0], w[2]), min(w[1], w[3]), max(w[0], w[2]), max(w[1], w[3]))
    assume(window[2] - window[0] > 1e-6 and window[3] - window[1] > 1e-6)
    cut, kept = t.crop(corners, window, share)
    assert (cut >= 0).all()
    assert (cut[:, 2] <= window[2] - window[0] + 1e-15).all()
    assert (cut[:, 3] <= window[3] - window[1] + 1e-15).all()
    # By hand, box by box
    expected = []
    for i, (x0, y0, x1, y1) in enumerate(corners):
        a, b = max(x0, window[0]), max(y0, window[1])
        c, d = min(x1, window[2]), min(y1, window[3])
        if c < a or d < b:
            continue
        area = (x1 - x0) * (y1 - y0)
        part = ((c - a) * (d - b) / area) if area > 0 else 1.0
        if part > 0 and part >= share:
            expected.append(i)
    assert kept.tolist() == expected


@given(boxes())
def test_uncrop_undoes_crop_of_boxes_within(corners: np.ndarray) -> None:
    window = (-0.5, -0.25, 1.5, 1.25)
    cut, kept = t.crop(corners, window)
    assert kept.tolist() == list(range(len(corners)))
    assert abs(t.uncrop(cut, window) - corners).max(initial=0) <= 2**-52


def test_a_view_agrees_with_the_pixels() -> None:
    image = np.zeros((40, 60), np.uint8)
    image[10:20, 30:45] = 1
    box = t.normalise([[30, 10, 45, 20]], 60, 40)
    cut = image[5:35, 20:50][:, ::-1]
    (seen,), kept = t.view(box, (20 / 60, 5 / 40, 50 / 60, 35 / 40), flipped=True)
    rows, columns = np.nonzero(cut)
    found = [columns.min() / 30, rows.min() / 30, (columns.max() + 1) / 30, (rows.max() + 1) / 30]
    assert np.allclose(seen, found) and kept.tolist() == [0]


def test_boxes_that_are_mostly_cut_away_go() -> None:
    three = [[0.0, 0.0, 0.2, 0.2], [0.4, 0.0, 0.8, 0.2], [0.9, 0.9, 1.0, 1.0]]
    cut, kept = t.crop(three, (0.5, 0.0, 1.0, 0.5), 0.5)
    assert kept.tolist() == [1] and np.allclose(cut, [[0, 0, 0.3, 0.2]])
    assert t.crop(three, (0.5, 0.0, 1.0, 0.5), 0.8)[1].tolist() == []


def test_the_dtype_stays() -> None:
    box = np.array([[0, 0.25, 0.5, 1]], np.float32)
    for found in (t.flip(box), t.scale(box, 2, 3), t.crop(box, (0, 0, 1, 1))[0], t.from_xywh(box),
                  t.uncrop(box, (0, 0, 1, 1)), t.view(box, (0, 0, 0.5, 1))[0]):  # fmt: skip
        assert found.dtype == np.float32
    assert t.as_boxes([]).shape == (0, 4)


@pytest.mark.parametrize("wrong", [[1, 2, 3, 4], [[1, 2, 3]], [["a"] * 4], [[None] * 4]])
def test_what_is_no_boxes_is_said(wrong: list) -> None:
    with pytest.raises(ValueError, match=r"\[n, 4\]"):
        t.as_boxes(wrong)


def test_an_empty_window_is_an_error() -> None:
    with pytest.raises(ValueError, match="x0 < x1"):
        t.crop([[0, 0, 1, 1]], (0.5, 0, 0.5, 1))
