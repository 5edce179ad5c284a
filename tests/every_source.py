"""A recipe with a source of each kind and layout, over small inputs of its own."""

import gzip
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpora import random_image, site
from tests.pipelines.hostile import record
from tests.pipelines.sources.test_cc_index import COLUMNS, crawl
from tests.preprocess.html.test_wat import block, img
from tests.tars import write_tars
from tests.warcs import write_warc

RECIPE = """
name: every-source
sources:
  - {kind: warc, paths: ['warc/*.warc.gz']}
  - {kind: list, paths: ['lists/*.tsv'], columns: [caption, file, md5], url_col: file,
     image_root: images, hash_col: md5, hash: md5}
  - {kind: list, paths: ['lists/*.txt'], url_col: null, columns: [caption]}
  - {kind: list, paths: ['cells/*.parquet'], image_col: image, caption_col: [text, alt]}
  - {kind: list, paths: ['imagefolder/**/metadata.csv'], url_col: file_name, caption_col: text,
     images_beside: true}
  - {kind: folder, paths: [images], without_text: keep}
  - {kind: webdataset, paths: ['tars/*.tar'], extra_keys: [id]}
  - {kind: annotated, paths: [set], files: ['notes/*.json'], images: pixels}
  - {kind: wat, paths: ['wat/*.wat.gz']}
  - {kind: cc-index, paths: ['index/*.parquet'], archives: ., languages: [de]}
  - {kind: text, paths: ['texts/*.txt', 'texts/*.warc.wet.gz'], document: line, max_chars: 60}
image: {image_size: 64}
write: {samples_per_shard: 12}
"""
SOURCES = 11


def write_every_source(folder: Path) -> Path:
    """The recipe, its inputs beside it: each with rows that are kept and rows that are lost."""
    for name in ("warc", "lists", "cells", "imagefolder/train", "images/sub"):
        (folder / name).mkdir(parents=True)
    write_warc(folder / "warc/part.warc.gz", site(4, 4))
    for n in range(8):
        (folder / f"images/{'sub/' * (n % 2)}{n}.jpg").write_bytes(random_image(100 + n, 64, 48))
    for number in range(2):
        lines = []
        for n in range(number * 4, number * 4 + 4):
            name = f"{'sub/' * (n % 2)}{n}.jpg"
            data = random_image(100 + n - n % 4 // 3, 64, 48)  # the last one's digest is another's
            lines.append(f"A listed image {n}\t{name}\t{hashlib.md5(data).hexdigest()}")
        (folder / f"lists/{number}.tsv").write_text("\n".join([*lines, "one cell alone"]))
        (folder / f"lists/{number}.txt").write_text(f"A text alone {number}\n\nx\n")
        cells = [
            {"bytes": random_image(200 + 9 * number + n, 64, 48), "path": None} for n in range(6)
        ]
        cells[5]["bytes"] = b"no image"
        columns = {
            "image": cells,
            "text": [f"A cell {n} of {number}" for n in range(6)],
            "alt": [f"Another {n} of {number}" for n in range(6)],
        }
        path = folder / f"cells/{number}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=2)
    rows = ["file_name,text", *(f"{n}.jpg,An image {n} in a folder" for n in range(4)), "gone.jpg,x y z"]  # fmt: skip
    (folder / "imagefolder/train/metadata.csv").write_text("\n".join(rows))
    for n in range(4):
        (folder / f"imagefolder/train/{n}.jpg").write_bytes(random_image(300 + n, 64, 48))
    write_tars(folder / "tars")
    (folder / "set/notes").mkdir(parents=True)
    (folder / "set/pixels").mkdir()
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in range(4)]
    notes = [{"image_id": n % 5, "caption": f"Note {n} of the set"} for n in range(8)]
    (folder / "set/notes/a.json").write_text(json.dumps({"images": images}))
    (folder / "set/notes/b.json").write_text(json.dumps({"annotations": notes}))
    for n in range(3):
        (folder / f"set/pixels/{n}.jpg").write_bytes(random_image(400 + n, 64, 48))
    _write_web(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"


def _write_web(folder: Path) -> None:
    """What Common Crawl makes of a crawl: WAT, WET, an index; and a file of text."""
    for name in ("wat", "index", "texts"):
        (folder / name).mkdir()
    pages = [record(block([img(f"http://site.test/img/{n}.jpg", alt=f"An image in a WAT file {n}")]), "metadata")
             for n in range(4)]  # fmt: skip
    pages.insert(2, record(b"no JSON", "metadata"))
    (folder / "wat/a.wat.gz").write_bytes(b"".join(map(gzip.compress, pages)))
    write_index(folder, folder / "index/a.parquet")
    lines = [
        f"The line with the number {n} is so long that it becomes two samples." for n in range(9)
    ]
    (folder / "texts/a.txt").write_text("\n".join([*lines, "x"]))
    texts = [record(f"A text of a page {n}".encode(), "conversion") for n in range(3)]
    (folder / "texts/a.warc.wet.gz").write_bytes(b"".join(map(gzip.compress, texts)))


def write_index(folder: Path, path: Path) -> None:
    """A crawl of pages below `folder`, with images of the site, and its columnar index."""
    rows = crawl(folder, images="http://site.test/img/{1}.jpg")
    german = [row for row in rows if row["content_languages"] == "deu,eng"]
    german[1]["warc_record_offset"] += 3  # where no record begins
    pq.write_table(
        pa.Table.from_pylist(rows, pa.schema(list(COLUMNS.items()))), path, row_group_size=4
    )


def kept_and_lost(corpus: Path) -> tuple[int, int, int]:
    """Rows that were given, kept and rejected, as the funnel has them."""
    stages = json.loads((corpus / "stats/funnel.json").read_text())["stages"]
    lost = sum(sum(stage["rejected"].values()) for stage in stages)
    return stages[0]["in"], stages[-1]["out"], lost
