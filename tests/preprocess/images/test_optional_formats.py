"""HEIC and JPEG XL, which are read where a recipe asks for them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from septet.preprocess.images import plug_ins
from septet.preprocess.images.headers import is_heavy
from septet.preprocess.images.process import process_image
from septet.schemas import recipe
from septet.schemas.reasons import Rejected
from tests.preprocess.images.photos import photo, saved

pillow_heif = pytest.importorskip("pillow_heif")
pytest.importorskip("pillow_jxl")

ASKED = recipe.Image(more_formats=["heic", "jxl"], encode_format="png", resize_mode="no")


def made(kind: str, image: np.ndarray, **options: object) -> bytes:
    if kind == "jxl":
        return saved(image, "JXL", lossless=True, **options)
    out = io.BytesIO()
    file = pillow_heif.from_pillow(Image.fromarray(image))
    file.save(out, quality=-1, chroma=444, matrix_coefficients=0, **options)
    return out.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("kind", plug_ins.OPTIONAL)
def test_they_are_unsupported_unless_asked_for(kind: str) -> None:
    data = made(kind, photo())
    assert process_image(data, recipe.Image()) == Rejected("unsupported", kind)
    (other,) = set(plug_ins.OPTIONAL) - {kind}
    only = recipe.Image(more_formats=[other])
    assert process_image(data, only) == Rejected("unsupported", kind)
    assert is_heavy(data, ASKED.more_formats)


@pytest.mark.parametrize("kind", plug_ins.OPTIONAL)
def test_their_pixels_are_encoded_anew(kind: str) -> None:
    image = photo(48, 32)
    found = process_image(made(kind, image), ASKED)
    assert not isinstance(found, Rejected), found
    assert (found.format, found.ext, found.reencoded) == (kind, "png", True)
    assert (found.width, found.height) == (48, 32)
    got = np.asarray(Image.open(io.BytesIO(found.data)))
    assert np.abs(got.astype(int) - image).max() <= (0 if kind == "jxl" else 3)


@pytest.mark.parametrize("kind", plug_ins.OPTIONAL)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    image = photo(48, 32)
    found = process_image(made(kind, image, exif=turned(orientation)), ASKED)
    assert not isinstance(found, Rejected), found
    got = np.asarray(Image.open(io.BytesIO(found.data))).astype(int)
    # Both formats state it in a place of their own, which the writer of HEIC fills and that of JPEG
    # XL does not; EXIF does not count beside it.
    turned_by = {1: image, 3: image[::-1, ::-1], 6: np.rot90(image, -1)}
    want = turned_by[orientation] if kind == "heic" else image
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 3


def test_a_jpeg_within_jpeg_xl_is_turned_by_its_exif(tmp_path: Path) -> None:
    jpeg, out = saved(photo(48, 32), "jpeg", exif=turned(6)), io.BytesIO()
    (tmp_path / "a.jpg").write_bytes(jpeg)
    Image.open(tmp_path / "a.jpg").save(out, "JXL", lossless_jpeg=True)
    direct, through = process_image(jpeg, ASKED), process_image(out.getvalue(), ASKED)
    assert not isinstance(direct, Rejected) and not isinstance(through, Rejected)
    assert (through.width, through.height) == (32, 48) == (direct.width, direct.height)


@pytest.mark.parametrize("kind", plug_ins.OPTIONAL)
@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_damage_is_a_reject(kind: str, damage: str) -> None:
    data = bytearray(made(kind, photo(200, 150)))
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 3 : len(data) // 3 + 400] = bytes(400)
    found = process_image(bytes(data), ASKED)
    if isinstance(found, Rejected):
        assert found.reason in ("decode_error", "decode_crash", "decode_memory"), found
    else:  # noise can be pixels, too
        assert damage == "noise" and (found.width, found.height) == (200, 150)


@pytest.mark.parametrize("kind", plug_ins.OPTIONAL)
def test_too_many_pixels(kind: str) -> None:
    small = ASKED.model_copy(update={"max_pixels": 999})
    assert process_image(made(kind, photo(40, 25)), small) == Rejected("too_many_pixels", "40x25")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plug_ins, "find_spec", lambda name: None)
    assert plug_ins.missing_packages(["jxl", "heic"]) == ["pillow-jxl-plugin", "pillow-heif"]
    assert plug_ins.missing_packages([]) == []
