import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from preprocess.codes.views import (
    RECIPES,
    View,
    code_pixels,
    draw_view,
    evaluation_view,
    fixed_box,
    look,
    pack_views,
    random_box,
    unpack_view,
)
from preprocess.columns.pictures import read_picture
from trainers import images

BEIT, FLAVA = RECIPES["beit"], RECIPES["flava"]


def picture(width=90, height=60, seed=0):
    """A picture without symmetry or flat parts."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def test_a_view_is_a_function_of_seed_key_and_number():
    first = draw_view(3, "a", 1, (90, 60), BEIT, 0.4)
    assert draw_view(3, "a", 1, (90, 60), BEIT, 0.4) == first
    others = [
        draw_view(4, "a", 1, (90, 60), BEIT, 0.4),
        draw_view(3, "b", 1, (90, 60), BEIT, 0.4),
        draw_view(3, "a", 2, (90, 60), BEIT, 0.4),
    ]
    assert len({first, *others}) == 4
    # Written down once: what was drawn years ago must be drawn again.
    assert first == View(*KNOWN)


KNOWN = ((27, 1, 90, 57), True, (0.9034103155136108, 1.261681079864502, 1.3541769981384277))


def test_the_box_does_not_depend_on_jitter():
    plain = draw_view(0, "a", 0, (90, 60), BEIT)
    colourful = draw_view(0, "a", 0, (90, 60), BEIT, 0.4)
    assert (plain.box, plain.flip) == (colourful.box, colourful.flip)
    assert plain.colour == (1, 1, 1) != colourful.colour


def test_boxes_are_those_of_a_trainer():
    for seed in range(300):
        width, height = (int(side) for side in np.random.default_rng(seed).integers(1, 300, 2))
        mine = random_box(width, height, np.random.default_rng(seed), (0.2, 1.0))
        theirs = images.random_box(height, width, np.random.default_rng(seed), (0.2, 1.0))
        assert mine == theirs


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (2000, 300)])
@pytest.mark.parametrize("recipe", [BEIT, FLAVA])
def test_boxes_are_distributed_as_torchvisions(size, recipe):
    width, height = size
    whole = torch.empty(3, height, width)
    crop = v2.RandomResizedCrop(1, scale=recipe.scale)
    torch.manual_seed(0)
    theirs = []
    for _ in range(2000):
        drawn = crop.make_params([whole])
        theirs.append((drawn["left"], drawn["top"], drawn["width"], drawn["height"]))
    mine = []
    for i in range(2000):
        x0, y0, x1, y1 = draw_view(0, str(i), 0, size, recipe).box
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        mine.append((x0, y0, x1 - x0, y1 - y0))
    a, b = np.array(mine, float), np.array(theirs, float)
    error = np.sqrt((a.var(0) + b.var(0)) / 2000)
    assert (abs(a.mean(0) - b.mean(0)) <= 4 * error + 1e-9).all()
    assert np.allclose(a.std(0), b.std(0), rtol=0.1, atol=1e-9)


def test_shares_of_flips_and_ranges_of_colours():
    views = [draw_view(1, str(i), 0, (90, 60), BEIT, 0.4) for i in range(2000)]
    assert 900 < sum(view.flip for view in views) < 1100
    colours = np.array([view.colour for view in views])
    assert 0.6 <= colours.min() < 0.61 and 1.39 < colours.max() <= 1.4
    assert not any(draw_view(1, str(i), 0, (90, 60), FLAVA).flip for i in range(100))


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 2), (65_500, 7)])
@pytest.mark.parametrize("name", RECIPES)
def test_every_size_has_views(size, name):
    for number in range(20):
        view = draw_view(0, "a", number, size, RECIPES[name])
        x0, y0, x1, y1 = view.box
        assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
    pixels = code_pixels(Image.new("RGB", size), view, 16, "lanczos", RECIPES[name].middle)
    assert pixels.shape == ((8, 8, 3) if name == "ofa" else (16, 16, 3))


@pytest.mark.parametrize("resample", ["bicubic", "lanczos"])
@pytest.mark.parametrize("flip", [False, True])
def test_pixels_are_torchvisions(resample, flip):
    source, view = picture(), View((7, 5, 71, 58), flip)
    found = look(source, view, 32, resample)
    mode = {"bicubic": v2.InterpolationMode.BICUBIC, "lanczos": v2.InterpolationMode.LANCZOS}
    expected = v2.functional.resized_crop(source, 5, 7, 53, 64, [32, 32], mode[resample])
    if flip:
        expected = v2.functional.hflip(expected)
    assert np.array_equal(found, np.asarray(expected))


def test_colours_are_torchvisions():
    source = picture()
    view = View((0, 0, 90, 60), colour=(0.75, 1.25, 0.5))
    expected = source.resize((32, 32), Image.Resampling.BICUBIC)
    f = v2.functional
    expected = f.adjust_saturation(
        f.adjust_contrast(f.adjust_brightness(expected, 0.75), 1.25), 0.5
    )
    assert np.array_equal(look(source, view, 32), np.asarray(expected))


def test_arrays_and_pictures_look_alike():
    source, view = picture(), View((3, 4, 80, 55), True, (1.1, 0.9, 1.2))
    assert np.array_equal(look(source, view, 24), look(np.asarray(source), view, 24))


def test_a_trainer_reads_what_the_column_saw():
    """From the stored arrays and the stored file, the same pixels, bit for bit."""
    out = io.BytesIO()
    picture(133, 87).save(out, "jpeg", quality=90)
    source = Image.fromarray(read_picture(out.getvalue()))
    views = [draw_view(0, "key", i, source.size, BEIT, 0.4) for i in range(8)]
    arrays = pack_views(views, source.size)
    assert arrays["boxes"].dtype == np.float32 and arrays["size"].tolist() == [133, 87]
    again = Image.fromarray(read_picture(out.getvalue()))
    for i, view in enumerate(views):
        restored = unpack_view(arrays, i + 8)
        assert restored == view
        assert np.array_equal(look(again, restored, 32), look(source, view, 32))
    # What trainers decode JPEGs with gives the same pixels as Pillow.
    assert np.array_equal(images.decode(out.getvalue()), np.asarray(source))


def test_ofa_encodes_the_middle_of_the_square():
    source = picture(100, 60)
    view = evaluation_view(source.size, RECIPES["ofa"])
    assert view.box == (20, 0, 80, 60)
    whole = look(source, view, 64, "lanczos")
    middle = code_pixels(source, view, 64, "lanczos", middle=True)
    assert np.array_equal(middle, whole[16:48, 16:48])


def test_fixed_boxes():
    assert fixed_box((100, 61), square=False) == (0, 0, 100, 61)
    assert fixed_box((100, 61), square=True) == (19, 0, 80, 61)
    assert fixed_box((61, 100), square=True) == (0, 19, 61, 80)


def test_another_picture_is_told():
    with pytest.raises(ValueError, match=r"\(0, 0, 90, 60\) does not lie within 45 x 30"):
        look(picture(45, 30), View((0, 0, 90, 60)), 16)
