"""Hostile rows, pages, records, paths and images, as a table, and the inputs made of them.

Each case stands alone in an input of its own between two good neighbours, and together with all
others in one input. `@` in its texts becomes the input's name, so that no two inputs hold the same.
"""

import gzip
import io
import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brotli
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from PIL import Image

from tests.corpora import random_image

CAPTION = "The caption of a hostile row in @"


@dataclass(frozen=True)
class Case:
    """What is wrong, and what must become of it.

    `reasons` are those of its reject rows; `kept` its samples: the captions that they end with.
    """

    name: str
    data: Any
    reasons: tuple[str, ...] = ()
    kept: int = 0
    value: str = ""
    formats: tuple[str, ...] = ("jsonl",)


def lost(
    name: str, data: Any, *reasons: str, value: str = "", formats: tuple[str, ...] = ("jsonl",)
) -> Case:
    return Case(name, data, reasons, 0, value, formats)


def fine(name: str, data: Any, kept: int = 1, formats: tuple[str, ...] = ("jsonl",)) -> Case:
    return Case(name, data, (), kept, "", formats)


TEXT = ("jsonl", "csv", "tsv", "parquet")


def row(path: Any = "good.jpg", caption: Any = CAPTION, **more: Any) -> dict[str, Any]:
    return {"path": path, "caption": caption, **more}


# -- rows of lists

LIST_CASES = [
    # paths
    lost("missing", row("none.jpg"), "missing_file", value="none.jpg", formats=TEXT),
    lost("folder", row("sub"), "unreadable_file", formats=TEXT),
    lost("below a file", row("good.jpg/x.jpg"), "unreadable_file", formats=TEXT),
    lost("name too long", row("a" * 300 + ".jpg"), "unreadable_file", formats=TEXT),
    lost("path too long", row("a/" * 3000 + "x.jpg"), "unreadable_file", formats=TEXT),
    lost("data URI as path", row("data:image/png;base64," + "QUJD" * 200), "missing_file", formats=TEXT),
    lost("NUL in a path", row("a\0.jpg"), "list_row", value="NUL", formats=("jsonl", "parquet")),
    lost("surrogate in a path", row("a\ud800.jpg"), "file_name"),
    lost("outside", row("../secret.jpg"), "outside_root", value="../secret.jpg", formats=TEXT),
    lost("outside by a detour", row("sub/../../secret.jpg"), "outside_root", formats=TEXT),
    lost("absolute", row("/etc/hostname"), "outside_root", formats=TEXT),
    lost("file URL", row("file:///etc/hostname"), "outside_root", formats=TEXT),
    lost("other protocol", row("s3://bucket/x.jpg"), "outside_root", formats=TEXT),
    lost("the root itself", row("."), "list_row", formats=TEXT),
    lost("home", row("~/x.jpg"), "missing_file", formats=TEXT),
    lost("backslashes", row("sub\\x.jpg"), "missing_file", formats=TEXT),
    lost("link to nothing", row("dangling.jpg"), "missing_file"),
    lost("link to itself", row("loop.jpg"), "unreadable_file"),
    lost("a pipe", row("pipe.jpg"), "unreadable_file"),
    lost("an endless device", row("zero.jpg"), "unreadable_file"),
    fine("two colons", row("a::zzz.jpg"), formats=TEXT),
    fine("signs in a name", row("a b#c?d%41[1]*=@.jpg"), formats=TEXT),
    fine("a name that is not ASCII", row("é日.jpg"), formats=TEXT),
    fine("dots in a path", row("./sub/.././good.jpg"), formats=TEXT),
    fine("blanks around a path", row("  good.jpg\t"), formats=("jsonl", "parquet")),
    fine("a link out of the root", row("linked.jpg")),
    # URLs
    lost("bracket in a URL", row("http://[x"), "bad_url", formats=TEXT),
    lost("no host", row("http://"), "bad_url", formats=TEXT),
    lost("a port beyond all", row("http://e.test:99999/x.jpg"), "bad_url", formats=TEXT),
    lost("private address", row("http://127.0.0.1:9/x.jpg"), "address", formats=TEXT),
    lost("metadata service", row("http://169.254.169.254/latest/"), "address"),
    lost("address as a number", row("http://2130706433/x.jpg"), "address"),
    lost("surrogate in a URL", row("http://127.0.0.1:9/\ud800.jpg"), "address"),
    # values
    lost("no path", row(None), "list_row", value="no path", formats=("jsonl", "parquet")),
    lost("empty path", row(""), "list_row", value="no path", formats=TEXT),
    lost("path of blanks", row("  \t ".replace("\t", " ")), "list_row", formats=TEXT),
    lost("no caption", row(caption=None), "list_row", value="no caption"),
    lost("caption of blanks", row(caption=" \u3000 "), "list_row", formats=TEXT),
    lost("caption of fillers", row(caption="\u3164\u115f\u3164"), "list_row", formats=TEXT),
    lost("caption of nothing visible", row(caption="\u200b\u2060\ufeff"), "list_row", formats=TEXT),
    lost("neither", row("", ""), "no_image_or_text", formats=TEXT),
    lost("path is a number", row(12), "list_row", value="no text"),
    lost("path is a list", row(["good.jpg"]), "list_row", value="no text"),
    lost("caption is a number", row(caption=3.5), "caption_type", value="3.5"),
    lost("caption is true", row(caption=True), "caption_type", value="True"),
    lost("caption is an object", row(caption={"en": "A text"}), "caption_type"),
    lost("captions in lists of lists", row(caption=[["A text"]]), "caption_type"),
    lost("caption is NaN", b'{"path": "good.jpg", "caption": NaN}', "caption_type", value="nan"),
    lost("one of the captions is a number", row(caption=["A text in @", 4]), "caption_type"),
    fine("several captions", row(caption=["One text of @", "Another text of @"]), 2, ("jsonl", "parquet")),
    fine("surrogate in a caption", row(caption="Fine \ud800 words of @")),
    fine("controls in a caption", row(caption="Fine \x00\x1b[31m\u202e words of @")),
    lost("caption of a megabyte", row(caption="word " * 200_000), "too_long", formats=TEXT),
    lost("caption of one letter", row(caption="x"), "too_short", formats=TEXT),
    lost("caption is a file name", row(caption="IMG_2041.JPG"), "filename", formats=TEXT),
    fine("NaN carried along", b'{"path": "good.jpg", "caption": "Carried along by @", "carried": NaN}'),
    fine("surrogate carried along", row(carried="\ud800")),
    fine("deep value carried along", b'{"path": "good.jpg", "caption": "Deep words of @", "carried": ' + b"[" * 90 + b"]" * 90 + b"}"),
    # lines
    lost("not JSON", b"nope", "list_row", value="not JSON"),
    lost("a list as row", b'["good.jpg", "A caption"]', "list_row", value="found list"),
    lost("deep JSON", b'{"path": ' + b"[" * 200_000, "list_row", value="nested too deeply"),
    lost("deep value", b'{"path": "good.jpg", "caption": "Words", "more": ' + b"[" * 100 + b"]" * 100 + b"}", "list_row", value="nested too deeply"),
    lost("JSON cut short", b'{"path": "good.jpg", "capt', "list_row"),
    lost("JSON of Python", b"{'path': 'good.jpg'}", "list_row"),
    lost("JSON not UTF-8", b'{"path": "good.jpg", "caption": "caf\xe9 au lait"}', "list_row", value="0xe9"),
    lost("a number of 5000 digits", b'{"path": "good.jpg", "caption": ' + b"1" * 5000 + b"}", "list_row"),
    lost("CSV not UTF-8", b"good.jpg,caf\xe9 au lait", "list_row", value="byte 0xe9 in column 'caption'", formats=("csv",)),
    lost("TSV not UTF-8", b"good.jpg\tcaf\xe9 au lait", "list_row", value="0xe9", formats=("tsv",)),
    lost("quote not closed", b'good.jpg,"Words that do not end', "list_row", value="a quote that is not closed", formats=("csv",)),
    lost("quote within quotes", b'good.jpg,"Words "loud" words"', "list_row", formats=("csv",)),
    lost("too few cells", b"good.jpg", "list_row", value="1 columns, expected 2", formats=("csv", "tsv")),
    lost("too many cells", b"good.jpg,Some words,more", "list_row", value="3 columns", formats=("csv",)),
    lost("carriage return", b"good.jpg,Some\rwords", "list_row", formats=("csv",)),
    fine("caption over two lines", b'good.jpg,"Words on\ntwo lines of @"', formats=("csv",)),
    fine("TSV with a quote", b'good.jpg\t"Words of @ begin with a quote', formats=("tsv",)),
    fine("blank lines", b"\n\r\n\n", 0, ("jsonl", "csv", "tsv")),
    # images
    *(
        lost(f"image: {name}", row(f"bad/{name}"), reason, formats=TEXT[:1])
        for name, reason in (
            ("empty.jpg", "empty"), ("html.jpg", "not_image"), ("text.png", "not_image"),
            ("cut.jpg", "decode_error"), ("cut.png", "decode_error"), ("noise.jpg", "decode_error"),
            ("huge.png", "too_many_pixels"), ("huge.webp", "too_many_pixels"), ("huge.gif", "too_many_pixels"),
            ("huge.bmp", "decode_error"), ("vector.svg", "unsupported"), ("photo.jxl", "unsupported"), ("icon.ico", "unsupported"),
            ("document.pdf", "not_image"), ("packed.jpg.gz", "not_image"), ("large.jpg", "too_large"),
            ("thin.png", "aspect_ratio"),
        )
    ),
    *(
        fine(f"image: {name}", row(f"odd/{name}"), formats=TEXT[:1])
        for name in ("wrong-ending.jpg", "grey16.png", "palette.gif", "turned.jpg", "alpha.webp",
                     "cmyk.jpg", "bilevel.tiff", "one-pixel.png", "trailing.jpg", "animated.gif")
    ),
]  # fmt: skip


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size as its header says, with next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (
        _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0" * 9)) + _chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + parts


def _saved(image: Image.Image, kind: str, **settings: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def write_images(folder: Path) -> None:
    """The files that the lists name."""
    for below in ("sub", "bad", "odd"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    good = random_image(1, 64, 48)
    for name in ("good.jpg", "a::zzz.jpg", "a b#c?d%41[1]*=@.jpg", "é日.jpg"):
        (folder / name).write_bytes(good)
    (folder.parent / "secret.jpg").write_bytes(good)
    (folder.parent / "elsewhere.jpg").write_bytes(good)
    (folder / "linked.jpg").symlink_to("../elsewhere.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jpg")
    small = Image.new("RGB", (64, 48), (10, 200, 30))
    gif = bytearray(_saved(small, "GIF"))
    gif[6:10] = struct.pack("<HH", 65000, 65000)
    bad = {
        "empty.jpg": b"", "html.jpg": b"<!doctype html><p>404", "text.png": b"words " * 50,
        "cut.jpg": random_image(2)[:3000], "cut.png": random_image(2, kind="PNG")[:5000],
        "noise.jpg": b"\xff\xd8\xff" + bytes(range(256)) * 9, "huge.png": png_header(50_000, 50_000),
        "huge.webp": b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f\xff\xff\xff\x0f" + b"\0" * 12,
        "huge.gif": bytes(gif),
        "huge.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 70, 0, 54, 40, 9000, 9000, 1, 24, 0, 0, 1, 1, 0, 0),
        "vector.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "photo.jxl": b"\xff\x0a" + b"\0" * 50,
        "icon.ico": b"\0\0\1\0" + b"\0" * 50, "document.pdf": b"%PDF-1.4", "packed.jpg.gz": gzip.compress(good),
        "large.jpg": good + b"\0" * 3_000_000, "thin.png": _saved(Image.new("RGB", (900, 3)), "PNG"),
    }  # fmt: skip
    alpha = small.convert("RGBA")
    alpha.putalpha(100)
    odd = {
        "wrong-ending.jpg": random_image(3, 64, 48, "PNG"),
        "grey16.png": _saved(Image.new("I;16", (64, 48), 40_000), "PNG"),
        "palette.gif": _saved(small.convert("P"), "GIF"),
        "turned.jpg": _saved(small, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"),
        "alpha.webp": _saved(alpha, "WEBP"), "cmyk.jpg": _saved(small.convert("CMYK"), "JPEG"),
        "bilevel.tiff": _saved(small.convert("1"), "TIFF"), "one-pixel.png": _saved(Image.new("RGB", (1, 1)), "PNG"),
        "trailing.jpg": good + b"\0" * 900,
        "animated.gif": _saved(small, "GIF", save_all=True, append_images=[small.rotate(9 * i) for i in range(9)]),
    }  # fmt: skip
    for below, images in (("bad", bad), ("odd", odd)):
        for name, data in images.items():
            (folder / below / name).write_bytes(data)


def _tagged(value: Any, tag: str) -> Any:
    if isinstance(value, str):
        return value if value.startswith("a b#c") else value.replace("@", tag)
    if isinstance(value, bytes):
        return value.replace(b"@", tag.encode())
    if isinstance(value, list):
        return [_tagged(one, tag) for one in value]
    if isinstance(value, dict):
        return {key: _tagged(one, tag) for key, one in value.items()}
    return value


def list_file(cases: list[Case], form: str, tag: str) -> bytes:
    """A list of all cases, with a good row before each and one at the end."""
    items: list[Any] = []
    for number, case in enumerate(cases):
        items += [
            row(caption=f"Good row {number} of {tag}"),
            _tagged(case.data, f"{tag} {case.name}"),
        ]
    items.append(row(caption=f"Good row {len(cases)} of {tag}"))
    if form == "parquet":
        return _parquet(items)
    sign = {"csv": ",", "tsv": "\t"}.get(form, "")
    lines = [f"path{sign}caption".encode()] if sign else []
    for item in items:
        if isinstance(item, bytes):
            lines.append(item)
        elif sign:
            lines.append(
                sign.join(_cell(item[name], sign) for name in ("path", "caption")).encode()
            )
        else:
            lines.append(json.dumps(item).encode())
    return b"\n".join(lines) + b"\n"


def _cell(text: str, sign: str) -> str:
    return f'"{text}"' if sign == "," and ("," in text or '"' in text) else text


def _parquet(items: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    captions = [item["caption"] for item in items]
    captions = [one if isinstance(one, list) else [one] for one in captions]
    table = pa.table({"path": [item["path"] for item in items], "caption": captions})
    pq.write_table(table, out, row_group_size=7)
    return out.getvalue()


# -- pages and records of archives


def record(
    block: bytes,
    kind: str = "response",
    url: str = "http://a.test/hostile",
    more: str = "",
    length: str = "",
) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n{more}"
    return (
        head.encode()
        + b"Content-Length: "
        + (length or str(len(block))).encode()
        + b"\r\n\r\n"
        + block
        + b"\r\n\r\n"
    )


def answer(body: bytes, media: str = "text/html", status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\n{more}\r\n".encode() + body


def page(body: bytes, **more: str) -> bytes:
    return record(answer(body, **more))


_GZIP_BOMB = gzip.compress(b"a" * 10**7)
_BROTLI_BOMB = brotli.compress(b"a" * 10**7, quality=5)
_CUT_IMAGE, _IMAGE = random_image(4)[:2000], random_image(5)
_HARMED = b"\0harmed\0"


def warc_cases(tag: str) -> list[Case]:
    """The cases with captions and URLs that hold `tag`."""

    def img(
        src: str = "http://a.test/good.jpg", alt: str = "The caption of a hostile page"
    ) -> bytes:
        return f'<img src="{src}" alt="{alt} in {tag}">'.encode()

    def image(name: str, body: bytes, more: str, reason: str) -> Case:
        url = f"http://a.test/{name}/{tag.replace(' ', '-')}.jpg"
        held = record(answer(body, "image/jpeg", more=more), url=url)
        return lost(f"image: {name}", [held, page(img(url))], reason)

    return [
    # pages
    fine("page: unusable base", page(b"<base href='http://['>" + img())),
    fine("page: base of a template", page(b"<base href='http://[site]/'>" + img("//a.test/good.jpg"))),
    fine("page: charset punycode", page(b"<meta charset=punycode>" + img())),
    fine("page: charset utf-16", page(b"<meta charset=utf-16>" + img())),
    fine("page: unknown charset", page(img(), media="text/html; charset=x-nothing")),
    fine("page: nested 30,000 deep", page(b"<div class=figure>" * 30_000 + img())),
    fine("page: 30,000 attributes", page(b"<p " + b" ".join(b"a%d=1" % i for i in range(30_000)) + b">" + img())),
    fine("page: NUL bytes", page(b"<p>\0\0" + img())),
    fine("page: lone surrogates", page(img(alt="Fine &#xD800; words"))),
    fine("page: many combining marks", page(img(alt="Fine words e" + "\u0301" * 900))),
    fine("page: cut in a tag", page(img() + b"<img src='http://a.test/x")),
    fine("page: nothing", page(b""), 0),
    lost("page: bracket in a URL", page(img("http://[x")), "bad_url"),
    lost("page: data URI", page(img("data:image/png;base64,AAAA")), "inline_image"),
    lost("page: javascript", page(img("javascript:void(0)")), "bad_url"),
    lost("page: placeholder", page(img("#")), "bad_url"),
    lost("page: undefined", page(img("undefined")), "bad_url"),
    lost("page: template", page(img("{{image.url}}")), "bad_url"),
    lost("page: private address", page(img("http://127.0.0.1:9/x.jpg")), "address"),
    lost("page: opted out", page(b"<meta name=robots content='noai'>" + img()), "opt_out", value="noai"),
    lost("page: opted out by header", page(img(), more="X-Robots-Tag: noai\r\n"), "opt_out"),
    lost("page: reserved", page(img(), more="tdm-reservation: 1\r\n"), "opt_out"),
    lost("page: too large", page(b" " * 1_100_000 + img()), "too_large"),
    # records
    fine("record: names in lower case", record(answer(img())).replace(b"WARC-T", b"warc-t").replace(b"Content-L", b"content-l", 1)),
    fine("record: bare line feeds", record(answer(img()).replace(b"\r", b"")).replace(b"\r\n", b"\n")),
    fine("record: version 0.18", record(answer(img())).replace(b"WARC/1.0", b"WARC/0.18")),
    fine("record: no media type", record(answer(b"<!doctype html>" + img()).replace(b"Content-Type: text/html\r\n", b""))),
    fine("record: two gzip members", record(answer(gzip.compress(b"<p>") + gzip.compress(img()), more="Content-Encoding: gzip\r\n"))),
    fine("record: says gzip, is not", record(answer(img(), more="Content-Encoding: gzip\r\n"))),
    fine("record: a request", record(b"GET / HTTP/1.1\r\n\r\n", "request"), 0),
    lost("record: gzip cut", record(answer(gzip.compress(img() * 50)[:-20], more="Content-Encoding: gzip\r\n")), "truncated"),
    lost("record: brotli cut", record(answer(brotli.compress(img() * 50)[:-5], more="Content-Encoding: br\r\n")), "truncated"),
    lost("record: zstd cut", record(answer(zstandard.compress(img() * 50)[:-5], more="Content-Encoding: zstd\r\n")), "truncated"),
    lost("record: gzip bomb", record(answer(_GZIP_BOMB, more="Content-Encoding: gzip\r\n")), "too_large"),
    lost("record: brotli bomb", record(answer(_BROTLI_BOMB, more="Content-Encoding: br\r\n")), "too_large"),
    lost("record: unknown coding", record(answer(img(), more="Content-Encoding: compress\r\n")), "encoding"),
    lost("record: chunk cut", record(answer(b"5\r\n<html\r\nff\r\n>", more="Transfer-Encoding: chunked\r\n")), "truncated"),
    lost("record: not found", page(img(), status="404 Not Found"), "page_status"),
    lost("record: no HTTP", record(img()), "warc_header"),
    lost("record: empty", record(b""), "warc_header"),
    lost("record: no length", record(answer(img())).replace(b"Content-Length", b"X-Length"), "warc_broken"),
    lost("record: negative length", record(answer(img()), length="-5"), "warc_broken"),
    lost("record: length too large", record(answer(img()), length="99999999"), "warc_truncated"),
    lost("record: length too small", record(answer(img()), length="50"), "warc_broken"),
    lost("record: revisit of nothing", record(b"", "revisit"), "warc_revisit"),
    lost("record: damaged member", _HARMED + record(answer(img() * 99)), "warc_broken"),
    lost("record: garbage", b"\0\0garbage! " * 30, "warc_broken"),
    fine("record: unusable URL", record(answer(img()), url="http://[/"), 1),
    fine("record: no URL", record(answer(img()), url=""), 0),
    # images
    image("empty", b"", "", "empty"),
    image("html", b"<!doctype html>", "", "not_image"),
    image("cut", _CUT_IMAGE, "", "decode_error"),
    image("huge", png_header(50_000, 50_000), "", "too_many_pixels"),
    image("large", b"\xff\xd8\xff" + b"\0" * 3_000_000, "", "too_large"),
    image("opted out", _IMAGE, "X-Robots-Tag: noai\r\n", "opt_out"),
    image("chunk", b"ff\r\nabc", "Transfer-Encoding: chunked\r\n", "truncated"),
]  # fmt: skip


def warc_file(cases: list[Case], tag: str) -> bytes:
    """An archive of the cases, a member a record, with a good page before each and at the end."""

    def good(number: int) -> bytes:
        text = f"<img src='/good.jpg' alt='Good page {number} of {tag}'>"
        return page(text.encode())

    parts = [record(answer(random_image(5, 64, 48), "image/jpeg"), url="http://a.test/good.jpg")]
    for number, case in enumerate(cases):
        parts.append(good(number))
        parts += case.data if isinstance(case.data, list) else [case.data]
    parts.append(good(len(cases)))
    return b"".join(map(_member, parts))


def _member(data: bytes) -> bytes:
    if not data.startswith(_HARMED):
        return gzip.compress(data, 1)
    packed = bytearray(gzip.compress(data.removeprefix(_HARMED), 1))
    packed[len(packed) // 2 :] = b"\xff" * (len(packed) - len(packed) // 2)
    return bytes(packed)
