import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from septet.trainers.clip.model import Clip
from septet.trainers.clip.presets import PRESETS
from septet.trainers.clip.task import ClipTask, normalise
from septet.trainers.clip.weights import (
    FORMS,
    from_hugging_face,
    resize_positions,
    sizes,
    to_hugging_face,
    to_open_clip,
)
from tests.trainers.test_clip import (
    SIZES,
    batch,
    close,
    open_clip_model,
    randomised,
)

VITS = [name for name, size in SIZES.items() if size.patch]


def read(path, s):
    return FORMS.read(path, s).weights


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("size", VITS)
def test_hugging_faces_names_and_back(size):
    state = randomised(Clip(SIZES[size]), 1).state_dict()
    assert equal(from_hugging_face(to_hugging_face(state)), state)


def test_hugging_face_has_no_resnets():
    with pytest.raises(ValueError, match="no ResNet"):
        to_hugging_face(Clip(SIZES["resnet"]).state_dict())


@pytest.mark.parametrize(
    "name",
    [n for n, one in PRESETS.items() if one.model.activation == "quick_gelu" and n != "debug"],
)
def test_sizes_of_openais_models_are_read_from_shapes(name):
    with torch.device("meta"):
        state = Clip(PRESETS[name].model).state_dict()
    assert sizes(state) == PRESETS[name].model


class Archive(nn.Module):
    """A state as OpenAI's archives hold it: halves, and numbers that are no weights."""

    def __init__(self, state):
        super().__init__()
        for name, x in state.items():
            place = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(place, part):
                    place.add_module(part, nn.Module())
                place = getattr(place, part)
            place.register_buffer(last, x.half() if x.ndim > 1 else x)
        self.register_buffer("input_resolution", torch.tensor(64))
        self.register_buffer("context_length", torch.tensor(77))
        self.register_buffer("vocab_size", torch.tensor(49408))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("size", SIZES)
def test_reads_openais_archives(size, tmp_path):
    state = to_open_clip(randomised(Clip(SIZES[size]), 1).state_dict())
    torch.jit.script(Archive(state)).save(str(tmp_path / "openai.pt"))
    found = read(tmp_path / "openai.pt", SIZES[size])
    assert sizes(found, SIZES[size].activation) == SIZES[size]
    module = Clip(SIZES[size])
    module.load_state_dict(found)
    expected = state["text_projection"].half().float()
    assert torch.equal(module.text_projection, expected)


def test_reads_open_clips_training_files(tmp_path):
    s = SIZES["vit"]
    state = {f"module.{n}": x for n, x in open_clip_model(s).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "epoch_3.pt")
    Clip(s).load_state_dict(read(tmp_path / "epoch_3.pt", s))
    separate = {f"text.{n}" if not n.startswith(("visual", "logit")) else n: x
                for n, x in open_clip_model(s).state_dict().items()}  # fmt: skip
    torch.save(separate, tmp_path / "separate.pt")
    Clip(s).load_state_dict(read(tmp_path / "separate.pt", s))


@pytest.mark.parametrize("size", SIZES)
def test_open_clip_loads_what_is_exported(size, tmp_path):
    s = SIZES[size]
    mine = randomised(Clip(s), 1).eval()
    FORMS.write(mine.state_dict(), s, tmp_path, "open_clip")
    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    theirs.eval()
    data = batch(s)
    image, text, scale = theirs(normalise(data.data["pixels"]), data.data["ids"])
    found = mine(normalise(data.data["pixels"]), data.data["ids"])
    for a, b in zip(found, (image, text, scale), strict=True):
        assert close(a, b)
    assert equal(read(tmp_path / "open_clip_model.safetensors", s), mine.state_dict())


@pytest.mark.parametrize("size", VITS)
def test_transformers_loads_what_is_exported(size, tmp_path):
    from transformers import CLIPModel

    s = SIZES[size]
    mine = randomised(Clip(s), 1).eval()
    FORMS.write(mine.state_dict(), s, tmp_path, "hf")
    assert equal(read(tmp_path / "model.safetensors", s), mine.state_dict())
    theirs = CLIPModel.from_pretrained(tmp_path).eval()
    data = batch(s)
    found = theirs(input_ids=data.data["ids"], pixel_values=normalise(data.data["pixels"]))
    image, text, _ = mine(normalise(data.data["pixels"]), data.data["ids"])
    assert close(found.image_embeds, image) and close(found.text_embeds, text)


def test_another_form_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="hf or open_clip; found 'onnx'"):
        FORMS.write({}, SIZES["vit"], tmp_path, "onnx")


def test_starts_from_exported_weights_at_another_resolution(tmp_path):
    s = SIZES["vit"]
    FORMS.write(randomised(Clip(s), 1).state_dict(), s, tmp_path, "hf")
    larger = s.model_copy(update={"image_size": 96})
    state = ClipTask(larger, 4).initial(tmp_path / "model.safetensors")
    Clip(larger).load_state_dict(state.weights)
    with pytest.raises(ValueError, match=r"text_projection is \[64, 48\], the model.s \[64, 64\]"):
        wider = s.model_copy(update={"embed": 64})
        ClipTask(wider, 4).initial(tmp_path / "model.safetensors")


def test_positions_are_interpolated_as_open_clip_does():
    from open_clip.model import resize_pos_embed

    s = SIZES["vit"]
    larger = s.model_copy(update={"image_size": 96})
    state = randomised(Clip(s), 1).state_dict()
    found = resize_positions(state, larger)
    expected = dict(to_open_clip(state))
    theirs = open_clip_model(larger)
    theirs.visual.grid_size = (6, 6)
    resize_pos_embed(expected, theirs, antialias=True)
    name = "visual.positional_embedding"
    assert close(found[name], expected[name])
    Clip(larger).load_state_dict(found)


def test_what_is_no_clip_is_told(tmp_path):
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"no CLIP .* begins with layer\.weight"):
        read(tmp_path / "other.pt", SIZES["vit"])
    (tmp_path / "text.pt").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="cannot be read as a file of weights"):
        read(tmp_path / "text.pt", SIZES["vit"])
    with pytest.raises(ValueError, match="no weight of"):
        from_hugging_face({"text_model.unknown": torch.zeros(1)})


def test_weights_of_a_part_are_no_start(tmp_path):
    s = SIZES["vit"]
    state = randomised(Clip(s), 1).state_dict()
    for name, odd in (("ln_final.bias", {}), ("visual.proj", {"visual.extra": torch.ones(1)})):
        part = {n: x for n, x in state.items() if n != name or odd} | odd
        save_file(part, tmp_path / "part.safetensors")
        with pytest.raises(ValueError, match="does not fit") as error:
            ClipTask(s, 4).initial(tmp_path / "part.safetensors")
        assert next(iter(odd), name) in str(error.value)
