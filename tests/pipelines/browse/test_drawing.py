"""A sample's page with what its columns hold, in a real browser."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser

from septet.pipelines.browse.drawing import MOST_BOXES, draw
from septet.preprocess.columns.reader import ColumnShardReader
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import column_sidecar
from tests.browser import browser as browser
from tests.corpora import run_annotation, run_build
from tests.pipelines.browse.serving import Visitor, served

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
BOX = [0.125, 0.25, 0.5, 0.75]
PHRASE = [0.25, 0.5, 0.875, 1.0]
REGION = [0.5, 0.0, 1.0, 0.5]
CAPTION = "A red dog chases two cats on the street"


def _image() -> Image.Image:
    """An image of 640 x 480 with words in it."""
    image = Image.new("RGB", (640, 480), (225, 228, 220))
    ImageDraw.Draw(image).text((60, 200), "GRAND HOTEL", (20, 20, 60), ImageFont.load_default(60))
    return image


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two samples, one with values of columns of each form."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "images").mkdir()
    (folder / "regions").mkdir()
    _image().save(folder / "images/one.png")
    Image.new("RGB", (320, 240), (90, 120, 60)).save(folder / "images/bare.png")
    extra = {
        "name": "one", "boxes": [BOX, BOX], "labels": [HOSTILE, "dog"],
        "phrases": [{"phrase": "קפה של בוקר", "box": PHRASE}],
        "questions": [{"question": HOSTILE, "answer": "two", "kind": "count"},
                      {"question": "Which colour?", "answer": "red"}],
    }  # fmt: skip
    row = {"file": "one.png", "text": CAPTION, **extra}
    bare = {"file": "bare.png", "text": "An image of which nothing more is known"}
    (folder / "rows.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(bare)}\n")
    (folder / "recipe.yaml").write_text(
        "name: drawn\nsources:\n  - {kind: list, paths: [rows.jsonl], url_col: file, caption_col: "
        f"text, image_root: images, extra_cols: [{', '.join(extra)}]}}\nfilter: {{rules: none}}\n"
    )
    np.savez(
        folder / "regions/one.npz", x=np.ones((1, 2048), np.float32), image_h=480, image_w=640,
        bbox=np.float32([REGION]) * [640, 480, 640, 480], num_bbox=1,
        info={"objects_id": np.array([1]), "objects_conf": np.float32([0.75])},
    )  # fmt: skip
    (folder / "labels.txt").write_text(f"cat\n{HOSTILE}\n")
    made = folder / "corpus"
    run_build(folder / "recipe.yaml", made)
    run_annotation(made, "boxes")
    run_annotation(made, "phrases")
    run_annotation(made, "questions", {"source": "extra"})
    run_annotation(made, "ocr")
    run_annotation(
        made, "regions", {"backend": "npz", "source": str(folder / "regions"), "key": "extra.name",
                          "labels": str(folder / "labels.txt")},
    )  # fmt: skip
    run_annotation(made, "objects", {"source": "boxes", "form": "boxes"})
    run_annotation(made, "scene-graphs")
    return made


@pytest.fixture(scope="module")
def address(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(corpus, tmp_path_factory.mktemp("scratch")) as found:
        yield found


def place(corpus: Path, named: bool = True) -> tuple[int, int]:
    """Shard and row of the sample with values, or of the other one."""
    opened = Corpus(str(corpus))
    (table,) = (opened.metadata(number) for number in range(len(opened.shards)))
    return 0, [row["caption"] == CAPTION for row in table.to_pylist()].index(named)


def percent(box: list[float]) -> list[float]:
    x0, y0, x1, y1 = (100 * side for side in box)
    return [x0, y0, x1 - x0, y1 - y0]


def test_layers_lie_where_their_boxes_do(browser: Browser, address: str, corpus: Path) -> None:
    one = Visitor(browser, address)
    shard, row = place(corpus)
    one.go(f"/samples/{shard}/{row}")
    labels = [" ".join(text.split()) for text in one.page.locator("figure label").all_inner_texts()]
    assert labels == ["extra.boxes (2)", "extra.phrases (1)", "boxes (2)", "ocr (1)", "phrases (1)",
                      "regions (1)"]  # fmt: skip
    with ColumnShardReader(Corpus(str(corpus)), "ocr", shard) as reader:
        (line,) = json.loads(reader.value(row))["lines"]
    assert "HOTEL" in line["text"]
    wanted = [[BOX, BOX], [PHRASE], [BOX, BOX], [line["box"]], [PHRASE], [REGION]]
    for number, boxes in enumerate(wanted):
        rects = one.page.locator(f".layer >> nth={number}").locator("rect").all()
        drawn = [
            [float(rect.get_attribute(name)) for name in ("x", "y", "width", "height")]
            for rect in rects
        ]
        assert np.allclose(drawn, [percent(box) for box in boxes], atol=1e-3), number
    # On the screen, too: the box of the region over the image as it stands there.
    image = one.page.locator(".picture img").bounding_box()
    region = one.page.locator(".layer >> nth=5").locator("rect").bounding_box()
    assert region["x"] == pytest.approx(image["x"] + image["width"] / 2, abs=3)
    assert region["width"] == pytest.approx(image["width"] / 2, abs=4)
    assert region["height"] == pytest.approx(image["height"] / 2, abs=4)
    assert one.complaints == one.outside == one.dialogs == []


def test_a_layer_is_switched_off_and_on_alone(browser: Browser, address: str, corpus: Path) -> None:
    one = Visitor(browser, address)
    one.go("/samples/{}/{}".format(*place(corpus)))
    one.page.uncheck("label:has-text('ocr') input")
    shown = [layer.is_visible() for layer in one.page.locator(".layer").all()]
    assert shown == [True, True, True, False, True, True]
    one.page.check("label:has-text('ocr') input")
    assert one.page.locator(".layer >> nth=3").is_visible()


def test_values_are_tables_and_hostile_ones_text(
    browser: Browser, address: str, corpus: Path
) -> None:
    one = Visitor(browser, address)
    one.go("/samples/{}/{}".format(*place(corpus)))

    def rows(name: str) -> list[list[str]]:
        found = one.page.locator(f"section[aria-label='{name}'] tr").all()
        return [row.locator("th, td").all_inner_texts() for row in found]

    questions = rows("questions")
    assert questions[0][:2] == ["question", "answer"]
    assert [row[:2] for row in questions[1:]] == [[HOSTILE, "two"], ["Which colour?", "red"]]
    assert rows("objects") == [["objects", "counts", "scores"], [HOSTILE, "1", "1"],
                               ["dog", "1", "1"]]  # fmt: skip
    triples = rows("scene-graphs")
    assert triples[0] == ["subject", "relation", "object"]
    assert ["dog", "chase", "cats"] in triples and ["dog", "property", "red"] in triples
    assert ["cats", "number", "2"] in triples
    labels = one.page.locator(".labels li").all_inner_texts()
    assert labels.count(HOSTILE) == 2 and f"{HOSTILE} 0.75" in labels
    assert one.page.locator("main script, main img").count() == 1, "the sample's own image"
    one.go("/samples/{}/{}".format(*place(corpus, named=False)))
    assert one.page.locator(".error").all_inner_texts() == []
    assert one.page.locator("figure label, .error, section[aria-label=questions]").count() == 0
    assert one.complaints == one.outside == one.dialogs == []


def _told(corpus: Path) -> tuple[set[str], dict[str, str]]:
    """What is drawn of the sample with values: names of columns, and sentences of others."""
    opened = Corpus(str(corpus))
    shard, row = place(corpus)
    facts = opened.metadata(shard).slice(row, 1).to_pylist()[0]
    drawn = draw(opened, shard, row, facts)
    return {one.name for one in (*drawn.layers, *drawn.tables)}, dict(drawn.problems)


def test_damage_and_other_builds_are_told(browser: Browser, corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy)
    whole, problems = _told(copy)
    assert problems == {}

    def spoil(name: str, old: bytes, new: bytes) -> None:
        (tar,) = (copy / "columns" / name).rglob("*.tar")
        data = tar.read_bytes()
        assert old in data and len(old) == len(new)
        tar.write_bytes(data.replace(old, new))

    def head(name: str, **changed: str) -> None:
        path = copy / "columns" / name / "column.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    spoil("questions", b'{"pairs":', b'{"pairs"!')
    spoil("boxes", b'"labels":', b'"lapels":')
    spoil("scene-graphs", b'"object":0', b'"object":9')
    spoil("regions", b"[1,4]", b"[9,4]")
    (tar,) = (copy / "columns/phrases").rglob("*.tar")
    tar.write_bytes(b"")
    head("ocr", base_list="0" * 64, kind="antigravity:Column")
    with served(copy, tmp_path / "scratch") as address:
        base = Corpus(str(copy)).shards[0].tar
        (copy / column_sidecar("objects", base)).write_bytes(b"no Parquet")
        names, problems = _told(copy)
        broken = {"questions", "boxes", "scene-graphs", "regions", "phrases", "objects"}
        assert set(problems) == broken and names == whole - broken
        assert "antigravity" not in sys.modules, "no class is imported because a corpus names it"
        assert "lists boxes, labels" in problems["boxes"]
        one = Visitor(browser, address)
        one.go("/samples/{}/{}".format(*place(copy)))
        told = one.page.locator(".error").all_inner_texts()
        assert len(told) == len(broken) + 1
        assert any("columns/objects/" in text and "show the rest" in text for text in told)
        assert "Traceback" not in one.page.content()
        assert one.text("blockquote") == CAPTION
        assert one.outside == one.dialogs == []


def test_a_column_of_another_build_is_not_drawn(corpus: Path, tmp_path: Path) -> None:
    rows = (corpus.parent / "rows.jsonl").read_text().replace("more is known", "else is known")
    (tmp_path / "rows.jsonl").write_text(rows)
    (tmp_path / "images").symlink_to(corpus.parent / "images")
    shutil.copy(corpus.parent / "recipe.yaml", tmp_path)
    run_build(tmp_path / "recipe.yaml", tmp_path / "corpus")
    shutil.copytree(corpus / "columns/boxes", tmp_path / "corpus/columns/boxes")
    names, problems = _told(tmp_path / "corpus")
    assert "boxes" not in names and list(problems) == ["boxes"]
    assert "made from other shards" in problems["boxes"]


@pytest.mark.parametrize(
    "boxes",
    [
        [[0, 0, 10**400, 1]], [[0, 0, float("nan"), 1]], [[0, 0, float("inf"), 1]], [[0, 0, 1]],
        [None], ["0001"], [[0.5, 0.5, 0.5, 0.9]], [[0.9, 0, 0.1, 1]], [[2, 2, 3, 3]], [[[], 0, 1, 1]],
        {"0": [0, 0, 1, 1]}, "boxes", 7,
    ],
)  # fmt: skip
def test_what_is_no_box_is_not_drawn(corpus: Path, boxes: object) -> None:
    extra = json.dumps({"boxes": boxes, "phrases": [{"box": BOX, "phrase": 10**400}, None]})
    shard, row = place(corpus, named=False)
    layers = draw(Corpus(str(corpus)), shard, row, {"extra": extra}).layers
    assert [one.name for one in layers if one.name.startswith("extra")] == ["extra.phrases"]


def test_many_boxes_and_long_labels_are_cut(corpus: Path) -> None:
    extra = json.dumps({"boxes": [BOX] * 5000, "labels": ["\u202e" + "x" * 9999] * 5000})
    shard, row = place(corpus)
    layer = draw(Corpus(str(corpus)), shard, row, {"extra": extra}).layers[0]
    assert (len(layer.boxes), layer.given) == (MOST_BOXES, 5000)
    assert {len(box.label) for box in layer.boxes} == {200}
    assert "\u202e" not in layer.boxes[0].label
