import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from septet.preprocess.images.orientation import exif_orientation, orient
from tests.preprocess.images.photos import exif, photo, saved


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_same_as_pillow_shows(orientation):
    pixels = photo(7, 5)
    with Image.open(io.BytesIO(saved(pixels, "png", exif=exif(orientation)))) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(orient(pixels, orientation), shown)
    assert np.array_equal(orient(pixels[:, :, 1], orientation), shown[:, :, 1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_found_in_both_byte_orders(order):
    assert exif_orientation(exif(6, order)) == 6
    assert exif_orientation(exif(8, order).removeprefix(b"Exif\0\0")) == 8


def test_found_among_other_tags_and_as_a_long():
    block = Image.Exif()
    block.update({0x010F: "a camera", 0x0112: 5, 0x0132: "2020:01:01 00:00:00"})
    assert exif_orientation(block.tobytes()) == 5
    long = exif(0, ">")[:18] + b"\0\4\0\0\0\1\0\0\0\3" + bytes(4)
    assert exif_orientation(long) == 3


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_invalid_values_mean_nothing(orientation):
    assert exif_orientation(exif(orientation)) == 1


@given(st.binary(max_size=60) | st.binary(max_size=60).map(b"II*\0\x08\0\0\0".__add__))
def test_any_bytes_can_be_asked(data):
    assert 1 <= exif_orientation(data) <= 8
