import pytest
import torch

from septet.preprocess.codes.vqgan import Vqgan, VqganSettings, sizes
from tests.preprocess.codes.oracles import Oracle, count, near

ORACLES = ["vqgan_gumbel_f8", "vqgan_vq_f8"]


def random_pixels(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ORACLES)
def test_equals_taming(name):
    oracle = Oracle(name)
    module = Vqgan.from_state(oracle.weights, decoder=True)
    x = oracle.inputs["pixels_minus1_1"]
    expected = oracle.outputs["codes"]
    with torch.no_grad():
        latents = module.latents(x)
        assert near(latents, oracle.outputs["latent"], 1e-5)
        assert torch.equal(module.quantize(latents).int(), expected)
        decoded = module.decode(expected.long()) * 2 - 1
        assert near(decoded, oracle.outputs["decoded"], 1e-5)
    assert torch.equal(module.codes((x + 1) / 2).int(), expected)
    assert len(expected.unique()) > 20  # the archive tells codes apart


@pytest.mark.parametrize("name", ORACLES)
def test_sizes_are_read_from_shapes(name):
    oracle = Oracle(name)
    config = oracle.description["config"]
    found, told = sizes(oracle.weights), config["ddconfig"]
    assert found == VqganSettings(
        channels=told["ch"],
        multipliers=tuple(told["ch_mult"]),
        blocks=told["num_res_blocks"],
        attention=(3,),
        latent=told["z_channels"],
        embed=config["embed_dim"],
        codes=config["n_embed"],
        gumbel="gumbel" in name,
    )
    module = Vqgan.from_state(oracle.weights)
    assert (module.stride, module.codebook_size) == (8, config["n_embed"])


def test_has_the_published_counts():
    with torch.device("meta"):
        module = Vqgan(VqganSettings())
    assert count(module.encoder) == 26_345_728
    assert len(module.encoder.state_dict()) == 126
    assert count(module.quant_conv) == 65_792
    assert count(module.quantize.proj) == 2_105_344
    assert count(module.quantize.embed) == 2_097_152
    assert (module.stride, module.codebook_size) == (8, 8192)


@pytest.mark.parametrize(
    "settings",
    [
        VqganSettings(),
        VqganSettings(multipliers=(1, 1, 2, 2, 4), attention=(4,), codes=1024, gumbel=False),
    ],
    ids=["openimages f8 gumbel", "imagenet f16"],
)
def test_whole_checkpoints_load(settings):
    with torch.device("meta"):
        state = Vqgan(settings).state_dict()
        state |= {
            "loss.discriminator.main.0.weight": torch.empty(64, 3, 4, 4),
            "loss.perceptual_loss.net.slice1.0.weight": torch.empty(64, 3, 3, 3),
            "loss.perceptual_loss.scaling_layer.shift": torch.empty(1, 3, 1, 1),
        }
    for decoder in (False, True):
        module = Vqgan.from_state(state, decoder)
        assert module.settings == settings
        wanted = {n for n in state if not n.startswith("loss.")}
        if not decoder:
            wanted = {n for n in wanted if not n.startswith(("decoder.", "post_quant_conv."))}
        assert module.state_dict().keys() == wanted


def test_never_draws_noise():
    module = Vqgan.from_state(Oracle("vqgan_gumbel_f8").weights)
    pixels = random_pixels(1, 3, 64, 64)
    torch.manual_seed(1)
    first = module.train().codes(pixels)
    torch.manual_seed(2)
    assert torch.equal(module.codes(pixels), first)
    assert not module.training


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("height, width", [(64, 64), (96, 40), (8, 8)])
def test_codes_do_not_depend_on_the_batch(name, height, width):
    module = Vqgan.from_state(Oracle(name).weights)
    pixels = random_pixels(8, 3, height, width)
    codes = module.codes(pixels)
    assert codes.dtype == torch.int64 and codes.shape == (8, height // 8, width // 8)
    alone = torch.cat([module.codes(one) for one in pixels.split(1)])
    assert torch.equal(alone, codes)


@pytest.mark.parametrize("name", ORACLES)
def test_a_trainers_precision_changes_nothing(name):
    module = Vqgan.from_state(Oracle(name).weights)
    pixels = random_pixels(4, 3, 64, 64)
    codes = module.codes(pixels)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(module.codes(pixels), codes)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert not any(x.requires_grad for x in module.parameters())


def test_decoding_needs_the_decoder():
    module = Vqgan.from_state(Oracle("vqgan_vq_f8").weights)
    with pytest.raises(ValueError, match="decoder=True"):
        module.decode(torch.zeros(1, 8, 8, dtype=torch.int64))


@pytest.mark.parametrize(
    "pixels, message",
    [
        (torch.zeros(1, 3, 60, 64), "multiples of 8"),
        (torch.zeros(1, 64, 64, 3), "multiples of 8"),
        (torch.zeros(3, 64, 64), r"found \[3, 64, 64\]"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "divide bytes by 255"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.float16), "float32"),
    ],
)
def test_other_pixels_are_refused(pixels, message):
    module = Vqgan.from_state(Oracle("vqgan_vq_f8").weights)
    with pytest.raises(ValueError, match=message):
        module.codes(pixels)


def test_other_weights_are_refused():
    state = Oracle("vqgan_vq_f8").weights
    without = {n: x for n, x in state.items() if not n.startswith("quantize.")}
    with pytest.raises(ValueError, match=r"no VQGAN's: there is no quantize\.embedding\.weight"):
        Vqgan.from_state(without)
    with pytest.raises(ValueError, match=r"missing encoder\.mid\.attn_1\.q\.weight; unknown none"):
        Vqgan.from_state({n: x for n, x in state.items() if n != "encoder.mid.attn_1.q.weight"})
    with pytest.raises(ValueError, match=r"unknown model_ema\.decay"):
        Vqgan.from_state(state | {"model_ema.decay": torch.zeros(())})
    with pytest.raises(ValueError, match=r"quant_conv\.bias is \[7\], expected \[24\]"):
        Vqgan.from_state(state | {"quant_conv.bias": torch.zeros(7)})
