import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from septet.trainers.nets.mt5 import to_mt5
from septet.trainers.pali.vit_weights import to_big_vision, to_siglip
from septet.trainers.pali.weights import FORMS
from tests.trainers.pali.small import SMALL, module

HIGH = SMALL.model_copy(
    update={"vision": SMALL.vision.model_copy(update={"image_size": 56})}
)  # fmt: skip
PARTS = {
    "hf": ["language/model.safetensors", "vision/model.safetensors", "connector.safetensors"],
    "septet": ["pali.safetensors"],
}


@pytest.mark.parametrize("form", PARTS)
def test_what_is_exported_is_read_back_to_the_bit(form, tmp_path):
    state = module().state_dict()
    written = FORMS.write(state, SMALL, tmp_path, form)
    assert {str(p.relative_to(tmp_path)) for p in written} >= set(PARTS[form])
    found = {}
    for part in PARTS[form]:
        found |= FORMS.read(tmp_path / part, SMALL).weights
    assert found.keys() == state.keys()
    assert all(torch.equal(found[n], x) for n, x in state.items())


def test_transformers_loads_what_is_exported(tmp_path):
    import transformers

    mine = module().eval()
    FORMS.write(mine.state_dict(), SMALL, tmp_path, "hf")
    theirs = transformers.SiglipVisionModel.from_pretrained(tmp_path / "vision").eval()
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = theirs(pixel_values=pixels).last_hidden_state
        assert torch.allclose(found, mine.vision(pixels), atol=1e-5)
    told = transformers.MT5EncoderModel.from_pretrained(tmp_path / "language").eval()
    ids = torch.randint(2, 300, (2, 7))
    with torch.no_grad():
        found = told(input_ids=ids).last_hidden_state
        assert torch.allclose(found, mine.language.encode(ids).memory, atol=1e-4)
    assert json.loads((tmp_path / "language/config.json").read_text())["num_layers"] == 3


def as_files(mine, tmp_path):
    """The vision half as its makers keep it: SigLIP whole, and big_vision's, by layer or scanned."""
    vision = mine.vision.state_dict()
    whole = {**to_siglip(vision), "logit_scale": torch.zeros(1), "logit_bias": torch.zeros(1),
             "vision_model.head.probe": torch.zeros(1, 1, 48),
             "text_model.head.weight": torch.zeros(3, 3)}  # fmt: skip
    save_file({n: x.contiguous() for n, x in whole.items()}, tmp_path / "siglip.safetensors")
    named = to_big_vision(vision, mine.settings.vision)
    more = {"MAPHead_0/probe": np.zeros((1, 1, 48)), "head/kernel": np.zeros((48, 7))}
    np.savez(tmp_path / "layers.npz", **named, **more)
    scanned = {f"params/img/{n}": x for n, x in {**named, **more}.items() if "block_" not in n}
    for name in named:
        if "encoderblock_0/" in name:
            layers = [named[name.replace("block_0/", f"block_{i}/")] for i in range(2)]
            scanned[f"params/img/{name.replace('block_0/', 'block/')}"] = np.stack(layers)
    text = {"params/txt/embedding/kernel": np.zeros((2, 2)), "params/t": np.zeros(1)}
    np.savez(tmp_path / "scanned.npz", **scanned, **text)
    return [tmp_path / name for name in ("siglip.safetensors", "layers.npz", "scanned.npz")]


def test_the_vision_half_is_read_from_each_public_form(tmp_path):
    mine = module()
    state = {n: x for n, x in mine.state_dict().items() if n.startswith("vision.")}
    for path in as_files(mine, tmp_path):
        found = FORMS.read(path, SMALL).weights
        assert found.keys() == state.keys(), path
        assert all(torch.equal(found[n], x) for n, x in state.items()), path


def test_names_and_shapes_of_big_visions_files():
    named = to_big_vision(module().vision.state_dict(), SMALL.vision)
    block = "Transformer/encoderblock_1"
    expected = {
        "embedding/kernel": (8, 8, 3, 48), "embedding/bias": (48,), "pos_embedding": (1, 16, 48),
        f"{block}/LayerNorm_0/scale": (48,), f"{block}/MlpBlock_0/Dense_0/kernel": (48, 80),
        f"{block}/MultiHeadDotProductAttention_0/query/kernel": (48, 4, 12),
        f"{block}/MultiHeadDotProductAttention_0/query/bias": (4, 12),
        f"{block}/MultiHeadDotProductAttention_0/out/kernel": (4, 12, 48),
        "Transformer/encoder_norm/bias": (48,),
    }  # fmt: skip
    assert {n: named[n].shape for n in expected} == expected and len(named) == 5 + 2 * 16


def test_positions_fit_another_resolution(tmp_path):
    mine = module()
    for path in as_files(mine, tmp_path):
        found = FORMS.read(path, HIGH).weights
        assert found["vision.positions"].shape == (1, 49, 48)
        assert torch.equal(found["vision.positions"][0, 0], mine.vision.positions[0, 0])


def test_mt5_is_read_with_its_aliases_and_without_a_tied_head(tmp_path):
    mine = module()
    named = to_mt5(mine.language.state_dict())
    named["encoder.embed_tokens.weight"] = named["shared.weight"].clone()
    save_file(named, tmp_path / "mt5.safetensors")
    found = FORMS.read(tmp_path / "mt5.safetensors", SMALL).weights
    assert set(found) == {n for n in mine.state_dict() if n.startswith("language.")}
    assert not torch.equal(found["language.head.weight"], found["language.words.weight"])
    for tied in ({"lm_head.weight": named["shared.weight"].clone()}, {}):
        rest = {n: x for n, x in named.items() if n != "lm_head.weight"}
        save_file(rest | tied, tmp_path / "tied.safetensors")
        with pytest.raises(
            ValueError, match=r"tied\.safetensors \(mt5\): the output head is the table of"
        ):
            FORMS.read(tmp_path / "tied.safetensors", SMALL)


def test_a_file_that_does_not_fit_is_told(tmp_path):
    named = to_mt5(module().language.state_dict())
    save_file(
        {n: x for n, x in named.items() if "block.2" not in n}, tmp_path / "short.safetensors"
    )
    with pytest.raises(ValueError, match=r"language\.encoder\.blocks\.2.*is missing"):
        FORMS.read(tmp_path / "short.safetensors", SMALL)
    save_file({"cls": torch.zeros(3), **named}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match=r"no place for language\.cls"):
        FORMS.read(tmp_path / "odd.safetensors", SMALL)
    with pytest.raises(ValueError, match="exported as big_vision or hf or septet; found 'gguf'"):
        FORMS.write({}, SMALL, tmp_path, "gguf")
