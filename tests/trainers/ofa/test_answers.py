"""What a trained OFA is asked is what it was trained with, and its answers are read back."""

import json

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from septet.pipelines.browse import models as browse
from septet.preprocess import files
from septet.preprocess.shards.reader import Corpus
from septet.trainers.commands.predict import predict
from septet.trainers.commands.trained import Trained
from septet.trainers.generate.decoding import Written
from septet.trainers.inputs.images import decode
from septet.trainers.loader.members import Members
from septet.trainers.ofa import answers as asking
from septet.trainers.ofa import samples
from septet.trainers.ofa.lists import Negatives
from septet.trainers.ofa.presets import PRESETS
from septet.trainers.ofa.settings import END, START
from septet.trainers.ofa.tokens import vocabulary
from septet.trainers.prediction import Asked
from tests.browser import browser as browser
from tests.pipelines.browse.serving import Visitor, served
from tests.trainers.ofa.corpora import annotated
from tests.trainers.test_cli import call

S = PRESETS["debug"].model
TASK = PRESETS["debug"].task()
COMMAND = typer.Typer()
COMMAND.command("predict", cls=predict.command_class)(predict)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return annotated(tmp_path_factory.mktemp("scenes") / "corpus", 40)


def asked_in_training(corpus, stream):
    """The first sample's source as it is read for evaluation, without <s> and </s>, its image and
    its members."""
    members = Members(Corpus(str(corpus)), TASK.streams[stream], TASK)
    sample = members.read(0, 0)
    row = samples.read(stream, sample, S, None, Negatives())
    ids = row["source"][:, 0]
    assert ids[0] == START and ids[-1] == END
    return ids[1:-1].tolist(), row["pixels"], sample


def test_a_question_has_the_words_and_pixels_of_training(corpus):
    source, pixels, sample = asked_in_training(corpus, "captions")
    image = decode(sample["png"])
    assert asking.source("caption", Asked(image), S).tolist() == source
    assert (samples.views.square(image, S.image_size) == pixels).all()
    source, _, sample = asked_in_training(corpus, "questions")
    question = json.loads(sample["questions"])["pairs"][0]["question"]
    assert asking.source("vqa", Asked(image, question=question), S).tolist() == source
    source, _, sample = asked_in_training(corpus, "regions")
    value = json.loads(sample["phrases"])
    ground = asking.source("ground", Asked(image, text=value["phrases"][0].upper()), S)
    assert ground.tolist() == source
    box = np.array([value["boxes"][0]])
    told = samples.regions(value["phrases"][0], box, S, "en")[1].source
    describe = asking.source("describe", Asked(image, box=tuple(box[0])), S)
    assert describe.tolist() == told.tolist()
    source, _, _ = asked_in_training(corpus, "detection")
    assert asking.source("detect", Asked(image), S).tolist() == source
    source, _, sample = asked_in_training(corpus, "texts")
    text = sample["txt"].decode()
    assert asking.source("infill_text", Asked(text=text), S).tolist() == source
    hidden = asking.source("infill_text", Asked(text=f"_ {text} _"), S).tolist()
    assert hidden.count(S.mask) == 2 and [i for i in hidden if i != S.mask] == source


@pytest.mark.parametrize("ability,asked,message", [
    ("ground", Asked(text=",! "), "ground needs a text of words"),
    ("vqa", Asked(question=" "), "vqa needs a question of words"),
    ("infill_text", Asked(text=" _ _"), "infill_text needs a text of words, with _"),
])  # fmt: skip
def test_a_question_without_words_is_told(ability, asked, message):
    with pytest.raises(ValueError, match=message):
        asking.source(ability, asked, S)


def test_what_is_written_is_read_back(monkeypatch):
    """Of a module that writes what it is told to, whatever it is asked."""
    words, image = vocabulary(S), np.full((32, 64, 3), 200, np.uint8)
    boxes = np.array([[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.25]])
    bins = words.boxes(boxes, S.image_size)
    objects = [*bins[0], *words.encode(" red circle"), *bins[1], *words.encode(" star"), END]

    def answer(ability, ids, **given):
        def write(module, inputs, decoding, start, end, pad):
            rows = len(inputs["ids"])
            out = torch.full((rows, 1, decoding.most), pad)
            out[:, 0, : len(ids)] = torch.as_tensor(np.array(ids))
            return Written(out, torch.zeros(rows, 1))

        with monkeypatch.context() as patched:
            patched.setattr(asking, "write", write)
            (found,) = asking.answers(S, TASK.build().eval(), ability, [Asked(image, **given)], 1)
        return found

    assert answer("caption", [*words.encode(" a red star"), END]).text == "a red star"
    ((box, label),) = answer("ground", [*bins[0], END], text="a star").boxes
    assert label == "a star" and box == pytest.approx(boxes[0], abs=1 / S.bins)
    found = answer("detect", objects).boxes
    assert [label for _, label in found] == ["red circle", "star"]
    assert found[1][0] == pytest.approx(boxes[1], abs=1 / S.bins)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """Trained for two steps."""
    out = tmp_path_factory.mktemp("run") / "ofa"
    quick = ("--steps", "2", "--workers", "0", "--set", "train.global_batch=8",
             "--set", "optimizer.warmup_steps=1")  # fmt: skip
    found = call("ofa", corpus, *quick, "--out", out)
    assert found.exit_code == 0, found.output
    return out


def test_a_trained_model_answers_from_the_command_line(corpus, run, tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(3):
        image = Corpus(str(corpus))[i]["png"]
        files.write_bytes(str(tmp_path / f"images/{i}.png"), image)

    def ask(*arguments):
        found = CliRunner().invoke(COMMAND, [str(a) for a in (run, *arguments)])
        assert found.exit_code == 0, found.output
        return found.output

    listed = ask("--task")
    assert all(f"\n{name}: " in listed for name in asking.ABILITIES)
    one, folder = tmp_path / "images/1.png", tmp_path / "images"
    assert "--image FILE [--language en]" in listed and "--text 'a _ circle'" in listed
    assert ask("--task", "caption", "--image", one, "--language", "en")
    drawn = ask(
        "--task", "ground", "--image", one, "--text", "a star", "--draw", tmp_path / "d.png"
    )
    *box, label = drawn.splitlines()[0].split(maxsplit=4)
    assert label == "a star" and all(0 <= float(x) <= 64 for x in box)
    assert (tmp_path / "d.png").exists()
    given = {
        "caption": (), "vqa": ("--question", "what is it?"), "detect": (),
        "describe": ("--box", "4,4,40,40"), "match": ("--text", "a red star"),
    }  # fmt: skip
    for name, parts in given.items():
        lines = ask("--task", name, "--image", folder, *parts).splitlines()
        told = [json.loads(line) for line in lines]
        assert [line["image"] for line in told] == ["0.png", "1.png", "2.png"]
        assert all(0 < line["score"] <= 1 for line in told)
        if name not in ("caption", "detect"):
            continue
        # An answer does not depend on what else is asked.
        alone = ask("--task", name, "--image", folder, *parts, "--batch", "1").splitlines()
        for a, b in zip(told, map(json.loads, alone), strict=True):
            assert a.pop("score") == pytest.approx(b.pop("score"), abs=1e-3) and a == b
    assert ask("--task", "infill_text", "--text", "a _ star", "--beams", "2")


def test_browse_shows_what_it_answers(browser, corpus, run, tmp_path):
    """On a sample's page: texts, boxes over the image, and an image that it draws."""
    image = decode(Corpus(str(corpus))[0]["png"])
    model = Trained(str(run)).module().eval()
    with torch.no_grad():
        (wanted,) = asking.answers(S, model, "ground", [Asked(image, text="a star")], 1)
    with served(corpus, tmp_path, None, browse.Trained(str(run), tmp_path)) as address:
        one = Visitor(browser, address)
        one.go("/samples/0/0/model")
        assert one.page.locator(".task h2").count() == len(asking.ABILITIES)

        def ask(task, **parts):
            form = one.page.locator(f".task:has(input[value={task}])")
            for name, value in parts.items():
                form.locator(f"input[name={name}]").fill(value)
            form.locator("button").click()
            one.page.wait_for_selector(f".answer h2:has-text('{task}')")
            return one.text(".answer")

        assert "score 0." in ask("caption", language="en")
        assert ask("vqa", question="what is <b>it</b>?").startswith("vqa")
        told = ask("ground", text="a star")
        x0, y0, x1, y1 = (round(64 * side, 1) for side in wanted.boxes[0][0])
        assert told.split("bottom in pixels ")[1].startswith(f"a star {x0}, {y0}, {x1}, {y1}")
        # A box without an area, as two steps of training may give, is told and not drawn.
        assert one.page.locator(".picture .layer rect").count() == (x1 > x0 and y1 > y0)
        ask("infill")
        one.until(f"document.querySelector('.made')?.naturalWidth === {S.plain_size}")
        one.go("/samples/0/0/model")
        describe = one.page.locator(".task:has(input[value=describe])")
        describe.locator("input[name=box]").fill("9,9,1,1")
        describe.locator("button").click()
        assert "not within the image of 64 x 64" in one.text("[role=alert]")
        assert one.outside == []
