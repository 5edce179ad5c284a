"""Annotated sets without lists of images, in small files of exactly the published forms."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from septet.pipelines.check import check_corpus
from septet.pipelines.sources.base import Pair
from septet.preprocess.shards.reader import Corpus
from septet.schemas.reasons import Rejected
from tests.corpora import random_image, run_annotation, run_build
from tests.pipelines.sources.test_annotated import COCO, extras, found_in, put

BOXES = """\
ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
0001eeaf4aed83f9,xclick,/m/0cmf2,1,0.25,0.75,0.125,0.5,0,0,0,0,0
000595fe6fee6369,xclick,/m/02xwb,1,0.5,0.625,0.5,0.75,1,0,1,-1,0
0001eeaf4aed83f9,activemil,/m/02xwb,1,0.0,1.0,0.0,1.0,-1,-1,-1,-1,-1
"""
LABELS = """\
ImageID,Source,LabelName,Confidence
0001eeaf4aed83f9,verification,/m/0cmf2,1
0001eeaf4aed83f9,crowdsource-verification,/m/02xwb,0
0001eeaf4aed83f9,machine,/m/02xwb,0.7
00075905539074f2,verification,/m/0cmf2,0
"""
CLASSES = "/m/0cmf2,Airplane\n/m/02xwb,Fruit\n/m/012xff,Toothbrush\n/m/083vt,Wooden\n"
CLASSES_V7 = "LabelName,DisplayName\n" + CLASSES
RELATIONS = """\
ImageID,LabelName1,LabelName2,XMin1,XMax1,YMin1,YMax1,XMin2,XMax2,YMin2,YMax2,RelationshipLabel
000595fe6fee6369,/m/02xwb,/m/0cmf2,0.5,0.6,0.5,0.7,0.1,0.2,0.1,0.2,inside_of
000595fe6fee6369,/m/02xwb,/m/083vt,0.5,0.6,0.5,0.7,0.5,0.6,0.5,0.7,is
"""
IMAGE_IDS = """\
ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,Thumbnail300KURL,Rotation
000c4d66ce89aa69,train,https://farm1.staticflickr.com/1/1_o.jpg,https://www.flickr.com/photos/a/1,https://creativecommons.org/licenses/by/2.0/,https://www.flickr.com/people/a/,"A, B",A title,2038323,I4V4qq54NBEFDwBqPYCkDA==,https://c6.staticflickr.com/1/1_z.jpg,0.0
"""
NARRATIVE: dict[str, Any] = {
    "dataset_id": "mscoco_val2017", "image_id": "37777", "annotator_id": 93,
    "caption": "In this image there is a bowl on the table.",
    "timed_caption": [
        {"utterance": "In this image", "start_time": 0.0, "end_time": 0.4},
        {"utterance": "there is a bowl", "start_time": 0.6, "end_time": 1.0},
        {"utterance": "on the table", "start_time": 2.0, "end_time": 2.5}],
    "traces": [[{"x": 0.25, "y": 0.5, "t": 0.6}, {"x": 0.5, "y": 0.25, "t": 0.8}],
               [{"x": 0.375, "y": 1.02, "t": 1.0}, {"x": 0.9, "y": 0.9, "t": 1.4}]],
    "voice_recording": "coco_val/coco_val_37777_93.ogg",
}  # fmt: skip
SAID = [
    {"text": "In this image", "seconds": [0.0, 0.4], "box": None},
    {"text": "there is a bowl", "seconds": [0.6, 1.0], "box": [0.25, 0.25, 0.5, 1.0]},
    {"text": "on the table", "seconds": [2.0, 2.5], "box": None},
]
SCENES = {
    "2407890": {
        "width": 640, "height": 480, "location": "living room", "weather": "none",
        "objects": {
            "271881": {"name": "chair", "x": 160, "y": 120, "w": 320, "h": 240,
                       "attributes": ["brown", "wooden"],
                       "relations": [{"name": "on", "object": "275312"}, {"name": "near", "object": "279472"}]},
            "275312": {"name": "rug", "x": 0, "y": 240, "w": 640, "h": 240, "attributes": [],
                       "relations": [{"name": "under", "object": "1"}]},
            "279472": {"name": "lamp", "x": 0, "y": 0, "h": 48, "attributes": [], "relations": []}}},
}  # fmt: skip
QUESTIONS = {"201307251": {"semantic": [], "entailed": [], "equivalent": [], "question": "Is the chair brown?",
                           "imageId": "2407890", "isBalanced": True, "answer": "yes", "types": {"structural": "verify"},
                           "fullAnswer": "Yes, the chair is brown."}}  # fmt: skip


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)


@pytest.mark.parametrize("classes", [CLASSES, CLASSES_V7])
def test_files_of_open_images_are_merged_by_image(tmp_path: Path, classes: str) -> None:
    write(tmp_path, boxes=BOXES, labels=LABELS, classes=classes, relations=RELATIONS, ids=IMAGE_IDS)
    write(tmp_path, again=BOXES)
    found = found_in(tmp_path, files=["*.csv"], images="train")
    assert extras(found) == {
        "train/0001eeaf4aed83f9.jpg": {
            "image_id": "0001eeaf4aed83f9",
            "boxes": [[0.25, 0.125, 0.75, 0.5], [0, 0, 1, 1]], "labels": ["Airplane", "Fruit"],
            "image_labels": ["Airplane"], "absent": ["Fruit"], "scored_labels": [["Fruit", 0.7]]},
        "train/000595fe6fee6369.jpg": {
            "image_id": "000595fe6fee6369", "boxes": [[0.5, 0.5, 0.625, 0.75]], "labels": ["Fruit"],
            "box_flags": [["occluded", "group"]],
            "relations": [["Fruit", "inside_of", "Airplane"], ["Fruit", "is", "Wooden"]]},
        "train/00075905539074f2.jpg": {"image_id": "00075905539074f2", "absent": ["Airplane"]},
        "train/000c4d66ce89aa69.jpg": {"image_id": "000c4d66ce89aa69"},
    }  # fmt: skip
    assert not [one for one in found if isinstance(one, Rejected)]


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("1,xclick,/m/0cmf2,1,0.2,x,0.1,0.5,0,0,0,0,0", "boxes.csv: element 4: ValueError: could not convert"),
        ("1,xclick,/m/0cmf2,1,0.2,nan,0.1,0.5,0,0,0,0,0", "no numbers: [0.2, 0.1, nan, 0.5]"),
        ("1,xclick,/m/0cmf2,1,0.2", "boxes.csv: line 5: 5 columns, expected 13"),
        (",xclick,/m/0cmf2,1,0.2,0.4,0.1,0.5,0,0,0,0,0", "an id without text"),
        ("000595fe6fee6369,xclick,/m/0zzz,1,0.2,0.4,0.1,0.5,0,0,0,0,0", "image 000595fe6fee6369: a box: KeyError: '/m/0zzz'"),
    ],
)  # fmt: skip
def test_a_bad_row_of_csv_costs_itself(tmp_path: Path, row: str, value: str) -> None:
    write(tmp_path, boxes=BOXES + row + "\n", classes=CLASSES)
    found = found_in(tmp_path, files=["*.csv"])
    assert len(extras(found)) == 2
    (lost,) = (one for one in found if isinstance(one, Rejected))
    assert lost.reason == "annotation" and value in str(lost.value)


def test_narratives_are_captions_with_the_boxes_of_their_words(tmp_path: Path) -> None:
    other = {**NARRATIVE, "dataset_id": "open_images_val", "image_id": "0001eeaf4aed83f9"}
    short = {name: other[name] for name in ("dataset_id", "annotator_id", "caption")} | {"image_id": "1000092795"}  # fmt: skip
    rows = [NARRATIVE, {**NARRATIVE, "timed_caption": [{}]}, short, other]
    lines = "\n".join([*map(json.dumps, rows), "no JSON"])
    (tmp_path / "a_localized_narratives.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    found = found_in(tmp_path, files=["*.jsonl.gz"])
    said = [{"annotator": "93", "said": SAID}]
    assert extras(found) == {
        "000000037777.jpg": {"image_id": "37777", "narratives": said},
        "0001eeaf4aed83f9.jpg": {"image_id": "0001eeaf4aed83f9", "narratives": said},
        "1000092795.jpg": {"image_id": "1000092795"},
    }
    assert {one.caption for one in found if isinstance(one, Pair)} == {NARRATIVE["caption"]}
    lost = [str(one.value) for one in found if isinstance(one, Rejected)]
    assert lost == [
        "a_localized_narratives.jsonl.gz: element 2: KeyError: 'start_time'",
        "a_localized_narratives.jsonl.gz: line 5: not JSON: Expecting value: line 1 column 1 (char 0)",
    ]  # fmt: skip


def test_narratives_of_coco_have_the_names_that_its_list_gives(tmp_path: Path) -> None:
    put(tmp_path, captions=COCO["captions"])
    (tmp_path / "n.jsonl").write_text(json.dumps(NARRATIVE))
    found = found_in(tmp_path, files=["*.json", "*.jsonl"], images="val2017")
    name = "val2017/000000037777.jpg"
    assert extras(found)[name]["narratives"] == [{"annotator": "93", "said": SAID}]
    pairs = [one for one in found if isinstance(one, Pair) and str(one.image_url).endswith(name)]
    assert [one.caption for one in pairs] == [
        "The dining table near the kitchen has a bowl.", NARRATIVE["caption"],
    ]  # fmt: skip


def test_scene_graphs_of_gqa(tmp_path: Path) -> None:
    put(tmp_path, train_sceneGraphs=SCENES, train_all_questions=QUESTIONS)
    put(tmp_path, train_balanced_questions=QUESTIONS)
    found = found_in(tmp_path, images="images")
    assert extras(found) == {"images/2407890.jpg": {
        "image_id": "2407890", "width": 640, "height": 480, "location": "living room", "weather": "none",
        "boxes": [[0.25, 0.25, 0.75, 0.75], [0, 0.5, 1, 1]], "labels": ["chair", "rug"],
        "attributes": [["chair", "brown"], ["chair", "wooden"]],
        "relations": [["chair", "on", "rug"], ["chair", "near", "lamp"]],
        "questions": [{"question": "Is the chair brown?", "answer": "yes", "kind": "verify", "language": "en"}],
    }}  # fmt: skip
    lost = [str(one.value) for one in found if isinstance(one, Rejected)]
    assert lost == ["image 2407890: a box: KeyError: 'w'", "image 2407890: a relation: KeyError: '1'"]  # fmt: skip


def test_columns_are_made_of_open_images(tmp_path: Path) -> None:
    folder = tmp_path / "open-images"
    (folder / "train").mkdir(parents=True)
    write(folder, boxes=BOXES, labels=LABELS, classes=CLASSES)
    names = ["0001eeaf4aed83f9", "000595fe6fee6369", "00075905539074f2"]
    for number, name in enumerate(names):
        (folder / f"train/{name}.jpg").write_bytes(random_image(number, 80, 60))
    (tmp_path / "r.yaml").write_text(
        "name: oi\nsources: [{kind: annotated, paths: [open-images], files: ['*.csv'], "
        "images: train}]\nimage: {image_size: 64}\n"
    )
    run_build(tmp_path / "r.yaml", tmp_path / "corpus", workers=2)
    corpus = Corpus(str(tmp_path / "corpus"))
    assert len(corpus) == 3
    assert run_annotation(tmp_path / "corpus", "boxes", {}).values == 2
    assert check_corpus(str(tmp_path / "corpus"), True, Console(quiet=True)) == []
