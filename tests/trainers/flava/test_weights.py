import pytest
import torch
import transformers

from septet.trainers.flava.model import Flava
from septet.trainers.flava.weights import (
    FORMS,
    from_hugging_face,
    hugging_face_config,
    to_hugging_face,
)
from septet.trainers.inputs.images import normalise
from tests.trainers.flava.small import SMALL, batch, module, reference, task, theirs_of
from tests.trainers.test_clip import close, randomised


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def read(path, s):
    return FORMS.read(path, s).weights


def part(state, *parts):
    return {n: x for n, x in state.items() if n.split(".")[0] in parts}


def test_hugging_faces_names_and_back():
    state = module().state_dict()
    theirs = reference(SMALL, state).state_dict()
    assert equal(from_hugging_face(theirs, SMALL), state)
    with_codebook = {**theirs, "image_codebook.blocks.input.weight": torch.zeros(1)}
    found = FORMS.convert(with_codebook, SMALL)
    assert equal(found.weights, state) and found.unread == ["image_codebook.blocks.input.weight"]


def test_transformers_loads_what_is_exported(tmp_path):
    mine = module()
    FORMS.write(mine.state_dict(), SMALL, tmp_path, "hf")
    theirs, told = transformers.FlavaForPreTraining.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    data = batch("images")
    found = theirs_of(theirs.eval(), data).mim_logits
    assert close(found, task().forward(mine, data)["mim"])
    assert equal(read(tmp_path / "model.safetensors", SMALL), mine.state_dict())
    theirs.save_pretrained(tmp_path / "again")
    assert equal(read(tmp_path / "again/model.safetensors", SMALL), mine.state_dict())
    with pytest.raises(ValueError, match="exported as hf; found 'onnx'"):
        FORMS.write({}, SMALL, tmp_path, "onnx")


def test_an_export_says_what_transformers_has_no_place_for():
    """With these settings transformers, which has none such, computes something else."""
    hf = FORMS.named("hf")
    assert hf.notes(SMALL) == []
    theirs_too = SMALL.model_copy(update={"fusion_sees_pads": True, "head_norm_eps": 1e-5})
    sees, eps = hf.notes(theirs_too)
    assert "model.fusion_sees_pads=true" in sees and "model.head_norm_eps=1e-05" in eps
    config, plain = hugging_face_config(theirs_too), hugging_face_config(SMALL)
    assert config == plain


@pytest.mark.parametrize("parts,holder", [
    (("text",), "text_model"), (("image",), "image_model"),
])  # fmt: skip
def test_a_part_of_a_flava(parts, holder, tmp_path):
    state = module().state_dict()
    whole = reference(SMALL, state)
    torch.save(getattr(whole.flava, holder).state_dict(), tmp_path / "part.pt")
    assert equal(read(tmp_path / "part.pt", SMALL), part(state, *parts))
    torch.save(whole.flava.state_dict(), tmp_path / "model.pt")
    found = read(tmp_path / "model.pt", SMALL)
    assert equal(found, {n: x for n, x in state.items() if "head" not in n})


TORCHMULTIMODAL = [  # Written down from the modules of facebookresearch/multimodal.
    ("image.cls_token", "model.image_encoder.embeddings.cls_token"),
    ("image.mask_token", "model.image_encoder.embeddings.mask_token"),
    ("image.positions", "model.image_encoder.embeddings.position_embeddings"),
    ("image.patches.weight", "model.image_encoder.embeddings.patch_embeddings.projection.weight"),
    ("image.blocks.1.attn.proj.bias", "model.image_encoder.encoder.layer.1.attention.output.bias"),
    (
        "image.blocks.0.norm1.weight",
        "model.image_encoder.encoder.layer.0.attention_layernorm.weight",
    ),
    ("text.blocks.2.norm2.bias", "model.text_encoder.encoder.layer.2.feedforward_layernorm.bias"),
    ("text.blocks.2.fc1.weight", "model.text_encoder.encoder.layer.2.feedforward.model.0.weight"),
    ("text.blocks.2.fc2.weight", "model.text_encoder.encoder.layer.2.feedforward.model.2.weight"),
    ("text.norm0.weight", "model.text_encoder.embeddings.layer_norm.weight"),
    ("text.word.weight", "model.text_encoder.embeddings.word_embeddings.weight"),
    ("text.segment.weight", "model.text_encoder.embeddings.token_type_embeddings.weight"),
    ("text.norm.weight", "model.text_encoder.layernorm.weight"),
    ("text.pooler.bias", "model.text_encoder.pooler.dense.bias"),
    ("fusion.cls_token", "model.mm_encoder.cls_token"),
    ("image_projection.weight", "model.image_projection.weight"),
    ("text_to_fusion.bias", "model.text_to_mm_projection.bias"),
    ("logit_scale", "loss.contrastive_loss.logit_scale"),
    ("mim_head.dense.weight", "loss.mim_loss.cls.dense.weight"),
    ("mlm_head.norm.bias", "loss.mlm_loss.cls.layer_norm.bias"),
    ("mmm_image_head.decoder.bias", "loss.mmm_loss.mim.cls.decoder.bias"),
    ("mmm_text_head.decoder.weight", "loss.mmm_loss.mlm.cls.decoder.weight"),
    ("itm_head.dense.weight", "loss.itm_loss.pooler.dense.weight"),
    ("itm_head.decoder.bias", "loss.itm_loss.cls.seq_relationship.bias"),
]


def torchmultimodal(state):
    """A state under torchmultimodal's names, made by rules of its own."""
    out = {}
    simple = {"image": "image_encoder", "text": "text_encoder", "fusion": "mm_encoder"}
    inside = {"norm1": "attention_layernorm", "norm2": "feedforward_layernorm",
              "attn.proj": "attention.output", "fc1": "feedforward.model.0",
              "fc2": "feedforward.model.2"}  # fmt: skip
    plain = dict(TORCHMULTIMODAL)
    stems = {a.rpartition(".")[0]: b.rpartition(".")[0] for a, b in plain.items() if "." in a}
    heads = {"mim_head": "mim_loss", "mlm_head": "mlm_loss", "mmm_image_head": "mmm_loss.mim",
             "mmm_text_head": "mmm_loss.mlm"}  # fmt: skip
    for name, x in state.items():
        tower, _, rest = name.partition(".")
        stem, _, kind = name.rpartition(".")
        if rest.startswith("blocks."):
            _, number, place = rest.split(".", 2)
            place, _, kind = place.rpartition(".")
            base = f"model.{simple[tower]}.encoder.layer.{number}"
            if place == "attn.qkv":
                for third, one in zip(x.chunk(3), ("query", "key", "value"), strict=True):
                    out[f"{base}.attention.{one}.{kind}"] = third
            else:
                out[f"{base}.{inside[place]}.{kind}"] = x
        elif tower in heads:
            place = rest.rpartition(".")[0].replace("norm", "layer_norm")
            out[f"loss.{heads[tower]}.cls.{place}.{kind}"] = x
            if rest == "decoder.bias":
                out[f"loss.{heads[tower]}.cls.bias"] = x
        elif name in plain:
            out[plain[name]] = x.reshape(()) if name == "logit_scale" else x
        elif stem in stems:
            out[f"{stems[stem]}.{kind}"] = x
        elif rest.startswith(("norm.", "pooler.")):
            where = rest.replace("norm.", "layernorm.").replace("pooler.", "pooler.dense.")
            out[f"model.{simple[tower]}.{where}"] = x
        elif "_projection" in tower or "_to_fusion" in tower:
            out[f"model.{tower.replace('to_fusion', 'to_mm_projection')}.{kind}"] = x
        else:
            where = {"position": "position_embeddings"}[rest.split(".")[0]]
            out[f"model.{simple[tower]}.embeddings.{where}.{kind}"] = x
    return out


def test_reads_torchmultimodals_weights(tmp_path):
    state = module().state_dict()
    theirs = torchmultimodal(state)
    assert all(theirs_name in theirs for _, theirs_name in TORCHMULTIMODAL)
    theirs["image_codebook.encoder.blocks.input.w"] = torch.zeros(1)
    torch.save(theirs, tmp_path / "flava_for_pretraining.pt")
    assert equal(read(tmp_path / "flava_for_pretraining.pt", SMALL), state)
    bare = {n.removeprefix("model."): x for n, x in theirs.items() if n.startswith("model.")}
    torch.save(bare, tmp_path / "flava_model.pt")
    found = read(tmp_path / "flava_model.pt", SMALL)
    assert equal(found, {n: x for n, x in state.items() if "head" not in n and n != "logit_scale"})


def test_image_encoder_from_a_vision_transformer(tmp_path):
    """Hugging Face's ViT (facebook/dino-vitb16 has its names) sees what FLAVA's encoder sees."""
    e = SMALL.image
    config = transformers.ViTConfig(
        hidden_size=e.width, num_hidden_layers=e.layers, num_attention_heads=e.heads,
        intermediate_size=e.inner, image_size=SMALL.image_size, patch_size=SMALL.patch,
        layer_norm_eps=1e-12,
    )  # fmt: skip
    vit = randomised(transformers.ViTModel(config), 3).eval()
    vit.save_pretrained(tmp_path / "vit")
    found = read(tmp_path / "vit/model.safetensors", SMALL)
    mine = module()
    told = mine.load_state_dict(found, strict=False)
    assert not told.unexpected_keys and "image.mask_token" in told.missing_keys
    pixels = normalise(batch("images").data["pixels"])
    assert close(mine.image.norm(mine.image(pixels)), vit(pixels).last_hidden_state)
    with_head = transformers.ViTForImageClassification(config)
    with_head.vit.load_state_dict(vit.state_dict(), strict=False)
    with_head.save_pretrained(tmp_path / "head")
    again = read(tmp_path / "head/model.safetensors", SMALL)
    assert all(torch.equal(again[n], found[n]) for n in again)


def test_image_encoder_from_dinos_names(tmp_path):
    state = part(module().state_dict(), "image")
    lacking = {n: x for n, x in state.items() if "mask_token" not in n and "pooler" not in n}
    dino = {}
    for name, x in lacking.items():
        name = name.removeprefix("image.").replace("patches.", "patch_embed.proj.")
        name = name.replace("positions", "pos_embed")
        name = name.replace(".fc1.", ".mlp.fc1.").replace(".fc2.", ".mlp.fc2.")
        dino[name] = x
    assert {"blocks.0.attn.qkv.weight", "blocks.1.mlp.fc2.bias", "norm.weight"} <= dino.keys()
    torch.save({**dino, "head.weight": torch.zeros(3)}, tmp_path / "dino.pth")
    assert equal(read(tmp_path / "dino.pth", SMALL), lacking)
    torch.save({f"backbone.{n}": x for n, x in dino.items()}, tmp_path / "wrapped.pth")
    assert equal(read(tmp_path / "wrapped.pth", SMALL), lacking)
    assert FORMS.read(tmp_path / "dino.pth", SMALL).unread == ["head.weight"]


def test_positions_are_interpolated_as_transformers_does(tmp_path):
    state = module().state_dict()
    torch.save(to_hugging_face(state), tmp_path / "small.pt")
    larger = SMALL.model_copy(update={"image_size": 48})
    found = read(tmp_path / "small.pt", larger)
    theirs = reference(SMALL, state).flava.image_model.embeddings
    expected = theirs.interpolate_pos_encoding(torch.zeros(1, 37, SMALL.image.width), 48, 48)
    assert close(found["image.positions"], expected)
    Flava(larger).load_state_dict(found)


def test_text_encoder_from_a_pre_norm_masked_language_model(tmp_path):
    e = SMALL.text
    config = transformers.RobertaPreLayerNormConfig(
        hidden_size=e.width, num_hidden_layers=e.layers, num_attention_heads=e.heads,
        intermediate_size=e.inner, vocab_size=SMALL.words, pad_token_id=0, type_vocab_size=1,
        max_position_embeddings=SMALL.positions + 1, layer_norm_eps=1e-12,
    )  # fmt: skip
    theirs = randomised(transformers.RobertaPreLayerNormForMaskedLM(config), 5).eval()
    theirs.save_pretrained(tmp_path)
    mine = module()
    found = read(tmp_path / "model.safetensors", SMALL)
    assert {n.split(".")[0] for n in found} == {"text", "mlm_head"}
    assert not mine.load_state_dict(found, strict=False).unexpected_keys
    texts = batch("texts")
    data, mask, places = texts.data, texts.data["ids"] != 0, texts.data["word_places"]
    scores = theirs(input_ids=data["ids_masked"], attention_mask=mask.long(),
                    position_ids=torch.arange(SMALL.text_tokens)[None] + 1).logits  # fmt: skip
    assert close(task().forward(mine, texts)["mlm"], scores[places])


@pytest.mark.parametrize("model", ["BertForMaskedLM", "BertModel", "RobertaForMaskedLM"])
def test_a_post_norm_bert_is_refused(model, tmp_path):
    kind = getattr(transformers, model)
    kind(kind.config_class(hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=32, vocab_size=256)).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(ValueError, match="post-norm BERT"):
        read(tmp_path / "model.safetensors", SMALL)


def test_what_does_not_fit_is_told(tmp_path):
    state = to_hugging_face(module().state_dict())
    path = tmp_path / "flava.pt"
    torch.save(state, path)
    for change, message in (
        ({"embed": 32}, r"image_projection.weight is \[24, 48\], the model's \[32, 48\]"),
        ({"text": SMALL.text.model_copy(update={"layers": 2})}, "have no place"),
        ({"text": SMALL.text.model_copy(update={"layers": 4})}, "16 weights are missing|missing"),
    ):
        with pytest.raises(ValueError, match=message):
            read(path, SMALL.model_copy(update=change))
    torch.save({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="have no place"):
        read(path, SMALL)
    with pytest.raises(ValueError, match="no such file of weights"):
        read(tmp_path / "nowhere.pt", SMALL)
    assert "logit_scale" in FORMS.shapes(SMALL)
