import io
import zlib

import numpy as np
import pytest
from PIL import Image

from septet.pipelines.report.gallery import open_image, sample_cards, thumbnail
from septet.preprocess.shards.reader import Corpus
from tests.pipelines.report.corpora import random_image


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_thumbnails_are_small_and_keep_the_shape(kind):
    data, width, height = thumbnail(encode(random_image(1, 1200, 500), kind))
    assert (width, height) == (128, 53)
    shown = Image.open(io.BytesIO(data))
    assert (shown.format, shown.size) == ("WEBP", (128, 53))
    assert len(data) <= 6144


def test_noise_stays_within_the_bytes_of_a_thumbnail():
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    data, *_ = thumbnail(encode(Image.fromarray(noise), "PNG"))
    assert len(data) <= 6144


def test_exif_orientation_is_obeyed():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(random_image(2, 300, 100), "JPEG", exif=exif)
    _, width, height = thumbnail(data)
    assert width < height


def test_sixteen_bit_grey_is_not_white_and_transparency_is():
    ramp = np.linspace(0, 65535, 128 * 128).reshape(128, 128).astype(np.uint16)
    shown = np.asarray(open_image(encode(Image.fromarray(ramp), "PNG"), 128))
    assert shown[0].max() < 10
    assert 115 < shown.mean() < 140
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert np.asarray(open_image(encode(clear, "PNG"), 8)).min() == 255


def test_cmyk_and_palettes_can_be_shown():
    assert open_image(encode(random_image(3, 64, 64).convert("CMYK"), "JPEG"), 64).mode == "RGB"
    assert open_image(encode(random_image(3, 64, 64).convert("P"), "PNG"), 64).mode == "RGB"


def bomb() -> bytes:
    """A PNG that claims 50,000 × 50,000 pixels."""
    header = b"IHDR" + (50_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header
        + zlib.crc32(header).to_bytes(4, "big") + (4).to_bytes(4, "big") + b"IDATxxxx" + b"\0" * 8
    )  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", bomb(),
        encode(random_image(4, 200, 200), "JPEG")[:900], encode(random_image(4, 99, 99), "PNG")[:300],
    ],
    ids=["empty", "svg", "postscript", "bomb", "cut jpeg", "cut png"],
)  # fmt: skip
def test_what_cannot_be_shown_is_a_value_error(data):
    with pytest.raises(ValueError, match="cannot be shown"):
        thumbnail(data)


def test_samples_are_drawn_once_each_and_equally_for_equal_seeds(truth):
    corpus = Corpus(truth.path)
    drawn = sample_cards(corpus, 50, seed=7)
    assert drawn == sample_cards(corpus, 50, seed=7)
    keys = [one.key for one in drawn]
    assert len(set(keys)) == 50
    assert keys == sorted(keys)
    assert keys != [one.key for one in sample_cards(corpus, 50, seed=8)]
    rows = {row["key"]: row for row in truth.rows}
    for one in drawn:
        row = rows[one.key]
        assert (one.caption, one.language, one.width, one.height) == (
            row["caption"], row["language"], row["width"], row["height"],
        )  # fmt: skip
        assert (one.thumbnail is None) == (row["_image"] == b"not a picture")
    assert len(sample_cards(corpus, 500, seed=7)) == 180
