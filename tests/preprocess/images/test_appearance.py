"""How images look in few bytes: ImageHash as an oracle, and what a viewer sees."""

import io

import imagehash
import numpy as np
import pytest
from PIL import Image

from septet.preprocess.images.appearance import (
    THUMBNAIL_BYTES,
    appearance,
    appearance_of,
    hashes_of,
    perceptual_hash,
)
from septet.preprocess.images.process import process_image
from septet.schemas import recipe
from tests.preprocess.images.photos import exif, photo, saved

RNG = np.random.default_rng(5)


def bits_apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_of_32_by_32_grey_pixels_it_is_the_hash_of_imagehash() -> None:
    for seed in range(200):
        smooth = photo(32, 32, seed)[:, :, 0]
        expected = str(imagehash.phash(Image.fromarray(smooth)))
        assert bits_apart(f"{perceptual_hash(smooth):016x}", expected) <= 2  # of the median
    exact = [
        f"{perceptual_hash(pixels):016x}" == str(imagehash.phash(Image.fromarray(pixels)))
        for pixels in RNG.integers(0, 256, (200, 32, 32), np.uint8)
    ]
    assert sum(exact) == 200


def test_of_photographs_it_is_near_to_that_of_imagehash() -> None:
    apart = []
    for seed in range(60):
        data = saved(photo(500, 375, seed), "JPEG", quality=90)
        expected = str(imagehash.phash(Image.open(io.BytesIO(data))))
        apart.append(bits_apart(appearance_of(data, 10**6).phash, expected))
    assert np.mean(apart) < 3 and max(apart) <= 10


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "GIF"])
@pytest.mark.parametrize("mode", ["keep_ratio", "no", "border"])
def test_it_is_that_of_the_bytes_which_are_stored(kind: str, mode: str) -> None:
    data = saved(photo(300, 280, 4), kind)
    result = process_image(data, recipe.Image(image_size=100, resize_mode=mode))
    assert result.appearance == appearance_of(result.data, 10**6)
    assert len(result.appearance.thumbnail) == THUMBNAIL_BYTES


def test_orientation_and_transparency_count_as_they_are_seen() -> None:
    pixels = photo(200, 120, 7)
    upright = appearance(pixels)
    on_its_side = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    turned = process_image(saved(on_its_side, "PNG", exif=exif(6)), recipe.Image())
    assert bits_apart(turned.appearance.phash, upright.phash) <= 2
    flat = process_image(saved(on_its_side, "PNG"), recipe.Image())
    assert bits_apart(flat.appearance.phash, upright.phash) > 12

    alpha = np.full((120, 200), 255, np.uint8)
    alpha[:, 150:] = 0
    hidden = np.dstack([pixels, alpha])
    hidden[:, 150:, :3] = 0  # black behind what cannot be seen
    seen = pixels.copy()
    seen[:, 150:] = 255
    shown = process_image(saved(Image.fromarray(hidden), "PNG"), recipe.Image())
    assert bits_apart(shown.appearance.phash, appearance(seen).phash) <= 2


def test_grey_and_rgb_of_the_same_pixels_look_the_same() -> None:
    grey = photo(90, 70, 2)[:, :, 1]
    assert appearance(grey) == appearance(np.repeat(grey[:, :, None], 3, axis=2))


def test_the_thumbnail_is_what_one_sees() -> None:
    pixels = np.zeros((240, 240, 3), np.uint8)
    pixels[:, 120:] = (255, 0, 0)
    thumbnail = np.frombuffer(appearance(pixels).thumbnail, np.uint8)
    luma, red = thumbnail[:2304].reshape(48, 48), thumbnail[2304:2320].reshape(4, 4)
    assert (luma[:, :24] == 0).all() and (luma[:, 24:] == 76).all()
    assert (red[:, :2] == 128).all() and (red[:, 2:] == 255).all()


def test_hashes_are_numbers_whose_first_digit_counts_most() -> None:
    assert hashes_of(["8000000000000001", "00000000000000ff"]).tolist() == [2**63 + 1, 255]
