import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

pytest.importorskip("rapidocr")
pytest.importorskip("onnxruntime")

from septet.preprocess import entry_points
from septet.preprocess.annotators.ocr import Ocr
from septet.preprocess.columns.base import Item, NoValue, Value
from septet.preprocess.columns.members import check_member
from septet.preprocess.ocr import engines
from septet.preprocess.ocr.lines import Line, as_quad, reading_order

SIGNS = [((300, 40), "GRAND HOTEL"), ((20, 200), "Open daily"), ((330, 205), "No parking"),
         ((20, 360), "Gate 27")]  # fmt: skip


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def signs() -> Image.Image:
    image = Image.new("RGB", (640, 480), (225, 228, 220))
    draw = ImageDraw.Draw(image)
    for place, text in SIGNS:
        draw.text(place, text, fill=(20, 20, 60), font=ImageFont.load_default(44))
    return image


@pytest.fixture(scope="module")
def column() -> Ocr:
    made = Ocr(Ocr.Settings())
    made.setup()
    return made


def test_text_is_read_back_in_order(column: Ocr, signs: Image.Image) -> None:
    (found,) = column.annotate([Item("k", {"png": png(signs)}, {})])
    assert isinstance(found, Value)
    check_member(found.data, column.member)
    column.check(found.data)
    value = json.loads(found.data)
    read = ["".join(line["text"].lower().split()) for line in value["lines"]]
    assert read == ["".join(text.lower().split()) for _, text in SIGNS]
    draw = ImageDraw.Draw(signs)
    for line, (place, text) in zip(value["lines"], SIGNS, strict=True):
        drawn = np.array(draw.textbbox(place, text, ImageFont.load_default(44)))
        assert abs(np.array(line["box"]) * [640, 480, 640, 480] - drawn).max() < 20
    assert value["language"] == "en" and found.facts["text_lines"] == 4
    marks = column.drawing(found.data).marks
    assert len(marks) == 4 and marks[0].box == tuple(value["lines"][0]["box"])


def test_equal_bytes_whatever_else_is_in_the_batch(column: Ocr, signs: Image.Image) -> None:
    plain = Image.new("RGB", (320, 240), "white")
    one, other = Item("a", {"png": png(signs)}, {}), Item("b", {"png": png(plain)}, {})
    (alone,) = column.annotate([one])
    assert column.annotate([other, one, other])[1] == alone
    again = Ocr(Ocr.Settings())
    again.setup()
    assert again.annotate([one]) == [alone]


def test_an_image_without_text_has_a_value_without_lines(column: Ocr) -> None:
    (found,) = column.annotate([Item("k", {"png": png(Image.new("RGB", (300, 200), "green"))}, {})])
    assert isinstance(found, Value)
    assert json.loads(found.data) == {"lines": [], "language": "und"}
    column.check(found.data)
    assert found.facts["text_lines"] == 0


def test_odd_images(column: Ocr) -> None:
    for size in [(1, 1), (1, 3000), (3000, 1)]:
        (found,) = column.annotate([Item("k", {"png": png(Image.new("RGB", size))}, {})])
        assert isinstance(found, Value)
    broken, none = column.annotate([Item("k", {"jpg": b"\xff\xd8 no"}, {}), Item("k", {}, {})])
    assert isinstance(broken, NoValue) and broken.reason == "image"
    assert isinstance(none, NoValue) and none.reason == "no_image"


def test_long_strips_are_read_in_place(column: Ocr) -> None:
    image = Image.new("RGB", (1200, 60), "white")
    ImageDraw.Draw(image).text((60, 8), "Harbour street", "black", ImageFont.load_default(36))
    (found,) = column.annotate([Item("k", {"png": png(image)}, {})])
    assert isinstance(found, Value)
    (line,) = json.loads(found.data)["lines"]
    assert "".join(line["text"].split()) == "Harbourstreet"
    assert 0.03 < line["box"][0] < 0.06 and line["box"][2] < 0.35 and line["box"][3] <= 1


def test_uncertain_lines_are_left_out(signs: Image.Image) -> None:
    strict = Ocr(Ocr.Settings(min_score=1.0, max_lines=1))
    strict.setup()
    (found,) = strict.annotate([Item("k", {"png": png(signs)}, {})])
    assert isinstance(found, Value) and found.facts["text_lines"] <= 1
    first = Ocr(Ocr.Settings(max_lines=2))
    first.setup()
    (found,) = first.annotate([Item("k", {"png": png(signs)}, {})])
    assert isinstance(found, Value) and found.facts["text_lines"] == 2


def test_models_are_digested_and_nothing_is_fetched_or_printed() -> None:
    """In a process in which opening a connection is an error."""
    program = """
import socket
def refuse(*a, **k):
    raise AssertionError("a connection was opened")
socket.socket.connect = socket.create_connection = refuse
import numpy as np
from septet.preprocess.ocr.rapid import RapidOcr
engine = RapidOcr(threads=2)
engine.read(np.full((64, 64, 3), 255, np.uint8))
assert len(RapidOcr.models()) == 3
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Loud(engines.Engine):
    def read(self, image: np.ndarray) -> list[Line]:
        height, width = image.shape[:2]
        corners = [[0, 0], [width, 0], [width, height], [0, height]]
        return [Line(f"{self.threads} threads", as_quad(corners, width, height), 0.9)]


def test_engines_of_other_packages(monkeypatch: pytest.MonkeyPatch, signs: Image.Image) -> None:
    points = EntryPoints([
        EntryPoint("loud", f"{__name__}:Loud", engines.GROUP),
        EntryPoint("wrong", "json:dumps", engines.GROUP),
    ])  # fmt: skip
    find: Callable = lambda **select: points.select(**select)  # noqa: E731
    monkeypatch.setattr(entry_points, "entry_points", find)
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this())
    column = Ocr(Ocr.Settings(engine="loud", threads=3))
    assert column.models() == {}
    column.setup()
    (found,) = column.annotate([Item("k", {"png": png(signs)}, {})])
    assert isinstance(found, Value)
    assert json.loads(found.data)["lines"][0]["text"] == "3 threads"
    column.check(found.data)
    with pytest.raises(ValueError, match="no subclass"):
        Ocr(Ocr.Settings(engine="wrong")).models()
    with pytest.raises(ValueError, match=r"no OCR engine 'none'; there are loud, rapidocr, wrong"):
        Ocr(Ocr.Settings(engine="none")).setup()


def _this() -> object:
    import types

    module = types.ModuleType(__name__)
    module.Loud = Loud  # type: ignore[attr-defined]
    return module


def box(x0: float, y0: float, x1: float, y1: float, text: str) -> Line:
    return Line(text, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 1.0)


def test_reading_order() -> None:
    lines = [
        box(0.5, 0.11, 0.9, 0.19, "b"), box(0.0, 0.50, 0.3, 0.60, "d"),
        box(0.1, 0.10, 0.4, 0.20, "a"), box(0.0, 0.25, 0.9, 0.35, "c"),
        box(0.6, 0.46, 0.9, 0.62, "e"),
    ]  # fmt: skip
    assert "".join(line.text for line in reading_order(lines)) == "abcde"
    assert "".join(line.text for line in reading_order(lines[::-1])) == "abcde"
    assert reading_order([]) == []


def test_a_check_finds_what_is_wrong(column: Ocr) -> None:
    good = {"text": "a", "score": 0.5, "box": [0, 0, 1, 1],
            "quad": [[0, 0], [1, 0], [1, 1], [0, 1]]}  # fmt: skip
    for change in ({"text": " "}, {"score": 2}, {"box": [0, 0, 1.2, 1]}, {"box": [0, 0, 0.5, 1]},
                   {"quad": []}):  # fmt: skip
        with pytest.raises(ValueError, match="line 0"):
            column.check(json.dumps({"lines": [{**good, **change}], "language": "und"}).encode())
    column.check(json.dumps({"lines": [good], "language": "und"}).encode())


def test_the_number_of_threads_decides_no_byte(signs: Image.Image) -> None:
    item = Item("k", {"png": png(signs)}, {})
    made = [Ocr(Ocr.Settings(threads=threads)) for threads in (1, 2)]
    for one in made:
        one.setup()
    (first,), (second,) = (one.annotate([item]) for one in made)
    assert isinstance(first, Value) and first == second
    assert made[0].settings.deciding() == made[1].settings.deciding()
