import pytest
import torch
import torch.nn.functional as F

from septet.preprocess.codes.vqkd import Vqkd, VqkdSettings
from tests.preprocess.codes.oracles import Oracle, count

ORACLE = Oracle("vqkd")
HEADS = ORACLE.description["config"]["heads"]
UNUSED = {
    "decoder.cls_token": (1, 1, 48),
    "decoder.blocks.0.attn.qkv.weight": (144, 48),
    "decode_task_layer.0.weight": (48, 48),
    "decode_task_layer.2.bias": (512,),
    "teacher_model.visual.proj": (768, 512),
    "scaling_layer.shift": (1, 3, 1, 1),
    "loss_fn.weight": (3,),
}


def module():
    return Vqkd.from_state(ORACLE.weights, HEADS)


def test_equals_beit2():
    pixels = ORACLE.inputs["pixels_0_1"]
    with torch.no_grad():
        features = module().features(pixels)
    assert float((features - ORACLE.outputs["features_before_norm"]).abs().max()) <= 1e-5
    codes = module().codes(pixels)
    assert torch.equal(codes.int(), ORACLE.outputs["codes"])
    assert len(codes.unique()) > 10


def test_whole_checkpoints_load():
    whole = ORACLE.weights | {name: torch.zeros(shape) for name, shape in UNUSED.items()}
    found = Vqkd.from_state(whole, HEADS)
    told = ORACLE.description["config"]
    assert found.settings == VqkdSettings(
        width=told["width"],
        depth=told["depth"],
        heads=told["heads"],
        mlp=4 * told["width"],
        patch=told["patch"],
        grid=told["image"] // told["patch"],
        codes=told["codes"],
        code_width=told["code_dim"],
    )
    kept = ("encoder.", "encode_task_layer.", "quantize.embedding.weight")
    assert found.state_dict().keys() == {n for n in ORACLE.weights if n.startswith(kept)}


def test_sizes_of_the_released_encoders():
    with torch.device("meta"):
        base = Vqkd(VqkdSettings())
    width = 768
    blocks = 12 * (12 * width**2 + 13 * width - width)  # a ViT's, without the bias of keys
    ends = (3 * 16**2 + 1) * width + width + 197 * width + 2 * width
    assert count(base.encoder) == blocks + ends == 85_789_440
    assert count(base.encode_task_layer) == 590_592 + 768 * 32 + 32
    assert base.quantize.embedding.weight.shape == (8192, 32)
    assert Vqkd.from_state(base.state_dict()).settings == VqkdSettings()


def test_a_larger_image_has_positions_between_those_learnt():
    """As a tokenizer would answer that has the resized positions for its own."""
    pixels = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    codes = module().codes(pixels)
    assert codes.shape == (2, 4, 5)
    weights = dict(ORACLE.weights)
    old = weights["encoder.pos_embed"]
    grid = old[:, 1:].reshape(1, 3, 3, -1).permute(0, 3, 1, 2)
    square = pixels[..., :64]
    larger = F.interpolate(grid, size=(4, 4), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    weights["encoder.pos_embed"] = torch.cat([old[:, :1], larger], 1)
    resized = Vqkd.from_state(weights, HEADS)
    assert resized.settings.grid == 4
    assert torch.equal(resized.codes(square), module().codes(square))


def test_dark_images_are_not_stretched():
    """The released code guesses the range of pixels by their maximum; here it is fixed."""
    dark = torch.full((1, 3, 48, 48), 1 / 255)
    x = F.conv2d(
        torch.full((1, 3, 48, 48), 1 / 127.5 - 1),
        ORACLE.weights["encoder.patch_embed.proj.weight"],
        ORACLE.weights["encoder.patch_embed.proj.bias"],
        stride=16,
    )
    seen = []
    tokenizer = module()
    tokenizer.encoder.patch_embed.register_forward_hook(lambda *args: seen.append(args[2]))
    tokenizer.codes(dark)
    assert torch.allclose(seen[0], x, atol=1e-5)


@pytest.mark.parametrize("size", [(48, 48), (64, 32), (16, 16)])
def test_codes_do_not_depend_on_the_batch(size):
    pixels = torch.rand(8, 3, *size, generator=torch.Generator().manual_seed(1))
    codes = module().codes(pixels)
    assert torch.equal(torch.cat([module().codes(one) for one in pixels.split(1)]), codes)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match="say how many heads"):
        Vqkd.from_state(ORACLE.weights)
    with pytest.raises(ValueError, match=r"there is no quantize\.embedding\.weight"):
        Vqkd.from_state({n: x for n, x in ORACLE.weights.items() if "quantize" not in n})
