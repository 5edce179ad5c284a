"""The second look: what is a copy and what only looks like one."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from septet.preprocess.images.appearance import THUMBNAIL_BYTES, appearance
from septet.preprocess.near_duplicates.thumbnails import look_alike
from tests.corpora import random_image

BASE = Image.open(io.BytesIO(random_image(3, 400, 300, "PNG")))


def alike(one: Image.Image, other: Image.Image, **options: bool) -> bool:
    shown = [np.frombuffer(appearance(np.asarray(image)).thumbnail, np.uint8)[None]
             for image in (one, other)]  # fmt: skip
    aspects = [np.log([image.width / image.height]) for image in (one, other)]
    both = [
        look_alike((shown[a], shown[b]), (aspects[a], aspects[b]), **options)
        for a, b in ((0, 1), (1, 0))
    ]
    assert both[0].tolist() == both[1].tolist(), "the order does not count"
    return bool(both[0][0])


def marked(box: tuple[int, int, int, int], colour: str, image: Image.Image = BASE) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).rectangle(box, colour)
    return image


def plain(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (400, 300), colour)


@pytest.mark.parametrize(
    "copy",
    [
        BASE,
        BASE.resize((130, 100)),
        BASE.resize((410, 300)),
        BASE.crop((8, 6, 400, 300)),
        BASE.crop((0, 0, 392, 294)),
        ImageEnhance.Brightness(BASE).enhance(1.15),
        ImageEnhance.Contrast(BASE).enhance(0.85),
        marked((270, 280, 395, 296), "white"),  # a site's name
    ],
)
def test_copies(copy: Image.Image) -> None:
    assert alike(BASE, copy)


@pytest.mark.parametrize(
    "other",
    [
        Image.open(io.BytesIO(random_image(4, 400, 300, "PNG"))),
        BASE.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        BASE.resize((300, 400)),
        BASE.crop((0, 0, 300, 225)),
        marked((150, 100, 250, 200), "white"),
        marked((0, 225, 400, 300), "white"),
        Image.merge("RGB", BASE.split()[::-1]),
    ],
)
def test_look_alikes(other: Image.Image) -> None:
    assert not alike(BASE, other)


def test_another_word_is_seen_in_detail_alone() -> None:
    def sign(word: str) -> Image.Image:
        image = BASE.copy()
        ImageDraw.Draw(image).text((60, 110), word, "white", ImageFont.load_default(60))
        return image

    for word, same in (("harbour", True), ("gardens", False)):
        assert alike(sign("harbour"), sign(word).resize((380, 290))) == same
        assert alike(sign("harbour"), sign(word), in_detail=False)


def test_next_to_blank_images() -> None:
    grey = plain((200, 200, 200))
    assert alike(grey, plain((202, 202, 202)))
    assert not alike(grey, plain((200, 200, 120)))
    assert not alike(grey, plain((120, 120, 120)))
    assert not alike(grey, marked((40, 40, 90, 80), "black", grey))
    assert not alike(
        marked((40, 40, 90, 80), "black", grey), marked((140, 140, 190, 180), "black", grey)
    )


def test_none() -> None:
    nothing = np.empty((0, THUMBNAIL_BYTES), np.uint8)
    assert look_alike((nothing, nothing), (np.empty(0), np.empty(0))).tolist() == []
