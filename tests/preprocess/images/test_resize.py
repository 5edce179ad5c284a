from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.images.resize import plan_resize, resize
from septet.schemas.recipe import ResizeMode
from tests.preprocess.images.photos import photo


@pytest.mark.parametrize(
    ("mode", "size", "scaled", "final"),
    [
        ("keep_ratio", (800, 600), (341, 256), (341, 256)),
        ("keep_ratio", (600, 800), (256, 341), (256, 341)),
        ("keep_ratio_largest", (800, 600), (256, 192), (256, 192)),
        ("center_crop", (800, 600), (341, 256), (256, 256)),
        ("border", (800, 600), (256, 192), (256, 256)),
        ("keep_ratio", (30_000, 300), (25_600, 256), (25_600, 256)),
        ("keep_ratio_largest", (30_000, 20), (256, 1), (256, 1)),
    ],
)
def test_sizes(mode, size, scaled, final):
    for only_if_bigger in (True, False):
        plan = plan_resize(*size, 256, mode, only_if_bigger)
        assert (plan.scaled, plan.final) == (scaled, final)


@pytest.mark.parametrize(
    ("mode", "size", "enlarged"),
    [
        ("keep_ratio", (128, 100), (328, 256)),
        ("keep_ratio", (512, 256), None),
        ("keep_ratio_largest", (128, 100), (256, 200)),
        ("keep_ratio_largest", (256, 9), None),
        ("center_crop", (128, 100), (256, 256)),
        ("center_crop", (512, 256), (256, 256)),
        ("center_crop", (256, 256), None),
        ("border", (128, 100), (256, 256)),
        ("border", (256, 9), (256, 256)),
        ("border", (256, 256), None),
    ],
)
def test_small_images_stay_unless_asked(mode, size, enlarged):
    assert plan_resize(*size, 256, mode, True) is None
    plan = plan_resize(*size, 256, mode, False)
    assert (plan and plan.final) == enlarged


def test_no_mode_never_resizes():
    assert plan_resize(9000, 9000, 256, "no", False) is None


sides = st.integers(1, 5000)


@given(sides, sides, st.integers(1, 600), st.sampled_from(get_args(ResizeMode)), st.booleans())
def test_plans_hold_for_every_size(width, height, size, mode, only_if_bigger):
    plan = plan_resize(width, height, size, mode, only_if_bigger)
    if plan is None:
        return
    short = mode in ("keep_ratio", "center_crop")
    assert (min if short else max)(plan.scaled) == size
    for side, new in zip((width, height), plan.scaled, strict=True):
        exact = side * size / (min if short else max)(width, height)
        assert new == max(1, round(exact)) or abs(new - exact) == 0.5
    if mode in ("center_crop", "border"):
        assert plan.final == (size, size)
    if only_if_bigger:
        assert plan.scaled[0] <= width
        assert plan.scaled[1] <= height


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("size", [(90, 60), (61, 90), (20, 30)])
@pytest.mark.parametrize("mode", get_args(ResizeMode)[1:])
def test_pixels_have_the_planned_size_and_keep_the_mean(mode, size, channels):
    pixels = photo(*size) if channels else photo(*size)[:, :, 0]
    plan = plan_resize(*size, 40, mode, False)
    out = resize(pixels, plan)
    assert out.shape == (*plan.final[::-1], *channels)
    assert out.dtype == np.uint8
    if plan.final == plan.scaled:
        assert np.abs(out.mean() - pixels.mean()) < 2


def test_the_crop_is_the_middle_and_the_border_is_white():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 200
    crop = resize(pixels, plan_resize(80, 40, 20, "center_crop", True))
    assert crop.min() == 200
    framed = resize(pixels, plan_resize(80, 40, 41, "border", True))
    assert framed.shape == (41, 41, 3)
    assert (framed[:10] == 255).all()
    assert (framed[-10:] == 255).all()
    assert framed[11:-11].max() <= 201


@pytest.mark.parametrize("shape", [(400, 1), (1, 400)])
def test_a_line_that_shrinks_is_averaged_too(shape):
    pixels = np.tile(np.array([0, 0, 0, 200], np.uint8), 100).reshape(shape)
    (height, width) = shape
    plan = plan_resize(width, height, 100, "keep_ratio_largest", False)
    assert plan.scaled == (min(width, 100), min(height, 100))
    assert (resize(pixels, plan) == 50).all()
