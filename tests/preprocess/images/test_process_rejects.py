import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.preprocess.images.process import ProcessedImage, process_image
from septet.schemas import recipe
from septet.schemas.reasons import REASONS, Rejected
from tests.preprocess.images.photos import WHOLE, opened, photo, png, saved
from tests.preprocess.images.processing import HALF, KEEP, LOSSLESS, difference, done, rejected


def bomb(kind, width, height):
    """A file of a few bytes that announces width x height pixels."""
    if kind == "png":
        return png(width, height, 8, 2, [b""])
    if kind == "gif":
        frame = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\0\2\0"
        return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + frame
    if kind == "bmp":
        return (
            b"BM" + bytes(8) + struct.pack("<IIiiHHIIIIII", 54, 40, width, height, 1, 24, *[0] * 6)
        )
    data = saved(photo(8, 8), kind, lossless=True)
    if kind == "jpeg":
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
    at = data.index(b"VP8L") + 9
    return data[:at] + struct.pack("<I", (width - 1) | (height - 1) << 14) + data[at + 4 :]


@pytest.mark.parametrize(
    ("kind", "size"),
    [("png", (50_000, 50_000)), ("gif", (50_000, 50_000)), ("bmp", (50_000, 50_000)),
     ("jpeg", (50_000, 50_000)), ("webp", (16_383, 16_383))],
)  # fmt: skip
def test_bombs_are_known_by_their_header(kind, size):
    data = bomb(kind, *size)
    assert len(data) < 1000
    assert rejected(data) == ("too_many_pixels", f"{size[0]}x{size[1]}")


def test_the_limit_itself_is_allowed():
    data = saved(photo(), "png")
    done(data, recipe.Image(max_pixels=64 * 48))
    assert rejected(data, recipe.Image(max_pixels=64 * 48 - 1)) == ("too_many_pixels", "64x48")


def test_enlarging_a_line_is_a_bomb_too():
    line = saved(np.zeros((1, 3000, 3), np.uint8), "png")
    grow = recipe.Image(resize_only_if_bigger=False, image_size=256)
    assert rejected(line, grow) == ("too_many_pixels", "768000x256")


def test_sides_that_an_encoding_cannot_hold():
    tall = saved(np.zeros((20_000, 2), np.uint8), "bmp")
    policy = recipe.Image(encode_format="webp", resize_mode="no")
    assert rejected(tall, policy) == ("too_long_side", "2x20000")
    done(tall, recipe.Image(encode_format="jpg", resize_mode="no"))


def test_more_scans_than_any_encoder_writes():
    data = saved(photo(), "jpeg", progressive=True)
    start = data.rindex(b"\xff\xda")
    many = data[:start] + data[start:-2] * 200 + data[-2:]
    assert rejected(many) == ("decode_error", "209 scans of 3072 pixels")


@pytest.mark.parametrize(
    ("data", "reason", "value"),
    [
        (b"", "empty", None),
        (b"<!DOCTYPE html><html>Not found</html>", "not_image", "html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported", "svg"),
        (saved(np.zeros((4, 4), np.float32), "tiff"), "unsupported", "tiff mode f"),
        (b"GIF89a", "decode_error", None),
        (b"\x89PNG\r\n\x1a\n", "decode_error", None),
        (b"\xff\xd8\xff\xe0", "decode_error", None),
        (png(0, 10, 8, 2, [b""]), "decode_error", None),
    ],
)
def test_other_rejects(data, reason, value):
    found = rejected(data)
    assert found[0] == reason
    if value is not None:
        assert found[1] == value


@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_files_are_rejected_unless_all_pixels_came(kind):
    data = WHOLE[kind]
    expected = opened(done(data, LOSSLESS).data)
    seen = set()
    for cut in {*range(1, 30), *range(len(data) // 8, len(data), len(data) // 8)}:
        result = process_image(data[:-cut], LOSSLESS)
        if isinstance(result, ProcessedImage):
            assert np.array_equal(opened(result.data), expected)
        else:
            seen.add(result.reason)
            assert result == process_image(data[:-cut], LOSSLESS)
    assert "decode_error" in seen


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "cmyk"])
def test_a_jpeg_cut_and_closed_again_is_damaged(kind):
    # Most readers show such a file with its lower part in grey.
    data = WHOLE[kind]
    closed = data[: data.rindex(b"\xff\xda") + 30] + b"\xff\xd9"  # within the last scan
    assert opened(closed).shape == (48, 64, 3)
    assert rejected(closed) == (
        "decode_error",
        "Corrupt JPEG data: premature end of data segment",
    )


def test_harmless_bytes_between_segments_are_no_damage():
    data = WHOLE["jpeg"]
    result = done(data[:-2] + b"zzzz" + data[-2:], LOSSLESS)
    assert difference(opened(result.data), opened(data)) < 0.1


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_bytes_make_it_raise(data):
    whole = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    policy = data.draw(st.sampled_from([KEEP, HALF, LOSSLESS]))
    first = process_image(bytes(whole), policy)
    assert first == process_image(bytes(whole), policy)
    if isinstance(first, Rejected):
        assert "fetch" in REASONS[first.reason].stages
        assert first.value is None or (len(first.value) <= 100 and "\n" not in first.value)


@given(st.binary(max_size=200), st.sampled_from(sorted(WHOLE)))
def test_random_bytes_after_a_real_start(tail, kind):
    for data in (tail, WHOLE[kind][:40] + tail):
        assert isinstance(process_image(data, KEEP), Rejected)


@pytest.mark.parametrize(
    "changes",
    [{"resize_mode": "squash"}, {"encode_format": "gif"}, {"image_size": 0},
     {"encode_quality": 101}, {"max_pixels": 0}, {"max_frames": 0}],
)  # fmt: skip
def test_policies_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        recipe.Image(**changes)
