import pytest
import torch

from septet.trainers.ernie_vil.model import KINDS, ErnieVil
from septet.trainers.ernie_vil.presets import PRESETS
from septet.trainers.ernie_vil.weights import FORMS, IDLE, theirs
from tests.preprocess.codes.oracles import Oracle
from tests.trainers.ernie_vil.vilbert import Plain, settings

COUNTS = {
    "base": {
        "text_embeddings": 23_838_720, "image_embeddings": 2_106_368, "text_layers": 85_054_464,
        "image_layers": 37_810_176, "co": 85_060_608, "pools": 1_837_056, "word_head": 622_650,
        "region_head": 2_692_673, "match_head": 2_050,
    },
    "large": {
        "text_embeddings": 31_784_960, "image_embeddings": 2_106_368, "text_layers": 302_309_376,
        "image_layers": 75_577_344, "co": 151_154_688, "pools": 2_099_200, "word_head": 1_082_170,
        "region_head": 2_692_673, "match_head": 2_050,
    },
}  # fmt: skip
ENCODER = {"base": 235_707_392, "large": 565_031_936}
TOTAL = {"base": 239_024_765, "large": 568_808_829}
ONE = {
    "base": (7_087_872, 6_301_696, 8_399_360, 5_777_408),
    "large": (12_596_224, 12_596_224, 12_596_224, 12_596_224),
}
"""A text layer, an image layer, a co-layer's text side and its image side."""


def count(*modules):
    return sum(p.numel() for m in modules for p in m.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    s = PRESETS[name].model
    with torch.device("meta"):
        m = ErnieVil(s)
    t, i = m.text, m.image
    found = {
        "text_embeddings": count(t.word, t.position, t.segment, t.norm),
        "image_embeddings": count(i.feature, i.location, i.norm),
        "text_layers": count(t.layers), "image_layers": count(i.layers), "co": count(m.co),
        "pools": count(m.text_pool, m.image_pool), "word_head": count(m.word_head),
        "region_head": count(m.region_head), "match_head": count(m.match_head),
    }  # fmt: skip
    assert found == COUNTS[name]
    heads = ("word_head", "region_head", "match_head")
    assert sum(n for part, n in found.items() if part not in heads) == ENCODER[name]
    assert count(m) == sum(found.values()) == TOTAL[name]
    co = m.co[0]
    assert (count(t.layers[0]), count(i.layers[0]), count(co.text), count(co.image)) == ONE[name]
    assert s.text_places[-1] + 1 == s.text.layers and s.image_places[-1] + 1 == s.image.layers
    # 495 and 687 variables without the heads (mask_lm_*, regions, matching).
    tensors = [n for n in m.state_dict() if not n.split(".")[0].endswith("_head")]
    assert len(tensors) == {"base": 495, "large": 687}[name]


@pytest.fixture(scope="module")
def oracle():
    return Oracle("vilbert_two_stream")


@pytest.fixture(scope="module")
def both(oracle):
    """The module and the plain form, on the reference's weights and inputs, with outputs."""
    config = oracle.description["config"]
    s = settings(config)
    mine = ErnieVil(s).eval()
    found = FORMS.convert(oracle.weights, s)
    assert not found.lacking
    mine.load_state_dict(found.weights)
    x = oracle.inputs
    masks = {name: x[name].bool() for name in ("text_mask", "region_mask")}
    everywhere = {"mlm": torch.arange(x["ids"].numel()), "region": torch.arange(3 * 6)}
    outputs = mine(
        x["ids"], masks["text_mask"], x["features"], x["locations"], masks["region_mask"],
        everywhere, segments=x["segments"],
    )  # fmt: skip
    text, image = mine.states(
        mine.text.embed(x["ids"], x["segments"]), mine.image.embed(x["features"], x["locations"]),
        masks["text_mask"], masks["region_mask"],
    )  # fmt: skip
    a, b = mine.pooled(text, image)
    outputs |= {"text_states": text, "image_states": image, "text_pooled": a, "image_pooled": b}
    plain = Plain(oracle.weights, config)
    names = ("ids", "segments", "text_mask", "features", "locations", "region_mask")
    return mine, outputs, plain, plain(*(x[name] for name in names))


def close(a, b, tolerance):
    return float((a - b).detach().abs().max()) <= tolerance * max(
        1.0, float(b.detach().abs().max())
    )


def real(name, x, oracle):
    """Rows that are no pads."""
    which = "region_mask" if "image_states" in name or "region" in name else "text_mask"
    if (x.ndim == 2 and "pooled" in name) or "match" in name:
        return x
    return x[oracle.inputs[which].bool()]


def test_outputs_equal_the_reference(oracle, both):
    _, outputs, _, plain = both
    tolerance = float(oracle.description["tolerance"])
    renamed = {**outputs, "mlm_logits": outputs["mlm"].view(3, 9, -1),
               "match_logits": outputs["match"]}  # fmt: skip
    assert oracle.inputs["text_mask"].sum() < 27 and oracle.inputs["region_mask"].sum() < 21
    for name, expected in oracle.outputs.items():
        # Ours predicts regions alone, not [IMG].
        assert close(real(name, plain[name], oracle), real(name, expected, oracle), tolerance), name
        if name == "region_logits":
            mask = oracle.inputs["region_mask"][:, 1:].bool()
            found, expected = outputs["region"].view(3, 6, -1)[mask], expected[:, 1:][mask]
        else:
            found, expected = (real(name, x, oracle) for x in (renamed[name], expected))
        assert close(found, expected, tolerance), name


def test_gradients_equal_the_plain_forms(oracle, both):
    mine, outputs, plain, theirs_out = both
    draw = torch.Generator().manual_seed(0)
    text_mask, region_mask = (oracle.inputs[n].bool() for n in ("text_mask", "region_mask"))
    words = torch.randn(3, 9, 97, generator=draw) * text_mask[..., None]
    regions = torch.randn(3, 6, 11, generator=draw) * region_mask[:, 1:, None]
    match = torch.randn(3, 2, generator=draw)
    objective = (outputs["mlm"].view(3, 9, -1) * words).sum()
    objective = objective + (outputs["region"].view(3, 6, -1) * regions).sum()
    (objective + (outputs["match"] * match).sum()).backward()
    expected = (theirs_out["mlm_logits"] * words).sum()
    expected = expected + (theirs_out["region_logits"][:, 1:] * regions).sum()
    (expected + (theirs_out["match_logits"] * match).sum()).backward()
    seen = set()
    for name, parameter in mine.named_parameters():
        other = theirs(name, "vilbert")
        seen.add(other)
        gradient = plain.w[other].grad
        scale = max(1.0, float(gradient.abs().max()))
        assert float((parameter.grad - gradient).abs().max()) <= 1e-4 * scale, name
    idle = plain.w.keys() - seen
    assert idle and all(IDLE.search(n) for n in idle)
    assert all(plain.w[n].grad is None or not plain.w[n].grad.any() for n in idle)


def test_only_asked_places_are_scored(oracle, both):
    mine, whole, _, _ = both
    x = oracle.inputs
    asked = {"mlm": [2], "object": [], "attribute": [9 + 1, 9 + 3], "relation": [2 * 9 + 4],
             "region": [2 * 6 + 1]}  # fmt: skip
    places = {name: torch.tensor(where, dtype=torch.int64) for name, where in asked.items()}
    found = mine(
        x["ids"], x["text_mask"].bool(), x["features"], x["locations"], x["region_mask"].bool(),
        places, x["segments"],
    )  # fmt: skip
    words = whole["mlm"].view(3, 9, -1)
    expected = {"mlm": words[0, 2:3], "object": words[:0, 0], "attribute": words[1, [1, 3]],
                "relation": words[2, 4:5], "region": whole["region"].view(3, 6, -1)[2, 1:2]}  # fmt: skip
    assert found.keys() == {*KINDS, "region", "match"}
    for name, rows in expected.items():
        assert found[name].shape == rows.shape and torch.allclose(found[name], rows, atol=1e-5)


def test_initialisation_is_truncated_normal():
    torch.manual_seed(0)
    s = PRESETS["debug"].model.model_copy(update={"initial_std": 0.02})
    for name, x in ErnieVil(s).state_dict().items():
        if "norm" in name:
            assert bool((x == ("weight" in name)).all()), name
        elif name.endswith("bias"):
            assert not x.any(), name
        else:
            assert float(x.abs().max()) <= 0.04, name
            # A normal cut at two deviations has 0.88 of the deviation.
            if x.numel() > 5000:
                assert float(x.std()) == pytest.approx(0.0176, rel=0.03), name


def test_dropout_is_for_training_alone(oracle, both):
    mine = both[0]
    s = mine.settings.model_copy(update={"dropout": 0.1})
    wet = ErnieVil(s)
    wet.load_state_dict(mine.state_dict())
    x = oracle.inputs
    given = (
        x["ids"],
        x["text_mask"].bool(),
        x["features"],
        x["locations"],
        x["region_mask"].bool(),
    )
    dry = mine(*given)["match"]
    assert torch.equal(wet.eval()(*given)["match"], dry)
    wet.train()
    assert not torch.allclose(wet(*given)["match"], dry, atol=1e-3)
