"""Hostile rows of lists without a header, with digests and with images in them, and samples of
tars, as tables."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpora import random_image
from tests.pipelines.hostile import Case, fine, list_file, lost, png_header, row
from tests.tars import tar_of

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
GOOD = random_image(6, 64, 48)
SHA256 = hashlib.sha256(random_image(1, 64, 48)).hexdigest()  # of good.jpg
TEXT = b"The text of a sample in @"

BARE_CASES = [
    lost("too few cells", b"Words alone of @", "list_row", value="1 columns, expected 2"),
    lost("too many cells", b"Words of @\tgood.jpg\tmore", "list_row", value="3 columns"),
    lost("not UTF-8", b"caf\xe9 au lait\tgood.jpg", "list_row", value="0xe9 in column 'caption'"),
    lost("a header in the midst", b"caption\tpath", "too_few_words", value="1"),
    lost("no caption", b"\tgood.jpg", "list_row", value="no caption"),
    lost("no path", b"Words of @\t", "list_row", value="no path"),
    lost("neither", b"\t", "no_image_or_text"),
    lost("outside", b"Words of @\t../secret.jpg", "outside_root"),
    fine("quotes", b'"Words of @ in quotes\tgood.jpg'),
    fine("blank lines", b"\n\r\n\n", 0),
]  # fmt: skip
"""Lines of TSV without a header, columns caption and path."""

HASH_CASES = [
    lost("another digest", row(sha256="0" * 64), "hash_mismatch", value=f"found sha256 {SHA256}"),
    lost("a digest too short", row(sha256=SHA256[1:]), "list_row", value="expected a sha256"),
    lost("a digest that is none", row(sha256="x" * 64), "list_row", value="expected a sha256"),
    lost("a digest that is a list", row(sha256=[SHA256]), "list_row", value="expected a sha256"),
    lost("no digest", row(), "list_row", value="found nothing"),
    lost("no image with a digest", row("none.jpg", sha256=SHA256), "missing_file"),
    lost("another digest of a bad image", row("bad/cut.jpg", sha256=SHA256), "decode_error"),
    fine("a digest in capitals", row(sha256=f" {SHA256.upper()} ")),
]
"""Rows of which `sha256` is verified."""


def _sample(*members: tuple[str, bytes]) -> list[tuple[str, bytes]]:
    return [(f"x.{ext}", data) for ext, data in members]


TAR_CASES = [
    lost("no caption", _sample(("jpg", GOOD)), "tar_sample", value="no caption in 000-x"),
    lost("no image", _sample(("txt", TEXT)), "tar_sample", value="no image in 000-x"),
    lost("neither", _sample(("npy", b"x"), ("pyd", b"x")), "no_image_or_text"),
    lost("a member twice", _sample(("jpg", GOOD), ("jpg", GOOD), ("txt", TEXT)), "tar_sample", value="twice"),
    lost("keys apart", [*_sample(("jpg", b""), ("txt", TEXT)), ("y.npy", b""), *_sample(("jpg", GOOD), ("txt", TEXT))],
         "empty", "no_image_or_text", "tar_sample", value="not adjacent"),
    lost("a name not UTF-8", [("x\udcff.jpg", GOOD), ("x\udcff.txt", TEXT)], "tar_sample", value="is not UTF-8"),
    lost("a text not UTF-8", _sample(("jpg", GOOD), ("txt", b"caf\xe9 au lait")), "sidecar_unreadable", value="0xe9"),
    lost("a text of two megabytes", _sample(("jpg", GOOD), ("txt", b"a" * 2**21)), "sidecar_unreadable"),
    lost("broken JSON", _sample(("jpg", GOOD), ("txt", TEXT), ("json", b'{"caption": ')), "sidecar_unreadable"),
    lost("deep JSON", _sample(("jpg", GOOD), ("json", b"[" * 200_000)), "sidecar_unreadable", value="deeply"),
    lost("caption is a number", _sample(("jpg", GOOD), ("json", b'{"caption": 4}')), "caption_type"),
    lost("caption is NaN", _sample(("jpg", GOOD), ("json", b'{"caption": NaN}')), "caption_type"),
    lost("a class beyond all", _sample(("jpg", GOOD), ("cls", b"2")), "caption_type", value="'2'"),
    lost("a class that is no number", _sample(("jpg", GOOD), ("cls", b"-1")), "caption_type"),
    lost("text of one letter", _sample(("jpg", GOOD), ("txt", b"x")), "too_short"),
    lost("empty image", _sample(("jpg", b""), ("txt", TEXT)), "empty"),
    lost("not an image", _sample(("jpg", b"<!doctype html>"), ("txt", TEXT)), "not_image"),
    lost("cut image", _sample(("jpg", GOOD[:900]), ("txt", TEXT)), "decode_error"),
    lost("huge image", _sample(("png", png_header(50_000, 50_000)), ("txt", TEXT)), "too_many_pixels"),
    lost("large image", _sample(("jpg", GOOD + b"\0" * 3_000_000), ("txt", TEXT)), "too_large", value="30"),
    fine("a class", _sample(("jpg", GOOD), ("cls", b"1\n"))),
    fine("a tar within", _sample(("jpg", GOOD), ("txt", TEXT), ("tar", tar_of(_sample(("jpg", GOOD), ("txt", TEXT)))))),
    fine("paths that lead out", [("../../x.jpg", GOOD), ("../../x.txt", TEXT)]),
    fine("an absolute path", [("/etc/x.jpg", GOOD), ("/etc/x.txt", TEXT)]),
    fine("capital letters", [("x.JPG", GOOD), ("x.TXT", TEXT)]),
    fine("an address that is none", _sample(("jpg", GOOD), ("txt", TEXT), ("json", b'{"url": "http://[x"}'))),
    fine("a private address", _sample(("jpg", GOOD), ("txt", TEXT), ("json", b'{"url": "http://127.0.0.1/@"}'))),
    fine("surrogate in a caption", _sample(("jpg", GOOD), ("json", b'{"caption": "Fine \\ud800 words of @"}'))),
    fine("hidden and nameless members", [(".x.jpg", GOOD), ("README", b"words")], 0),
]  # fmt: skip
"""Members of tars; `x` in their names becomes a key of its own."""


def _cell(data: bytes | None, path: str | None = "x.jpg", caption: Any = None) -> dict[str, Any]:
    caption = caption or [f"The caption of {path} in @"]
    return {"image": {"bytes": data, "path": path}, "caption": caption}


CELL_CASES = [
    lost("no bytes and no path", _cell(None, None), "list_row", value="no image"),
    lost("nothing at all", {"image": None, "caption": None}, "no_image_or_text"),
    lost("no caption", {"image": {"bytes": GOOD, "path": None}, "caption": []}, "list_row"),
    lost("empty image", _cell(b""), "empty"),
    lost("not an image", _cell(b"<!doctype html>"), "not_image"),
    lost("cut image", _cell(GOOD[:900]), "decode_error"),
    lost("large image", _cell(GOOD + b"\0" * 3_000_000), "too_large", value="30"),
    lost("huge image", _cell(png_header(50_000, 50_000)), "too_many_pixels"),
    lost("a path that leads out", _cell(None, "../secret.jpg"), "outside_root"),
    lost("a path to nothing", _cell(None, "none.jpg"), "missing_file"),
    lost("a private address", _cell(None, "http://127.0.0.1:9/x.jpg"), "address"),
    lost("a caption of one letter", _cell(GOOD, caption=["x"]), "too_short"),
    fine("a path to an image", _cell(None, "good.jpg")),
    fine("bytes with a path that leads out", _cell(GOOD, "../../secret.jpg")),
    fine("several captions", _cell(GOOD, caption=["One text of @", "Another text of @"]), 2),
]
"""Rows of Parquet with images in them."""


NOTED = {"id": "ID", "file_name": "good.jpg", "width": 64, "height": 48}


def _note(**more: Any) -> dict[str, Any]:
    return {"annotations": [{"image_id": "ID", **more}]}


SET_CASES = [
    lost("an image unknown", _note(caption="A note of @"), "annotation", value="in no list of images"),
    lost("a row of nothing", {"annotations": [None]}, "annotation", value="TypeError"),
    lost("a row without an image", {"annotations": [{"caption": "A note of @"}]}, "annotation", value="image_id"),
    lost("an id that is a list", {"annotations": [{"image_id": [1], "caption": "x"}]}, "annotation", value="no text"),
    lost("an image without a file", {"images": [{"id": "ID"}]}, "annotation", value="file_name"),
    lost("an image that leads out", {"images": [{**NOTED, "file_name": "../../secret.jpg"}]}, "outside_root"),
    lost("an image that is not there", {"images": [{**NOTED, "file_name": "none.jpg"}]}, "missing_file"),
    lost("an image that is none", {"images": [{**NOTED, "file_name": "html.jpg"}]}, "not_image"),
    lost("a member that nobody knows", {"surprise": [{"x": 1}]}, "annotation"),
    lost("a caption of one letter", {"images": [NOTED], **_note(caption="x")}, "too_short"),
    Case("a caption that is a number", {"images": [NOTED], **_note(caption=7)}, ("caption_type",), 1),
    Case("a box of words", {"images": [NOTED], **_note(bbox=["a"], category_id=1)}, ("annotation",), 1),
    Case("a box of no category", {"images": [NOTED], **_note(bbox=[1, 1, 2, 2], category_id=9)}, ("annotation",), 1),
    Case("a question without an answer", {"images": [NOTED], **_note(question_id=1, question="Why?")}, ("annotation",), 1),
    fine("a box outside of the image", {"images": [NOTED], **_note(bbox=[900, 900, 5, 5], category_id=1)}),
    fine("an image alone", {"images": [NOTED]}),
    fine("words about the file", {"info": {"x": [1]}, "licenses": [None]}, 0),
]  # fmt: skip
"""Members of an annotated set's file; `ID` in them becomes an id of its own."""


def write_set(folder: Path, cases: list[Case], tag: str) -> None:
    """A set of all cases, with a good image before each and at the end."""
    told: dict[str, list[Any]] = {"images": [], "annotations": [], "surprise": []}
    (folder / "px").mkdir(parents=True)
    (folder / "px/html.jpg").write_bytes(b"<!doctype html>")

    def add_good(number: int) -> None:
        (folder / f"px/{number}.jpg").write_bytes(GOOD)
        told["images"].append({**NOTED, "id": f"good {number}", "file_name": f"{number}.jpg"})
        caption = f"Good image {number} of {tag}"
        told["annotations"].append({"image_id": f"good {number}", "caption": caption})

    for number, case in enumerate(cases):
        add_good(number)
        (folder / f"px/good{number}.jpg").write_bytes(GOOD)
        text = json.dumps(case.data).replace('"ID"', f'"hostile {number}"')
        text = text.replace('"good.jpg"', f'"good{number}.jpg"').replace("@", f"{tag} {case.name}")
        for name, rows in json.loads(text).items():
            told[name] = [*told.get(name, []), *rows] if isinstance(rows, list) else rows
    add_good(len(cases))
    told["categories"] = [{"id": 1, "name": "cat"}]
    (folder / "notes.json").write_text(json.dumps(told))


def cell_file(cases: list[Case], tag: str) -> bytes:
    """Parquet of a few rows a group, with a good image before each case and at the end."""
    rows = []
    for number, case in enumerate(cases):
        captions = case.data["caption"]
        tagged = captions and [one.replace("@", f"{tag} {case.name}") for one in captions]
        good = _cell(GOOD, "x.jpg", [f"Good image {number} of {tag}"])
        rows += [good, {**case.data, "caption": tagged}]
    rows.append(_cell(GOOD, None, [f"Good image {len(cases)} of {tag}"]))
    out = io.BytesIO()
    schema = pa.schema({"image": IMAGE, "caption": pa.list_(pa.string())})
    pq.write_table(pa.Table.from_pylist(rows, schema), out, row_group_size=4)
    return out.getvalue()


def bare_file(cases: list[Case], tag: str) -> bytes:
    lines = []
    for number, case in enumerate(cases):
        tagged = case.data.replace(b"@", f"{tag} {case.name}".encode())
        lines += [f"Good row {number} of {tag}\tgood.jpg".encode(), tagged]
    return b"\n".join([*lines, f"Good row {len(cases)} of {tag}\tgood.jpg".encode()])


def hash_file(cases: list[Case], tag: str) -> bytes:
    """A list whose good rows have the digest of their image."""
    rows: list[dict[str, Any]] = list(map(json.loads, list_file(cases, "jsonl", tag).splitlines()))
    for one in rows:
        if one["caption"].startswith("Good "):
            one["sha256"] = SHA256
    return b"\n".join(json.dumps(one).encode() for one in rows)


def tar_file(cases: list[Case], tag: str) -> bytes:
    """A tar of all cases, with a good sample before each and one at the end."""
    members: list[tuple[str, bytes]] = []

    def add_good(number: int) -> None:
        key = f"{number:03}-good"
        text = f"Good sample {number} of {tag}".encode()
        members.extend([(f"{key}.jpg", GOOD), (f"{key}.txt", text)])

    for number, case in enumerate(cases):
        add_good(number)
        for name, data in case.data:
            folder, _, base = name.rpartition("/")
            key, dot, ext = base.partition(".")
            name = f"{folder}/" * bool(folder) + (f"{number:03}-{key}" if key else "") + dot + ext
            is_text = ext.lower() in ("txt", "json")
            members.append(
                (name, data.replace(b"@", f"{tag} {case.name}".encode()) if is_text else data)
            )
    add_good(len(cases))
    return tar_of(members)
