import re

import pytest
import torch
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

from preprocess.codes.dvae import Dvae, DvaeSettings
from tests.preprocess.codes.oracles import count, near


def codebook(width=16, blocks=2, codes=64, seed=0):
    """transformers' module with weights that spread codes."""
    config = FlavaImageCodebookConfig(
        hidden_size=width, num_blocks_per_group=blocks, vocab_size=codes
    )
    module = FlavaImageCodebook(config).eval()
    draw = torch.Generator().manual_seed(seed)
    for x in module.parameters():
        fan = x[0].numel() if x.ndim > 1 else 4
        x.data.copy_(torch.randn(x.shape, generator=draw) * (2 / fan) ** 0.5)
    with torch.no_grad():
        logits = module(torch.rand(4, 3, 64, 64, generator=draw))
        module.blocks.output.conv.bias -= logits.mean((0, 2, 3))
    return module


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("size", [(112, 112), (64, 96), (8, 8), (40, 16)])
def test_equals_transformers(blocks, size):
    theirs = codebook(blocks=blocks, seed=blocks)
    mine = Dvae.from_state(theirs.state_dict())
    pixels = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(1))
    mapped = pixels * 0.8 + 0.1
    with torch.no_grad():
        logits, expected = mine.logits(pixels), theirs(mapped)
    assert near(logits, expected, 1e-5)
    codes = mine.codes(pixels)
    assert torch.equal(codes, theirs.get_codebook_indices(mapped))
    assert codes.shape == (3, size[0] // 8, size[1] // 8)
    assert len(codes.unique()) > min(20, codes[0].numel() - 1)


def test_input_is_the_image_processors():
    """From the same 112 x 112 picture, transformers' processor makes what `codes` maps inside."""
    import numpy as np
    from transformers import FlavaImageProcessor

    picture = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    processed = FlavaImageProcessor()(
        [picture], return_codebook_pixels=True, return_tensors="pt"
    ).codebook_pixel_values
    theirs = codebook()
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    codes = Dvae.from_state(theirs.state_dict()).codes(pixels)
    assert torch.equal(codes, theirs.get_codebook_indices(processed))


def openai_names(state):
    """The names of OpenAI's `encoder.pkl`."""
    out = {}
    for name, x in state.items():
        name = re.sub(r"(group_\d)\.group\.", r"\1.", name).replace("res_path.path.", "res_path.")
        out[name.replace(".weight", ".w").replace(".bias", ".b")] = x
    return out


def test_loads_all_published_names():
    state = codebook().state_dict()
    expected = Dvae.from_state(state).state_dict()
    assert expected.keys() == state.keys()
    original = openai_names(state)
    assert "blocks.group_2.block_1.id_path.w" in original
    assert "blocks.group_4.block_2.res_path.conv_4.b" in original
    assert {"blocks.input.w", "blocks.output.conv.b"} < original.keys()
    whole = {f"image_codebook.{n}": x for n, x in state.items()}
    whole["flava.image_model.embeddings.cls_token"] = torch.zeros(1, 1, 8)
    for published in (original, whole):
        found = Dvae.from_state(published).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[n], expected[n]) for n in found)


def test_has_the_published_count():
    with torch.device("meta"):
        module = Dvae(DvaeSettings())
        theirs = FlavaImageCodebook(FlavaImageCodebookConfig())
    assert count(module) == 53_786_240 == count(theirs)
    shapes = {n: x.shape for n, x in theirs.state_dict().items()}
    assert {n: x.shape for n, x in module.state_dict().items()} == shapes
    assert Dvae.from_state(theirs.state_dict()).settings == DvaeSettings()
    assert (module.stride, module.codebook_size) == (8, 8192)


def test_codes_do_not_depend_on_the_batch():
    module = Dvae.from_state(codebook().state_dict())
    pixels = torch.rand(8, 3, 112, 112, generator=torch.Generator().manual_seed(2))
    codes = module.codes(pixels)
    assert torch.equal(torch.cat([module.codes(one) for one in pixels.split(1)]), codes)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match="no dVAE encoder's"):
        Dvae.from_state({"layer.weight": torch.zeros(1)})
