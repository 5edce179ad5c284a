import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from septet.preprocess.codes.augment import RECIPES, draw_view, fixed_view, view_generator
from septet.preprocess.codes.views import (
    View,
    code_pixels,
    look,
    pack_views,
    unpack_view,
    view_codes,
)
from septet.preprocess.columns.images import read_image
from septet.preprocess.columns.members import pack_arrays
from septet.trainers.inputs import images

BEIT, FLAVA = RECIPES["beit"], RECIPES["flava"]


def random_image(width=90, height=60, seed=0):
    """An image without symmetry or flat parts."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def drawn(seed, key, number, size, recipe, jitter=0.0):
    return draw_view(view_generator(seed, key, number), size, recipe, jitter)


def test_a_view_is_a_function_of_seed_key_and_number():
    first = drawn(3, "a", 1, (90, 60), BEIT, 0.4)
    assert drawn(3, "a", 1, (90, 60), BEIT, 0.4) == first
    others = [
        drawn(4, "a", 1, (90, 60), BEIT, 0.4),
        drawn(3, "b", 1, (90, 60), BEIT, 0.4),
        drawn(3, "a", 2, (90, 60), BEIT, 0.4),
    ]
    assert len({first, *others}) == 4
    # Written down once: what was drawn years ago must be drawn again.
    assert first == View(*KNOWN, drawn=True)


KNOWN = ((27, 1, 90, 57), True, (0.9034103155136108, 1.261681079864502, 1.3541769981384277))


def test_the_box_does_not_depend_on_jitter():
    plain = drawn(0, "a", 0, (90, 60), BEIT)
    colourful = drawn(0, "a", 0, (90, 60), BEIT, 0.4)
    assert (plain.box, plain.flip) == (colourful.box, colourful.flip)
    assert plain.colour == (1, 1, 1) != colourful.colour


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (2000, 300)])
@pytest.mark.parametrize("recipe", [BEIT, FLAVA])
def test_boxes_are_distributed_as_torchvisions(size, recipe):
    width, height = size
    whole = torch.empty(3, height, width)
    crop = v2.RandomResizedCrop(1, scale=recipe.scale)
    torch.manual_seed(0)
    theirs = []
    for _ in range(2000):
        found = crop.make_params([whole])
        theirs.append((found["left"], found["top"], found["width"], found["height"]))
    mine = []
    for i in range(2000):
        x0, y0, x1, y1 = drawn(0, str(i), 0, size, recipe).box
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        mine.append((x0, y0, x1 - x0, y1 - y0))
    a, b = np.array(mine, float), np.array(theirs, float)
    error = np.sqrt((a.var(0) + b.var(0)) / 2000)
    assert (abs(a.mean(0) - b.mean(0)) <= 4 * error + 1e-9).all()
    assert np.allclose(a.std(0), b.std(0), rtol=0.1, atol=1e-9)


def test_shares_of_flips_and_ranges_of_colours():
    views = [drawn(1, str(i), 0, (90, 60), BEIT, 0.4) for i in range(2000)]
    assert 900 < sum(view.flip for view in views) < 1100
    colours = np.array([view.colour for view in views])
    assert 0.6 <= colours.min() < 0.61 and 1.39 < colours.max() <= 1.4
    assert not any(drawn(1, str(i), 0, (90, 60), FLAVA).flip for i in range(100))


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 2), (65_500, 7)])
@pytest.mark.parametrize("name", RECIPES)
def test_every_size_has_views(size, name):
    for number in range(20):
        view = drawn(0, "a", number, size, RECIPES[name])
        x0, y0, x1, y1 = view.box
        assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
    pixels = code_pixels(Image.new("RGB", size), view, 16, "lanczos", RECIPES[name].middle)
    assert pixels.shape == ((8, 8, 3) if name == "ofa" else (16, 16, 3))


@pytest.mark.parametrize("resample", ["bicubic", "lanczos"])
@pytest.mark.parametrize("flip", [False, True])
def test_pixels_are_torchvisions(resample, flip):
    source, view = random_image(), View((7, 5, 71, 58), flip)
    found = look(source, view, 32, resample)
    mode = {"bicubic": v2.InterpolationMode.BICUBIC, "lanczos": v2.InterpolationMode.LANCZOS}
    expected = v2.functional.resized_crop(source, 5, 7, 53, 64, [32, 32], mode[resample])
    if flip:
        expected = v2.functional.hflip(expected)
    assert np.array_equal(found, np.asarray(expected))


def test_colours_are_torchvisions():
    source = random_image()
    view = View((0, 0, 90, 60), colour=(0.75, 1.25, 0.5))
    expected = source.resize((32, 32), Image.Resampling.BICUBIC)
    f = v2.functional
    expected = f.adjust_saturation(
        f.adjust_contrast(f.adjust_brightness(expected, 0.75), 1.25), 0.5
    )
    assert np.array_equal(look(source, view, 32), np.asarray(expected))


def test_arrays_and_images_look_alike():
    source, view = random_image(), View((3, 4, 80, 55), True, (1.1, 0.9, 1.2))
    assert np.array_equal(look(source, view, 24), look(np.asarray(source), view, 24))


def test_a_trainer_reads_what_the_column_saw():
    """From the stored arrays and the stored file, the same pixels, bit for bit."""
    out = io.BytesIO()
    random_image(133, 87).save(out, "jpeg", quality=90)
    source = Image.fromarray(read_image(out.getvalue()))
    views = [drawn(0, "key", i, source.size, BEIT, 0.4) for i in range(8)]
    arrays = pack_views(views, source.size)
    assert arrays["boxes"].dtype == np.int32 and arrays["size"].tolist() == [133, 87]
    again = Image.fromarray(read_image(out.getvalue()))
    for i, view in enumerate(views):
        restored = unpack_view(arrays, i)
        assert restored == view
        assert np.array_equal(look(again, restored, 32), look(source, view, 32))
    # What trainers decode JPEGs with gives the same pixels as Pillow.
    assert np.array_equal(images.decode(out.getvalue()), np.asarray(source))


def test_ofa_encodes_the_middle_of_the_square():
    source = random_image(100, 60)
    view = fixed_view(source.size, RECIPES["ofa"])
    assert view.box == (20, 0, 80, 60)
    whole = look(source, view, 64, "lanczos")
    middle = code_pixels(source, view, 64, "lanczos", middle=True)
    assert np.array_equal(middle, whole[16:48, 16:48])


def test_fixed_views():
    whole, square = RECIPES["resize"], RECIPES["center"]
    assert fixed_view((100, 61), whole) == View((0, 0, 100, 61))
    assert fixed_view((100, 61), square) == View((19, 0, 80, 61))
    assert fixed_view((61, 100), square) == View((0, 19, 61, 80))
    assert drawn(0, "a", 1, (61, 100), square) == fixed_view((61, 100), square)


def test_another_image_is_told():
    with pytest.raises(ValueError, match=r"\(0, 0, 90, 60\) does not lie within 45 x 30"):
        look(random_image(45, 30), View((0, 0, 90, 60)), 16)
    found = view_codes(value([View((0, 0, 30, 20))]), 0)
    assert found.pixels(np.asarray(random_image()), 16).shape == (16, 16, 3)
    with pytest.raises(ValueError, match="has 45 x 30 pixels, codes were made of one of 90 x 60"):
        found.pixels(np.asarray(random_image(45, 30)), 16)


def value(views):
    codes = np.arange(len(views) * 6, dtype=np.uint16).reshape(len(views), 2, 3)
    return pack_arrays({"codes": codes, **pack_views(views, (90, 60))})


def test_a_trainer_takes_one_view_an_epoch():
    size = (90, 60)
    fixed, views = fixed_view(size, BEIT), [drawn(0, "a", i, size, BEIT, 0.4) for i in range(3)]
    for stored, first in ((value(views), 0), (value([fixed, *views]), 1)):
        for epoch in range(9):
            found = view_codes(stored, epoch)
            assert found.view == views[epoch % 3]
            assert found.codes.dtype == np.uint16
            assert (
                found.codes.tolist()
                == (np.arange(6).reshape(2, 3) + 6 * (epoch % 3 + first)).tolist()
            )
    # For evaluation, the view without randomness, if there is one.
    assert view_codes(value([fixed, *views]), None).view == fixed
    assert view_codes(value(views), None).view == views[0]
    assert view_codes(value([fixed]), 5).view == fixed


@pytest.mark.parametrize("data", [b"", b"codes", pack_arrays({"codes": np.zeros(3, np.uint16)})])
def test_other_values_are_told(data):
    with pytest.raises(ValueError, match=r"no safetensors|no value of a column `codes`"):
        view_codes(data, 0)
