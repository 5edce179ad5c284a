"""One decoder for builds, columns and trainers, over files of every odd kind."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from septet.preprocess.columns.images import read_image
from septet.preprocess.images import jpeg, webp
from septet.preprocess.images.decode import OpenedImage, decode_rgb
from septet.preprocess.images.pillow import PillowImage
from septet.schemas.reasons import RejectedError
from tests.preprocess.images.photos import exif, grey_alpha, opened, photo, png, saved
from tests.preprocess.images.processing import LOSSLESS, done

RGB = Image.fromarray(photo())
CLEAR = Image.fromarray(np.dstack([photo(), photo(seed=1)[:, :, 0]]))


def on_white(image):
    """What a person sees, by Pillow alone."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        deep = np.asarray(image.convert("I"))
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def with_profile(data, sequence=2):
    """A JPEG with a segment of a colour profile whose numbering is wrong."""
    body = b"ICC_PROFILE\0" + bytes([sequence, 1]) + b"nonsense" * 20
    return data[:2] + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + data[2:]


def frames(kind):
    rest = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    return saved(RGB, kind, save_all=True, append_images=rest, duration=50)


def png16(colour, pixel):
    return png(8, 4, 16, colour, [struct.pack(f">{len(pixel)}H", *pixel) * 8] * 4)


FILES = {
    **{f"{kind}": saved(RGB, kind) for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif")},
    **{f"{kind} grey": saved(RGB.convert("L"), kind) for kind in ("jpeg", "png", "webp", "bmp")},
    **{
        f"{kind} turned {n}": saved(RGB, kind, exif=exif(n))
        for kind in ("jpeg", "png", "webp")
        for n in range(2, 9)
    },
    **{f"tiff turned {n}": saved(RGB, "tiff", tiffinfo={0x0112: n}) for n in (3, 6)},
    "jpeg progressive": saved(RGB, "jpeg", progressive=True),
    "jpeg 4:4:4": saved(RGB, "jpeg", subsampling=0),
    "jpeg 4:2:2": saved(photo(65, 47), "jpeg", subsampling=1),
    "jpeg RGB": saved(RGB, "jpeg", keep_rgb=True),
    "jpeg CMYK": saved(RGB.convert("CMYK"), "jpeg"),
    "jpeg damaged profile": with_profile(saved(RGB, "jpeg")),
    "png palette": saved(RGB.quantize(16), "png"),
    "png palette clear": saved(RGB.quantize(8), "png", transparency=3),
    "png bits": saved(RGB.convert("1"), "png"),
    "png alpha": saved(CLEAR, "png"),
    "png grey alpha": saved(grey_alpha(), "png"),
    "png key": saved(photo() // 2, "png", transparency=tuple((photo() // 2)[0, 0].tolist())),
    "png 16 bits grey": saved(np.arange(0, 64 * 48 * 20, 20).astype(np.uint16).reshape(48, 64), "png"),
    "png 16 bits": png16(2, (20_000, 40_000, 60_000)),
    "png 16 bits alpha": png16(6, (20_000, 40_000, 60_000, 65_535)),
    "png interlaced": png(1, 1, 8, 2, [b"\1\2\3"]),
    "png profile": saved(RGB, "png", icc_profile=b"x" * 200),
    "webp lossless": saved(RGB, "webp", lossless=True),
    "webp alpha": saved(CLEAR, "webp", lossless=True),
    "webp opaque alpha": saved(RGB.convert("RGBA"), "webp", lossless=True),
    "webp odd": saved(photo(33, 17), "webp", quality=60),
    "webp profile": saved(RGB, "webp", icc_profile=b"x" * 200),
    "gif clear": saved(RGB.quantize(8), "gif", transparency=3),
    "gif frames": frames("gif"),
    "webp frames": frames("webp"),
    "png frames": frames("png"),
    "tiff LZW": saved(RGB, "tiff", compression="tiff_lzw"),
    "tiff CMYK": saved(RGB.convert("CMYK"), "tiff"),
    "tiff alpha": saved(CLEAR, "tiff"),
    "tiff 16 bits": saved(np.full((9, 7), 20_000, np.uint16), "tiff"),
    "bmp palette": saved(RGB.quantize(16), "bmp"),
    "jpeg one pixel": saved(photo(1, 1), "jpeg"),
    "jpeg line": saved(photo(300, 1), "jpeg"),
}  # fmt: skip


def test_there_are_files_enough():
    assert len(FILES) >= 60


@pytest.mark.parametrize("name", FILES)
def test_build_columns_and_the_decoder_agree(name):
    data = FILES[name]
    pixels = decode_rgb(data)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, read_image(data))
    built = done(data, LOSSLESS)  # kept as it is, or a PNG
    assert (built.width, built.height) == pixels.shape[1::-1]
    assert np.array_equal(decode_rgb(built.data), pixels)
    if not built.reencoded:
        assert np.array_equal(opened(data), pixels)


def test_segments_of_a_jpeg_are_followed_mark_by_mark():
    data = FILES["jpeg"]
    header = jpeg.read_header(data)
    assert (header.width, header.height) == (RGB.width, RGB.height)
    assert jpeg.read_header(data[:2] + b"\xff\xff" + data[2:]) == header  # fill bytes
    assert jpeg.read_header(data[:2] + b"\xff\x01" + data[2:]) == header  # a mark alone
    assert jpeg.read_header(data[:2] + b"\0" + data[2:]) is None


def test_a_jpeg_that_is_kept_is_not_decoded_whole(monkeypatch):
    sizes = []
    decode = jpeg.decode

    def watched(*args):
        pixels = decode(*args)
        sizes.append(pixels.shape[:2])
        return pixels

    monkeypatch.setattr(jpeg, "decode", watched)
    image = OpenedImage(saved(photo(800, 600), "jpeg"), 10**6)
    assert image.is_shown_as_stored() and image.small().shape[:2] == sizes[0]
    assert len(sizes) == 1 and max(sizes[0]) <= 200


@pytest.mark.parametrize("name", [name for name in FILES if "16 bits alpha" not in name])
def test_pixels_are_those_that_a_person_sees(name):
    with Image.open(io.BytesIO(FILES[name])) as image:
        expected = on_white(image)
    found = decode_rgb(FILES[name])
    assert found.shape == expected.shape
    # Where alpha is blended, Pillow's two ways differ by one.
    bound = 1 if any(word in name for word in ("alpha", "clear", "key")) else 0
    assert np.abs(found.astype(int) - expected).max() <= bound


def test_a_scaled_decode_is_as_large_as_asked():
    data = saved(photo(640, 400), "jpeg", exif=exif(6))
    assert decode_rgb(data).shape == (640, 400, 3)
    height, width, _ = decode_rgb(data, width=100, height=160).shape
    assert (110 <= width < 400, 176 <= height < 640) == (True, True)


def refused(data, **options):
    with pytest.raises(RejectedError) as failed:
        decode_rgb(data, **options)
    return failed.value.reason, failed.value.value


@pytest.mark.parametrize("name", [name for name in FILES if "pixel" not in name])
def test_the_bound_on_pixels_holds_for_all(name):
    height, width, _ = decode_rgb(FILES[name]).shape
    decode_rgb(FILES[name], max_pixels=width * height)
    assert refused(FILES[name], max_pixels=width * height - 1)[0] == "too_many_pixels"


def giant_webp(kind):
    """Under 60 bytes that promise 16383 x 16383 pixels."""
    side = 16_383
    if kind == b"VP8X":
        body = bytes([0x02, 0, 0, 0]) + (side - 1).to_bytes(3, "little") * 2
        body += b"ANIM" + struct.pack("<IIH", 6, 0, 0)
        content = b"VP8X" + struct.pack("<I", 10) + body
    elif kind == b"VP8L":
        bits = side - 1 | side - 1 << 14
        content = b"VP8L" + struct.pack("<IBI", 6, 0x2F, bits) + b"\0\0"
    else:
        content = (
            b"VP8 "
            + struct.pack("<I", 10)
            + b"\x10\0\0\x9d\x01\x2a"
            + struct.pack("<HH", side, side)
        )
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L", b"VP8 "])
def test_what_a_webp_promises_is_refused_before_memory_is_taken(kind):
    data = giant_webp(kind)
    assert len(data) < 60
    program = f"""
import resource
from septet.preprocess.images.decode import decode_rgb
from septet.schemas.reasons import RejectedError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_rgb({data!r})
except RejectedError as error:
    print(error, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "too_many_pixels: 16383x16383 True\n", ran.stderr


def test_a_tiff_whose_tiles_are_larger_than_it_is():
    def entry(tag, kind, value):
        return struct.pack("<HHII", tag, kind, 1, value)

    entries = [entry(256, 4, 16), entry(257, 4, 16), entry(258, 4, 8), entry(259, 4, 8),
               entry(262, 4, 1), entry(277, 4, 1), entry(322, 4, 32_000), entry(323, 4, 32_000),
               entry(324, 4, 8), entry(325, 4, 8)]  # fmt: skip
    data = b"II*\0" + struct.pack("<I", 24) + zlib.compress(b"")[:8].ljust(16, b"\0")
    data += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    assert refused(data) == ("too_many_pixels", "tiles of 32000x32000")
    PillowImage("tiff", data).check_tiles(32_000**2)
    with pytest.raises(RejectedError, match="too_many_pixels"):
        PillowImage("tiff", data).check_tiles(32_000**2 - 1)


def test_scans_without_number():
    small = saved(photo(), "jpeg", progressive=True)
    many = small[:-2] + small[small.rindex(b"\xff\xda") : -2] * 95 + small[-2:]
    assert refused(many) == ("decode_error", "105 scans of 3072 pixels")
    large = saved(Image.new("RGB", (5000, 5000)), "jpeg", progressive=True)
    many = large[:-2] + large[large.rindex(b"\xff\xda") : -2] * 40 + large[-2:]
    assert refused(many) == ("decode_error", "50 scans of 25000000 pixels")
    assert decode_rgb(large).shape == (5000, 5000, 3)


@pytest.mark.parametrize("size", [2, 3, 50, 51])
def test_scans_are_counted_at_odd_and_even_places(size):
    for data in np.random.default_rng(size).choice([0xFF, 0xDA, 0], (300, size)).astype(np.uint8):
        assert jpeg.count_scans(data.tobytes()) == data.tobytes().count(b"\xff\xda")


def test_a_damaged_profile_leaves_a_jpeg_as_it_is_and_hides_no_damage():
    data = FILES["jpeg damaged profile"]
    assert np.array_equal(decode_rgb(data), decode_rgb(saved(RGB, "jpeg")))
    assert not done(data).reencoded
    whole = with_profile(saved(photo(300, 300), "jpeg"))
    assert refused(whole[: len(whole) // 2])[0] == "decode_error"


def test_a_gif_of_very_many_frames_gives_its_first():
    data = FILES["gif frames"]
    start = data.index(b"\x21\xf9", 800)
    many = data[:-1] + data[start:-1] * 3000 + b";"
    with Image.open(io.BytesIO(many)) as image:
        assert image.n_frames > 3000
    assert np.array_equal(decode_rgb(many), decode_rgb(data))
    assert done(many).reencoded


@pytest.mark.parametrize(
    "name", ["webp", "webp lossless", "webp odd", "webp profile", "webp turned 6"]
)
def test_plain_webps_take_the_fast_path(name):
    header = webp.read_header(FILES[name])
    assert header.is_plain
    with Image.open(io.BytesIO(FILES[name])) as image:
        assert image.size == (header.width, header.height)
        assert np.array_equal(webp.decode(FILES[name]), np.asarray(image.convert("RGB")))
    cut = FILES[name][:-40]
    assert refused(cut)[0] == "decode_error"


def test_a_chunk_without_end_is_no_orientation():
    data = FILES["webp turned 6"]
    assert webp.read_header(data[: data.index(b"EXIF")]).orientation == 1
