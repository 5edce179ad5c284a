import io
import itertools
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from preprocess.images.process import ImagePolicy, ImageReject, ProcessedImage, process_image
from preprocess.images.rejects import IMAGE_REASONS
from tests.preprocess.images.pictures import chunk, exif, opened, photo, png, saved

KEEP = ImagePolicy()  # nothing here is larger than 256 pixels
LOSSLESS = ImagePolicy(encode_format="png")
HALF = ImagePolicy(image_size=24)  # of the 64x48 photo's short side


def done(data, policy=KEEP):
    result = process_image(data, policy)
    assert isinstance(result, ProcessedImage), result
    seen = opened(result.data)
    assert seen.shape[:2] == (result.height, result.width)
    assert Image.open(io.BytesIO(result.data)).format == {"jpg": "JPEG"}.get(
        result.ext, result.ext.upper()
    )
    assert result.reencoded == (result.data != data)
    return result


def rejected(data, policy=KEEP):
    result = process_image(data, policy)
    assert isinstance(result, ImageReject), result
    assert result.reason in IMAGE_REASONS
    return result.reason, result.value


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


# Files that stay as they are.


@pytest.mark.parametrize(
    ("kind", "ext", "image", "options"),
    [
        ("jpeg", "jpg", Image.fromarray(photo()), {}),
        ("jpeg", "jpg", Image.fromarray(photo()), {"progressive": True, "subsampling": 0}),
        ("jpeg", "jpg", Image.fromarray(photo()).convert("L"), {}),
        ("jpeg", "jpg", Image.fromarray(photo()), {"exif": exif(1)}),
        ("jpeg", "jpg", Image.fromarray(photo()), {"keep_rgb": True}),
        ("png", "png", Image.fromarray(photo()), {}),
        ("png", "png", Image.fromarray(photo()).convert("L"), {}),
        ("png", "png", Image.fromarray(photo()).convert("1"), {}),
        ("png", "png", Image.fromarray(photo()).quantize(16), {}),
        ("png", "png", Image.fromarray(photo()).convert("RGBA"), {}),  # every pixel opaque
        ("webp", "webp", Image.fromarray(photo()), {"quality": 80}),
        ("webp", "webp", Image.fromarray(photo()), {"lossless": True}),
    ],
)
def test_bytes_are_kept_where_nothing_must_change(kind, ext, image, options):
    data = saved(image, kind, **options)
    result = done(data)
    assert result == ProcessedImage(data, ext, kind, 64, 48, 64, 48, False)
    assert done(data, ImagePolicy(resize_mode="no", encode_format="webp")).data == data


def test_large_pictures_are_kept_in_mode_no():
    data = saved(photo(600, 500), "jpeg")
    assert done(data, ImagePolicy(resize_mode="no")).data == data


def test_what_follows_the_picture_is_kept_too():
    data = saved(photo(), "jpeg") + b"a trailer of the camera"
    assert done(data).data == data


# Files that are encoded anew.


def grey_alpha():
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 255
    return Image.merge("LA", [Image.fromarray(photo()[:, :, 0]), Image.fromarray(alpha)])


@pytest.mark.parametrize(
    ("kind", "image", "options"),
    [
        ("png", Image.fromarray(photo()), {"exif": exif(3)}),
        ("png", grey_alpha(), {}),
        ("webp", grey_alpha().convert("RGBA"), {"lossless": True}),
        ("gif", Image.fromarray(photo()), {}),
        ("bmp", Image.fromarray(photo()), {}),
        ("tiff", Image.fromarray(photo()), {}),
        ("tiff", Image.fromarray(photo()).convert("CMYK"), {}),
        ("avif", Image.fromarray(photo()), {"quality": 90}),
        ("jpeg", Image.fromarray(photo()).convert("CMYK"), {}),
    ],
)
@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
def test_everything_else_is_encoded(kind, image, options, encode_format):
    result = done(saved(image, kind, **options), ImagePolicy(encode_format=encode_format))
    assert (result.ext, result.format, result.reencoded) == (encode_format, kind, True)
    assert (result.width, result.height) == (64, 48)


@pytest.mark.parametrize("kind", ["gif", "bmp", "tiff", "avif", "webp", "png", "jpeg"])
def test_pixels_survive(kind):
    data = saved(photo(), kind)
    seen = opened(data)
    resized = done(data, ImagePolicy(encode_format="png", image_size=24))
    expected = np.asarray(Image.fromarray(seen).resize((32, 24), Image.Resampling.BOX))
    assert difference(opened(resized.data), expected) < 1
    if kind in ("gif", "bmp", "tiff", "avif"):
        assert np.array_equal(opened(done(data, LOSSLESS).data), seen)


def test_grey_stays_grey():
    for kind in ("jpeg", "png"):
        data = saved(Image.fromarray(photo()).convert("L"), kind)
        for encode_format in ("jpg", "png"):
            result = done(data, ImagePolicy(image_size=24, encode_format=encode_format))
            assert Image.open(io.BytesIO(result.data)).mode == "L"


@pytest.mark.parametrize("policy", [KEEP, HALF], ids=["same size", "resized"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_exif_orientation_is_applied_and_dropped(kind, orientation, policy):
    pixels = photo()
    pixels[:10, :10] = (255, 0, 0)  # a mark in one corner
    options = {} if kind == "tiff" else {"exif": exif(orientation), "quality": 95}
    if kind == "tiff":
        options["tiffinfo"] = {0x0112: orientation}
    data = saved(pixels, kind, **options)
    with Image.open(io.BytesIO(data)) as image:
        shown = ImageOps.exif_transpose(image.convert("RGB") if kind == "tiff" else image)
    result = done(data, policy)
    assert (result.original_width, result.original_height) == shown.size
    assert (result.width > result.height) == (orientation < 5)
    assert result.reencoded == (policy is HALF or orientation != 1 or kind == "tiff")
    small = shown.convert("RGB").resize((result.width, result.height), Image.Resampling.BOX)
    assert difference(opened(result.data), np.asarray(small)) < 6
    with Image.open(io.BytesIO(result.data)) as image:
        assert image.getexif().get(0x0112, 1) == 1


def test_a_large_jpeg_is_turned_after_a_scaled_decode():
    pixels = photo(640, 400)
    pixels[:100, :100] = (255, 0, 0)
    data = saved(pixels, "jpeg", exif=exif(6), quality=95)
    result = done(data, ImagePolicy(image_size=100))
    assert (result.width, result.height) == (100, 160)
    corner = opened(result.data)[5:15, -15:-5].mean((0, 1))
    assert corner[0] > 230
    assert corner[1] < 30


def test_16_bit_grey_is_scaled_not_clipped():
    grey = np.full((20, 20), 20_000, np.uint16)
    data = saved(grey, "png")
    assert data[24] == 16
    assert (opened(done(data, LOSSLESS).data) == 20_000 >> 8).all()
    tiff = saved(grey, "tiff")
    assert (opened(done(tiff, LOSSLESS).data) == 20_000 >> 8).all()


@pytest.mark.parametrize(
    ("colour", "pixel", "seen"),
    [
        (2, (20_000, 40_000, 60_000), (78, 156, 234)),
        (6, (20_000, 40_000, 60_000, 65_535), (78, 156, 234)),
        (6, (20_000, 40_000, 60_000, 0), (255, 255, 255)),
        (4, (20_000, 65_535), (78, 78, 78)),
        (4, (20_000, 0), (255, 255, 255)),
    ],
)
def test_16_bit_colour_and_alpha(colour, pixel, seen):
    row = struct.pack(f">{len(pixel)}H", *pixel) * 8
    result = done(png(8, 4, 16, colour, [row] * 4), LOSSLESS)
    assert result.reencoded
    assert (opened(result.data) == seen).all()


def test_16_bit_grey_with_a_transparent_value():
    row = struct.pack(">8H", *[1000, 30_000] * 4)
    data = png(8, 4, 16, 0, [row] * 4, chunk(b"tRNS", struct.pack(">H", 1000)))
    assert opened(done(data, LOSSLESS).data)[0, :2, 0].tolist() == [255, 30_000 >> 8]


def test_alpha_is_laid_on_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (255, 0, 0, 255)
    pixels[:, 4:] = (0, 0, 255, 51)
    for kind, options in (("png", {}), ("webp", {"lossless": True}), ("tiff", {})):
        seen = opened(done(saved(pixels, kind, **options), LOSSLESS).data)
        assert seen[0, 0].tolist() == [255, 0, 0]
        assert seen[0, 7].tolist() == [204, 204, 255]


def test_invisible_colours_do_not_bleed_into_a_resize():
    pixels = np.zeros((64, 64, 4), np.uint8)  # transparent black
    pixels[:, ::2] = (255, 255, 255, 255)
    result = done(saved(pixels, "png"), ImagePolicy(image_size=32, encode_format="png"))
    assert (opened(result.data) == 255).all()


def test_palettes_with_transparency():
    palette = Image.fromarray(photo()).quantize(8)
    index = palette.getpixel((0, 0))
    for kind in ("png", "gif"):
        data = saved(palette, kind, transparency=index)
        assert opened(done(data, LOSSLESS).data)[0, 0].tolist() == [255, 255, 255]
    key = saved(photo() // 2, "png", transparency=tuple((photo() // 2)[0, 0].tolist()))
    assert opened(done(key, LOSSLESS).data)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.fromarray(np.full((48, 64, 3), value, np.uint8)) for value in (40, 120, 200)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    result = done(data)
    assert result.reencoded
    assert np.abs(opened(result.data).astype(int) - 40).max() <= 2
    assert rejected(data, ImagePolicy(max_frames=1)) == ("too_many_frames", "1")
    assert rejected(data, ImagePolicy(max_frames=2)) == ("too_many_frames", "2")
    done(data, ImagePolicy(max_frames=3))


def ycck_jpeg(pixels):
    """A JPEG as Photoshop writes CMYK: the YCbCr of CMY taken as RGB, and inverted K."""
    cmyk = np.asarray(Image.fromarray(pixels).convert("CMYK"))
    ycc = np.asarray(Image.fromarray(np.ascontiguousarray(cmyk[:, :, :3])).convert("YCbCr"))
    packed = np.dstack([ycc, 255 - cmyk[:, :, 3]])
    plain = Image.fromarray(255 - packed, "CMYK")  # Pillow inverts CMYK when it writes
    data = saved(plain, "jpeg", quality=95)
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    return data[:transform] + b"\2" + data[transform + 1 :]


def test_cmyk_and_ycck():
    pixels = photo()
    cmyk = saved(Image.fromarray(pixels).convert("CMYK"), "jpeg", quality=95)
    assert difference(opened(done(cmyk, LOSSLESS).data), pixels) < 8
    ycck = ycck_jpeg(pixels)
    with Image.open(io.BytesIO(ycck)) as image:
        assert image.mode == "CMYK"
    assert difference(opened(done(ycck, LOSSLESS).data), pixels) < 8


@pytest.mark.parametrize("name", [b"iCCP", b"iTXt", b"zTXt", b"gAMA"])
@pytest.mark.parametrize("damage", ["checksum", "content"])
def test_a_png_with_damage_beside_its_pixels(name, damage):
    bad = chunk(name, b"profile\0\0" + zlib.compress(b"nonsense" * 10)[:-4] + b"\xff\xff")
    if damage == "checksum":
        bad = bad[:-4] + b"\0\0\0\0"
    data = saved(photo(), "png")
    data = data[:33] + bad + data[33:]
    result = done(data, LOSSLESS)
    assert np.array_equal(opened(result.data), photo())
    if damage == "checksum":
        assert result.reencoded


def test_a_png_whose_text_inflates_to_a_bomb():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**7)))
    data = saved(photo(), "png")
    data = data[:33] + text + data[33:]
    assert np.array_equal(opened(done(data, LOSSLESS).data), photo())


# Sizes.


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize(
    ("mode", "width", "height"),
    [
        ("no", 640, 480),
        ("keep_ratio", 133, 100),
        ("keep_ratio_largest", 100, 75),
        ("center_crop", 100, 100),
        ("border", 100, 100),
    ],
)
def test_resize_modes(kind, mode, width, height):
    data = saved(photo(640, 480), kind)
    result = done(data, ImagePolicy(image_size=100, resize_mode=mode))
    assert (result.width, result.height) == (width, height)
    assert (result.original_width, result.original_height) == (640, 480)
    assert result.reencoded == (mode != "no")


def test_small_pictures_grow_only_when_asked():
    data = saved(photo(), "jpeg")
    assert done(data).data == data
    grown = done(data, ImagePolicy(resize_only_if_bigger=False, image_size=96))
    assert (grown.width, grown.height, grown.reencoded) == (128, 96, True)


@pytest.mark.parametrize("size", [(257, 300), (300, 1000), (1024, 683), (2000, 1500)])
def test_scaled_decoding_is_close_to_averaging_all_pixels(size):
    data = saved(photo(*size), "jpeg", quality=95)
    result = done(data, LOSSLESS)
    every = Image.fromarray(opened(data)).resize(
        (result.width, result.height), Image.Resampling.BOX
    )
    assert difference(opened(result.data), np.asarray(every)) < 2.0


# Rejects.


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
    done(data, ImagePolicy(max_pixels=64 * 48))
    assert rejected(data, ImagePolicy(max_pixels=64 * 48 - 1)) == ("too_many_pixels", "64x48")


def test_enlarging_a_line_is_a_bomb_too():
    line = saved(np.zeros((1, 3000, 3), np.uint8), "png")
    grow = ImagePolicy(resize_only_if_bigger=False, image_size=256)
    assert rejected(line, grow) == ("too_many_pixels", "768000x256")


def test_sides_that_an_encoding_cannot_hold():
    tall = saved(np.zeros((20_000, 2), np.uint8), "bmp")
    policy = ImagePolicy(encode_format="webp", resize_mode="no")
    assert rejected(tall, policy) == ("too_long_side", "2x20000")
    done(tall, ImagePolicy(encode_format="jpg", resize_mode="no"))


def test_more_scans_than_any_encoder_writes():
    data = saved(photo(), "jpeg", progressive=True)
    start = data.rindex(b"\xff\xda")
    many = data[:start] + data[start:-2] * 200 + data[-2:]
    assert rejected(many) == ("decode_error", "more than 100 scans")


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


WHOLE = {
    "jpeg": saved(photo(), "jpeg"),
    "progressive": saved(photo(), "jpeg", progressive=True),
    "cmyk": saved(Image.fromarray(photo()).convert("CMYK"), "jpeg"),
    "png": saved(photo(), "png"),
    "webp": saved(photo(), "webp"),
    "lossless": saved(photo(), "webp", lossless=True),
    "gif": saved(photo(), "gif"),
    "bmp": saved(photo(), "bmp"),
    "tiff": saved(photo(), "tiff", compression="tiff_lzw"),
    "avif": saved(photo(), "avif"),
}


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
    if isinstance(first, ImageReject):
        assert first.reason in IMAGE_REASONS
        assert first.value is None or (len(first.value) <= 100 and "\n" not in first.value)


@given(st.binary(max_size=200), st.sampled_from(sorted(WHOLE)))
def test_random_bytes_after_a_real_start(tail, kind):
    for data in (tail, WHOLE[kind][:40] + tail):
        assert isinstance(process_image(data, KEEP), ImageReject)


def test_the_same_bytes_from_many_threads():
    jobs = [
        (saved(photo(300 + 10 * i, 280, seed=i), kind), ImagePolicy(encode_format=encode_format))
        for i, (kind, encode_format) in enumerate(
            itertools.product(["jpeg", "png", "webp", "gif"], ["jpg", "png", "webp"])
        )
    ]
    alone = [process_image(*job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda job: process_image(*job), jobs)) == alone


def test_quality_is_passed_on():
    data = saved(photo(300, 300), "jpeg")
    sizes = [
        len(done(data, ImagePolicy(encode_quality=quality, encode_format=encode_format)).data)
        for encode_format in ("jpg", "webp")
        for quality in (30, 95)
    ]
    assert sizes[0] < sizes[1]
    assert sizes[2] < sizes[3]


def test_reencoded_jpegs_are_420_without_metadata():
    data = saved(photo(300, 300), "jpeg", exif=exif(1), comment=b"made by hand")
    result = done(data)
    assert simplejpeg.decode_jpeg_header(result.data)[2:] == ("YCbCr", "420")
    assert b"Exif" not in result.data
    assert b"by hand" not in result.data


@pytest.mark.parametrize(
    "changes",
    [{"resize_mode": "squash"}, {"encode_format": "gif"}, {"image_size": 0},
     {"encode_quality": 101}, {"max_pixels": 0}, {"max_frames": 0}],
)  # fmt: skip
def test_policies_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        ImagePolicy(**changes)
