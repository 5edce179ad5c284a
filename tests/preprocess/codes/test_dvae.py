import sys
from pathlib import Path

import pytest
import torch
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

from septet.preprocess.codes.dvae import Dvae, DvaeSettings
from septet.preprocess.codes.load import load_tokenizer
from tests.preprocess.codes.oracles import count, near


def spread(module, last_bias, seed=0):
    """Give a module weights that spread codes."""
    draw = torch.Generator().manual_seed(seed)
    for x in module.parameters():
        fan = x[0].numel() if x.ndim > 1 else 4
        x.data.copy_(torch.randn(x.shape, generator=draw) * (2 / fan) ** 0.5)
    with torch.no_grad():
        logits = module(torch.rand(4, 3, 64, 64, generator=draw))
    last_bias.data -= logits.mean((0, 2, 3))
    return module.eval()


def codebook(width=16, blocks=2, codes=64, seed=0):
    """transformers' module."""
    config = FlavaImageCodebookConfig(
        hidden_size=width, num_blocks_per_group=blocks, vocab_size=codes
    )
    module = FlavaImageCodebook(config)
    return spread(module, module.blocks.output.conv.bias, seed)


@pytest.mark.parametrize(
    "blocks, size", [(1, (64, 96)), (2, (112, 112)), (2, (8, 8)), (3, (40, 16))]
)
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
    """From the same 112 x 112 image, transformers' processor makes what `codes` maps inside."""
    import numpy as np
    from transformers import FlavaImageProcessor

    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    processed = FlavaImageProcessor()(
        [image], return_codebook_pixels=True, return_tensors="pt"
    ).codebook_pixel_values
    theirs = codebook()
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    codes = Dvae.from_state(theirs.state_dict()).codes(pixels)
    assert torch.equal(codes, theirs.get_codebook_indices(processed))


@pytest.fixture
def openai_encoder(monkeypatch):
    """OpenAI's own module, small."""
    monkeypatch.syspath_prepend(Path(sys.prefix) / "peers/dall-e-0.1")
    from dall_e.encoder import Encoder

    module = Encoder(n_hid=64, n_blk_per_group=1, vocab_size=512, use_mixed_precision=False)
    return spread(module, module.blocks.output.conv.b)


def test_equals_openais_own_module(openai_encoder, tmp_path):
    """Which is published pickled whole; its tensors alone are read."""
    torch.save(openai_encoder, tmp_path / "encoder.pkl")
    whole = load_tokenizer("dvae", str(tmp_path / "encoder.pkl")).state_dict()
    torch.save(openai_encoder.state_dict(), tmp_path / "encoder.pt")
    mine = load_tokenizer("dvae", str(tmp_path / "encoder.pt"))
    assert whole.keys() == mine.state_dict().keys()
    assert all(torch.equal(x, whole[name]) for name, x in mine.state_dict().items())
    pixels = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = openai_encoder(pixels * 0.8 + 0.1)
        assert near(mine.logits(pixels), expected, 1e-5)
    assert torch.equal(mine.codes(pixels), expected.argmax(1))
    assert len(expected.argmax(1).unique()) > 20


def test_loads_all_of_hugging_faces_names():
    state = codebook().state_dict()
    expected = Dvae.from_state(state).state_dict()
    assert expected.keys() == state.keys()
    whole = {f"image_codebook.{n}": x for n, x in state.items()}
    whole["flava.image_model.embeddings.cls_token"] = torch.zeros(1, 1, 8)
    found = Dvae.from_state(whole).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[n], expected[n]) for n in found)


def torchmultimodals_name(name):
    """Its `DalleVAEEncoder` has no module `group` in a group and no `path` in a block, and
    convolutions with weights `w` and `b`."""
    name = name.replace(".group.", ".").replace(".res_path.path.", ".res_path.")
    return "encoder." + name.removesuffix("eight").removesuffix("ias")


@pytest.mark.parametrize("whole", [False, True])
def test_loads_torchmultimodals_codebook(tmp_path, whole):
    state = codebook().state_dict()
    theirs = {torchmultimodals_name(n): x for n, x in state.items()}
    assert "encoder.blocks.group_2.block_1.res_path.conv_4.w" in theirs
    assert "encoder.blocks.output.conv.b" in theirs
    if whole:  # FLAVAForPreTraining, beside which its model and losses lie
        theirs = {f"image_codebook.{n}": x for n, x in theirs.items()} | {
            "model.image_encoder.embeddings.cls_token": torch.zeros(1, 1, 8),
            "loss.mim_head.cls.weight": torch.zeros(4, 8),
        }
    torch.save(theirs, tmp_path / "codebook.pt")
    found = load_tokenizer("dvae", str(tmp_path / "codebook.pt")).state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[n], x) for n, x in state.items())
    torch.save({n: x for n, x in theirs.items() if "group_3.block_2" not in n}, tmp_path / "cut.pt")
    with pytest.raises(ValueError, match=r"cut\.pt: these weights are no Dvae's: missing blocks"):
        load_tokenizer("dvae", str(tmp_path / "cut.pt"))


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
    pixels = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    codes = module.codes(pixels)
    assert torch.equal(torch.cat([module.codes(one) for one in pixels.split(1)]), codes)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match="no dVAE encoder's"):
        Dvae.from_state({"layer.weight": torch.zeros(1)})
