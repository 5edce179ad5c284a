import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from septet.preprocess.codes.vqgan import Vqgan
from septet.trainers.ofa.drawing import drawn_image
from septet.trainers.ofa.presets import PRESETS
from septet.trainers.prediction import Asked
from tests.trainers.ofa.small import ORACLE

DEBUG = PRESETS["debug"].model
IMAGE = np.random.default_rng(0).integers(0, 255, (80, 96, 3), dtype=np.uint8)


def test_what_is_filled_in_is_the_middle_and_a_text_is_drawn():
    task = PRESETS["debug"].task()
    torch.manual_seed(0)
    module = task.build().eval()
    (answer,) = task.predict(module, "infill", [Asked(IMAGE)], 2)
    seen = np.array(Image.fromarray(IMAGE).resize((64, 64), Image.Resampling.BICUBIC))
    changed = (answer.image != seen).any(2)
    outside = np.ones((64, 64), bool)
    outside[16:48, 16:48] = False
    assert not changed[outside].any() and changed[16:48, 16:48].mean() > 0.9
    first, second = task.predict(module, "generate", [Asked(text="a star"), Asked(text="a dog")])
    assert first.image.shape == second.image.shape == (32, 32, 3)
    with pytest.raises(ValueError, match="generate needs a text of words"):
        task.predict(module, "generate", [Asked(text=",")])


def test_codes_become_an_image_by_the_vqgans_decoder(tmp_path):
    oracle = load_file(ORACLE.parent / "vqgan_gumbel_f8.safetensors")
    weights = {n.removeprefix("weights/"): x for n, x in oracle.items() if "weights/" in n}
    path = tmp_path / "vqgan.ckpt"
    torch.save({"state_dict": weights}, path)
    s = DEBUG.model_copy(update={"codes_column": "codes", "vqgan": str(path)})
    codes = oracle["outputs/codes"][0].long()
    found = drawn_image(codes.numpy(), s)
    with torch.no_grad():
        decoded = Vqgan.from_state(weights, decoder=True).eval().decode(codes[None])[0]
    expected = (decoded.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert found.shape == (8 * codes.shape[0], 8 * codes.shape[1], 3)
    assert np.array_equal(found, expected.astype(np.uint8)) and found.std() > 1
    with pytest.raises(ValueError, match=r"--set model\.vqgan=FILE"):
        drawn_image(codes.numpy(), s.model_copy(update={"vqgan": None}))
    cells = drawn_image(np.array([[0, 511]]), DEBUG)
    assert cells.shape == (8, 16, 3) and (cells[:, :8] == 16).all() and (cells[:, 8:] == 240).all()
