"""Image codes: where a batch's come from, and what image they stand for."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from septet.preprocess.codes.views import View, look, pack_views
from septet.preprocess.columns.members import pack_arrays
from septet.trainers.inputs.codes import COLOURS, CodeGrid, MeanColours, Targets, image_of_codes


def test_plain_colours_are_drawn_and_told_again():
    """Each cell has the middle of its colour's steps, in rows and columns as they are."""
    codes = np.arange(512).reshape(16, 32)
    image = image_of_codes(codes, 4, COLOURS)
    assert image.shape == (64, 128, 3) and image.dtype == np.uint8
    assert image[0, 0].tolist() == [16, 16, 16] and image[-1, -1].tolist() == [240, 240, 240]
    assert image[3, 4 * 8].tolist() == image[0, 4 * 8].tolist() == [16, 48, 16]
    assert image[4, 0].tolist() == [16, 144, 16]  # code 32: the second row begins
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    assert torch.equal(MeanColours(4).codes(pixels)[0], torch.from_numpy(codes))


def test_codes_come_from_the_column_else_of_the_tokenizers_own_view_else_of_the_models():
    grid = CodeGrid("dvae", 4, 2, 512)
    dark, light = torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.full((1, 8, 8, 3), 255)
    made = Targets(grid, COLOURS)
    stored = torch.tensor([[1, 2, 3, 4]])
    light = light.to(torch.uint8)
    assert torch.equal(made({"codes": stored, "code_pixels": dark, "pixels": light}), stored)
    assert made({"code_pixels": dark, "pixels": light}).tolist() == [[0] * 4]
    assert made({"pixels": light}).tolist() == [[511] * 4]


@pytest.mark.parametrize(("arrays", "message"), [
    ({}, "column 'x' holds no codes: annotate with --column codes"),
    ({"codes": (3, 2, 2, 511)}, None),
    ({"codes": (3, 2, 2, None)}, None),
    ({"codes": (3, 2, 2, 512)}, "has 2 x 2 codes up to 512; the model needs 2 x 2 below"),
    ({"codes": (3, 2, 3, 9)}, "has 2 x 3 codes up to 9; .* annotate with tokenizer=dvae size=8"),
])  # fmt: skip
def test_a_column_whose_codes_are_not_the_models_is_told(arrays, message):
    forms = {n: SimpleNamespace(shape=x[:3], greatest=x[3]) for n, x in arrays.items()}
    manifest = SimpleNamespace(member=SimpleNamespace(arrays=forms))
    grid = CodeGrid("dvae", 4, 2, 512)
    if message is None:
        grid.check("x", manifest)
    else:
        with pytest.raises(ValueError, match=message):
            grid.check("x", manifest)


def test_which_stored_view_is_drawn_is_a_function_of_the_generator():
    """Of 31 bits, by the number of random views: another range would draw others in runs that are
    resumed."""
    grid, image = CodeGrid("dvae", 4, 2, 512), np.arange(16 * 16 * 3, dtype=np.uint8)
    image = image.reshape(16, 16, 3)
    views = [View((i, 0, 8 + i, 16), drawn=i > 0) for i in range(8)]
    codes = np.arange(8 * 4, dtype=np.uint16).reshape(8, 2, 2)
    value = pack_arrays({"codes": codes, **pack_views(views, (16, 16))})
    file = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    drawn = [np.random.default_rng(seed) for seed in range(9)]
    for draw, again in zip([None, *drawn], [0, *map(np.random.default_rng, range(9))], strict=True):
        number = 1 + int(again.integers(2**31)) % 7 if draw is not None else 0
        row = grid.stored_view(file, value, "views", 8, draw)
        assert row["codes"].tolist() == codes[number].reshape(-1).tolist()
        assert np.array_equal(row["pixels"], look(image, views[number], 8))
