"""What a trained PaLI is asked is what it was trained with, and its answers are read back."""

import json

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from septet.preprocess import files
from septet.preprocess.boxes.tokens import Pali as Coordinates
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.synthetic.scenes import make_scene, render
from septet.preprocess.tokenizers.mt5 import END
from septet.trainers.commands.predict import predict
from septet.trainers.generate import write as writing
from septet.trainers.generate.decoding import Written
from septet.trainers.pali import answers as asking
from septet.trainers.pali import samples
from septet.trainers.pali.presets import PRESETS
from septet.trainers.pali.words import word_starts
from septet.trainers.prediction import Asked
from tests.trainers.pali.test_samples import PIECES, S, draw, made, sample
from tests.trainers.pali.test_training import TINY
from tests.trainers.test_cli import call

COMMAND = typer.Typer()
COMMAND.command("predict", cls=predict.command_class)(predict)
IMAGE = np.full((32, 64, 3), 200, np.uint8)


def test_a_question_has_the_words_of_training():
    for language in ("en", "de", "zh"):
        asked = Asked(IMAGE, language=language)
        assert asking.prompt("caption", asked) == made("caption", language=language).prompt
    assert asking.prompt("ocr", Asked(IMAGE)) == made("ocr").prompt
    pair = {"question": "was ist rot?", "answer": "cross", "kind": "", "language": "de"}
    trained = made("vqa", questions=json.dumps({"pairs": [pair]}).encode()).prompt
    assert asking.prompt("vqa", Asked(IMAGE, question=" was ist rot? ")) == trained
    assert asking.prompt("objects", Asked(IMAGE)) == samples.fill("list_objects")
    named = made("detect").prompt.removeprefix("detect ").split(" and ")
    asked = Asked(IMAGE, text=" | ".join(named) + "|")
    assert asking.prompt("detect", asked) == made("detect").prompt
    for seed, language in enumerate(("fr", "zh", "en")):
        trained, rest, _ = samples.split_caption(sample(language), S, draw(seed))
        told = sample(language)["txt"].decode()
        begun = told.removesuffix(rest)
        assert 0 < len(word_starts(begun)) < len(word_starts(told))
        assert (
            asking.prompt("split_caption", Asked(IMAGE, text=begun, language=language)) == trained
        )


@pytest.mark.parametrize("ability,asked,message", [
    ("vqa", Asked(IMAGE, question=" "), "vqa needs a question: --question 'what is red"),
    ("detect", Asked(IMAGE, text=" | "), "detect needs names of what to find, with | between them"),
    ("split_caption", Asked(IMAGE, text=" "), "split_caption needs a caption's first words"),
    ("caption", Asked(IMAGE, language="tlhIngan Hol"), "expected ISO 639 codes .* 'tlhIngan Hol'"),
    ("vqa", Asked(IMAGE, question="why " * 200), "a question of .* tokens; at most 96 are read"),
])  # fmt: skip
def test_what_cannot_be_asked_is_told(ability, asked, message):
    with pytest.raises(ValueError, match=message):
        asking.source(ability, asked, S)


def test_what_is_written_is_read_back(monkeypatch):
    """Of a module that writes what it is told to, whatever it is asked."""
    boxes = np.array([[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.25], [0.5, 0.5, 0.5, 0.9]])
    first, second, thin = Coordinates().text(Coordinates().encode(boxes))
    text = f"{first} red circle {second} star {thin} line"

    def answer(ability, said, rows=1, **given):
        ids = [*PIECES.encode(said), END]

        def write(module, inputs, decoding, start, end, pad):
            assert inputs["pixels"].shape == (rows, 3, 64, 64) and (start, end, pad) == (0, 1, 0)
            assert decoding.most == {"ocr": 16, "detect": 96}.get(ability, 48)
            out = torch.full((rows, 1, decoding.most), pad)
            out[:, 0, : len(ids)] = torch.tensor(ids)
            return Written(out, torch.full((rows, 1), np.log(0.5)))

        with monkeypatch.context() as patched:
            patched.setattr(writing, "write", write)
            module = torch.nn.Linear(1, 1)
            return asking.answers(S, module, ability, [Asked(IMAGE, **given)] * rows, 1)

    assert [found.text for found in answer("caption", "a red star", 2)] == ["a red star"] * 2
    (found,) = answer("detect", text, text="star|red circle")
    assert [label for _, label in found.boxes] == ["red circle", "star"] and not found.text
    for (box, _), right in zip(found.boxes, boxes, strict=False):
        assert box == pytest.approx(right, abs=Coordinates().max_error + 1e-9)
    assert found.score == pytest.approx(0.5)
    assert answer("detect", "no box", text="star")[0].boxes == ()


def test_answers_do_not_depend_on_what_is_asked_beside():
    torch.manual_seed(0)
    task = PRESETS["debug"].task()
    module = task.build().eval()
    images = [render(make_scene(1, i)) for i in range(2)]
    asked = [Asked(images[0], question="what?"), Asked(images[1], question="what is left of it?")]
    with torch.no_grad():
        both = task.predict(module, "vqa", asked)
        alone = [task.predict(module, "vqa", [each])[0] for each in asked]
    assert [x.text for x in both] == [x.text for x in alone]
    assert [x.score for x in both] == pytest.approx([x.score for x in alone], rel=1e-4)


@pytest.mark.slow
def test_a_trained_model_answers_from_the_command_line(small, tmp_path):
    quick = [part for change in (*TINY, "train.steps=2", "train.workers=0")
             for part in ("--set", change)]  # fmt: skip
    found = call("pali", small, *quick, "--out", tmp_path / "run")
    assert found.exit_code == 0, found.output
    folder = tmp_path / "images"
    for i in range(2):
        files.write_bytes(str(folder / f"{i}.png"), Corpus(str(small))[i]["png"])
    one = folder / "1.png"

    def ask(*arguments):
        return CliRunner().invoke(COMMAND, [str(a) for a in (tmp_path / "run", *arguments)])

    listed = ask("--task").output
    assert all(f"\n{name}: " in listed for name in asking.ABILITIES), listed
    given = {
        "caption": ("--language", "de"), "vqa": ("--question", "what is it?", "--beams", "2"),
        "ocr": (), "objects": (), "split_caption": ("--text", "a red"),
    }  # fmt: skip
    for name, parts in given.items():
        found = ask("--task", name, "--image", folder, *parts)
        assert found.exit_code == 0, found.output
        lines = [json.loads(line) for line in found.output.splitlines()]
        assert [line["image"] for line in lines] == ["0.png", "1.png"]
        assert all(0 < line["score"] <= 1 for line in lines)
    drawn = ("--task", "detect", "--image", one, "--text", "star|cross")
    found = ask(*drawn, "--draw", tmp_path / "d.png")
    assert found.exit_code == 0 and (tmp_path / "d.png").exists(), found.output
    for arguments, message in [
        (("--task", "vqa", "--image", one), "vqa of pali needs --question 'what is red?'"),
        (("--task", "detect", "--image", one), "the task needs --text 'red circle|blue star'"),
        (("--task", "caption", "--image", one, "--language", "xq"),
         "expected ISO 639 codes such as en, de or zh, found 'xq'"),
        (("--task", "vqa", "--image", one, "--question", "x", "--language", "de"),
         "vqa of pali takes no --language"),
    ]:  # fmt: skip
        wrong = ask(*arguments)
        assert wrong.exit_code == 1 and message in wrong.output, wrong.output
        assert wrong.output.startswith("septet predict: ") and wrong.output.count("\n") == 1
