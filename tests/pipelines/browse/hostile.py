"""A corpus that somebody made to do harm: a table of samples, of shards that lie, of columns, and
of rejects."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from septet.preprocess.shards.heads import write_corpus
from septet.schemas.columns import ColumnManifestV1, ColumnShard, MemberFormat
from septet.schemas.layout import column_manifest, column_sidecar, column_tar
from septet.schemas.manifest import Shard
from septet.schemas.tables import MEMBERS, REJECTS

SCRIPT = "<script>alert(1)</script>"
ELSEWHERE = "http://elsewhere.example/"


def _png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that says these sides, whatever its pixels are."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
             (b"IDAT", data or zlib.compress(b"\0" * 1000)), (b"IEND", b"")]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


def _jpeg() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (48, 32), (120, 90, 60)).save(out, "JPEG")
    return out.getvalue()


JPEG = _jpeg()
SVG = f"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(2)'>{SCRIPT}<image href='{ELSEWHERE}x.png'/></svg>"

SAMPLES: dict[str, dict[str, Any]] = {
    # Captions.
    "script": {"caption": f"{SCRIPT} a caption with a script"},
    "attribute": {"caption": "\"><img src=x onerror=alert(3)> closes an attribute"},
    "event": {"caption": "' onmouseover='alert(4)' autofocus onfocus='alert(5)"},
    "javascript text": {"caption": "'); alert(6); // closes a text of a script"},
    "template": {"caption": "{{ 7 * 7 }} {% include '/etc/passwd' %} ${7*7} #{7*7}"},
    "frame": {"caption": f"<iframe src='{ELSEWHERE}'></iframe><object data='{ELSEWHERE}'></object>"},
    "style": {"caption": "<style>*{display:none}</style><link rel=stylesheet href=//elsewhere.example/x.css>"},
    "base": {"caption": f"</title></textarea></select><base href={ELSEWHERE}><meta http-equiv=refresh content='0;url={ELSEWHERE}'>"},
    "form": {"caption": f"<form action={ELSEWHERE}><input name=keep></form><button form=x>"},
    "svg text": {"caption": SVG},
    "math": {"caption": "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=x onerror=alert(7)>'>"},
    "comment": {"caption": "<!--><script>alert(8)</script>--> ]]> <![CDATA["},
    "override": {"caption": "\u202egnihtemos sdrawkcab \u2066and no end of it \u202b\u2067"},
    "zalgo": {"caption": "a" + "\u0301\u0316\u0321\u0488" * 400},
    "emoji": {"caption": "👩‍👩‍👧‍👦" * 200 + "🏴󠁧󠁢󠁥󠁮󠁧󠁿"},
    "hebrew": {"caption": "קפטיון בעברית עם <b>תגית</b> and English"},
    "arabic": {"caption": "تعليق طويل بالعربية مع أرقام ١٢٣ و <i>وسم</i>"},
    "every script": {"caption": "中文 日本語 한국어 ไทย हिन्दी বাংলা தமிழ் ქართული አማርኛ Ελληνικά Русский"},
    "megabyte": {"caption": "long " * 210_000},
    "one word": {"caption": "x" * 5000},
    "lines": {"caption": "\n" * 3000 + "\r\n\t\v\f\x85\u2028\u2029 end"},
    "null byte": {"caption": "before\0after \x00<script>alert(9)</script>"},
    "controls": {"caption": "\x07\x1b[31mred\x1b]0;title\x07 \x9b31m \ufeff\ufffe\uffff"},
    "no caption": {"caption": None},
    "empty": {"caption": ""},
    "formula": {"caption": "=HYPERLINK(\"http://elsewhere.example\")\t@SUM(1+1)"},
    # Keys.
    "key script": {"key": f"{SCRIPT}"},
    "key quotes": {"key": "a'b\"c`d\\e"},
    "key path": {"key": "../../../../etc/passwd"},
    "key address": {"key": "//elsewhere.example/%2e%2e/?a=b&c#d"},
    "key null": {"key": "k\0ey"},
    "key override": {"key": "\u202ekey\u2066"},
    "key long": {"key": "k" * 20_000},
    "key sql": {"key": "'; DROP TABLE rejects; --"},
    # Addresses.
    "url script": {"url": "javascript:alert(10)"},
    "url data": {"url": "data:text/html,<script>alert(11)</script>"},
    "url file": {"url": "file:///etc/passwd"},
    "url quotes": {"url": f"{ELSEWHERE}\" onclick=alert(12) x=\""},
    "page url": {"page_url": "javascript:alert(13)//"},
    "source": {"source": f"{SCRIPT}'"},
    "language": {"language": "\"><script>alert(14)</script>"},
    "language long": {"language": "de" * 4000},
    "format": {"format": "{{ 1/0 }}"},
    # Numbers.
    "huge sides": {"width": 2**31 - 1, "height": -(2**31)},
    "zero sides": {"width": 0, "height": 0, "original_width": 0, "original_height": 0},
    "huge bytes": {"original_bytes": 2**63 - 1},
    "not a number": {"language_score": float("nan")},
    "infinite": {"language_score": float("inf")},
    # Metadata.
    "boxes": {"extra": json.dumps({"boxes": [[0, 0, 2, "x"], [1e308, 0, 1, 1], None], "labels": [SCRIPT] * 3})},
    "boxes nan": {"extra": '{"boxes": [[NaN, 0, Infinity, 1]], "phrases": [{"box": [0, 0, 1, 1], "phrase": "<script>alert(15)</script>"}]}'},
    "deep": {"extra": "[" * 100_000},
    "huge number": {"extra": '{"boxes": [[0, 0, 1' + "0" * 6000 + ", 1]]}"},
    "no json": {"extra": "{", "annotations": "\0"},
    # Images.
    "broken jpeg": {"image": ("jpg", JPEG[:-200])},
    "no image": {"image": ("jpg", b"no image at all")},
    "empty image": {"image": ("png", b"")},
    "bomb": {"image": ("png", _png(60_000, 60_000))},
    "endless image": {"image": ("png", _png(2**31 - 1, 2**31 - 1))},
    "svg in jpg": {"image": ("jpg", SVG.encode())},
    "svg": {"image": ("svg", SVG.encode())},
    "html in png": {"image": ("png", f"<html>{SCRIPT}".encode())},
    "html": {"image": ("html", f"<html>{SCRIPT}".encode())},
    "extension": {"image": ("<img src=x onerror=alert(16)>.jpg", JPEG)},
    "extension path": {"image": ("jpg/../../x", JPEG)},
    "two images": {"image": ("jpg", JPEG), "more": {"PNG": JPEG, "txt": b"\xff\xfe<script>"}},
}  # fmt: skip
"""What is wrong with a sample: its row of the sidecar and its members, beside usual ones."""

LIES: dict[str, list[dict[str, Any]] | None] = {
    "behind the end": [{"offset": 10**12}],
    "negative": [{"offset": -5}],
    "huge": [{"size": 2**62}],
    "overflow": [{"offset": 2**63 - 1, "size": 2**63 - 1}],
    "into the next": [{"size": 10_000}],
    "no member": [],
    "many members": [{}] * 3000,
    "two rows": None,
}
"""Shards whose sidecars lie: what is said of the members, instead of what is there."""

DAMAGED = ("flipped", "lost")
"""Shards whose sidecars have a whole footer, but a page with a flipped byte or without its bytes; so
have a column's sidecar, and a file of rejects."""

COLUMNS: dict[str, tuple[str, str, bytes]] = {
    "scene-graphs": ("scene-graphs", "json", json.dumps({
        "objects": [{"lemma": "x", "spans": [[0, 1]], "text": SCRIPT + "\u202e"}] * 300,
        "attributes": [{"lemma": SCRIPT, "spans": [], "object": 0, "kind": SCRIPT}], "numbers": [],
        "relations": [{"lemma": SCRIPT, "spans": [], "subject": i % 7, "object": i % 5} for i in range(500)],
    }).encode()),
    "circle": ("scene-graphs", "json", b'{"objects": [{"lemma": "x", "spans": [], "text": 7}], "attributes": [], "numbers": [{"lemma": "", "spans": [], "object": 0, "value": {"a": 1}}], "relations": [{"lemma": "", "spans": [], "subject": 0, "object": 0}]}'),
    "ocr": ("ocr", "json", json.dumps({"lines": [{"box": [0, 0, 1, 1], "text": SCRIPT}, 7, {"box": "x"}]}).encode()),
    "boxes": ("boxes", "json", b'{"boxes": [[0,0,1e400,1]], "labels": [NaN]}'),
    "deep": ("own", "json", b"[" * 100_000),
    "wide": ("own", "json", json.dumps([{f"<b>{i}": SCRIPT for i in range(500)}] * 200).encode()),
    "texts": ("own", "text", SCRIPT.encode() * 50_000),
    "no-text": ("own", "text", b"\xff\xfe\x00"),
    "regions": ("regions", "safetensors", struct.pack("<Q", 2**60) + b"{}"),
    "codes": ("codes", "safetensors", struct.pack("<Q", 2) + b"{}"),
    "patches": ("patches", "raw", b"\0" * 8),
    "class": ("os:system", "json", b"{}"),
    "<script>alert(17)": ("own", "json", b"1" + b"0" * 5000),
}  # fmt: skip
"""Columns by name: kind, form, and the value of the first sample."""

REJECTED = [
    {"id": "1", "stage": SCRIPT, "reason": SCRIPT, "value": SCRIPT, "caption": SCRIPT},
    {"id": "2", "stage": "../..", "reason": "a/b?c#d", "value": "1e999", "caption": "\0"},
    {"id": "3", "stage": "filter", "reason": "too_short", "value": "nan", "caption": "x" * 10**6},
    {"id": None, "stage": "filter", "reason": "too_short", "value": None, "caption": None},
    {"id": "4", "stage": "", "reason": "", "value": "", "image_url": "javascript:alert(18)"},
    {"id": "5", "stage": "{{ 7 * 7 }}", "reason": "\u202eoverride", "value": "12", "page_url": "javascript:"},
    {"id": "6", "stage": "curate", "reason": "duplicate_image", "value": SCRIPT * 40_000, "caption": SCRIPT},
]  # fmt: skip
"""Rows of rejects."""

RECIPE = {"filter": {"min_words": "x", "own_rules": [{"rule": "os:system"}], "scripts": "Han"},
          "curate": {"min_side": float("inf"), "max_aspect_ratio": -1}}  # fmt: skip


def write_hostile(folder: Path) -> Path:
    """Write the corpus; its folder."""
    (folder / "shards").mkdir(parents=True)
    shards = [_shard(folder, "rows", [_sample(name, one) for name, one in SAMPLES.items()])]
    for number, (name, members) in enumerate(LIES.items()):
        one = _sample(f"lie {number} {name}", {})
        shards.append(_shard(folder, f"lie-{number}", [one], members))
        if members is None:
            path = folder / shards[-1].sidecar
            table = pq.read_table(path)
            pq.write_table(pa.concat_tables([table] * 2), path)
    for how in DAMAGED:
        shards.append(_shard(folder, how, [_sample(f"{how} {n}", {}) for n in range(3)]))
        damage(folder / shards[-1].sidecar, "caption", how)
    write_corpus(str(folder), shards, name=SCRIPT, septet=SCRIPT, sorted_keys=False, recipe=RECIPE)
    for name, (kind, form, value) in COLUMNS.items():
        _column(folder, name, kind, form, value, shards)
    (folder / "rejects").mkdir()
    rows = pa.Table.from_pylist(REJECTED, pa.schema([one.with_nullable(True) for one in REJECTS]))
    pq.write_table(rows, folder / "rejects/rows.parquet")
    (folder / "rejects/<b>damaged.parquet").write_bytes(b"PAR1" * 3)
    pq.write_table(rows, folder / "rejects/within.parquet")
    damage(folder / "rejects/within.parquet", "reason", "lost")
    damage(folder / column_sidecar("ocr", shards[0].tar), "<b>fact'\"", "lost")
    return folder


def damage(path: Path, column: str, how: str) -> None:
    """Damage a page of a Parquet file, whose footer stays whole."""
    data = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(0)
    found = next(
        one for i in range(group.num_columns) if (one := group.column(i)).path_in_schema == column
    )
    start, size = found.data_page_offset, found.total_compressed_size
    begin = found.dictionary_page_offset if found.has_dictionary_page else start
    if how == "flipped":
        data[start] ^= 0xFF
    else:
        data[begin : begin + size] = bytes(size)
    path.write_bytes(data)


def _sample(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A sample with its members as bytes."""
    usual = {"key": f"key {name}", "caption": f"a caption of {name}", "url": f"{ELSEWHERE}{name}.jpg",
             "page_url": ELSEWHERE, "source": "a list", "language": "en", "language_score": 0.5,
             "format": "jpeg", "width": 48, "height": 32, "original_width": 48, "original_height": 32,
             "original_bytes": 700, "extra": None, "annotations": None}  # fmt: skip
    facts = usual | {k: v for k, v in given.items() if k not in ("image", "more")}
    ext, data = given.get("image", ("jpg", JPEG))
    return facts | {"members": {ext: data, **given.get("more", {})}}


_TYPES = {"language_score": pa.float32(), "width": pa.int32(), "height": pa.int32(),
          "original_width": pa.int32(), "original_height": pa.int32(), "original_bytes": pa.int64(),
          "members": MEMBERS}  # fmt: skip


def _shard(
    folder: Path, name: str, rows: list[dict[str, Any]], lie: list[dict[str, Any]] | None = None
) -> Shard:
    data, table = bytearray(), []
    for row in rows:
        members = []
        for ext, content in row["members"].items():
            members.append(_member(ext, len(data), content))
            data += content
        if lie is not None:
            members = [
                members[0] | {"ext": f"{i}.jpg" if i else "jpg"} | one for i, one in enumerate(lie)
            ]
        table.append(row | {"members": members})
    tar, sidecar = f"shards/{name}.tar", f"shards/{name}.parquet"
    (folder / tar).write_bytes(data)
    fields = [(one, _TYPES.get(one, pa.string())) for one in table[0]]
    pq.write_table(pa.Table.from_pylist(table, pa.schema(fields)), folder / sidecar)
    keys = sorted(row["key"] for row in rows)
    return Shard(tar=tar, sidecar=sidecar, samples=len(rows), bytes=len(data), tar_sha256=name,
                 sidecar_sha256="", first_key=keys[0][:100], last_key=keys[-1][:100])  # fmt: skip


def _member(ext: str, offset: int, content: bytes) -> dict[str, Any]:
    return {"ext": ext, "offset": offset, "size": len(content), "crc32": zlib.crc32(content)}


def _column(
    folder: Path, name: str, kind: str, form: str, value: bytes, shards: list[Shard]
) -> None:
    listed = []
    for number, base in enumerate(shards):
        tar, sidecar = column_tar(name, base.tar), column_sidecar(name, base.tar)
        (folder / tar).parent.mkdir(parents=True, exist_ok=True)
        first = value if number == 0 else b""
        (folder / tar).write_bytes(first)
        keys = pq.read_table(folder / base.sidecar, columns=["key"])["key"].to_pylist()[
            : base.samples
        ]
        members = [[_member("x", 0, first if row == 0 else b"")] for row in range(base.samples)]
        facts = [float("nan") if row % 2 else 1e300 for row in range(base.samples)]
        rows = {"key": keys, "members": pa.array(members, MEMBERS), "reason": [SCRIPT] * len(keys),
                "<b>fact'\"": facts}  # fmt: skip
        pq.write_table(pa.table(rows), folder / sidecar)
        listed.append(
            ColumnShard(tar=tar, sidecar=sidecar, samples=base.samples, bytes=len(first), tar_sha256="",
                        sidecar_sha256="", base_sha256=base.tar_sha256)
        )  # fmt: skip
    counts = {"samples": sum(one.samples for one in shards), "values": 1}
    head = ColumnManifestV1(
        name=name, kind=kind, version=1, septet="0", fingerprint="", settings={"weights": "/dev/zero"},
        member=MemberFormat(ext="x", kind=form, arrays={}, notes={"grid": [1, 10**9], "tokenizer": "vqgan"}),
        shards=listed, counts=counts, format_version=1,
    )  # fmt: skip
    (folder / column_manifest(name)).write_text(head.model_dump_json(exclude_none=True))
