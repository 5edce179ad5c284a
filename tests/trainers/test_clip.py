import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from septet.preprocess.tokenizers.clip import clip_tokenizer
from septet.trainers.clip.model import Clip, ClipSettings
from septet.trainers.clip.presets import PRESETS
from septet.trainers.clip.task import ClipTask, normalise
from septet.trainers.clip.weights import to_hugging_face
from septet.trainers.engine.metrics import sample_flops
from septet.trainers.inputs import images
from septet.trainers.task import Batch
from tests.preprocess.images.photos import photo, saved
from tests.trainers.conftest import settings

open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")

PUBLISHED = {
    "rn50": 102_007_137, "rn101": 119_688_033, "rn50x4": 178_300_601, "rn50x16": 290_979_217,
    "rn50x64": 623_258_305, "vit-b-32": 151_277_313, "vit-b-16": 149_620_737,
    "vit-l-14": 427_616_513, "vit-l-14-336": 427_944_193,
}  # fmt: skip
"""Counted on OpenAI's modules."""

SIZES = {
    "vit": ClipSettings(embed=48, image_size=64, layers=2, width=128, patch=16, text_width=64,
                        text_layers=2, context=77),
    "vit-gelu": ClipSettings(embed=48, image_size=64, layers=2, width=128, patch=16,
                             text_width=64, text_layers=2, activation="gelu"),
    "resnet": ClipSettings(embed=48, image_size=64, layers=(1, 2, 1, 1), width=32, text_width=64,
                           text_layers=2),
}  # fmt: skip


def open_clip_model(s: ClipSettings) -> torch.nn.Module:
    vision = {"image_size": s.image_size, "layers": s.layers, "width": s.width}
    if s.patch:
        vision |= {"patch_size": s.patch, "head_width": 64}
    text = {"context_length": s.context, "vocab_size": s.vocabulary, "width": s.text_width,
            "heads": s.text_width // 64, "layers": s.text_layers}  # fmt: skip
    model = open_clip.CLIP(s.embed, vision, text, quick_gelu=s.activation == "quick_gelu")
    return model


def hugging_face_config(s: ClipSettings):
    common = {"hidden_act": s.activation, "projection_dim": s.embed}
    return transformers.CLIPConfig(
        text_config={
            "hidden_size": s.text_width, "intermediate_size": 4 * s.text_width,
            "num_hidden_layers": s.text_layers, "num_attention_heads": s.text_width // 64,
            "vocab_size": s.vocabulary, "eos_token_id": 49407, "bos_token_id": 49406, **common,
        },
        vision_config={
            "hidden_size": s.width, "intermediate_size": 4 * s.width,
            "num_hidden_layers": s.layers, "num_attention_heads": s.width // 64,
            "image_size": s.image_size, "patch_size": s.patch, **common,
        },
        projection_dim=s.embed,
    )  # fmt: skip


def batch(s: ClipSettings, rows: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (rows, s.image_size, s.image_size, 3), generator=draw)
    texts = [f"a picture of {i} " + "very " * i + "small cats" for i in range(rows)]
    ids = torch.from_numpy(clip_tokenizer()(texts, s.context))
    return Batch("pairs", {"pixels": pixels.to(torch.uint8), "ids": ids})


def loss_of(task: ClipTask, module: Clip, data: Batch) -> torch.Tensor:
    outputs = task.forward(module, data)
    sums = task.pooled_losses(outputs, data, lambda x: (x, 0))
    return sums["contrastive"] / len(data)


def randomised(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter and statistic away from its special initial value."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in module.state_dict().items():
            if "running_var" in name or "num_batches" in name:
                continue
            if "logit_scale" not in name:
                x.add_(0.05 * torch.randn(x.shape, generator=draw))
    return module


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    scale = max(1.0, float(b.detach().abs().max()))
    return float((a - b).detach().abs().max()) <= 1e-5 * scale


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name):
    with torch.device("meta"):
        module = PRESETS[name].task().build()
    assert sum(p.numel() for p in module.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_open_clips_names_and_shapes(name):
    ours = PRESETS[name].model
    with torch.device("meta"):
        mine, theirs = Clip(ours).state_dict(), open_clip_model(ours).state_dict()
    shapes = {n: tuple(x.shape) for n, x in theirs.items() if n != "attn_mask"}
    assert {n: tuple(x.shape) for n, x in mine.items()} == {**shapes, "logit_scale": (1,)}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_outputs_loss_and_gradients_equal_open_clip(size, training):
    s = SIZES[size]
    task, mine = ClipTask(s, 6), randomised(Clip(s), 1)
    theirs = open_clip_model(s)
    state = {**mine.state_dict(), "logit_scale": mine.state_dict()["logit_scale"][0]}
    theirs.load_state_dict(state, strict=False)
    mine.train(training)
    theirs.train(training)
    data = batch(s)
    image, text, scale = theirs(normalise(data.data["pixels"]), data.data["ids"])
    outputs = task.forward(mine, data)
    assert close(outputs["image"], image) and close(outputs["text"], text)
    expected = open_clip.ClipLoss()(image, text, scale)
    found = loss_of(task, mine, data)
    assert abs(float(found) - float(expected)) <= 1e-5
    expected.backward()
    found.backward()
    theirs_by_name = dict(theirs.named_parameters())
    for name, parameter in mine.named_parameters():
        other = theirs_by_name[name].grad.view_as(parameter)
        assert close(parameter.grad, other), name


@pytest.mark.parametrize("size", ["vit", "vit-gelu"])
def test_outputs_loss_and_gradients_equal_transformers(size):
    s = SIZES[size]
    task, mine = ClipTask(s, 6), randomised(Clip(s), 2)
    theirs = transformers.CLIPModel(hugging_face_config(s)).eval()
    missing = theirs.load_state_dict(to_hugging_face(mine.state_dict()), strict=False)
    assert not missing.unexpected_keys
    assert all("position_ids" in key for key in missing.missing_keys)
    data = batch(s)
    expected = theirs(
        input_ids=data.data["ids"], pixel_values=normalise(data.data["pixels"]), return_loss=True
    )
    outputs = task.forward(mine, data)
    assert close(outputs["image"], expected.image_embeds)
    assert close(outputs["text"], expected.text_embeds)
    found = loss_of(task, mine, data)
    assert abs(float(found) - float(expected.loss)) <= 1e-5
    expected.loss.backward()
    found.backward()
    gradients = {name: p.grad for name, p in mine.named_parameters()}
    theirs_by_name = dict(theirs.named_parameters())
    for name, gradient in to_hugging_face(gradients).items():
        assert close(gradient, theirs_by_name[name].grad), name


def test_initialisation_is_the_published_one():
    torch.manual_seed(0)
    s = SIZES["vit"].model_copy(update={"text_width": 256, "width": 256, "embed": 256})
    m = Clip(s)
    w, layers = s.text_width, s.text_layers
    block = m.transformer.resblocks[0]
    for tensor, std in (
        (m.token_embedding.weight, 0.02),
        (m.positional_embedding, 0.01),
        (m.text_projection, w**-0.5),
        (block.attn.in_proj_weight, w**-0.5),
        (block.attn.out_proj.weight, w**-0.5 * (2 * layers) ** -0.5),
        (block.mlp.c_fc.weight, (2 * w) ** -0.5),
        (block.mlp.c_proj.weight, w**-0.5 * (2 * layers) ** -0.5),
        (m.visual.class_embedding, s.width**-0.5),
        (m.visual.positional_embedding, s.width**-0.5),
        (m.visual.proj, s.width**-0.5),
    ):
        assert abs(float(tensor.std()) / std - 1) < 6 / math.sqrt(2 * tensor.numel())
    assert float(m.logit_scale) == pytest.approx(math.log(1 / 0.07))
    torch.manual_seed(0)
    resnet = Clip(SIZES["resnet"])
    assert all(not block.bn3.weight.any() for block in resnet.visual.layer2)


def test_temperature_is_clamped_after_the_step_and_keeps_its_gradient():
    s = SIZES["vit"]
    task, m = ClipTask(s, 6), Clip(s)
    with torch.no_grad():
        m.logit_scale.fill_(7.0)
        task.after_step(m)
    assert float(m.logit_scale) == pytest.approx(math.log(100))
    loss_of(task, m, batch(s)).backward()
    assert float(m.logit_scale.grad.abs()) > 0


def test_exemptions_from_weight_decay():
    task = ClipTask(SIZES["vit"], 6)
    decays = {name: task.decays(name, p) for name, p in Clip(SIZES["vit"]).named_parameters()}
    assert decays["visual.proj"] and decays["token_embedding.weight"]
    assert decays["positional_embedding"]
    exempt = {name for name, does in decays.items() if not does}
    assert all("bias" in n or "ln_" in n or n in ("logit_scale", "visual.class_embedding")
               for n in exempt)  # fmt: skip


@pytest.mark.parametrize("name,published", [("vit-b-32", 14.8e9), ("vit-b-16", 41.1e9),
                                            ("rn50", 18.2e9), ("vit-l-14", 175.3e9)])  # fmt: skip
def test_counted_flops_agree_with_published_ones(name, published):
    # open_clip's profile (docs/model_profile.csv), two for each multiply-add; it also counts norms
    # and activations, and queries of the attention pool that nobody reads.
    assert sample_flops(PRESETS[name].task())["pairs"].forward == pytest.approx(published, rel=0.04)


@pytest.mark.parametrize("height,width", [(64, 64), (100, 70), (50, 90), (224, 224), (31, 400)])
def test_evaluation_view_equals_open_clips(height, width):
    from PIL import Image

    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (height, width, 3), np.uint8)
    transform = open_clip.image_transform(64, is_train=False)
    expected = transform(Image.fromarray(image))
    found = normalise(torch.from_numpy(images.centre(image, 64))[None])[0]
    assert close(found, expected)


@pytest.mark.parametrize("box", [(0, 0, 70, 100), (3, 7, 61, 90), (0, 0, 20, 30), (5, 5, 69, 15)])
def test_crops_are_pillows(box):
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (100, 70, 3), np.uint8)
    expected = Image.fromarray(image).crop(box).resize((64, 64), Image.Resampling.BICUBIC)
    found = images.crop(image, box, 64)
    assert found.flags.c_contiguous and found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


def test_bad_images_and_captions_are_sample_errors():
    from septet.trainers.task import SampleError

    task = ClipTask(SIZES["vit"], 6)
    good = Path(__file__).read_bytes()
    for sample in (
        {"jpg": b"", "txt": b"a"},
        {"jpg": b"\xff\xd8\xff\xe0 cut short", "txt": b"a"},
        {"png": b"\x89PNG\r\n\x1a\n", "txt": b"a"},
        {"jpg": good, "txt": b"a"},
    ):
        with pytest.raises(SampleError, match="cannot be used"):
            task.read("pairs", sample, None)
    import cv2

    image = cv2.imencode(".png", np.zeros((70, 80, 3), np.uint8))[1].tobytes()
    with pytest.raises(SampleError, match="UTF-8"):
        task.read("pairs", {"png": image, "txt": b"\xff\xfe"}, None)
    row = task.read("pairs", {"png": image, "txt": b"a cat"}, lambda: np.random.default_rng(0))
    assert row["pixels"].shape == (64, 64, 3) and row["ids"].shape == (77,)


@pytest.mark.parametrize("change,message", [
    ({"width": 100}, "multiple of 64"), ({"image_size": 65}, "multiple of 16"),
    ({"patch": None}, "one number exactly when"),
])  # fmt: skip
def test_sizes_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        Clip(SIZES["vit"].model_copy(update=change))


def test_text_tower_is_causal():
    s = SIZES["vit"]
    m = randomised(Clip(s), 4)
    ids = torch.from_numpy(clip_tokenizer()(["a cat on a mat"], 77))
    longer = ids.clone()
    longer[0, ids.argmax() + 1 :] = 5
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.equal(m.encode_text(ids), m.encode_text(longer))
    assert F.cosine_similarity(m.encode_text(ids), m.encode_text(ids.flip(0))).item() > 0.999


@pytest.mark.parametrize("preset,parameters", [
    ("vit-h-14", 986_109_441), ("vit-g-14", 1_366_678_273), ("vit-bigg-14", 2_539_567_362),
])  # fmt: skip
def test_open_clips_larger_sizes(preset, parameters):
    """Counts of open_clip's model_profile.csv, in millions: 986.11, 1366.68, 2539.57."""
    with torch.device("meta"):
        module = PRESETS[preset].task().build()
    count = sum(p.numel() for p in module.parameters())
    assert count / 1e6 == pytest.approx(parameters / 1e6, abs=0.01)


def test_recipes_are_the_published_ones():
    assert PRESETS["vit-l-14-336"].train.steps == 12_207  # An epoch of 400 million pairs.
    small = settings("model.vocabulary=100").task()
    with pytest.raises(
        ValueError, match=r"model\.vocabulary is 100, the tokenizer has 49408 pieces"
    ):
        small.read("pairs", {"png": saved(photo(), "png"), "txt": b"a"}, None)
    with pytest.raises(ValueError, match="crop is a range"):
        settings("model.crop=[0.5, 0.1]")
