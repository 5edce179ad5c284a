import pytest
import torch
import transformers

from septet.trainers.flava.model import Flava
from septet.trainers.flava.presets import PRESETS
from septet.trainers.flava.weights import hugging_face_config, to_hugging_face
from tests.trainers.flava.small import SMALL, batch, module, reference, task, theirs_of
from tests.trainers.test_clip import close

COUNTS = {
    "base": 303_859_063, "text": 303_859_063, "900m": 879_999_095, "1.8b": 1_732_734_327,
    "2.7b": 2_701_204_983, "4.8b": 4_815_874_295, "10b": 10_139_163_767,
}  # fmt: skip
PARTS = {
    "text": 109_483_776, "image": 86_390_016, "fusion": 43_120_128, "image_projection": 590_592,
    "text_projection": 590_592, "image_to_fusion": 590_592, "text_to_fusion": 590_592,
    "mim_head": 6_891_776, "mlm_head": 24_063_546, "mmm_image_head": 6_891_776,
    "mmm_text_head": 24_063_546, "itm_head": 592_130,
}  # fmt: skip
NAMES = {
    "contrastive": "global_contrastive", "itm": "itm", "mmm_image": "mmm_image",
    "mmm_text": "mmm_text", "mim": "mim", "mlm": "mlm",
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_transformers(name):
    s = PRESETS[name].model
    config = hugging_face_config(s)
    config = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
    with torch.device("meta"):
        mine = Flava(s)
        theirs = transformers.FlavaForPreTraining(transformers.FlavaConfig(**config))
    assert sum(p.numel() for p in mine.parameters()) == COUNTS[name]
    shapes = {n: x.shape for n, x in theirs.state_dict().items()}
    assert {n: x.shape for n, x in to_hugging_face(mine.state_dict()).items()} == shapes


def test_parts_of_the_published_size():
    with torch.device("meta"):
        mine = Flava(PRESETS["base"].model)
    counts = {n: sum(p.numel() for p in m.parameters()) for n, m in mine.named_children()}
    assert counts == PARTS and mine.logit_scale.numel() == 1
    idle = [p for p in mine.parameters() if not p.requires_grad]
    assert sum(p.numel() for p in idle) == 3 * (768 * 768 + 768)  # The three poolers.


@pytest.mark.parametrize("kind", ["pairs", "images", "texts"])
def test_outputs_losses_and_gradients_equal_transformers(kind):
    mine, data, t = module(), batch(kind), task()
    theirs = reference(SMALL, mine.state_dict())
    places = batch_places(kind)
    expected = theirs_of(theirs, data, places)
    outputs, counts = t.forward(mine, data), t.counts(data)
    sums = t.losses(outputs, data)
    if kind == "pairs":
        assert 0 < int(data.data["match"].sum()) < len(data)
        sums |= t.pooled_losses(outputs, data, lambda x: (x, 0))
    assert sums.keys() == counts.keys()
    losses = {name: sums[name] / counts[name] for name in sums}
    for name, loss in losses.items():
        other = expected.loss_info[NAMES[name]]
        assert abs(loss.item() - other.item()) <= 1e-5, name
        if name != "contrastive":
            logits = getattr(expected, f"{name}_logits")
            assert close(outputs[name], logits), name
    others = [n for n in NAMES if n not in losses]
    assert all(expected.loss_info.get(NAMES[n]) is None for n in others)
    if kind == "pairs":
        similarity = outputs["scale"] * outputs["image"] @ outputs["text"].T
        kept = data.data["match"].bool()
        assert close(similarity[kept], expected.contrastive_logits_per_image)
    sum(losses.values()).backward()
    expected.loss.backward()
    by_name = {n: p.grad for n, p in theirs.named_parameters()}
    gradients = {n: p.grad for n, p in mine.named_parameters() if p.grad is not None}
    assert gradients
    for name, gradient in to_hugging_face(gradients).items():
        if name in by_name:  # Tied biases are named once.
            assert close(gradient, by_name[name]), name
    unused = {n for n, g in by_name.items() if g is not None} - set(to_hugging_face(gradients))
    assert all(not by_name[n].any() for n in unused), unused


def batch_places(kind):
    """Masked words before those of pairs that do not match were left out: transformers does that
    for itself."""
    if kind == "images":
        return None
    data = batch(kind)
    return data.data["ids_masked"] != data.data["ids"]


def test_vectors_equal_transformers():
    mine, data, t = module(), batch("pairs"), task()
    theirs = reference(SMALL, mine.state_dict())
    image, text = (mine.image_projection.out_features,) * 2
    assert image == text == SMALL.embed
    plain = type(data)("pairs", {n: data.data[n] for n in ("pixels", "ids")})
    outputs, whole = t.forward(mine, plain), t.forward(mine, data)
    for name in ("image", "text"):
        assert close(outputs[name], whole[name])
    pooled = t.pooled_outputs(mine, data)
    assert pooled.keys() == set(t.pooled) and close(pooled["text"], whole["text"])
    assert t.pooled_outputs(mine, batch("images")) == {}
    ids = data.data["ids"]
    expected = theirs.flava.get_text_features(input_ids=ids, attention_mask=(ids != 0).long())
    found = torch.nn.functional.normalize(expected.pooler_output[:, 0], dim=-1)
    assert close(outputs["text"], found)


def test_the_multimodal_encoder_may_see_pads_as_in_torchmultimodal():
    s = SMALL.model_copy(update={"fusion_sees_pads": True})
    mine, data = module(s), batch("pairs")
    theirs = reference(s, mine.state_dict()).flava
    ids = data.data["ids_masked"]
    mask = data.data["ids"] != 0
    image = mine.image_to_fusion(mine.image(torch.ones(8, 3, 32, 32)))
    text = mine.text_to_fusion(mine.text(ids, mask))
    expected = theirs.multimodal_model(torch.cat([image, text], 1)).last_hidden_state
    assert close(mine.fusion(image, text, mask), expected)
    hidden = module(SMALL)
    assert not torch.allclose(hidden.fusion(image, text, mask), expected, atol=1e-3)


def test_initialisation_is_the_published_one():
    torch.manual_seed(0)
    s = PRESETS["base"].model.model_copy(
        update={"image": PRESETS["base"].model.image.model_copy(update={"layers": 1}),
                "text": PRESETS["base"].model.text.model_copy(update={"layers": 1}),
                "fusion": PRESETS["base"].model.fusion.model_copy(update={"layers": 1})}
    )  # fmt: skip
    m = Flava(s)
    for name, x in m.named_parameters():
        if "norm" in name:
            assert bool((x == ("weight" in name)).all()), name
        elif name.endswith("bias") or "token" in name or name == "image.positions":
            assert not x.any(), name
        elif name == "logit_scale":
            assert float(x) == pytest.approx(2.6592, abs=1e-4)
        else:
            assert float(x.std()) == pytest.approx(0.02, rel=0.03), name
    assert not m.text.word.weight[0].any()
