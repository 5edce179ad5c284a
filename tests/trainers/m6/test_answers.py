"""What a trained M6 is asked is what it was trained with, and it answers from the command line."""

import json

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from septet.preprocess import files
from septet.preprocess.annotators.patches import Patches, PatchesSettings
from septet.preprocess.columns.base import Item
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.synthetic.scenes import make_scene, render
from septet.trainers.commands.export import export
from septet.trainers.commands.predict import predict
from septet.trainers.m6 import answers as asking
from septet.trainers.m6 import samples
from septet.trainers.m6.presets import PRESETS
from septet.trainers.m6.settings import MASK
from septet.trainers.m6.task import M6Task
from septet.trainers.prediction import Asked
from tests.trainers.corpora import scenes_corpus
from tests.trainers.m6.test_samples import sample
from tests.trainers.test_cli import call

S = PRESETS["debug"].model
TINY = (
    "model.width=32", "model.inner=48", "model.heads=2", "model.layers=1", "model.stem=4",
    "model.features=64", "train.global_batch=8", "train.workers=0", "train.log_every=1",
)  # fmt: skip
COMMAND = typer.Typer()
COMMAND.command("predict", cls=predict.command_class)(predict)
IMAGE = np.full((32, 64, 3), 200, np.uint8)


def test_a_question_is_what_training_has():
    told = sample()
    draw = np.random.default_rng(0)
    row = samples.read("image_denoising", told, S, draw)
    words = samples.tokenizer(S)
    asked = "".join("_" if i == MASK else words.pieces[i] for i in row["source"])
    found = asking.source("infill", Asked(IMAGE, text=asked), S)
    assert found.tolist() == row["source"].tolist()
    pixels = asking.image_inputs([render(make_scene(1, 3))], S)["pixels"]
    assert torch.equal(pixels, samples.model_inputs(_batch(row))["pixels"])
    drawn = samples.read("drawing", told, S, draw)["source"]
    text = told["txt"].decode()
    assert asking.source("draw", Asked(text=text), S).tolist() == drawn.tolist()
    assert asking.source("infill", Asked(IMAGE, text="_"), S).tolist() == [MASK]


def test_gaps_are_filled_with_the_spans_that_are_written_alone():
    """Of a model that writes nothing else; what training writes gives its text again."""
    s = S.model_copy(update={"target": "masked"})
    words = samples.tokenizer(s)
    for seed in range(10):
        row = samples.read("denoising", sample(), s, np.random.default_rng(seed))
        back = asking.filled(row["source"].tolist(), row["target"].tolist())
        assert words.decode(back) == sample()["txt"].decode()
    assert asking.filled([7, MASK, 8, MASK], [5, MASK, 1, 2]) == [7, 1, 2, 8, MASK]
    assert asking.filled([MASK, 8], [MASK, MASK, 3]) == [8]
    torch.manual_seed(0)
    module = M6Task(s, 8).build().eval()
    for ability, image in (("infill_text", None), ("infill", IMAGE)):
        ((found,),) = [M6Task(s, 8).predict(module, ability, [Asked(image, text="红色_圆形")])]
        assert found.text.startswith("红色") and found.text.endswith("圆形")


def _batch(row):
    from septet.trainers.inputs.kinds import stacked
    from septet.trainers.task import Batch

    return Batch("image_denoising", stacked([row]))


@pytest.mark.parametrize("ability,asked,message", [
    ("infill_text", Asked(text=" _ "), "infill_text needs a text of words"),
    ("draw", Asked(text=" "), "draw needs a text of words"),
    ("continue", Asked(text="红" * 64), "a text of 64 tokens; at most 63 are read"),
    ("infill", Asked(IMAGE, text="红" * 64), "a text of 64 tokens; at most 63 are read"),
])  # fmt: skip
def test_what_cannot_be_asked_is_told(ability, asked, message):
    with pytest.raises(ValueError, match=message):
        asking.source(ability, asked, S)


def test_answers_do_not_depend_on_what_is_asked_beside():
    torch.manual_seed(0)
    task = PRESETS["debug"].task()
    module = task.build().eval()
    images = [render(make_scene(1, i)) for i in range(2)]
    asked = [Asked(images[0], text="一个_"), Asked(images[1], text="红色的_在_的左边")]
    for ability in task.abilities:
        with torch.no_grad():
            both = task.predict(module, ability, asked)
            alone = [task.predict(module, ability, [each])[0] for each in asked]
        assert [x.text for x in both] == [x.text for x in alone]
        assert [x.score for x in both] == pytest.approx([x.score for x in alone], rel=1e-4)
        if ability == "draw":
            assert [x.image.shape for x in both] == [(64, 64, 3)] * 2
            assert all(np.array_equal(a.image, b.image) for a, b in zip(both, alone, strict=True))
        if ability == "continue":
            assert both[0].text.startswith("一个") and both[1].text.startswith("红色的")
    assert "draw" not in PRESETS["base"].task().abilities


def test_an_image_has_the_features_of_the_column(tmp_path):
    """Of a model that reads a column: through the ResNet that made it."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    path = str(tmp_path / "resnet50.pth")
    torch.save(torchvision.models.resnet50().state_dict(), path)
    image = render(make_scene(1, 3), 128)
    column = Patches(PatchesSettings(weights=path, size=128))
    column.setup()
    ((value),) = column.values([column.prepare(Item("k", {}, {}), Image.fromarray(image))])
    s = PRESETS["base"].model.model_copy(update={"image_size": 128})
    with pytest.raises(ValueError, match=r"the ResNet-50 that made it: --set model\.resnet=FILE"):
        asking.image_inputs([image], s)
    found = asking.image_inputs([image], s.model_copy(update={"resnet": path}))["patches"]
    expected = np.frombuffer(value.data, "<f2").reshape(16, 2048)
    assert found.shape == (1, 16, 2048) and found.dtype == torch.float16
    assert np.allclose(found[0].numpy(), expected, rtol=2e-2, atol=2e-3)


@pytest.mark.slow
def test_a_trained_model_answers_from_the_command_line(tmp_path):
    corpus = scenes_corpus(tmp_path / "corpus", seed=2, count=48, languages=("zh",))
    quick = [part for change in TINY for part in ("--set", change)]
    found = call("m6", corpus, *quick, "--steps", "6", "--out", tmp_path / "run")
    assert found.exit_code == 0, found.output
    folder = tmp_path / "images"
    for i in range(2):
        files.write_bytes(str(folder / f"{i}.png"), Corpus(str(corpus))[i]["png"])

    def ask(*arguments):
        return CliRunner().invoke(COMMAND, [str(a) for a in (tmp_path / "run", *arguments)])

    listed = ask("--task").output
    assert all(f"\n{name}: " in listed for name in asking.abilities(S)), listed
    for name, *parts in (("caption",), ("infill", "--text", "一个_圆形", "--beams", "2")):
        found = ask("--task", name, "--image", folder, *parts)
        assert found.exit_code == 0, found.output
        lines = [json.loads(line) for line in found.output.splitlines()]
        assert [line["image"] for line in lines] == ["0.png", "1.png"]
        assert all(0 < line["score"] <= 1 for line in lines)
    for name in ("infill_text", "continue"):
        found = ask("--task", name, "--text", "一个小的_")
        assert found.exit_code == 0, found.output
    drawn = ask("--task", "draw", "--text", "一个小的红色圆形", "--out", tmp_path / "drawn.png")
    assert drawn.exit_code == 0 and Image.open(tmp_path / "drawn.png").size == (64, 64)
    wrong = ask("--task", "caption", "--image", folder / "0.png", "--text", "红")
    assert wrong.exit_code == 1 and "caption of m6 takes no --text" in wrong.output
    exporting = typer.Typer()
    exporting.command()(export)
    done = CliRunner().invoke(
        exporting, [str(tmp_path / "run"), str(tmp_path / "out"), "--form", "septet"]
    )
    assert done.exit_code == 0 and (tmp_path / "out/model.safetensors").exists(), done.output
