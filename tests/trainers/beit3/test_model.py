import math

import pytest
import torch
from torch._dynamo.utils import counters

from septet.trainers.beit3.model import Beit3
from septet.trainers.beit3.presets import PRESETS
from septet.trainers.beit3.settings import Beit3Settings
from septet.trainers.inputs.images import normalise
from septet.trainers.task import Batch
from tests.preprocess.codes.oracles import Oracle, count
from tests.trainers.beit3.reference import mean_losses, states
from tests.trainers.beit3.small import PAPER, SMALL, batch, module, task
from tests.trainers.test_clip import close

HALF = (0.5, 0.5, 0.5)

COUNTS = {
    "base": (276_510_730, 220_987_392), "base-itc": (222_167_041, 220_987_392),
    "large": (746_709_514, 672_702_464), "large-itc": (674_799_617, 672_702_464),
}  # fmt: skip
"""Of the released sizes: all, backbone."""


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle("beit3_released")


def settings_of(oracle: Oracle) -> Beit3Settings:
    told = oracle.description["config"]
    return Beit3Settings(
        width=told["width"], heads=told["heads"], layers=told["layers"], inner=told["ffn"],
        image_size=told["image"], patch=told["patch"], words=told["vocab"],
        text_positions=told["max_text_positions"], pair_tokens=9, text_tokens=9,
        masked_patches=4, least_block=1, codes=64,
    )  # fmt: skip


def on_meta(name: str) -> Beit3:
    with torch.device("meta"):
        return Beit3(PRESETS[name].model)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_released_ones(name):
    mine = on_meta(name)
    assert (count(mine), count(mine.beit3)) == COUNTS[name]


@pytest.mark.parametrize("name,attention,experts,norms,words,patches,positions", [
    ("base", 28_366_848, 56_742_912, 38_400, 49_159_680, 592_128, (152_832, 786_432)),
    ("large", 100_810_752, 201_646_080, 100_352, 65_546_240, 789_504, (203_776, 1_048_576)),
])  # fmt: skip
def test_parts_of_the_released_sizes(name, attention, experts, norms, words, patches, positions):
    b = on_meta(name).beit3
    for expert, rows in zip("AB", positions, strict=True):
        at = {n: count(m) for n, m in b.encoder.named_modules() if n.endswith(f".{expert}")}
        assert sum(c for n, c in at.items() if "self_attn." in n) == attention
        assert sum(c for n, c in at.items() if ".ffn." in n) == experts
        assert sum(c for n, c in at.items() if "layer_norm." in n) == norms
        assert at[f"embed_positions.{expert}"] == rows
    assert (count(b.text_embed), count(b.vision_embed)) == (words, patches)


def test_the_papers_giant_has_the_parts_of_its_table_2():
    layers = on_meta("giant").beit3.encoder.layers
    attention = sum(count(layer.self_attn) for layer in layers)
    experts = {
        name: sum(count(layer.ffn[name]) for layer in layers if name in layer.ffn)
        for name in ("A", "B", "VL")
    }
    assert experts == {"A": 692_362_240, "B": 692_362_240, "VL": 51_927_168}
    assert attention == 317_419_520
    assert [i for i, layer in enumerate(layers) if "VL" in layer.ffn] == [37, 38, 39]
    giant = on_meta("giant")  # "1.9B", with heads and without.
    assert (count(giant), count(giant.beit3)) == (1_948_917_642, 1_847_185_024)


def test_names_are_those_of_the_released_checkpoints(oracle):
    mine = Beit3(settings_of(oracle))
    heads = {f"{head}_head.{kind}" for head in ("mlm", "mim") for kind in ("weight", "bias")}
    assert mine.state_dict().keys() == oracle.weights.keys() | heads
    told = mine.load_state_dict(oracle.weights, strict=False)
    assert set(told.missing_keys) == heads and not told.unexpected_keys
    contrastive = Beit3(settings_of(oracle).model_copy(update={"stage": "contrastive"}))
    projections = {"vision_head.weight", "language_head.weight", "logit_scale"}
    assert contrastive.state_dict().keys() == oracle.weights.keys() | projections


def test_states_are_the_released_models(oracle):
    mine = Beit3(settings_of(oracle)).eval()
    mine.load_state_dict(oracle.weights, strict=False)
    x, expected = oracle.inputs, oracle.outputs
    real, first = ~x["text_padding"], 1 + mine.settings.grid**2
    assert int(x["text_padding"].sum()) > 0 and int(x["patch_mask"].sum()) > 0
    with torch.no_grad():
        vision, text = mine.beit3(x["pixels"], x["patch_mask"], x["ids"], x["text_padding"])
        image, nothing = mine.beit3(x["pixels"], x["patch_mask"])
        none, alone = mine.beit3(ids=x["ids"], padding=x["text_padding"])
    assert nothing is None and none is None
    for found, theirs in (
        (vision, expected["pair"][:, :first]), (text[real], expected["pair"][:, first:][real]),
        (image, expected["image"]), (alone[real], expected["text"][real]),
    ):  # fmt: skip
        assert float((found - theirs).abs().max()) <= 1e-5


def test_the_plain_reference_agrees_with_the_oracle(oracle):
    """So that gradients may be compared with autograd of it."""
    s, x = settings_of(oracle), oracle.inputs
    for i in range(len(x["ids"])):
        found = states(oracle.weights, s, x["pixels"][i], x["patch_mask"][i], x["ids"][i],
                       x["text_padding"][i])  # fmt: skip
        real = torch.cat([torch.ones(1 + s.grid**2).bool(), ~x["text_padding"][i]])
        assert float((found - oracle.outputs["pair"][i])[real].abs().max()) <= 1e-5
        alone = states(oracle.weights, s, ids=x["ids"][i], padding=x["text_padding"][i])
        real = ~x["text_padding"][i]
        assert float((alone - oracle.outputs["text"][i])[real].abs().max()) <= 1e-5


def as_rows(data: Batch) -> list[dict]:
    """One by one, pixels normalised."""
    rows = [{n: x[i] for n, x in data.data.items()} for i in range(len(data))]
    for row in rows:
        if "pixels" in row:
            row["pixels"] = normalise(row["pixels"][None], HALF, HALF)[0]
    return rows


@pytest.mark.parametrize("s", [SMALL, PAPER], ids=["released", "paper"])
def test_losses_and_gradients_are_those_of_the_plain_reference(s):
    mine, t = module(s), task(s)
    weights = {n: x.detach().clone().requires_grad_() for n, x in mine.state_dict().items()}
    batches = {kind: batch(kind, s, rows=3) for kind in t.streams}
    expected = mean_losses(weights, s, {kind: as_rows(data) for kind, data in batches.items()})
    assert expected.keys() == t.loss_weights.keys()
    losses = {}
    for data in batches.values():
        sums, counts = t.losses(t.forward(mine, data), data), t.counts(data)
        assert sums.keys() == counts.keys()
        losses |= {name: sums[name] / counts[name] for name in sums}
    for name, loss in expected.items():
        assert losses[name].item() == pytest.approx(loss.item(), rel=1e-5), name
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    for name, p in mine.named_parameters():
        assert p.grad is not None and p.grad.any(), f"{name} has no gradient"
        assert close(p.grad, weights[name].grad), name


def test_kinds_use_the_experts_of_the_paper():
    """Images V-FFN, texts L-FFN in all layers; pairs those, and VL-FFN in the top ones."""
    t, used = task(PAPER), {}
    for kind in t.streams:
        mine = module(PAPER)
        data = batch(kind, PAPER)
        sum(t.losses(t.forward(mine, data), data).values()).backward()
        layers = mine.beit3.encoder.layers
        used[kind] = [
            {n for n, f in layer.ffn.items() if f.fc1.weight.grad is not None} for layer in layers
        ]
    assert used == {
        "images": [{"A"}] * 3, "texts": [{"B"}] * 3, "pairs": [{"A", "B"}] * 2 + [{"VL"}],
    }  # fmt: skip


@pytest.mark.parametrize("s", [SMALL, PAPER], ids=["released", "paper"])
def test_each_side_sees_the_other_and_pads_are_not_seen(s):
    mine, data = module(s).eval(), batch("pairs", s).data
    pixels = normalise(data["pixels"], HALF, HALF)
    padding = data["ids"] == 1
    vision, text = mine.beit3(pixels, None, data["ids"], padding)
    other, moved = mine.beit3(pixels.roll(1, 0), None, data["ids"], padding)
    assert not close(text, moved) and not close(vision, other)
    words = data["ids"].clone()
    words[padding] = 77
    again, same = mine.beit3(pixels, None, words, padding)
    assert close(vision, again) and close(text[~padding], same[~padding])
    words[:, 1] = 77
    assert not close(vision, mine.beit3(pixels, None, words, padding)[0])
    short = data["ids"][3:, :10]  # Without its pads.
    alone = mine.beit3(pixels[3:], None, short, short == 1)
    assert not (short == 1).any() and close(alone[1], text[3:, :10])
    assert close(alone[0], vision[3:])


def test_vectors_are_of_each_side_alone():
    s = SMALL.model_copy(update={"stage": "contrastive"})
    mine, data = module(s), batch("pairs", s).data
    plain = Batch("pairs", {n: data[n] for n in ("pixels", "ids")})
    found = task(s).forward(mine, plain)
    weights = mine.state_dict()
    for i in range(4):
        pixels = normalise(data["pixels"][i : i + 1], HALF, HALF)[0]
        image = weights["vision_head.weight"] @ states(weights, s, pixels)[0]
        ids = data["ids"][i]
        text = weights["language_head.weight"] @ states(weights, s, ids=ids, padding=ids == 1)[0]
        assert close(found["image"][i], image / image.norm())
        assert close(found["text"][i], text / text.norm())
    assert found["scale"].item() == pytest.approx(1 / 0.07)
    assert not mine.beit3.vision_embed.mask_token.requires_grad


def test_magneto_starts_with_its_gain_last():
    torch.manual_seed(0)
    s = PRESETS["base"].model.model_copy(update={"layers": 2, "words": 1000, "codes": 1000})
    gain = math.sqrt(math.log(4))
    w = Beit3(s).state_dict()
    at = "beit3.encoder.layers.1."
    uniform = math.sqrt(6 / (2 * 768)) / math.sqrt(3)  # Xavier's deviation of 768 to 768.
    for name, expected in (
        (f"{at}self_attn.q_proj.A.weight", uniform / math.sqrt(2)),
        (f"{at}self_attn.k_proj.B.weight", uniform / math.sqrt(2)),
        (f"{at}self_attn.v_proj.B.weight", uniform / math.sqrt(2) * gain),
        (f"{at}self_attn.out_proj.A.weight", uniform * gain),
        (f"{at}ffn.B.fc1.weight", gain / math.sqrt(3 * 768)),
        (f"{at}ffn.A.fc2.weight", gain / math.sqrt(3 * 3072)),
        ("beit3.text_embed.weight", 768**-0.5), ("mlm_head.weight", 0.0108),
        ("beit3.encoder.embed_positions.A.weight", 1.0),
    ):  # fmt: skip
        assert w[name].std().item() == pytest.approx(expected, rel=0.02), name
    assert not w["mim_head.bias"].any() and not w[f"{at}self_attn.out_proj.B.bias"].any()


def test_beits_start_divides_the_outputs_of_deep_layers():
    torch.manual_seed(0)
    s = PAPER.model_copy(update={"width": 192, "inner": 768})
    w = Beit3(s).state_dict()
    small = 0.02 * 0.5396  # Deviation of a normal cut at one deviation.
    for layer in range(3):
        at = f"beit3.encoder.layers.{layer}."
        for name, expected in (
            ("self_attn.out_proj.AB.weight", small / math.sqrt(2 * (layer + 1))),
            ("ffn.A.fc2.weight", small / math.sqrt(2 * (layer + 1))),
            ("self_attn.v_proj.AB.weight", small), ("ffn.B.fc1.weight", small),
        ):  # fmt: skip
            assert w[at + name].std().item() == pytest.approx(expected, rel=0.03), name
        assert not w[f"{at}ffn.A.fc1.bias"].any()


def test_stochastic_depth_drops_branches_of_whole_rows():
    s = SMALL.model_copy(update={"drop_path": 0.5, "layers": 3})
    mine, data = module(s), batch("pairs", s, rows=8)
    mine.train()
    encoder = mine.beit3.encoder
    drawn = torch.stack([encoder._draw(torch.zeros(400, 1, 1)) for _ in range(5)]).squeeze()
    assert drawn.shape == (5, 3, 2, 400)
    assert bool((drawn[:, 0] == 1).all())
    for layer, rate in ((1, 0.25), (2, 0.5)):
        part = drawn[:, layer]
        assert (part == 0).float().mean().item() == pytest.approx(rate, abs=0.03)
        assert part.mean().item() == pytest.approx(1, abs=0.06)
    t = task(s)
    one, two = (t.forward(mine, data)["mvlm_text"] for _ in range(2))
    assert not close(one, two)
    mine.eval()
    assert close(t.forward(mine, data)["mvlm_text"], t.forward(module(s).eval(), data)["mvlm_text"])


def test_blocks_compile_once_a_kind_however_many_they_are():
    """Else the compiler would give up on deep models; rates of stochastic depth differ by layer."""
    s = PAPER.model_copy(update={"layers": 5, "drop_path": 0.3, "fusion_layers": 2})
    mine, t = module(s), task(s)

    def outputs() -> dict[str, torch.Tensor]:
        torch.manual_seed(5)
        return {n: x for kind in t.streams for n, x in t.forward(mine, batch(kind, s)).items()}

    plain = outputs()
    torch._dynamo.reset()
    counters.clear()
    for block in t.blocks(mine):
        block.compile(backend="eager", fullgraph=True)
    for name, x in outputs().items():
        assert close(x, plain[name]), name
    assert counters["stats"]["unique_graphs"] == 3 * 2  # Plain blocks, and those that fuse.
    assert torch._dynamo.config.recompile_limit > 3 * 2
