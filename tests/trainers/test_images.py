"""One decoder: trainers see the pixels that builds and columns see; the evaluation view is
open_clip's."""

import io

import numpy as np
import open_clip
import pytest
from PIL import Image

from septet.preprocess.columns.images import read_image
from septet.trainers.clip.presets import PRESETS
from septet.trainers.inputs import images
from septet.trainers.task import SampleError
from tests.preprocess.images.photos import photo, png, saved
from tests.preprocess.images.test_decode import FILES


@pytest.mark.parametrize("name", FILES)
def test_trainers_and_columns_see_the_same_pixels(name):
    pixels = images.decode(FILES[name])
    assert np.array_equal(pixels, read_image(FILES[name]))
    if "turned" in name:
        smaller = images.decode(FILES[name], shortest=8)
        assert (smaller.shape[0] > smaller.shape[1]) == (pixels.shape[0] > pixels.shape[1])


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded():
    rows = [bytes(19_200 // 8)] * 64
    bomb = png(19_200, 19_200, 1, 0, rows)
    with pytest.raises(SampleError, match="too_many_pixels: 19200x19200"):
        images.decode(bomb, 64)
    with pytest.raises(SampleError, match="image cannot be used"):
        images.decode(b"\xff\xd8 no")


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("size", [
    (224, 224), (224, 300), (300, 200), (450, 448), (500, 900), (1000, 667), (333, 1777), (40, 30),
])  # fmt: skip
def test_the_evaluation_view_is_open_clips_to_the_bit(kind, size):
    data = saved(photo(*size), kind)
    expected = open_clip.image_transform(224, is_train=False)(Image.open(io.BytesIO(data)))
    task = PRESETS["vit-b-32"].task()
    pixels = task.read("pairs", {{"jpeg": "jpg"}.get(kind, kind): data, "txt": b"x"}, None)[
        "pixels"
    ]
    mean, std = (np.array(x)[:, None, None] for x in (images.MEAN, images.STD))
    theirs = np.rint((expected.numpy() * std + mean) * 255)
    assert np.array_equal(pixels.transpose(2, 0, 1), theirs)
