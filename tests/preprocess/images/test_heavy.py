"""Images that may take long or much memory are decoded in a process that can be stopped."""

import struct

import pytest
from PIL import Image

from septet.preprocess.bounded import BoundedCall
from septet.preprocess.images import process
from septet.preprocess.images.headers import HEAVY_PIXELS, is_heavy
from septet.preprocess.images.process import process_here, process_image
from septet.schemas import recipe
from septet.schemas.reasons import Rejected, RejectedError
from tests.preprocess.images.photos import WHOLE, photo, png, saved
from tests.preprocess.images.processing import HALF

SIDE = 5001  # a little over the limit when squared
LARGE = {
    kind: saved(Image.new("L", (SIDE, SIDE)), kind)
    for kind in ("jpeg", "png", "gif", "bmp", "webp")
}
LARGE["progressive"] = (
    saved(Image.new("L", (3500, 3500)), "jpeg", progressive=True) + b"\xff\xda" * 12
)


@pytest.mark.parametrize("kind", LARGE)
def test_large_images_are_heavy_and_come_out_the_same(kind):
    assert SIDE * SIDE > HEAVY_PIXELS
    assert is_heavy(LARGE[kind])
    assert process_image(LARGE[kind], HALF) == process_here(LARGE[kind], HALF)


@pytest.mark.parametrize("kind", WHOLE)
def test_small_ones_are_not_but_for_kinds_whose_headers_say_too_little(kind):
    assert is_heavy(WHOLE[kind]) == (kind in ("tiff", "avif"))
    assert process_image(WHOLE[kind], HALF) == process_here(WHOLE[kind], HALF)


@pytest.mark.parametrize(("side", "heavy"), [(100, False), (5001, True)])
def test_a_bmp_of_the_first_version_has_short_sides(side: int, heavy: bool) -> None:
    head = struct.pack("<IHHHH", 12, side, side, 1, 24)
    assert is_heavy(b"BM" + struct.pack("<IHHI", 26, 0, 0, 26) + head) is heavy


def test_headers_that_end_early_are_not_heavy():
    for kind in WHOLE:
        for end in range(12, 40):
            try:
                heavy = is_heavy(WHOLE[kind][:end])
            except RejectedError:
                continue
            assert heavy == (kind in ("tiff", "avif"))


def test_a_decode_that_takes_too_long_is_a_reject(monkeypatch):
    slow = BoundedCall("tests.preprocess.test_bounded:spin_with", 0.3, 2**32)
    monkeypatch.setattr(process, "_elsewhere", lambda memory: slow)
    assert process_image(LARGE["png"], HALF) == Rejected("decode_timeout", "60")


def test_a_decode_that_needs_too_much_memory_is_a_reject(monkeypatch):
    small = BoundedCall("septet.preprocess.images.process:process_here", 60.0, 2**27)
    monkeypatch.setattr(process, "_elsewhere", lambda memory: small)
    rows = [b"\x7f" * 12_000 * 3] * 8000
    found = process_image(png(12_000, 8000, 8, 2, rows), recipe.Image())
    assert isinstance(found, Rejected)
    assert found.reason == "decode_memory"
    assert process_image(saved(photo(), "tiff"), HALF) == process_here(saved(photo(), "tiff"), HALF)
