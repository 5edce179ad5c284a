"""Which images look like an evaluation image."""

import io

import numpy as np
from PIL import Image

from septet.preprocess.evaluation.images import SHOWN, find_images, shown
from septet.preprocess.images.appearance import appearance, hashes_of
from tests.corpora import random_image


def seen(images: list[Image.Image]) -> np.ndarray:
    looks = [appearance(np.asarray(image)) for image in images]
    thumbnails = np.array([np.frombuffer(one.thumbnail, np.uint8) for one in looks])
    aspects = [float(np.log(image.width / image.height)) for image in images]
    return shown(hashes_of([one.phash for one in looks]), aspects, thumbnails)


ORIGINALS = [Image.open(io.BytesIO(random_image(n, 400, 300, "PNG"))) for n in range(301, 309)]
COPIES = [image.resize((200, 150)).crop((2, 2, 199, 149)) for image in ORIGINALS]
MIRRORED = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in ORIGINALS]


def test_copies_are_found_and_others_not() -> None:
    evaluation = seen(ORIGINALS[:6])
    found = find_images(evaluation, seen(COPIES + MIRRORED))
    assert [None if hit is None else hit.number for hit in found] == [*range(6), *[None] * 10]
    assert find_images(np.empty(0, SHOWN), seen(COPIES)) == [None] * 8


def test_hashes_alone_are_held_to_fewer_bits() -> None:
    evaluation = seen(ORIGINALS[:1])
    evaluation["aspect"] = np.nan
    evaluation["thumbnail"] = 0
    near = seen(ORIGINALS[:1] * 3)
    near["phash"][1] ^= np.uint64(0b1111)
    near["phash"][2] ^= np.uint64(0b11111)
    found = find_images(evaluation, near)
    assert [None if hit is None else hit.bits for hit in found] == [0, 4, None]
