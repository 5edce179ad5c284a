"""Annotated sets, in small files of exactly the published forms."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from septet.pipelines.check import check_corpus
from septet.pipelines.sources import annotated
from septet.pipelines.sources.annotated import Annotated
from septet.pipelines.sources.base import Found, ImageLocation, Input, InputError, Pair
from septet.pipelines.sources.listing import listing_digest
from septet.pipelines.stages.source import read_slice
from septet.preprocess.shards.reader import Corpus
from septet.schemas.reasons import Rejected
from septet.schemas.sources import AnnotatedSource
from tests.corpora import digests, random_image, run_annotation, run_build

COCO_IMAGES = [
    {"license": 4, "file_name": "000000397133.jpg", "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
     "height": 400, "width": 640, "date_captured": "2013-11-14 17:02:52", "flickr_url": "http://farm7.staticflickr.com/1.jpg", "id": 397133},
    {"license": 1, "file_name": "000000037777.jpg", "coco_url": "http://images.cocodataset.org/val2017/000000037777.jpg",
     "height": 200, "width": 100, "date_captured": "2013-11-14 20:55:31", "flickr_url": "http://farm9.staticflickr.com/2.jpg", "id": 37777},
]  # fmt: skip
INFO = {"description": "COCO 2017 Dataset", "url": "http://cocodataset.org", "version": "1.0",
        "year": 2017, "contributor": "COCO Consortium", "date_created": "2017/09/01"}  # fmt: skip
LICENSES = [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}]  # fmt: skip
CATEGORIES = [{"supercategory": "kitchen", "id": 44, "name": "bottle"},
              {"supercategory": "person", "id": 1, "name": "person"}]  # fmt: skip
COCO = {
    "captions": {"info": INFO, "images": COCO_IMAGES, "licenses": LICENSES, "annotations": [
        {"image_id": 397133, "id": 1, "caption": "A man is in a kitchen making pizzas."},
        {"image_id": 37777, "id": 3, "caption": "The dining table near the kitchen has a bowl."},
        {"image_id": 397133, "id": 2, "caption": "Man in apron standing on front of oven."},
    ]},
    "instances": {"info": INFO, "licenses": LICENSES, "images": COCO_IMAGES, "annotations": [
        {"segmentation": [[224.24, 297.18, 228.29, 297.18]], "area": 1481.4, "iscrowd": 0,
         "image_id": 397133, "bbox": [160, 100, 320, 200], "category_id": 44, "id": 82445},
        {"segmentation": {"counts": [1], "size": [400, 640]}, "area": 1, "iscrowd": 1,
         "image_id": 397133, "bbox": [0, 0, 64, 40], "category_id": 1, "id": 900100},
    ], "categories": CATEGORIES},
    "panoptic": {"info": INFO, "licenses": LICENSES, "images": COCO_IMAGES, "annotations": [
        {"segments_info": [{"id": 8345037, "category_id": 1, "iscrowd": 0, "bbox": [10, 20, 50, 100],
                            "area": 24315}],
         "file_name": "000000037777.png", "image_id": 37777},
    ], "categories": [{"supercategory": "person", "isthing": 1, "id": 1, "name": "person"}]},
}  # fmt: skip
REFERENCES = [{"sent_ids": [0, 1], "file_name": "COCO_train2014_000000397133_0.jpg", "ann_id": 82445,
               "ref_id": 0, "image_id": 397133, "split": "train", "category_id": 44, "sentences": [
                   {"tokens": ["left"], "raw": "The left bottle!", "sent_id": 0, "sent": "the left bottle"},
                   {"tokens": ["tall"], "raw": "tall one", "sent_id": 1, "sent": "tall one"}]}]  # fmt: skip
VQA_QUESTIONS = {"info": INFO, "task_type": "Open-Ended", "data_type": "mscoco", "license": {},
                 "data_subtype": "val2014", "questions": [
                     {"image_id": 397133, "question": "Is the man alone?", "question_id": 397133000},
                     {"image_id": 37777, "question": "What color is the bowl?", "question_id": 37777000}]}  # fmt: skip
VQA_ANSWERS = {"info": INFO, "license": {}, "data_subtype": "val2014", "annotations": [
    {"question_type": "is the", "multiple_choice_answer": "yes", "image_id": 397133, "answer_type": "yes/no",
     "question_id": 397133000, "answers": [
         {"answer": "yes", "answer_confidence": "yes", "answer_id": 1},
         {"answer": "no", "answer_confidence": "maybe", "answer_id": 2},
         {"answer": "yes", "answer_confidence": "yes", "answer_id": 3}]}], "data_type": "mscoco"}  # fmt: skip
VG_OBJECT = {"object_id": 1058498, "x": 20, "y": 50, "w": 40, "h": 100, "synsets": ["clock.n.01"], "merged_object_ids": []}  # fmt: skip
VISUAL_GENOME: dict[str, Any] = {
    "image_data": [
        {"width": 80, "url": "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg", "height": 200,
         "image_id": 1, "coco_id": None, "flickr_id": None}],
    "region_descriptions": [
        {"regions": [{"region_id": 1382, "width": 40, "height": 100, "image_id": 1,
                      "phrase": "the clock is green in colour", "y": 50, "x": 20}], "id": 1}],
    "objects": [{"image_id": 1, "objects": [{**VG_OBJECT, "names": ["clock", "tower"]}], "image_url": "https://x"}],
    "attributes": [{"image_id": 1, "attributes": [
        {**VG_OBJECT, "names": ["clock"], "attributes": ["green", "tall"]}, {**VG_OBJECT, "object_id": 5046, "names": ["sky"]}]}],
    "relationships": [{"image_id": 1, "relationships": [
        {"predicate": "ON", "relationship_id": 15927, "synsets": [], "subject": {**VG_OBJECT, "name": "shade"},
         "object": {**VG_OBJECT, "names": ["street"]}}]}],
    "question_answers": [{"id": 1, "qas": [
        {"a_objects": [], "question": "What colour is the clock?", "image_id": 1, "qa_id": 986768,
         "answer": "Green.", "q_objects": []}]}],
}  # fmt: skip
GQA = {"02930152": {"semantic": [], "entailed": [], "equivalent": ["02930152"], "question": "Is the sky dark?",
                    "imageId": "1", "isBalanced": True, "groups": {"global": None, "local": "06-sky_dark"},
                    "answer": "yes", "semanticStr": "select: sky", "annotations": {},
                    "types": {"detailed": "verifyAttr", "semantic": "attr", "structural": "verify"},
                    "fullAnswer": "Yes, the sky is dark."}}  # fmt: skip


def put(folder: Path, **values: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def found_in(folder: Path, counts: Counter[str] | None = None, **settings: Any) -> list[Found]:
    model = AnnotatedSource.model_validate({"kind": "annotated", "paths": ["x"], "files": ["*.json"]} | settings)  # fmt: skip
    slices = Annotated().describe(str(folder), 0).slices
    counts = Counter() if counts is None else counts
    digest = listing_digest(str(folder))[1]
    return [
        found
        for number, part in enumerate(slices)
        for found in read_slice(
            Annotated(),
            model,
            Input("data/set", 0, str(folder), 0, digest, part, number, len(slices)),
            counts,
        )
    ]


def extras(found: list[Found]) -> dict[str | None, dict[str, Any]]:
    """What is said of each image, by its file's name."""
    pairs = [one for one in found if isinstance(one, Pair)]
    told = {str(one.image_url).removeprefix("data/set/"): json.loads(one.extra or "") for one in pairs}  # fmt: skip
    assert all(json.loads(one.extra or "") == told[str(one.image_url).removeprefix("data/set/")] for one in pairs)  # fmt: skip
    return told  # type: ignore[return-value]


def test_files_of_coco_are_merged_by_image(tmp_path: Path) -> None:
    put(tmp_path, refs=REFERENCES, questions=VQA_QUESTIONS, answers=VQA_ANSWERS, **COCO)
    found = found_in(tmp_path, images="val2017")
    first, second = (f"val2017/{image['file_name']}" for image in COCO_IMAGES)
    assert [(one.image_url, one.caption) for one in found if isinstance(one, Pair)] == [
        (f"data/set/{second}", "The dining table near the kitchen has a bowl."),
        (f"data/set/{first}", "A man is in a kitchen making pizzas."),
        (f"data/set/{first}", "Man in apron standing on front of oven."),
    ]
    assert {one for one in found if isinstance(one, ImageLocation)} == {
        ImageLocation(f"data/set/{name}", "data/set", name) for name in (first, second)
    }
    bottle = [0.25, 0.25, 0.75, 0.75]
    assert extras(found) == {
        first: {
            "image_id": "397133", "width": 640, "height": 400, "boxes": [bottle, [0, 0, 0.1, 0.1]],
            "labels": ["bottle", "person"],
            "box_flags": [[], ["crowd"]],
            "phrases": [{"phrase": "the left bottle", "box": bottle}, {"phrase": "tall one", "box": bottle}],
            "questions": [{"question": "Is the man alone?", "answer": "yes", "kind": "yes/no", "language": "en",
                           "answers": [["yes", 2], ["no", 1]]}],
        },
        second: {"image_id": "37777", "width": 100, "height": 200, "boxes": [[0.1, 0.1, 0.6, 0.6]],
                 "labels": ["person"]},
    }  # fmt: skip
    (lost,) = (one for one in found if isinstance(one, Rejected))
    assert (lost.reason, lost.value) == ("annotation", "image 37777: question 37777000 has no answer")  # fmt: skip


def test_segments_of_things_that_have_instances_count_once(tmp_path: Path) -> None:
    image, segments = COCO_IMAGES[0]["id"], [
        {"id": 1, "category_id": 44, "iscrowd": 0, "bbox": [161, 101, 318, 198], "area": 9},
        {"id": 2, "category_id": 119, "iscrowd": 0, "bbox": [0, 200, 640, 200], "area": 9},
    ]  # fmt: skip
    table = {"supercategory": "floor", "isthing": 0, "id": 119, "name": "flower"}
    panoptic = {"images": COCO_IMAGES, "categories": [table], "annotations": [
        {"segments_info": segments, "file_name": "1.png", "image_id": image}]}  # fmt: skip
    put(tmp_path, captions=COCO["captions"], instances=COCO["instances"], panoptic=panoptic)
    told = extras(found_in(tmp_path))[str(COCO_IMAGES[0]["file_name"])]
    assert told["labels"] == ["bottle", "person", "flower"]
    assert told["boxes"] == [[0.25, 0.25, 0.75, 0.75], [0, 0, 0.1, 0.1], [0, 0.5, 1, 1]]


def test_files_of_visual_genome_are_merged_by_image(tmp_path: Path) -> None:
    put(tmp_path, gqa=GQA, **VISUAL_GENOME)
    location, pair = found_in(tmp_path)
    name, box = "VG_100K_2/1.jpg", [0.25, 0.25, 0.75, 0.75]
    assert location == ImageLocation(f"data/set/{name}", "data/set", name)
    assert isinstance(pair, Pair) and pair.caption is None
    assert extras([pair])[name] == {
        "image_id": "1", "width": 80, "height": 200, "boxes": [box], "labels": ["clock"],
        "phrases": [{"phrase": "the clock is green in colour", "box": box}],
        "attributes": [["clock", "green"], ["clock", "tall"]], "relations": [["shade", "ON", "street"]],
        "questions": [
            {"question": "What colour is the clock?", "answer": "Green.", "kind": "", "language": "en"},
            {"question": "Is the sky dark?", "answer": "yes", "kind": "verify", "language": "en"},
        ],
    }  # fmt: skip


IMAGE = {"id": 7, "file_name": "a.jpg", "width": 10, "height": 10}


@pytest.mark.parametrize(
    ("rows", "reason", "value"),
    [
        ({"annotations": [{"image_id": 7, "bbox": [1, 2], "category_id": 1, "id": 1}]}, "annotation", "image 7: a box"),
        ({"annotations": [{"image_id": 7, "bbox": [1, 2, 3, "x"], "category_id": 1}]}, "annotation", "image 7: a box"),
        ({"annotations": [{"image_id": 7, "bbox": [1, 2, 3, 4], "category_id": 9}]}, "annotation", "KeyError: '9'"),
        ({"annotations": [{"image_id": 7, "bbox": [1, 2, float("inf"), 4], "category_id": 1}]}, "annotation", "a box: ValueError: no numbers"),
        ({"categories": [{"id": 1, "name": "dog"}]}, "annotation", "category 1 is 'cat' and 'dog'"),
        ({"images": [{**IMAGE, "file_name": "b.jpg"}]}, "annotation", "image 7: another file has this id: b.jpg"),
        ({"annotations": [{"image_id": 8, "caption": "No such image"}]}, "annotation", "image 8 is in no list of images"),
        ({"annotations": [{"image_id": 7, "caption": 7}]}, "caption_type", "int: 7"),
        ({"annotations": [{"caption": "Of nothing"}]}, "annotation", "set.json: element 3: KeyError: 'image_id'"),
        ({"annotations": [{"image_id": [7], "caption": "Of a list"}]}, "annotation", "an id that is list"),
        ({"annotations": [None]}, "annotation", "element 3: TypeError"),
        ({"images": [{"id": 9}]}, "annotation", "element 2: KeyError: 'file_name'"),
        ({"surprise": [{"x": 1}]}, "annotation", "element 4: KeyError: 'id'"),
        ({"images": [{**IMAGE, "id": 9, "file_name": "../../secret.jpg"}]}, "outside_root", "../../secret.jpg"),
        ({"annotations": [{"image_id": 7, "bbox": [1, 2, 3, 4], "category_id": 1, "id": 5},
                          {"image_id": 7, "bbox": [1, 2, 3, 5], "category_id": 1, "id": 5}]},
         "annotation", "image 7: a box of id 5 that is another one in an earlier row"),
        ({"annotations": [{"image_id": 7, "question_id": 1, "question": "Why?"}]}, "annotation", "question 1 has no answer"),
    ],
)  # fmt: skip
def test_a_bad_row_costs_itself(
    tmp_path: Path, rows: dict[str, Any], reason: str, value: str
) -> None:
    category = {"id": 1, "name": "cat"}
    data = {"images": [IMAGE], "categories": [category], "annotations": []}
    for name, more in rows.items():
        data[name] = [*data.get(name, []), *more]
    good = {"image_id": 7, "caption": "A good caption"}
    data["annotations"] = [*data["annotations"], good]
    put(tmp_path, set=data)
    found = found_in(tmp_path)
    assert [one.caption for one in found if isinstance(one, Pair)] == ["A good caption"]
    (lost,) = (one for one in found if isinstance(one, Rejected))
    assert lost.reason == reason and value in str(lost.value)


def test_an_integer_that_python_does_not_read_costs_its_row(tmp_path: Path) -> None:
    put(tmp_path, set={"images": [IMAGE], "annotations": [{"image_id": 7, "caption": "Kept"}, 0]})
    text = (tmp_path / "set.json").read_text()
    row = f'{{"image_id": {"1" * 5000}, "caption": "Of an image with a long number"}}'
    (tmp_path / "set.json").write_text(text.replace("0]", row + "]"))
    found = found_in(tmp_path)
    assert [one.caption for one in found if isinstance(one, Pair)] == ["Kept"]
    (lost,) = (one for one in found if isinstance(one, Rejected))
    assert (lost.reason, lost.value) == (
        "annotation", "set.json: element 3: TypeError: an id that is float, no text",
    )  # fmt: skip


def test_a_row_that_nests_too_deeply_costs_itself(tmp_path: Path) -> None:
    put(tmp_path, set={"images": [IMAGE], "annotations": [0, {"image_id": 7, "caption": "Kept"}]})
    text = (tmp_path / "set.json").read_text()
    (tmp_path / "set.json").write_text(text.replace("[0,", f"[{'[' * 5000 + ']' * 5000},"))
    found = found_in(tmp_path)
    assert [one.caption for one in found if isinstance(one, Pair)] == ["Kept"]
    (lost,) = (one for one in found if isinstance(one, Rejected))
    assert (lost.reason, lost.value) == (
        "annotation",
        "set.json: annotations element 1: nested too deeply: more than 100 levels",
    )


def test_what_two_files_say_counts_once(tmp_path: Path) -> None:
    person = {"supercategory": "person", "id": 1, "name": "person"}
    keypoints = {**COCO["instances"], "categories": [{**person, "keypoints": ["nose"], "skeleton": []}]}  # fmt: skip
    more = {**VQA_QUESTIONS, "questions": [
        {**one, "multiple_choices": ["yes", "no"]} for one in VQA_QUESTIONS["questions"]]}  # fmt: skip
    put(tmp_path, answers=VQA_ANSWERS, questions=VQA_QUESTIONS, refs=REFERENCES, **COCO)
    once = found_in(tmp_path, images="val2017")
    put(tmp_path, keypoints=keypoints, again=COCO["captions"], more=more, refs2=REFERENCES, panoptic2=COCO["panoptic"])  # fmt: skip
    assert found_in(tmp_path, images="val2017") == once


def test_files_that_are_not_there_or_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, set={"images": [IMAGE], "annotations": []})
    with pytest.raises(InputError, match=r"no file of the folder matches 'x/\*.json'"):
        found_in(tmp_path, files=["x/*.json"])
    with pytest.raises(InputError, match=r"x.tsv: files of sets are .json, .jsonl, .csv, also"):
        (tmp_path / "x.tsv").touch()
        found_in(tmp_path, files=["x.tsv"])
    (tmp_path / "set.json").write_text('{"images": [' + json.dumps(IMAGE))
    with pytest.raises(
        InputError, match=r"set.json: no JSON \(expected ',', found '' at character"
    ):
        found_in(tmp_path)
    monkeypatch.setattr(annotated, "SLICE_BYTES", 10)
    assert len(Annotated().describe(str(tmp_path), 0).slices) > 3
    assert [one.reason for one in found_in(tmp_path, on_broken_input="reject")] == ["input_broken"]  # type: ignore[union-attr]


def test_slices_together_are_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [{**IMAGE, "id": number, "file_name": f"{number}.jpg"} for number in range(300)]
    captions = [{"image_id": number % 310, "caption": f"Caption {number}"} for number in range(700)]
    put(tmp_path, set={"images": images, "annotations": [{"caption": "Of none"}, *captions]})
    whole, counts = found_in(tmp_path), Counter[str]()
    for size in (8000, 1000, 100):
        monkeypatch.setattr(annotated, "SLICE_BYTES", size)
        counts.clear()
        assert found_in(tmp_path, counts) == whole
        assert counts == {"images_in_set": 310, "rows_of_set": 1001}
    assert len(Annotated().describe(str(tmp_path), 0).slices) == 256


def test_images_without_a_caption_are_kept_unless_they_are_not_wanted(tmp_path: Path) -> None:
    put(tmp_path, set={"images": [IMAGE], "annotations": []})
    (_, kept) = found_in(tmp_path)
    assert kept == Pair("data/set/a.jpg", None, None, extra='{"height":10,"image_id":"7","width":10}')  # fmt: skip
    (lost,) = found_in(tmp_path, without_text="reject")
    assert isinstance(lost, Rejected) and lost.value == "image 7 has no caption"


@pytest.mark.parametrize("workers", [2, 4])
def test_columns_are_made_of_what_a_set_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(annotated, "SLICE_BYTES", 500)  # both images in slices of their own
    put(tmp_path / "coco/annotations", refs=REFERENCES, questions=VQA_QUESTIONS, answers=VQA_ANSWERS, **COCO)  # fmt: skip
    (tmp_path / "coco/val2017").mkdir()
    for number, image in enumerate(COCO_IMAGES):
        size = image["width"], image["height"]
        (tmp_path / f"coco/val2017/{image['file_name']}").write_bytes(random_image(number, *size))  # type: ignore[arg-type]
    (tmp_path / "r.yaml").write_text(
        "name: coco\nsources: [{kind: annotated, paths: [coco], files: ['annotations/*.json'], "
        "images: val2017}]\nimage: {image_size: 64}\n"
    )
    run_build(tmp_path / "r.yaml", tmp_path / "one")
    run_build(tmp_path / "r.yaml", tmp_path / "two", workers=workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    corpus = Corpus(str(tmp_path / "one"))
    assert len(corpus) == 3
    for kind, settings, values in (
        ("boxes", {}, 3), ("phrases", {}, 2), ("questions", {"source": "extra"}, 2),
    ):  # fmt: skip
        assert run_annotation(tmp_path / "one", kind, settings).values == values
    assert check_corpus(str(tmp_path / "one"), True, Console(quiet=True)) == []
