"""`septet predict`: what a trained model answers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from septet.preprocess.synthetic.scenes import make_scene, render
from septet.trainers.clip.task import ClipTask
from septet.trainers.commands.export import export
from septet.trainers.commands.models import presets_of
from septet.trainers.commands.predict import predict
from septet.trainers.commands.trained import Trained
from septet.trainers.inputs.images import decode
from septet.trainers.prediction import Ability, Answer, Asked
from tests.trainers.conftest import TINY
from tests.trainers.corpora import scenes_corpus, write_corpus
from tests.trainers.test_cli import call

COMMAND = typer.Typer()
COMMAND.command("predict", cls=predict.command_class)(predict)


def ask(*arguments):
    return CliRunner().invoke(COMMAND, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny CLIP that was trained on scenes for two steps, and a folder of images."""
    folder = tmp_path_factory.mktemp("predict")
    corpus = scenes_corpus(folder / "corpus", seed=2, count=48)
    quick = [part for change in (*TINY, "train.workers=0") for part in ("--set", change)]
    found = call("clip", corpus, *quick, "--steps", "2", "--out", folder / "run")
    assert found.exit_code == 0, found.output
    (folder / "images/more").mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(folder / f"images/more/{i}.png"), render(make_scene(2, i))[:, :, ::-1])
    (folder / "images/broken.jpg").write_bytes(b"no image")
    (folder / "images/note.txt").write_text("not asked for")
    return folder


def test_help_is_instant_and_lists_what_a_model_can_do(trained):
    code = "import sys, septet.trainers.commands.predict; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    for arguments in (["--task"], [], ["--task", "--beams", "2"]):
        found = ask(trained / "run", *arguments)
        assert found.exit_code == 0, found.output
        assert found.output.startswith(f"clip (debug), {trained}/run:")
        text = "'a red circle|a blue star'"
        line = f"septet predict {trained}/run --task match --image FILE --text {text}"
        assert "match: says which of several texts" in found.output and line in found.output


def test_one_image_is_answered_for_a_person(trained):
    image = trained / "images/more/1.png"
    found = ask(
        trained / "run", "--task", "match", "--image", image, "--text", "a dog | a red star"
    )
    assert found.exit_code == 0 and found.output.strip() in ("a dog", "a red star")
    other = ask(trained / "run", "--task", "match", "--image", image, "--text", "a red star|a dog")
    assert other.output == found.output


def test_a_folder_and_a_corpus_are_answered_in_lines(trained, tmp_path):
    out = tmp_path / "out.jsonl"
    common = (trained / "run", "--task", "match", "--text", "a dog | a red star", "--batch", "2")
    found = ask(*common, "--image", trained / "images", "--out", out)
    assert found.exit_code == 0 and "4 lines in" in found.output, found.output
    assert "1 of them not answered" in found.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["image"] for line in lines] == ["broken.jpg", *(f"more/{i}.png" for i in range(3))]
    assert "image cannot be used" in lines[0]["error"]
    for i, line in enumerate(lines[1:]):
        alone = ask(*common, "--image", trained / f"images/more/{i}.png")
        assert alone.output.strip() == line["text"] and 0.5 <= line["score"] <= 1
    found = ask(*common, "--image", trained / "corpus", "--most", "5")
    lines = [json.loads(line) for line in found.output.splitlines()]
    assert len(lines) == 5 and all(len(line["image"]) == 32 for line in lines)
    # A corpus has texts of its own.
    found = ask(*common[:3], "--image", trained / "corpus", "--most", "3")
    lines = [json.loads(line) for line in found.output.splitlines()]
    assert [line["asked"] for line in lines] == [line["text"] for line in lines]


def test_of_many_images_only_what_the_model_reads_is_kept(trained, tmp_path, monkeypatch):
    for i in range(3):
        image = cv2.resize(render(make_scene(3, i)), (500 + i, 300))
        cv2.imwrite(str(tmp_path / f"{i}.png"), image[:, :, ::-1])
    wholes = [decode((tmp_path / f"{i}.png").read_bytes()) for i in range(3)]
    model = Trained(str(trained / "run"))
    asked = [Asked(image=whole, text="a dog|a red star") for whole in wholes]
    with torch.no_grad():
        told = model.task.predict(model.module().eval(), "match", asked)
    shapes, predict = [], ClipTask.predict
    monkeypatch.setattr(
        ClipTask, "predict", lambda task, module, ability, asked, *more: shapes.extend(
            each.image.shape for each in asked
        ) or predict(task, module, ability, asked, *more),
    )  # fmt: skip
    found = ask(trained / "run", "--task", "match", "--image", tmp_path,
                "--text", "a dog|a red star")  # fmt: skip
    assert shapes == [(64, 64, 3)] * 3, found.output
    lines = [json.loads(line) for line in found.output.splitlines()]
    assert [(line["text"], line["score"]) for line in lines] == [
        (each.text, pytest.approx(each.score, abs=1e-4)) for each in told
    ]


def test_what_cannot_be_answered_costs_itself_alone(trained, tmp_path):
    images = tmp_path / "pictures"
    shutil.copytree(trained / "images/more", images)
    (images / "folder.png").mkdir()
    (images / "gone.png").symlink_to(tmp_path / "nowhere.png")
    given = ("--task", "match", "--image", images, "--text", "a dog|a red star")
    found = ask(trained / "run", *given)
    assert found.exit_code == 0 and len(found.output.splitlines()) == 3, found.output
    texts = {0: b" | ", 1: b"a red star", 2: b"a blue dog"}
    samples = [(f"{i:032x}", {"png": (images / f"{i}.png").read_bytes(), "txt": texts[i]})
               for i in range(3)]  # fmt: skip
    corpus = write_corpus(tmp_path / "corpus", samples)
    out = tmp_path / "out.jsonl"
    found = ask(trained / "run", "--task", "match", "--image", corpus, "--out", out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert found.exit_code == 0 and "texts with |" in lines[0]["error"], found.output
    assert [line["text"] for line in lines[1:]] == ["a red star", "a blue dog"]


def test_a_file_that_cannot_be_read_costs_itself_alone(trained, tmp_path, monkeypatch):
    images = tmp_path / "pictures"
    shutil.copytree(trained / "images/more", images)
    read = Path.read_bytes

    def refuse(path):
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    given = ("--task", "match", "--text", "a dog|a red star", "--image", images)
    found = ask(trained / "run", *given, "--out", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found.exit_code == 0 and "Permission denied" in lines[1]["error"], found.output
    assert "text" in lines[0] and "text" in lines[2]


def test_settings_of_a_run_may_say_where_files_lie_now(trained, tmp_path):
    given = ("--task", "match", "--image", trained / "images/more/1.png", "--text", "a dog|a cat")
    found = ask(trained / "run", *given, "--set", "model.nonsense=3")
    assert found.exit_code == 1 and "model.nonsense" in found.output, found.output
    found = ask(trained / "run", *given, "--out", tmp_path / "nowhere/x.jsonl")
    assert found.exit_code == 1 and "there is no folder" in found.output, found.output


def test_weights_of_others_are_asked(trained, tmp_path):
    exporting = typer.Typer()
    exporting.command()(export)
    found = CliRunner().invoke(exporting, [str(trained / "run"), str(tmp_path / "hf")])
    assert found.exit_code == 0, found.output
    given = ("--task", "match", "--image", trained / "images", "--text", "a dog|a red star")
    one = ask(trained / "run", *given)
    sizes = [part for change in TINY for part in ("--set", change)]
    weights = ("--model", "clip", "--preset", "debug", *sizes)
    two = ask(tmp_path / "hf/model.safetensors", *given, *weights)
    assert two.exit_code == 0 and two.output == one.output, two.output
    misfit = ask(tmp_path / "hf/model.safetensors", *given, "--model", "clip", "--preset", "rn50")
    assert misfit.exit_code == 1 and "does not fit" in misfit.output
    nothing = ask(tmp_path / "none", *given, *weights)
    assert nothing.exit_code == 1 and "there is no such file of weights" in nothing.output


BOX = (0.25, 0.5, 0.75, 1.0)


def test_boxes_are_drawn_and_images_written(trained, tmp_path, monkeypatch):
    """With a model that finds boxes in every image, and makes images."""

    def predict(self, module, ability, asked, beams=1):
        if ability == "generate":
            assert [each.text for each in asked] == ["red"] and beams == 3
            return [Answer(image=np.full((8, 8, 3), (250, 0, 0), np.uint8))]
        if ability == "describe":
            return [Answer(f"{each.box}") for each in asked]
        return [Answer(boxes=((BOX, each.text),)) for each in asked]

    monkeypatch.setattr(ClipTask, "predict", predict)
    monkeypatch.setattr(ClipTask, "abilities", {
        "ground": Ability("finds", ("image", "text"), gives="boxes"),
        "generate": Ability("makes", ("text",), gives="image"),
        "describe": Ability("tells", ("image", "box")),
    })  # fmt: skip
    run, image = trained / "run", trained / "images/more/1.png"
    ground = (run, "--task", "ground", "--image", image, "--text", "red")
    found = ask(*ground, "--draw", tmp_path / "d.png", "--out", tmp_path / "d.json")
    assert found.exit_code == 0 and "16 32 48 64  red" in found.output, found.output
    drawn, plain = np.array(Image.open(tmp_path / "d.png")), np.array(Image.open(image))
    assert drawn.shape == plain.shape and (drawn[32:64, 16] == (255, 0, 0)).all()
    assert (drawn[:20] == plain[:20]).all()
    assert json.loads((tmp_path / "d.json").read_text()) == {
        "image": str(image), "asked": "red", "boxes": [{"box": [16, 32, 48, 64], "label": "red"}],
    }  # fmt: skip
    made = ask(
        run, "--task", "generate", "--text", "red", "--beams", "3", "--out", tmp_path / "g.png"
    )
    assert made.exit_code == 0 and Image.open(tmp_path / "g.png").getpixel((3, 3)) == (250, 0, 0)
    told = ask(run, "--task", "describe", "--image", image, "--box", "16,32,48,64")
    assert told.output.strip() == str(BOX)
    for arguments, message in [
        ((*ground[:4], trained / "images", "--text", "x", "--draw", tmp_path / "x.png"),
         "--draw takes one image"),
        ((run, "--task", "generate", "--text", "red"), "say where to with --out FILE.png"),
        ((run, "--task", "describe", "--image", image, "--box", "1,2,x"), "expected LEFT,TOP"),
        ((run, "--task", "describe", "--image", image, "--box", "1,2,99,9"),
         "not within the image of 64 x 64"),
    ]:  # fmt: skip
        wrong = ask(*arguments)
        assert wrong.exit_code == 1 and message in wrong.output, wrong.output


@pytest.mark.parametrize("arguments,message", [
    (["--task", "vqa"], "clip has no task 'vqa'; it has: match"),
    (["--task", "match"], "match of clip needs --image FILE --text 'a red circle|a blue star'"),
    (["--task", "match", "--image", "IMAGE"], "the task needs --text 'a red circle|a blue star', or a corpus"),
    (["--task", "match", "--text", "x"], "match of clip needs --image FILE"),
    (["--task", "match", "--image", "IMAGE", "--text", "|"], "needs an image, and texts with |"),
    (["--task", "match", "--image", "IMAGE", "--text", "x", "--question", "y"],
     "match of clip takes no --question"),
    (["--task", "match", "--image", "/no/such.jpg", "--text", "x"], "there is no such file"),
    (["--task", "match", "--image", "BROKEN", "--text", "x"], "image cannot be used"),
    (["--task", "match", "--image", "EMPTY", "--text", "x"], "has no image: files end in .jpg"),
    (["--task", "match", "--image", "IMAGE", "--text", "x", "--draw", "a.png"],
     "--draw: match of clip gives no boxes"),
    (["--task", "match", "--image", "IMAGE", "--text", "x", "--out", "EMPTY"],
     "is a folder: name a file"),
    (["--task", "match", "--image", "", "--text", "x"], "--image names no file"),
])  # fmt: skip
def test_mistakes_are_one_sentence(trained, tmp_path, arguments, message):
    places = {
        "IMAGE": trained / "images/more/1.png",
        "BROKEN": trained / "images/broken.jpg",
        "EMPTY": tmp_path,
    }
    found = ask(trained / "run", *(places.get(each, each) for each in arguments))
    assert found.exit_code == 1 and message in found.output, found.output
    assert found.output.startswith("septet predict: ") and "Traceback" not in found.output


def test_a_checkpoint_of_another_model_and_no_run_are_told(trained, tmp_path):
    given = ("--task", "match", "--image", trained / "images/more/1.png", "--text", "x")
    found = ask(tmp_path, *given)
    assert (
        found.exit_code == 1 and "run.json does not exist: give the folder of a run" in found.output
    )
    record = json.loads((trained / "run/run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record))
    found = ask(tmp_path, *given)
    assert found.exit_code == 1 and "has no complete checkpoint; train first" in found.output
    (tmp_path / "checkpoints").symlink_to(trained / "run/checkpoints")
    assert ask(tmp_path, *given).exit_code == 0
    record["settings"]["model"]["layers"] = 2
    (tmp_path / "run.json").write_text(json.dumps(record))
    found = ask(tmp_path, *given)
    assert found.exit_code == 1 and "is another model's: of" in found.output, found.output
    (tmp_path / "run.json").write_text("{}")
    found = ask(tmp_path, "--task")
    assert found.exit_code == 1 and "names no model" in found.output
    (tmp_path / "run.json").write_text("[")
    found = ask(tmp_path, "--task")
    assert found.exit_code == 1 and "is no record of a run" in found.output


@pytest.mark.parametrize("model", ["beit3", "ernie_vil", "flava"])
def test_a_model_that_answers_nothing_says_so(trained, tmp_path, model):
    record = json.loads((trained / "run/run.json").read_text())
    settings = presets_of(model)["debug"].model_dump(mode="json")
    record |= {"model": model, "preset": "debug", "settings": settings}
    (tmp_path / "run.json").write_text(json.dumps(record))
    found = ask(tmp_path, "--task")
    assert found.exit_code == 1 and f"{model} answers nothing" in found.output
    told = CliRunner().invoke(COMMAND, [str(tmp_path), "--lines"], input="{}\n").stdout
    assert json.loads(told) == {"model": model, "preset": "debug", "tasks": {}}


def test_questions_are_answered_line_by_line(trained):
    image = str(trained / "images/more/1.png")
    asked = {"task": "match", "image": image, "text": "a dog|a red star"}
    lines = ["{}", json.dumps(asked), "[]", "{", json.dumps({"task": "vqa"}),
             json.dumps(asked | {"beams": 0}), json.dumps(asked | {"text": 7}),
             json.dumps(asked | {"image": str(trained / "images/broken.jpg")}), json.dumps(asked)]  # fmt: skip
    found = CliRunner().invoke(COMMAND, [str(trained / "run"), "--lines"], input="\n".join(lines))
    about, first, *wrong, last = map(json.loads, found.stdout.splitlines())
    assert (about["model"], about["preset"], [*about["tasks"]]) == ("clip", "debug", ["match"])
    assert about["tasks"]["match"]["needs"] == ["image", "text"]
    alone = ask(trained / "run", "--task", "match", "--image", image, "--text", asked["text"])
    assert first == last and first["text"] == alone.output.strip() and first["size"] == [64, 64]
    said = ["expected a JSON object", "Expecting", "clip has no task 'vqa'", "beams is a number",
            "text is a text", "image cannot be used"]  # fmt: skip
    assert [[*line] for line in wrong] == [["error"]] * len(said)
    assert all(part in line["error"] for part, line in zip(said, wrong, strict=True))


def test_a_score_that_is_no_number_is_a_word(trained, monkeypatch):
    monkeypatch.setattr(
        ClipTask, "predict", lambda *asked: [Answer("a dog", ((BOX, "x"),), score=float("nan"))]
    )
    asked = {"task": "match", "image": str(trained / "images/more/1.png"), "text": "a dog"}
    run = str(trained / "run")
    found = CliRunner().invoke(COMMAND, [run, "--lines"], input=json.dumps(asked)).stdout
    assert json.loads(found)["score"] == "nan"
