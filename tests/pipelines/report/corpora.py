"""Corpora for tests: small ones with images drawn here, and their rows as plain Python."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from septet.preprocess import files
from septet.preprocess.shards.heads import read_corpus, read_inputs, write_corpus
from septet.preprocess.shards.tar import ShardWriter
from septet.schemas import tables
from septet.schemas.manifest import InputFile, Shard

HOSTILE = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
CAPTIONS = [
    ("en", "A lighthouse on the cliff above a calm evening sea"),
    ("en", "Two red bicycles lean against the wall of a bakery in the old town"),
    ("en", "Screenshot of the settings panel with the network tab open"),
    ("en", "Figure 3. Throughput by number of workers, higher is better"),
    ("de", "Blick vom Gipfel auf den zugefrorenen See im Winter"),
    ("de", "Das Dialogfenster zum Speichern einer Tabelle"),
    ("fr", "Une barque bleue amarrée au bord du canal, au petit matin"),
    ("es", "Mercado de frutas en la plaza mayor un domingo por la mañana"),
    ("ru", "Старый деревянный мост через реку осенью"),
    ("ar", "منظر لغروب الشمس فوق الكثبان الرملية في الصحراء"),
    ("ar", "نافذة الإعدادات مع علامة تبويب الشبكة"),
    ("he", "סירת מפרש לבנה בנמל הישן של יפו"),
    ("zh", "夕阳下的群山与湖泊，远处有一座小木屋"),
    ("zh", "设置面板的屏幕截图，网络选项卡已打开"),
    ("ja", "雨上がりの京都の路地と赤い提灯"),
    ("hi", "पहाड़ों के बीच बहती हुई एक नदी"),
    ("und", "IKEA 2041 – Ø 35 cm"),
    ("en", HOSTILE),
]
REJECTS = [
    ("source", "bad_url", 14, "data:image/gif;base64,R0lGODlhAQABAAAAACw="),
    ("filter", "too_short", 160, "3"),
    ("filter", "too_few_words", 73, "1"),
    ("filter", "language", 58, "vi"),
    ("filter", "filename", 31, "IMG_2041.JPG"),
    ("filter", "too_long", 4, "1834"),
    ("dedup", "duplicate_pair", 121, "9f3c0a77d1e2b4568"),
    ("dedup", "caption_repeated", 47, "31"),
    ("fetch", "http_status", 52, "404"),
    ("fetch", "http_status", 9, "503"),
    ("fetch", "timeout", 21, "total"),
    ("fetch", "dns", 11, "Domain name not found"),
    ("fetch", "not_image", 13, "text/html"),
    ("fetch", "opt_out", 6, "noai"),
    ("fetch", "too_large", 2, "20971520"),
    ("curate", "aspect_ratio", 26, "5.3"),
    ("curate", "duplicate_image", 18, "00c1"),
]
RECIPE = {
    "name": "harbour",
    "sources": [{"kind": "warc", "paths": ["pages/*.warc.gz"], "captions": ["alt", "figcaption"]}],
    "filter": {"min_chars": 5, "max_chars": 1000, "min_words": 2, "max_words": 256},
    "dedup": {"images_per_caption": 10},
    "fetch": {"max_bytes": 20971520, "user_agent": "Septet/0.1"},
    "image": {"image_size": 256, "resize_mode": "keep_ratio", "max_pixels": 100000000},
    "curate": {"min_side": 0, "max_aspect_ratio": 3.0, "min_bytes": 0},
    "write": {"samples_per_shard": 10000},
}
SIZES = [(640, 480), (480, 640), (320, 320), (800, 450), (300, 200), (1200, 500), (90, 120)]
HOSTS = [
    "docs.example.org", "images.example.co.uk", "cdn.museum.example.com", "127.0.0.1:8080",
    "static.wiki.example.net", "localhost",
]  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """A corpus and what was put into it."""

    path: str
    rows: list[dict[str, Any]] = field(repr=False)
    rejects: list[dict[str, Any]] = field(repr=False)


def random_image(seed: int, width: int, height: int) -> Image.Image:
    """A landscape: sky, sun, hills, and water in front."""
    rng = np.random.default_rng(seed)
    hue = rng.integers(0, 360)
    ramp = np.linspace(0, 1, height)[:, None, None]
    top, low = (np.array(_hsv(hue + d, s, v)) for d, s, v in ((0, 0.55, 0.55), (40, 0.35, 0.98)))
    sky = np.broadcast_to(top + (low - top) * ramp, (height, width, 3))
    image = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    x, y, r = rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.45) * height, 0.09 * height
    draw.ellipse((x - r, y - r, x + r, y + r), fill=_hsv(hue + 50, 0.15, 1.0))
    for layer in range(4):
        base, rough = (0.45 + 0.13 * layer) * height, height * 0.12
        phase = rng.uniform(0, 6.28, 3)
        xs = np.arange(0, width + 8, 8)
        ridge = sum(
            np.sin(xs / width * k * 3.1 + p) / k for k, p in zip((1, 3, 7), phase, strict=True)
        )
        points = [(int(a), int(b)) for a, b in zip(xs, base - rough * ridge, strict=True)]
        draw.polygon(
            [*points, (width, height), (0, height)],
            fill=_hsv(hue + 170 + 12 * layer, 0.45, 0.62 - 0.13 * layer),
        )
    return image


def _hsv(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    import colorsys

    r, g, b = colorsys.hsv_to_rgb((hue % 360) / 360, saturation, value)
    return int(255 * r), int(255 * g), int(255 * b)


def encoded(image: Image.Image, ext: str) -> bytes:
    out = io.BytesIO()
    image.save(out, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[ext], quality=85)
    return out.getvalue()


def build_corpus(path: Path, samples: int = 180, shards: int = 3, name: str = "harbour") -> Truth:
    """Write a corpus with every file that a build leaves, and return what is in it."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(samples):
        language, text = CAPTIONS[int(rng.integers(len(CAPTIONS)))]
        width, height = SIZES[int(rng.integers(len(SIZES)))]
        ext = ("jpg", "jpg", "jpg", "png", "webp")[i % 5]
        shrink = min(1.0, 256 / min(width, height))
        stored = (round(width * shrink), round(height * shrink))
        host = HOSTS[int(rng.integers(len(HOSTS)))]
        caption = f"{text} ({i})" if i % 3 and text != HOSTILE else text
        url = f"https://{host}/media/{i:05d}.{ext}"
        rows.append(
            {
                "key": hashlib.sha256(f"{name}{i}".encode()).hexdigest()[:32],
                "url": url,
                "caption": caption,
                "caption_from": ("alt", "alt", "figcaption")[i % 3],
                "page_url": None if i % 11 == 0 else f"https://{host}/pages/{i // 4}.html",
                "source": "pages/a.warc.gz",
                "language": language,
                "language_score": 0.2 if language == "und" else 0.93,
                "language_from": "undetermined" if language == "und" else ("model", "page")[i % 2],
                "format": {"jpg": "jpeg"}.get(ext, ext),
                "width": stored[0],
                "height": stored[1],
                "original_width": width,
                "original_height": height,
                "original_bytes": 11 * width + 7 * i,
                "reencoded": shrink < 1,
                "sha256": hashlib.sha256(url.encode()).hexdigest(),
                "extra": None,
                "_image": encoded(random_image(i, *stored), ext)
                if i % 60 != 7
                else b"not a picture",
                "_ext": ext,
            }
        )
    rows.sort(key=lambda row: row["key"])
    written = [
        write_shard(
            path, number, rows[number * samples // shards : (number + 1) * samples // shards]
        )
        for number in range(shards)
    ]
    rejects = write_rejects(path)
    write_funnel(path, samples, rejects)
    write_corpus(
        str(path),
        written,
        name=name,
        septet="0.1.0",
        recipe={**RECIPE, "name": name},
        inputs=[InputFile(path="pages/a.warc.gz", bytes=9_123_456, digest="blake2b:" + "ab" * 16)],
        sorted_keys=True,
        counts={"samples": samples},
    )
    return Truth(str(path), rows, rejects)


def rewrite(path: str, shards: Callable[[list[Shard]], list[Shard]] = list, **change: Any) -> None:
    """Write a corpus's head and lists anew, with changes."""
    head, listed = read_corpus(path)
    told = {
        "name": head.name,
        "septet": head.septet,
        "recipe": head.recipe,
        "sorted_keys": head.sorted_keys,
        "counts": head.counts,
        "inputs": list(read_inputs(path)),
    }
    write_corpus(path, shards(list(listed)), **{**told, **change})


def write_shard(path: Path, number: int, rows: list[dict[str, Any]]) -> Shard:
    tar, sidecar = f"shards/{number:05d}.tar", f"shards/{number:05d}.parquet"
    with files.open_atomic(f"{path}/{tar}") as out:
        writer = ShardWriter(out)
        for row in rows:
            facts = {name: row[name] for name in ("key", "url", "language")}
            row["members"] = writer.add(
                row["key"],
                {
                    row["_ext"]: row["_image"],
                    "txt": row["caption"].encode(),
                    "json": json.dumps(facts).encode(),
                },
            )
        size, digest = writer.close()
    plain = [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]
    files.write_table(f"{path}/{sidecar}", pa.Table.from_pylist(plain, schema=tables.SAMPLES))
    return Shard(
        tar=tar,
        sidecar=sidecar,
        samples=len(rows),
        bytes=size,
        tar_sha256=digest,
        sidecar_sha256=files.sha256(f"{path}/{sidecar}"),
        first_key=rows[0]["key"],
        last_key=rows[-1]["key"],
    )


def write_rejects(path: Path) -> list[dict[str, Any]]:
    """Reject rows of all stages, two files for each stage that has many."""
    rejects = []
    for stage, reason, count, value in REJECTS:
        for i in range(count):
            _, text = CAPTIONS[i % len(CAPTIONS)]
            rejects.append(
                {
                    "id": None if stage == "source" else f"{i:08x}{reason}",
                    "stage": stage,
                    "reason": reason,
                    "value": value,
                    "image_url": f"https://{HOSTS[i % 5]}/lost/{reason}/{i}.jpg",
                    "caption": text[:3] if reason == "too_short" else text,
                    "page_url": f"https://{HOSTS[i % 5]}/page/{i}",
                    "source": "pages/a.warc.gz",
                }
            )
    for stage in {row["stage"] for row in rejects}:
        mine = [row for row in rejects if row["stage"] == stage]
        half = len(mine) // 2 if len(mine) > 20 else len(mine)
        for number, part in enumerate(part for part in (mine[:half], mine[half:]) if part):
            table = pa.Table.from_pylist(part, schema=tables.REJECTS)
            files.write_table(f"{path}/rejects/{stage}-{number:05d}.parquet", table)
    return rejects


def write_funnel(path: Path, samples: int, rejects: list[dict[str, Any]]) -> None:
    stages, left = [], samples
    for stage in ("write", "curate", "fetch", "dedup", "filter", "source"):
        dropped: dict[str, int] = {}
        for row in rejects:
            if row["stage"] == stage:
                dropped[row["reason"]] = dropped.get(row["reason"], 0) + 1
        before = left + sum(dropped.values())
        counts = {"pages": 412, "images_without_caption": 903} if stage == "source" else {}
        stages.append({"stage": stage, "in": before, "out": left, "unit": "pairs",
                       "rejected": dropped, "counts": counts})  # fmt: skip
        left = before
    times = [
        {"stage": stage["stage"], "seconds": seconds, "skipped": stage["stage"] == "dedup"}
        for stage, seconds in zip(stages[::-1], (4.21, 1.07, 0.4, 71.3, 9.8, 0.9), strict=True)
    ]
    times[3] |= {"cpu_seconds": 38.25, "bytes_written": 3 * 2**20, "bytes_shuffled": 5120,
                 "peak_rss": 300 * 2**20, "retries": 2}  # fmt: skip
    build = {"stages": times, "runner": "embedded", "workers": 2}
    files.write_bytes(f"{path}/stats/funnel.json", json.dumps({"stages": stages[::-1]}).encode())
    files.write_bytes(f"{path}/stats/build.json", json.dumps(build).encode())
