"""Hostile files in folders of images with texts beside them, as a table."""

import os
from pathlib import Path

from tests.corpora import random_image
from tests.pipelines.hostile import Case, fine, lost, png_header

GOOD = random_image(6, 64, 48)
TEXT = b"The text beside an image in @"


def _link(target: str) -> tuple[str, str]:
    return "link", target


FOLDER_CASES = [
    lost("no text", {"x.jpg": GOOD}, "no_sidecar", value="x.txt"),
    lost("empty text", {"x.jpg": GOOD, "x.txt": b" \n\n"}, "no_sidecar"),
    lost("text not UTF-8", {"x.jpg": GOOD, "x.txt": b"caf\xe9 au lait"}, "sidecar_unreadable", value="0xe9"),
    lost("text of two megabytes", {"x.jpg": GOOD, "x.txt": b"a" * 2**21}, "sidecar_unreadable"),
    lost("text is a folder", {"x.jpg": GOOD, "x.txt/y": b""}, "sidecar_unreadable"),
    lost("text is a link to itself", {"x.jpg": GOOD, "x.txt": _link("x.txt")}, "sidecar_unreadable"),
    lost("broken JSON", {"x.jpg": GOOD, "x.json": b'{"caption": '}, "sidecar_unreadable"),
    lost("deep JSON", {"x.jpg": GOOD, "x.json": b"[" * 200_000}, "sidecar_unreadable", value="deeply"),
    lost("JSON of another kind", {"x.jpg": GOOD, "x.json": b"[1]"}, "sidecar_unreadable", value="list"),
    lost("caption is a number", {"x.jpg": GOOD, "x.json": b'{"caption": 4}'}, "caption_type"),
    lost("caption is NaN", {"x.jpg": GOOD, "x.json": b'{"caption": NaN}'}, "caption_type"),
    lost("text of one letter", {"x.jpg": GOOD, "x.txt": b"x"}, "too_short"),
    lost("name not UTF-8", {b"x\xff.jpg": GOOD, b"x\xff.txt": TEXT}, "file_name"),
    lost("empty image", {"x.jpg": b"", "x.txt": TEXT}, "empty"),
    lost("no image", {"x.jpg": b"<!doctype html>", "x.txt": TEXT}, "not_image"),
    lost("cut image", {"x.jpg": GOOD[:900], "x.txt": TEXT}, "decode_error"),
    lost("huge image", {"x.png": png_header(50_000, 50_000), "x.txt": TEXT}, "too_many_pixels"),
    lost("large image", {"x.jpg": GOOD + b"\0" * 3_000_000, "x.txt": TEXT}, "too_large"),
    lost("link to itself", {"x.jpg": _link("x.jpg"), "x.txt": TEXT}, "unreadable_file"),
    lost("link to nothing", {"x.jpg": _link("nowhere"), "x.txt": TEXT}, "missing_file"),
    lost("a pipe", {"x.jpg": ("pipe", ""), "x.txt": TEXT}, "unreadable_file"),
    lost("an endless device", {"x.jpg": _link("/dev/zero"), "x.txt": TEXT}, "unreadable_file"),
    fine("link out of the folder", {"x.jpg": _link("../../../elsewhere.jpg"), "x.txt": TEXT}),
    fine("folders in a circle", {"up": _link(".."), "x.jpg": GOOD, "x.txt": TEXT}),
    fine("signs in a name", {"x #?*[1]::=%41\n.jpg": GOOD, "x #?*[1]::=%41\n.txt": TEXT}),
    fine("escapes in a name", {"x\x1b[31m.jpg": GOOD, "x\x1b[31m.txt": TEXT}),
    fine("capital letters", {"x.JPG": GOOD, "x.txt": TEXT}),
    fine("several lines", {"x.jpg": GOOD, "x.txt": b"One text of @\n\nAnother text of @\r\n"}, 2),
    fine("a mark of byte order", {"x.jpg": GOOD, "x.txt": b"\xef\xbb\xbf" + TEXT}),
    fine("surrogate in a caption", {"x.jpg": GOOD, "x.json": b'{"caption": "Fine \\ud800 words of @"}'}),
    fine("text without an image", {"x.txt": TEXT}, 0),
    fine("stray files", {".DS_Store": b"x", "README.md": b"x", "Thumbs.db": b"x"}, 0),
]  # fmt: skip


def write_folder(folder: Path, cases: list[Case], tag: str) -> None:
    """A folder below which each case has its own, with a good image before each and at the end."""
    for number, case in enumerate(cases):
        _put(folder, f"{number:03}/a.jpg", GOOD)
        _put(folder, f"{number:03}/a.txt", f"Good image {number} of {tag}".encode())
        for name, data in case.data.items():
            _put(folder / f"{number:03}", name, data, f"{tag} {case.name}")
    _put(folder, "z.jpg", GOOD)
    _put(folder, "z.txt", f"Good image {len(cases)} of {tag}".encode())


def _put(folder: Path, name: str | bytes, data: bytes | tuple[str, str], tag: str = "") -> None:
    path = folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, bytes):
        path.write_bytes(
            data.replace(b"@", tag.encode()) if path.suffix.lower() != ".jpg" else data
        )
    elif data[0] == "link":
        path.symlink_to(data[1])
    else:
        os.mkfifo(path)
