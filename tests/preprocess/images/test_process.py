import io
import itertools
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from septet.preprocess.images.appearance import appearance_of
from septet.preprocess.images.process import ProcessedImage, process_image
from septet.schemas import recipe
from tests.preprocess.images.photos import (
    chunk,
    exif,
    grey_alpha,
    opened,
    photo,
    png,
    saved,
)
from tests.preprocess.images.processing import HALF, KEEP, LOSSLESS, difference, done, rejected

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
    looks = appearance_of(data, 64 * 48)
    assert result == ProcessedImage(data, ext, kind, 64, 48, 64, 48, False, looks)
    assert done(data, recipe.Image(resize_mode="no", encode_format="webp")).data == data


def test_large_images_are_kept_in_mode_no():
    data = saved(photo(600, 500), "jpeg")
    assert done(data, recipe.Image(resize_mode="no")).data == data


def test_what_follows_the_image_is_kept_too():
    data = saved(photo(), "jpeg") + b"a trailer of the camera"
    assert done(data).data == data


# Files that are encoded anew.


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
    result = done(saved(image, kind, **options), recipe.Image(encode_format=encode_format))
    assert (result.ext, result.format, result.reencoded) == (encode_format, kind, True)
    assert (result.width, result.height) == (64, 48)


@pytest.mark.parametrize("kind", ["gif", "bmp", "tiff", "avif", "webp", "png", "jpeg"])
def test_pixels_survive(kind):
    data = saved(photo(), kind)
    seen = opened(data)
    resized = done(data, recipe.Image(encode_format="png", image_size=24))
    expected = np.asarray(Image.fromarray(seen).resize((32, 24), Image.Resampling.BOX))
    assert difference(opened(resized.data), expected) < 1
    if kind in ("gif", "bmp", "tiff", "avif"):
        assert np.array_equal(opened(done(data, LOSSLESS).data), seen)


def test_grey_stays_grey():
    for kind in ("jpeg", "png"):
        data = saved(Image.fromarray(photo()).convert("L"), kind)
        for encode_format in ("jpg", "png"):
            result = done(data, recipe.Image(image_size=24, encode_format=encode_format))
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
    result = done(data, recipe.Image(image_size=100))
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
    result = done(saved(pixels, "png"), recipe.Image(image_size=32, encode_format="png"))
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
    assert rejected(data, recipe.Image(max_frames=1)) == ("too_many_frames", "1")
    assert rejected(data, recipe.Image(max_frames=2)) == ("too_many_frames", "2")
    done(data, recipe.Image(max_frames=3))


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
    result = done(data, recipe.Image(image_size=100, resize_mode=mode))
    assert (result.width, result.height) == (width, height)
    assert (result.original_width, result.original_height) == (640, 480)
    assert result.reencoded == (mode != "no")


def test_small_images_grow_only_when_asked():
    data = saved(photo(), "jpeg")
    assert done(data).data == data
    grown = done(data, recipe.Image(resize_only_if_bigger=False, image_size=96))
    assert (grown.width, grown.height, grown.reencoded) == (128, 96, True)


@pytest.mark.parametrize("size", [(257, 300), (300, 1000), (1024, 683), (2000, 1500)])
def test_scaled_decoding_is_close_to_averaging_all_pixels(size):
    data = saved(photo(*size), "jpeg", quality=95)
    result = done(data, LOSSLESS)
    every = Image.fromarray(opened(data)).resize(
        (result.width, result.height), Image.Resampling.BOX
    )
    assert difference(opened(result.data), np.asarray(every)) < 2.0


def test_the_same_bytes_from_many_threads():
    jobs = [
        (saved(photo(300 + 10 * i, 280, seed=i), kind), recipe.Image(encode_format=encode_format))
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
        len(done(data, recipe.Image(encode_quality=quality, encode_format=encode_format)).data)
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
