"""Measures of what models write: captions, answers, boxes, read text, languages."""

import sys

import numpy as np
import pytest

from septet.trainers.measures.answers import answers, normalised, vqa_accuracy
from septet.trainers.measures.boxes import Boxes, detection, grounding, objects
from septet.trainers.measures.captions import bleu, captions, cider_d, words
from septet.trainers.measures.texts import characters, languages

CAPTIONS = [
    "a red dog runs on the grass",
    "two small cats",
    "a blue ball near the dog near the ball",
    "nothing like it",
]
REFERENCES = [
    ["a red dog runs on grass", "the dog runs on the green grass", "a dog"],
    ["two small cats sit on a mat", "two cats"],
    [
        "a blue ball is near the dog", "the ball near a dog", "a ball",
        "blue ball near the small dog",
    ],
    ["a tall tree in the wind", "tree"],
]  # fmt: skip


def test_captions_score_as_the_published_implementation() -> None:
    """Values of pycocoevalcap 1.2 on the same strings."""
    found = cider_d(CAPTIONS, REFERENCES)
    assert found == pytest.approx([4.18380291, 2.89552305, 2.21040087, 0.0], abs=1e-8)
    assert sum(found) / 4 == pytest.approx(2.3224317085057855, abs=1e-14)
    assert bleu(CAPTIONS, REFERENCES) == pytest.approx(
        [0.7272727272396694, 0.7247430753028755, 0.6963499374316713, 0.6062275283875288], abs=1e-14
    )
    both = captions(["A red dog runs, on the grass!", *CAPTIONS[1:]], REFERENCES)
    assert both == {"cider": sum(found) / 4, "bleu4": pytest.approx(0.6062275283875288)}


def test_captions_at_the_edges() -> None:
    """Nothing written, nothing shared, one image, references that are no list."""
    assert cider_d(["", "a dog"], [["a cat"], ["a dog"]])[0] == 0
    assert bleu([""], [["a cat"]]) == pytest.approx([0.0] * 4, abs=1e-9)
    assert cider_d(["a dog"], [["a dog"]]) == [0.0]
    assert cider_d(["a dog", "x"], [["a dog"], ["y"]])[0] > 4.9
    with pytest.raises(ValueError, match="references of image 1 are"):
        cider_d(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="1 captions and references of 2 images"):
        bleu(["a"], [["a"], ["b"]])


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("A man's dog, well-dressed, runs. ", "a man's dog well-dressed runs"),
        ("Zwei Hünde laufen!", "zwei hünde laufen"),
        ("一只红色的狗, 2 只猫。", "一 只 红 色 的 狗 2 只 猫"),
        ("น้ำ", "น้ ำ"),
        ("It's 3,000.5 m (high)…", "it's 3,000.5 m high"),
        ("  ", ""),
    ],
)
def test_words(text: str, cut: str) -> None:
    """In scripts with spaces and without."""
    assert words(text) == cut


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("Yes.", "yes"),
        (" The  Dog\n", "dog"),
        ("two", "2"),
        ("none", "0"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("its", "its"),
        ("3,000", "3000"),
        ("1.5", "1.5"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("what?", "what"),
        ("U.S.", "us"),
        ("a", ""),
    ],
)
def test_answers_are_normalised(answer: str, plain: str) -> None:
    """As the published script does; see `normalised`."""
    assert normalised(answer) == plain


@pytest.mark.parametrize(
    ("people", "accuracy"),
    [
        (["red"] * 10, 1.0),
        (["red"] * 4 + ["blue"] * 6, 1.0),
        (["red"] * 3 + ["blue"] * 7, 0.9),
        (["red"] * 2 + ["blue"] * 8, 0.6),
        (["Red."] + ["blue"] * 9, 0.3),
        (["blue"] * 10, 0.0),
        (["The red"], 1.0),
        (["blue"], 0.0),
    ],
)
def test_vqa_accuracy(people: list[str], accuracy: float) -> None:
    """The mean over ten subsets of nine people."""
    assert vqa_accuracy("red", people) == pytest.approx(accuracy)


def test_both_sides_are_normalised_even_where_all_people_agree() -> None:
    """The official script of 2021 does not, and gives 0."""
    assert vqa_accuracy("Yes.", ["yes"] * 10) == 1
    assert answers(["Yes.", "no"], [["yes"] * 10, ["yes"] * 10]) == {"vqa_accuracy": 0.5}
    with pytest.raises(ValueError, match="without answers"):
        vqa_accuracy("yes", [])


def test_grounding() -> None:
    """The first written box counts; none is wrong."""
    right = [[0, 0, 10, 10]]
    half, less = [[0, 0, 10, 5]], [[0, 0, 10, 4.9]]
    written = [right, half, less, [[20, 20, 30, 30], *right], None, np.zeros((0, 4))]
    found = grounding(written, [right] * 6)
    assert found["grounding_accuracy"] == pytest.approx(2 / 6)
    assert found["grounding_iou"] == pytest.approx((1 + 0.5 + 0.49) / 6)


def boxes(*labelled: tuple[list[float], str]) -> Boxes:
    """Of one image."""
    return Boxes(np.array([b for b, _ in labelled]).reshape(-1, 4), [name for _, name in labelled])


def test_detection() -> None:
    """COCO's AP on cases that are easy by hand."""
    dog, cat, far = [0.0, 0, 10, 10], [20.0, 20, 40, 40], [50.0, 50, 60, 60]
    truth = [boxes((dog, "dog"), (cat, "cat")), boxes((far, "dog"))]
    assert detection(truth, truth) == pytest.approx({"ap": 1.0, "ap50": 1.0})
    nothing = [boxes(), boxes()]
    assert detection(nothing, truth) == {"ap": 0.0, "ap50": 0.0}
    wrong = [boxes((dog, "cat"), (cat, "dog")), boxes((dog, "dog"))]
    assert detection(wrong, truth)["ap50"] == 0
    # One of two dogs, right, and the cat: half of the recalls for dogs (51 of 101), all for cats.
    some = [boxes((dog, "dog"), (cat, "cat"), (far, "tree")), boxes()]
    assert detection(some, truth)["ap50"] == pytest.approx((51 / 101 + 1) / 2)
    loose = [boxes(([0, 0, 10, 7.2], "dog"), (cat, "cat")), boxes((far, "dog"))]
    assert detection(loose, truth)["ap50"] == pytest.approx(1.0)
    assert 0.7 < detection(loose, truth)["ap"] < 1
    with pytest.raises(ValueError, match="none of 2 images has a box"):
        detection(truth, nothing)


def test_objects() -> None:
    """Each box stands for one object at most; labels count alone, too."""
    dog, near, far = [0.0, 0, 10, 10], [0.0, 0, 10, 7.2], [50.0, 50, 60, 60]
    truth = [boxes((dog, "dog"), (far, "cat")), boxes((far, "dog"))]
    assert objects(truth, truth) == {"objects": 1.0, "labels": 1.0}
    assert objects([boxes(), boxes()], truth) == {"objects": 0.0, "labels": 0.0}
    twice = [boxes((dog, "dog"), (near, "dog")), boxes((dog, "dog"))]
    assert objects(twice, truth) == {"objects": 2 / 6, "labels": 4 / 6}
    assert objects([boxes((near, "dog")), boxes((far, "cat"))], truth)["objects"] == 2 / 5
    assert objects([boxes((far, "dog"), (dog, "cat")), boxes()], truth)["labels"] == 4 / 5
    assert objects([], []) == {"objects": 0.0, "labels": 0.0}


def test_characters() -> None:
    """Edits over characters, of the set as a whole."""
    assert characters(["kitten", "exit"], ["sitting", "exit"]) == {
        "character_error_rate": pytest.approx(3 / 11)
    }
    assert characters(["cafe\u0301  bar"], ["caf\u00e9 bar"])["character_error_rate"] == 0
    assert characters(["aaaa"], ["b"])["character_error_rate"] == 4
    with pytest.raises(ValueError, match="all expected texts are empty"):
        characters([""], [" "])


def test_languages() -> None:
    """By the words of what is expected, which tell short captions apart, and else by a model."""
    written = [
        "Ein roter Hund läuft über die grüne Wiese.",
        "A red dog runs over the green meadow.",
        "一只红色的狗在绿色的草地上奔跑",
        "",
    ]
    asked = zip(["", "Hund", "", "dog"], ["de", "de", "zh", "en"], strict=True)
    assert languages(written, list(asked)) == {
        "language_right": 0.5, "language_right_de": 0.5, "language_right_en": 0.0,
        "language_right_zh": 1.0,
    }  # fmt: skip
    french, spanish = "un grand carré vert", "un cuadrado verde grande"
    assert languages([french], [(french, "fr")]) == {
        "language_right": 0.0, "language_right_fr": 0.0,
    }  # fmt: skip
    known = [("un carré vert, un grand losange", "fr"), (spanish, "es")]
    assert languages([french, french], known) == {
        "language_right": 0.5, "language_right_es": 0.0, "language_right_fr": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("package", ["rapidfuzz.distance", "faster_coco_eval"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"pip install 'septet\[measures\]'"):
        if package == "faster_coco_eval":
            detection([boxes()], [boxes(([0.0, 0, 1, 1], "dog"))])
        else:
            characters(["a"], ["a"])
