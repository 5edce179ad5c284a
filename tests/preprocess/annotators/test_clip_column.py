import io
import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import CLIPModel

from septet.preprocess.annotators.clip import ClipEmbeddings, ClipSettings
from septet.preprocess.annotators.transformers_clip import renamed
from septet.preprocess.columns.base import IMAGE, Item, NoValue
from septet.preprocess.columns.members import check_member, unpack_arrays
from septet.trainers.clip.model import Clip
from septet.trainers.clip.weights import FORMS
from tests.trainers.test_clip import SIZES, randomised

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model: its folder, in the form that `local-dir:` takes, and the module."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}})
    )
    torch.manual_seed(0)
    made = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(made.state_dict(), folder / "weights.pt")
    return folder, made.eval()


def column(folder, **settings):
    path = str(folder / "weights.pt")
    made = ClipEmbeddings(ClipSettings(model=f"local-dir:{folder}", weights=path, **settings))
    made.setup()
    return made


def item(seed, caption="a red circle left of a blue square"):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((70, 45)).save(out, "png")
    return Item(str(seed), {"png": out.getvalue(), "txt": caption.encode()}, {})


def test_equals_open_clip(model):
    folder, module = model
    made = column(folder, text=True)
    items = [item(i, f"caption number {i}") for i in range(5)]
    values = made.annotate(items)
    transform = open_clip.image_transform(32, False, mean=(0.5,) * 3, std=(0.25,) * 3)
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    for one, value in zip(items, values, strict=True):
        check_member(value.data, made.member)
        found = unpack_arrays(value.data)
        with Image.open(io.BytesIO(one.image)) as opened, torch.no_grad():
            image = module.encode_image(transform(opened)[None], normalize=True)[0]
            text = module.encode_text(tokenize([one.caption]), normalize=True)[0]
        for name, expected in (("image", image), ("text", text)):
            assert found[name].dtype == np.float16
            assert abs(found[name] - expected.numpy()).max() <= 5e-4
            assert abs(np.linalg.norm(found[name].astype(np.float64)) - 1) < 1e-3
        assert abs(value.facts["similarity"] - float(image @ text)) < 1e-5
    assert [made.annotate([one])[0] for one in items] == values


def test_images_alone(model):
    made = column(model[0])
    assert made.members == (IMAGE,)
    value, missing, broken = made.annotate(
        [item(0, ""), Item("b", {"txt": b"x"}, {}), Item("c", {"jpg": b"?"}, {})]
    )
    check_member(value.data, made.member)
    assert unpack_arrays(value.data).keys() == {"image"}
    assert value.facts == {"similarity": None}
    assert (missing.reason, broken.reason) == ("no_image", "image")


def test_captions_of_any_length(model):
    made = column(model[0], text=True)
    assert made.members == (IMAGE, "txt")
    captions = ["", "  \n ", "word " * 10_000, "x" * 200_000, "\udcff\0 \u200b", "句" * 3000]
    found = made.annotate([item(0, c.encode("utf-8", "replace").decode()) for c in captions])
    assert found[:2] == [NoValue("no_caption")] * 2
    for value in found[2:]:
        check_member(value.data, made.member)


def test_models_and_errors(model, tmp_path):
    folder, _ = model
    assert column(folder).models().keys() == {"weights", "config"}
    named = ClipEmbeddings(ClipSettings(weights=str(folder / "weights.pt")))
    assert named.models().keys() == {"weights"}
    assert named.member.arrays["image"].shape == (512,)
    with pytest.raises(ValueError, match="does not load as open_clip's ViT-B-32"):
        named.setup()
    with pytest.raises(ValueError, match="no such file"):
        ClipEmbeddings(ClipSettings()).models()
    unknown = ClipEmbeddings(ClipSettings(model="ViT-Z", weights=str(folder / "weights.pt")))
    with pytest.raises(ValueError, match="no model 'ViT-Z'"):
        _ = unknown.member
    lost = ClipEmbeddings(ClipSettings(model=f"local-dir:{tmp_path}", weights="x"))
    with pytest.raises(ValueError, match="cannot be read"):
        _ = lost.member


@pytest.mark.parametrize(
    ("model", "deciding"),
    [("local-dir:/home/me/exported", "local-dir:exported"),
     ("local-dir:gs://bucket/exported/", "local-dir:exported"),
     ("local-dir:exported", "local-dir:exported"), ("exported", "exported"),
     ("ViT-B-32", "ViT-B-32"), ("hf-hub:laion/CLIP-x", "hf-hub:laion/CLIP-x")],
)  # fmt: skip
def test_a_models_name_decides_and_its_place_does_not(model, deciding):
    assert ClipSettings(model=model).deciding()["model"] == deciding


def test_notes_have_no_place(model):
    folder, _ = model
    assert column(folder).member.notes["model"] == f"local-dir:{folder.name}"


@pytest.mark.parametrize("form", ["open_clip", "hf"])
def test_a_model_trained_here_equals_transformers(tmp_path, form):
    """What a run exports for open_clip or for transformers, beside transformers itself."""
    mine = randomised(Clip(SIZES["vit"]), 1).eval()
    FORMS.write(mine.state_dict(), SIZES["vit"], tmp_path / "open_clip", "open_clip")
    FORMS.write(mine.state_dict(), SIZES["vit"], tmp_path / "hf", "hf")
    path = str(next((tmp_path / form).glob("*.safetensors")))
    settings = ClipSettings(model=f"local-dir:{tmp_path / form}", weights=path, text=True)
    made = ClipEmbeddings(settings)
    made.setup()
    theirs = CLIPModel.from_pretrained(tmp_path / "hf").eval()
    items = [item(i, f"caption number {i}") for i in range(3)]
    for one, value in zip(items, made.annotate(items), strict=True):
        found = unpack_arrays(value.data)
        pixels, ids = made.prepare(one, Image.open(io.BytesIO(one.image)))
        with torch.no_grad():
            out = theirs(pixel_values=pixels[None], input_ids=ids[None])
            ours = mine(pixels[None], ids[None])
        for name, expected, own in (
            ("image", out.image_embeds, ours[0]), ("text", out.text_embeds, ours[1]),
        ):  # fmt: skip
            assert abs(found[name] - expected[0].numpy()).max() <= 5e-4
            assert abs(found[name] - own[0].numpy()).max() <= 5e-4
        cosine = float(out.image_embeds[0] @ out.text_embeds[0])
        assert abs(value.facts["similarity"] - cosine) < 1e-5


def test_other_models_of_transformers_are_refused(tmp_path):
    clip = {"model_type": "clip", "vision_config": {}, "text_config": {}}
    (tmp_path / "model.safetensors").write_bytes(b"")
    for told, message in (
        (clip | {"model_type": "blip"}, "it is a blip"),
        (clip | {"text_config": {"vocab_size": 5}}, "a vocabulary of 5, CLIP's has 49,408"),
        ({"model_type": "clip"}, "'vision_config'"),
        ([], "describes no CLIP"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(told))
        made = ClipEmbeddings(ClipSettings(model=f"local-dir:{tmp_path}", weights="w"))
        with pytest.raises(ValueError, match=message):
            _ = made.member
    (tmp_path / "config.json").write_text(json.dumps(clip))
    assert ClipEmbeddings(ClipSettings(model=f"local-dir:{tmp_path}", weights="w")).member
    with pytest.raises(ValueError, match=r"text_model\.other is no name of CLIP's"):
        renamed({"text_model.other": torch.zeros(1)})
