"""What a PaLI writes on held-out scenes, scored."""

import pytest
import torch

from septet.preprocess.questions.pairs import Question
from septet.preprocess.shards.reader import Corpus
from septet.trainers.pali import measures
from septet.trainers.pali.measures import SCORES, Wanted, questions, written
from septet.trainers.pali.samples import TASKS
from tests.trainers.pali.test_samples import PIECES
from tests.trainers.pali.test_training import preset

CPU = torch.device("cpu")


def test_one_who_knows_each_image_writes_what_is_right(small, monkeypatch):
    """A reader of memory: the answer of the image that it sees, which is another's for others'."""
    task = preset("model.text_rows=1").task()
    known, corpus = {}, Corpus(str(small))
    read = task.read

    def remember(stream, sample, draw):
        row = read(stream, sample, draw)
        known[stream, row["pixels"].tobytes()] = PIECES.decode(row["target"].tolist())
        return row

    def texts(settings, module, stream, inputs):
        pixels = ((inputs["pixels"].permute(0, 2, 3, 1) + 1) * 127.5).round().byte()
        return [(known[stream, each.numpy().tobytes()], 1.0) for each in pixels]

    monkeypatch.setattr(task, "read", remember)
    monkeypatch.setattr(measures, "texts", texts)
    found = {
        f"{each.name}/{name}": value
        for each in written(task, corpus)
        for name, value in each(torch.nn.Linear(1, 1), CPU).items()
    }
    best = {
        "caption/bleu4": 1, "vqa/vqa_accuracy": 1, "ocr/character_error_rate": 0,
        "vqg/exact": 1, "vqg/exact_open": 1, "objects/exact": 1, "detect/ap": 1, "detect/objects": 1, "detect/labels": 1,
    }  # fmt: skip
    for name, right in best.items():
        assert found[name] == pytest.approx(right, abs=1e-6), name
        other = found[f"{name}_other_image"]
        assert other > 0.3 if right == 0 else other < 0.7, name
    assert found["caption/cider"] > 9 and found["caption/language_right"] == 1
    assert {f"caption/language_right_{code}" for code in ("en", "de", "fr", "es", "zh")} < set(
        found
    )


def test_a_model_writes_for_each_task_and_untrained_ones_are_left_out(small):
    task = preset("model.mixture={vqa: 1, detect: 1, vqg: 1}", "model.detect_tokens=24").task()
    torch.manual_seed(0)
    module = task.build().eval()
    vqa, vqg, detect = written(task, Corpus(str(small)), samples=8)
    assert (vqa.name, vqg.name) == ("vqa", "vqg") and set(SCORES) < set(TASKS)
    assert vqa(module, CPU) == {"vqa_accuracy": 0, "vqa_accuracy_other_image": 0}
    figures = {"ap", "ap50", "objects", "labels"}
    assert set(detect(module, CPU)) == figures | {f"{name}_other_image" for name in figures}


def test_questions_that_the_answer_alone_tells_are_not_counted_as_seen():
    def image(shape: str, language: str = "en") -> list[Question]:
        return [
            Question("how many shapes are there?", "one", "number", language),
            Question(f"what color is the {shape}?", "red", "color", language),
        ]

    star, circle = image("star"), image("circle")
    expected = [Wanted(star[0], star), Wanted(star[1], star), Wanted(circle[1], circle)]
    blind = ["how many shapes are there?", "what color is the star?", "what color is the star?"]
    assert questions(blind, expected) == {"exact": 2 / 3, "exact_open": 1 / 2}
    seen = [*blind[:2], "what color is the circle？"]
    assert questions(seen, expected) == {"exact": 1, "exact_open": 1}
    # Of an answer that all images have one question for nothing can be seen.
    assert questions(blind[:1], expected[:1]) == {"exact": 1}
    # A right question for an image may be another than the one that is asked for.
    both = [star[1], Question("which color has the star?", "red", "color", "en")]
    assert questions(["which color has the star?"], [Wanted(star[1], both)])["exact"] == 1
