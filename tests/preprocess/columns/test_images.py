import io

import numpy as np
import pytest
from PIL import Image

from septet.preprocess.columns.base import Item, NoValue
from septet.preprocess.columns.images import ImageError, image_of, read_image
from tests.corpora import random_image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pixels_are_pillows(kind: str) -> None:
    data = random_image(3, 61, 47, kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(read_image(data), expected)


def test_grey_sixteen_bits_transparent_and_turned() -> None:
    grey = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert np.array_equal(read_image(encoded(grey, "PNG"))[..., 2], np.asarray(grey))
    deep = Image.fromarray(np.full((2, 2), 0x8000, np.uint16))
    assert (read_image(encoded(deep, "PNG")) == 128).all()
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert (read_image(encoded(clear, "PNG")) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.new("RGB", (8, 4), "blue")
    assert read_image(encoded(turned, "JPEG", exif=exif)).shape == (8, 4, 3)


def test_other_files_are_refused_without_asking_their_readers() -> None:
    postscript = encoded(Image.new("RGB", (4, 4)), "EPS")
    whole = random_image(5)
    for data in (postscript, b"", b"<html>", whole[: len(whole) // 2]):
        with pytest.raises(ImageError):
            read_image(data)
        found = image_of(Item("a", {"jpg": data}, {}))
        assert isinstance(found, NoValue) and found.reason == "image"
    assert image_of(Item("a", {"txt": b"x"}, {})) == NoValue("no_image")
