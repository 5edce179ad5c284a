import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from septet.pipelines.annotate.work import ERROR, annotate_batch
from septet.preprocess.annotators.image_quality import ImageQuality, sharpness
from septet.preprocess.columns.base import FormError, Item, NoValue, Value
from septet.preprocess.columns.members import check_member
from septet.preprocess.columns.scorer import Scorer, ScorerSettings

MANY = ScorerSettings(batch_size=8)


def item(image: np.ndarray | None = None, caption: str | None = None) -> Item:
    members = {}
    if image is not None:
        out = io.BytesIO()
        Image.fromarray(image).save(out, "png")
        members["png"] = out.getvalue()
    if caption is not None:
        members["txt"] = caption.encode()
    return Item("k", members, {})


def noise(height: int, width: int) -> np.ndarray:
    draw = np.random.default_rng(height)
    return np.repeat(draw.integers(0, 256, (height, width, 1), dtype=np.uint8), 3, axis=2)


def of_laplacian(grey: np.ndarray) -> float:
    """By its definition; OpenCV's border repeats all but the last pixel."""
    wide = np.pad(grey.astype(np.int64), 1, mode="reflect")
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    return float((around - 4 * wide[1:-1, 1:-1]).var())


def test_sharpness_is_the_variance_of_the_laplacian_at_a_fixed_size():
    image = noise(90, 120)
    assert sharpness(image) == pytest.approx(of_laplacian(image[:, :, 0]), rel=1e-12)
    assert sharpness(np.full((40, 50, 3), 7, np.uint8)) == 0
    dot = np.zeros((9, 9, 3), np.uint8)
    dot[4, 4] = 100  # -400 once, 100 four times, of 81
    assert sharpness(dot) == 200_000 / 81
    blurred = [sharpness(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert [sharpness(image), *blurred] == sorted([*blurred, sharpness(image)], reverse=True)
    # The same image at 1, 2 and 3 times its size: all are looked at with a shorter side of 256.
    scene = cv2.GaussianBlur(noise(256, 300), (0, 0), 2)
    larger = [
        sharpness(np.repeat(np.repeat(scene, times, axis=0), times, axis=1)) for times in (2, 3)
    ]
    assert larger == pytest.approx([sharpness(scene)] * 2, rel=1e-9)
    assert sharpness(np.zeros((1, 1, 3), np.uint8)) == 0 == sharpness(np.zeros((1, 9000, 3), "u1"))


def test_resolution_and_what_has_no_image():
    column = ImageQuality(MANY)
    broken = Item("k", {"jpg": b"\xff\xd8\xff"}, {})
    value, no_image, bad = column.annotate([item(noise(90, 120)), item(caption="a"), broken])
    assert value.facts == {
        "width": 120, "height": 90, "pixels": 10_800, "aspect": 120 / 90,
        "sharpness": sharpness(noise(90, 120)),
    }  # fmt: skip
    assert json.loads(value.data) == value.facts and column.member.ext == "image-quality.json"
    check_member(value.data, column.member)
    column.check(value.data)
    assert (no_image.reason, bad.reason) == ("no_image", "image")
    for data in (b"{}", b"[]", b'{"width": 1}', value.data.replace(b"120.0", b'"a"')):
        with pytest.raises(ValueError, match="expected"):
            column.check(data)


class Gives(Scorer):
    """A scorer of captions that gives what it is told."""

    version = 1
    reads = ("caption",)
    scores = dict.fromkeys("ab", "a number")
    answer = staticmethod(lambda captions: {})

    def score(self, images, captions):
        assert images == []
        return self.answer(captions)


def gives(answer) -> Gives:
    made = Gives(MANY)
    made.answer = answer
    return made


@pytest.mark.parametrize(
    "answer,message",
    [
        (lambda texts: None, "score gave NoneType, not"),
        (lambda texts: {"a": [1] * len(texts)}, r"gave \['a'\], not \['a', 'b'\]"),
        (lambda texts: {"a": [1], "b": [1], 3: [1]}, r"gave \['3', 'a', 'b'\]"),
        (lambda texts: {"a": [1], "b": [1]}, r"a of shape \[1\] for 3 samples"),
        (lambda texts: {"a": 1, "b": 1}, r"a of shape \[\] for 3"),
        (lambda texts: {"a": [1] * 3, "b": [[1]] * 3}, r"b of shape \[3, 1\] for 3"),
        (lambda texts: {"a": ["x"] * 3, "b": [1] * 3}, "a: expected numbers, found <U1"),
        (lambda texts: {"a": ["1.5"] * 3, "b": [1] * 3}, "a: expected numbers"),
        (lambda texts: {"a": np.zeros(3, "datetime64[s]"), "b": [1] * 3}, "a: expected numbers"),
        (lambda texts: {"a": [10**400] * 3, "b": [1] * 3}, "a: int too large"),
        (lambda texts: {"a": [1, [2], 3], "b": [1] * 3}, "a: "),
        (lambda texts: {"a": [1j] * 3, "b": [1] * 3}, "a: "),
    ],
)
def test_a_scorer_that_breaks_its_word_ends_the_run(answer, message):
    with pytest.raises(FormError, match=message):
        annotate_batch(gives(answer), [item(caption=text) for text in "xyz"])


def test_numbers_that_are_none_cost_themselves_and_what_raises_costs_its_sample():
    nan, inf = float("nan"), float("inf")
    texts = ["x", "y", "z", ""]
    odd = gives(lambda given: {"a": [1, nan, None, inf], "b": [2, 3, -inf, 4.5]})
    found = annotate_batch(odd, [item(caption=text) for text in texts])
    hidden = np.ma.masked_array([7, 8, 9, 4], [False, True, True, True])
    masked = gives(lambda given: {"a": hidden, "b": [2, 3, None, True]})
    assert [getattr(one, "facts", None) for one in annotate_batch(masked, [item(caption="x")] * 4)]\
        == [{"a": 7, "b": 2}, {"a": None, "b": 3}, None, {"a": None, "b": 1}]  # fmt: skip
    assert [one.facts if isinstance(one, Value) else one for one in found] == [
        {"a": 1, "b": 2}, {"a": None, "b": 3}, NoValue("not_finite"), {"a": None, "b": 4.5},
    ]  # fmt: skip
    assert found[1].data == b'{"a":null,"b":3.0}'
    odd.check(found[1].data)

    def refuse(given):
        if "y" in given:
            raise MemoryError("y")
        return {"a": [len(one) for one in given], "b": np.zeros(len(given), np.float16)}

    found = annotate_batch(gives(refuse), [item(caption=text) for text in texts] + [item()])
    assert [getattr(one, "reason", None) for one in found] == [
        None,
        ERROR,
        None,
        None,
        "no_caption",
    ]
    assert found[1].found == "MemoryError: y"


@pytest.mark.parametrize(
    "reads,scores",
    [
        ((), {"a": ""}), (("pixels",), {"a": ""}), (("image",), {}), (("image",), {"top": ""}),
        (("image",), {"key": ""}), (("image",), {"a b": ""}), (("image",), {"A": ""}),
        (("image",), {"ä": ""}), (("image",), {"a.b": ""}),
    ],
)  # fmt: skip
def test_scorers_that_cannot_be(reads, scores):
    with pytest.raises(TypeError, match=r"Odd\.(reads|scores): expected"):
        type("Odd", (Scorer,), {"version": 1, "reads": reads, "scores": scores})
