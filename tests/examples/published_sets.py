"""Public sets in small: a few rows each, written by hand in exactly the published formats."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.corpora import random_image
from tests.pipelines.hostile import record
from tests.preprocess.html.test_wat import block, img

SMALL = (60, 60)
"""Width and height of an image of 3,600 pixels."""
FLAT = (320, 70)
"""Of one whose aspect is 4.6."""

PUBLISHED = {  # sizes of images that are not 320 x 240
    "/zh-small.jpg": SMALL,
    "/zh-flat.jpg": FLAT,
    "/alt-flat.jpg": FLAT,
}


def served() -> dict[str, bytes]:
    """The images that lists of URLs name, by path; `/gone.jpg` is none of them."""
    names = (
        "cc3m-dog", "cc3m-coat", "cc3m-sunset", "sbu-cat", "sbu-silent", "cc12m-bridge",
        "cc12m-ball", "wit-mill", "wit-molino", "redcaps-puppy", "yfcc-boats", "yfcc-hafen",
        "yfcc-file", "coyo-lamp", "alt-tower", "alt-none", "alt-german", "alt-mail", "alt-flat", "zh-lake",
        "zh-short", "zh-english", "zh-markup", "zh-small", "zh-flat",
    )  # fmt: skip
    paths = [f"/{name}.jpg" for name in names]
    return {
        path: random_image(number, *PUBLISHED.get(path, (320, 240)))
        for number, path in enumerate(paths)
    }


class Sets:
    """Writes sets below `folder`; `url` gives the URL of a served path."""

    def __init__(self, folder: Path, url: Callable[[str], str]):
        self.folder, self.url = folder, url

    def __call__(self, *names: str) -> None:
        for name in names:
            getattr(self, name)()

    def _text(self, path: str, text: str) -> None:
        self._bytes(path, text.encode())

    def _bytes(self, path: str, data: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def _json(self, path: str, value: Any) -> None:
        self._text(path, json.dumps(value))

    def _images(self, *paths: str) -> None:
        for path in paths:
            self._bytes(path, random_image(sum(path.encode()), 320, 240))

    def cc3m(self) -> None:
        rows = [
            ("a dog runs on the beach", "/cc3m-dog.jpg"), ("person in a red coat", "/cc3m-coat.jpg"),
            ("sunset", "/cc3m-sunset.jpg"), ("a dog runs on the beach", "/cc3m-dog.jpg"),
            ("a boat on a calm lake", "/gone.jpg"),
        ]  # fmt: skip
        lines = [f"{caption}\t{self.url(path)}\n" for caption, path in rows]
        self._text("cc3m/Train_GCC-training.tsv", "".join(lines))

    def sbu(self) -> None:
        told = {
            "image_urls": [self.url("/sbu-cat.jpg"), self.url("/sbu-silent.jpg")],
            "user_ids": ["47889917@N08", "47889917@N08"],
            "captions": ["My cat asleep in the window of our old house", ""],
        }
        self._json("sbu/sbu-captions-all.json", told)

    def cc12m(self) -> None:
        rows = [
            ("/cc12m-bridge.jpg", "A wooden bridge over a small river"),
            ("/cc12m-ball.jpg", "Two children play with a ball"),
        ]
        lines = [f"{self.url(path)}\t{caption}\n" for path, caption in rows]
        self._text("cc12m/cc12m.tsv", "".join(lines))

    def coco(self) -> None:
        """Captions, instances and VQAv2, under both years' names."""
        for year in ("2014", "2017"):
            name = "COCO_train2014_000000000009.jpg" if year == "2014" else "000000000009.jpg"
            images = [{"license": 3, "file_name": name, "height": 240, "width": 320, "id": 9}]
            told = [
                {"image_id": 9, "id": 661, "caption": "A man is in a kitchen making pizzas."},
                {"image_id": 9, "id": 662, "caption": "A kitchen."},
            ]
            boxes = [
                {"segmentation": [[1.0, 2.0, 3.0, 4.0]], "area": 9.5, "iscrowd": 0, "image_id": 9,
                 "bbox": [80, 60, 160, 120], "category_id": 44, "id": 82445},
            ]  # fmt: skip
            names = [{"supercategory": "kitchen", "id": 44, "name": "bottle"}]
            self._json(f"coco/annotations/captions_train{year}.json", {"info": {}, "images": images, "licenses": [], "annotations": told})  # fmt: skip
            self._json(f"coco/annotations/instances_train{year}.json", {"info": {}, "images": images, "licenses": [], "annotations": boxes, "categories": names})  # fmt: skip
            self._images(f"coco/train{year}/{name}")
        ask = {"image_id": 9, "question": "Is the man alone?", "question_id": 9000}
        answers = [{"answer": "yes", "answer_confidence": "yes", "answer_id": n} for n in (1, 2)]
        answer = {"question_type": "is the", "multiple_choice_answer": "yes", "image_id": 9,
                  "answer_type": "yes/no", "question_id": 9000, "answers": answers}  # fmt: skip
        head = {"info": {}, "license": {}, "data_subtype": "train2014", "data_type": "mscoco"}
        self._json("coco/v2_OpenEnded_mscoco_train2014_questions.json", {**head, "task_type": "Open-Ended", "questions": [ask]})  # fmt: skip
        self._json("coco/v2_mscoco_train2014_annotations.json", {**head, "annotations": [answer]})

    def visual_genome(self) -> None:
        """The published files, and the list that is made of the regions."""
        place = {"x": 80, "y": 60, "w": 160, "h": 120}
        url = "https://cs.stanford.edu/people/rak248/VG_100K/1.jpg"
        self._json("visual-genome/image_data.json", [{"width": 320, "url": url, "height": 240, "image_id": 1, "coco_id": None, "flickr_id": None}])  # fmt: skip
        regions = [
            {"region_id": 1382, "image_id": 1, "phrase": "a green clock on the tower",
             "x": 80, "y": 60, "width": 160, "height": 120},
            {"region_id": 1383, "image_id": 1, "phrase": "red car",
             "x": 0, "y": 0, "width": 32, "height": 24},
        ]  # fmt: skip
        self._json("visual-genome/region_descriptions.json", [{"regions": regions, "id": 1}])
        thing = {**place, "object_id": 1058498, "names": ["clock"], "synsets": ["clock.n.01"], "merged_object_ids": []}  # fmt: skip
        self._json("visual-genome/objects.json", [{"image_id": 1, "objects": [thing], "image_url": url}])  # fmt: skip
        ask = {"a_objects": [], "question": "What colour is the clock?", "image_id": 1, "qa_id": 986768, "answer": "Green.", "q_objects": []}  # fmt: skip
        self._json("visual-genome/question_answers.json", [{"id": 1, "qas": [ask]}])
        lines = [{"path": f"VG_100K/{one['image_id']}.jpg", "caption": one["phrase"]} for one in regions]  # fmt: skip
        self._text("visual-genome/captions.jsonl", "".join(json.dumps(one) + "\n" for one in lines))
        self._images("visual-genome/VG_100K/1.jpg")

    def open_images(self) -> None:
        self._text(
            "open-images/oidv6-train-annotations-bbox.csv",
            "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,"
            "IsGroupOf,IsDepiction,IsInside\n"
            "0001eeaf4aed83f9,xclick,/m/0cmf2,1,0.25,0.75,0.125,0.5,0,0,0,0,0\n",
        )
        self._text(
            "open-images/oidv6-train-annotations-human-imagelabels.csv",
            "ImageID,Source,LabelName,Confidence\n0001eeaf4aed83f9,verification,/m/02xwb,0\n",
        )
        self._text(
            "open-images/class-descriptions-boxable.csv", "/m/0cmf2,Airplane\n/m/02xwb,Fruit\n"
        )
        told = {"dataset_id": "open_images_train", "image_id": "0001eeaf4aed83f9", "annotator_id": 93,
                "caption": "In this image there is an airplane in the sky.",
                "timed_caption": [{"utterance": "In this image", "start_time": 0.0, "end_time": 0.4}],
                "traces": [[{"x": 0.25, "y": 0.5, "t": 0.1}]],
                "voice_recording": "open_images_train/93.ogg"}  # fmt: skip
        name = "open_images_train_v6_localized_narratives-00000-of-00010.jsonl"
        self._text(f"open-images/{name}", json.dumps(told) + "\n")
        self._images("open-images/train/0001eeaf4aed83f9.jpg")

    def objects365(self) -> None:
        name = "images/v2/patch16/objects365_v2_00908726.jpg"
        images = [{"id": 908726, "file_name": name, "height": 240, "width": 320, "license": 5, "url": ""}]  # fmt: skip
        boxes = [{"id": 1, "iscrowd": 0, "isfake": 0, "area": 768.0, "isreflected": 0, "bbox": [32, 24, 32, 24],
                  "image_id": 908726, "category_id": 1}]  # fmt: skip
        told = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "Person"}], "licenses": [{"id": 5, "name": "CC", "url": ""}]}  # fmt: skip
        self._json("objects365/zhiyuan_objv2_train.json", told)
        self._images(f"objects365/{name}")

    def wit(self) -> None:
        names = (
            "language", "page_url", "image_url", "page_title", "section_title",
            "hierarchical_section_title", "caption_reference_description",
            "caption_attribution_description", "caption_alt_text_description", "mime_type",
            "original_height", "original_width", "is_main_image", "attribution_passes_lang_id",
            "page_changed_recently", "context_page_description", "context_section_description",
        )  # fmt: skip
        rows: list[Mapping[str, str]] = [
            {"language": "en", "page_url": "https://en.wikipedia.org/wiki/Mill",
             "image_url": self.url("/wit-mill.jpg"),
             "caption_reference_description": '"The ""old"" mill beside the river"'},
            {"language": "es", "page_url": "https://es.wikipedia.org/wiki/Molino",
             "image_url": self.url("/wit-molino.jpg"),
             "caption_alt_text_description": "El viejo molino junto al río de la ciudad"},
        ]  # fmt: skip
        lines = ["\t".join(names), *("\t".join(row.get(name, "") for name in names) for row in rows)]  # fmt: skip
        packed = gzip.compress(("\n".join(lines) + "\n").encode())
        self._bytes("wit/wit_v1.train.all-00000-of-00010.tsv.gz", packed)

    def redcaps(self) -> None:
        row = {"image_id": "bpzj7r", "author": "someone", "url": self.url("/redcaps-puppy.jpg"),
               "raw_caption": "My puppy after his first bath!", "subreddit": "dogpictures", "score": 7,
               "caption": "my puppy after his first bath", "created_utc": 1558050193,
               "permalink": "/r/dogpictures/comments/bpzj7r/", "crosspost_parents": None}  # fmt: skip
        self._text("redcaps/redcaps.jsonl", json.dumps(row) + "\n")

    def yfcc100m(self) -> None:
        rows = [
            ("/yfcc-boats.jpg", "Boats in the harbour at night"),
            ("/yfcc-hafen.jpg", "Sonnenuntergang über dem alten Hafen von Hamburg"),
            ("/yfcc-file.jpg", "Harbour 2041"),
        ]
        lines = [f"{self.url(path)}\t{caption}\n" for path, caption in rows]
        self._text("yfcc100m/yfcc.tsv", "".join(lines))

    def imagenet_1k(self) -> None:
        self._images("imagenet-1k/n01440764/n01440764_10026.JPEG")

    def imagenet_21k(self) -> None:
        self._images("imagenet-21k/n00004475/n00004475_6590.JPEG")

    def texts(self) -> None:
        self._text("texts/news.txt", "The harbour was opened again on Monday after the storm.")
        self._text("texts/short.txt", "Storm over")

    def pile(self) -> None:
        row = {"text": "The harbour was opened again.", "meta": {"pile_set_name": "Pile-CC"}}
        self._bytes("pile/00.jsonl.zst", zstandard.compress(json.dumps(row).encode() + b"\n"))

    def mc4(self) -> None:
        rows = [
            {"text": "Der Hafen wurde am Montag wieder geöffnet.", "timestamp": "2019-04-25T12:57:54Z", "url": "https://a.test/1"},
            {"text": "Schreiben Sie an hafen@example.org und fragen Sie.", "timestamp": "2019-04-25T12:57:54Z", "url": "https://a.test/2"},
        ]  # fmt: skip
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._bytes("mc4/c4-de.tfrecord-00000-of-00002.json.gz", gzip.compress(lines.encode()))

    def common_crawl(self) -> None:
        alts = [
            ("/alt-tower.jpg", "A lighthouse on a rock in the evening"),
            ("/alt-none.jpg", "Something quite different in the morning"),
            ("/alt-german.jpg", "Der alte Leuchtturm auf einem Felsen am Meer"),
            ("/alt-mail.jpg", "A lighthouse to rent, mail keeper@example.org"),
            ("/alt-flat.jpg", "A long lighthouse wall beside the sea"),
        ]
        links = [img(self.url(path), alt=alt) for path, alt in alts]
        packed = gzip.compress(record(block(links), "metadata"))
        self._bytes("common-crawl/CC-MAIN-00000.warc.wat.gz", packed)

    def coyo_700m(self) -> None:
        rows = {"id": [841814333321], "url": [self.url("/coyo-lamp.jpg")],
                "text": ["An oil lamp in a lighthouse"], "width": [320], "height": [240]}  # fmt: skip
        (self.folder / "coyo-700m").mkdir(parents=True)
        pq.write_table(pa.table(rows), self.folder / "coyo-700m/part-00000.parquet")

    def metaclip(self) -> None:
        self._text("metaclip/entries.txt", "lighthouse\noil lamp\nLeuchtturm\n")

    def wukong(self) -> None:
        rows = [
            ("/zh-lake.jpg", "窗外的雪山和湖泊的风景照片"), ("/zh-short.jpg", "雪山湖泊"),
            ("/zh-english.jpg", "A lake in the snow near the old town, photographed in winter 雪山和湖泊"),
            ("/zh-markup.jpg", "<b>春天的花园里开满了花！！！</b>"),
            ("/zh-small.jpg", "一只小猫在沙发上睡觉"), ("/zh-flat.jpg", "长城在秋天的早晨"),
        ]  # fmt: skip
        lines = ["url,caption", *(f'{self.url(path)},"{caption}"' for path, caption in rows)]
        self._text("wukong/wukong_100m_0.csv", "\n".join(lines) + "\n")

    def clue_corpus(self) -> None:
        self._text("clue-corpus/0.txt", "港口在暴风雨之后重新开放。\n船只又可以出海了。\n\n完。\n")
