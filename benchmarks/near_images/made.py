"""Images with labelled near-copies and look-alikes, made by script: photographs, products, pages of
text, charts, fine patterns, near-blank images.

A *group* is an image with its copies; look-alikes are groups of their own. The set of a split is a
pure function of its name and size. The objects in photographs are real ones (stamps of Tux Paint,
from the demo's archive); everything else is drawn.
"""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from fastwarc.warc import ArchiveIterator
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Rng = np.random.Generator
_STAMPS = Path(__file__).parents[2] / "examples/demo/pages/tuxpaint-stamps-mul.warc.gz"
_WORDS = re.findall(
    "[a-z]+",
    """
    river stone garden window market letter winter yellow harbour village silver mountain engine
    paper candle bridge forest music kitchen station island painter summer library orange tower
    valley cotton mirror theatre pepper ladder meadow copper violin lantern a of the in on with
    """,
)
SPLITS = {"dev": 11, "held-out": 43}
_STAMPS_EACH = 150


@dataclass(frozen=True)
class Made:
    """An image of the set: its file, its group, what kind of image it is, and of copy or look-alike
    (`original` for the image itself)."""

    data: bytes
    group: int
    kind: str
    change: str


@lru_cache(maxsize=1)
def _stamps() -> list[Image.Image]:
    """The stamps, with their transparency, largest first."""
    found = []
    with _STAMPS.open("rb") as file:
        for record in ArchiveIterator(file):
            headers = record.http_headers
            if headers is not None and "image" in (headers.get("Content-Type") or ""):
                found.append(Image.open(io.BytesIO(record.reader.read())).convert("RGBA"))
    return sorted(found, key=lambda image: -image.width * image.height)


def stamps(split: str) -> list[Image.Image]:
    """The stamps of a split: it has no stamp of the other."""
    first = _STAMPS_EACH * [*SPLITS].index(split)
    return _stamps()[first : first + _STAMPS_EACH]


def noise(rng: Rng, width: int, height: int, slope: float) -> np.ndarray:
    """A field whose power falls with frequency, as in photographs; mean 0, deviation 1, float
    [height, width]."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    scale = np.maximum(np.hypot(x, y), 1 / max(width, height)) ** -slope
    scale[0, 0] = 0
    phase = rng.normal(size=(2, height, scale.shape[1]))
    field = np.fft.irfft2((phase[0] + 1j * phase[1]) * scale, (height, width))
    return np.asarray(field / field.std())


def _size(rng: Rng) -> tuple[int, int]:
    long = int(rng.integers(320, 800))
    short = int(long / rng.choice([1, 4 / 3, 3 / 2, 16 / 9]))
    return (long, short) if rng.random() < 0.7 else (short, long)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, size))


def _text(rng: Rng, words: int) -> str:
    return " ".join(rng.choice(_WORDS, words))


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _ground(rng: Rng, width: int, height: int) -> Image.Image:
    slope = rng.uniform(1.0, 1.7)
    base = noise(rng, width, height, slope)
    tint = rng.normal(0, 0.6, 3)
    light = rng.uniform(-1, 1) * np.linspace(-1, 1, height)[:, None, None]
    own = np.stack([noise(rng, width, height, slope) for _ in range(3)], axis=2)
    mixed = base[:, :, None] + light + 0.35 * own + tint
    return Image.fromarray(np.clip(128 + 42 * mixed, 0, 255).astype(np.uint8))


def _paste(image: Image.Image, rng: Rng, at: Rng, share: tuple[float, float], split: str) -> None:
    there = stamps(split)
    stamp = there[int(rng.integers(len(there)))]
    scale = at.uniform(*share) * min(image.size) / max(stamp.size)
    size = max(8, int(stamp.width * scale)), max(8, int(stamp.height * scale))
    stamp = stamp.resize(size, Image.Resampling.LANCZOS)
    x = int(at.uniform(0, max(1, image.width - size[0])))
    y = int(at.uniform(0, max(1, image.height - size[1])))
    image.paste(stamp, (x, y), stamp)


def photograph(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """A ground like a landscape's, with objects. A look-alike has other objects on that ground."""
    image = _ground(rng, *_size(rng))
    chosen = other or rng
    for _ in range(int(chosen.integers(2, 5))):
        _paste(image, chosen, chosen, (0.3, 0.7), split)
    return image


def product(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """An object on white. A look-alike is another object in its place."""
    width, height = _size(rng)
    image = Image.new("RGB", (width, height), "white")
    place = np.random.default_rng(int(rng.integers(2**31)))
    _paste(image, other or rng, place, (0.6, 0.9), split)
    return image


def page(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """A page of text. A look-alike has the same form, and other words."""
    width, height = _size(rng)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(9, 22))
    left, indent, heading = int(width * 0.07), rng.random() < 0.5, rng.random() < 0.6
    top, words = int(height * 0.06), other or rng
    if heading:
        draw.text((left, top), _text(words, 4).title(), "black", _font(size * 1.7))
        top += int(size * 2.6)
    line = 0
    while top < height * 0.93 - size:
        text, font = "", _font(size)
        edge = width * (0.93 if line % 5 < 4 else 0.4 + 0.4 * words.random())
        start = left + (size * 2 if indent and line % 5 == 0 else 0)
        while start + draw.textlength(text, font) < edge:
            text += _text(words, 1) + " "
        draw.text((start, top), text.rsplit(" ", 2)[0], "black", font)
        top += int(size * (1.4 if line % 5 < 4 else 2.0))
        line += 1
    return image


def chart(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """A chart with axes and labels. A look-alike has the same axes, and other values."""
    width, height = _size(rng)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    bars, count, colour = rng.random() < 0.5, int(rng.integers(5, 12)), _colour(rng)
    values = (other or rng).uniform(0.1, 1, count)
    left, bottom = int(width * 0.1), int(height * 0.88)
    draw.text((width // 3, 4), _text(rng, 3).title(), "black", _font(14))
    for step in range(5):
        y = bottom - step * (bottom - 30) // 5
        draw.line((left, y, width - 10, y), (210, 210, 210))
        draw.text((4, y - 6), str(step * 20), "black", _font(10))
    draw.line((left, 24, left, bottom, width - 10, bottom), "black", 2)
    wide = (width - 10 - left) / count
    tops = [(left + wide * (i + 0.5), bottom - v * (bottom - 40)) for i, v in enumerate(values)]
    for x, y in tops if bars else []:
        draw.rectangle((x - wide * 0.35, y, x + wide * 0.35, bottom), colour)
    if not bars:
        draw.line(tops, colour, 3)
    return image


def pattern(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """A fine pattern: stripes, checks, dots or grain. A look-alike has another period, or other
    grain."""
    width, height = _size(rng)
    kind = int(rng.integers(4))
    period = rng.uniform(6, 40)
    angle, dark, light = rng.uniform(0, np.pi), np.array(_colour(rng)), np.array(_colour(rng))
    if other is not None:
        period *= other.uniform(1.15, 1.6)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    first, second = np.sin(2 * np.pi * u / period), np.sin(2 * np.pi * v / period)
    if kind == 3:
        share = np.clip(0.5 + 0.25 * (other or rng).normal(size=(height, width)), 0, 1)
    else:
        share = (first > 0, (first > 0) ^ (second > 0), first * second > 0.5)[kind].astype(float)
    mixed = dark + (light - dark) * share[:, :, None]
    return Image.fromarray(mixed.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def blank(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """Next to nothing: a colour, a faint slope, a small mark. A look-alike has another colour, or
    another mark."""
    width, height = _size(rng)
    colour, slope = np.array(_colour(rng), float), rng.uniform(-12, 12)
    mark, at = rng.random() < 0.7, rng.uniform(0.1, 0.8, 2)
    word, ink = _text(rng, 1), _colour(rng)
    if other is not None:
        if mark and other.random() < 0.6:
            at, word = other.uniform(0.1, 0.8, 2), _text(other, 1)
        else:
            colour = (colour + other.uniform(40, 120, 3)) % 256
    ramp = colour + slope * np.linspace(-1, 1, height)[:, None, None]
    pixels = np.broadcast_to(np.clip(ramp, 0, 255), (height, width, 3)).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if mark:
        place = (int(at[0] * width), int(at[1] * height))
        ImageDraw.Draw(image).text(place, word, ink, _font(min(width, height) / 12))
    return image


def sign(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """A photograph with a large number on it, as on a price tag. A look-alike has another one."""
    image = _ground(rng, *_size(rng))
    width, height = image.size
    box = (width // 5, height // 4, width * 4 // 5, height * 3 // 4)
    draw = ImageDraw.Draw(image)
    draw.rectangle(box, _colour(rng))
    number = int(rng.integers(10, 100))
    if other is not None:
        number = (number - 10 + int(other.integers(1, 90))) % 90 + 10
    draw.text((width // 3, height // 3), str(number), "white", _font(height / 3), stroke_width=2)
    return image


def poster(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """A photograph with a line of large letters on it, as on a poster or a cover. A look-alike has
    another line."""
    image = photograph(rng, None, split)
    ink = _colour(rng)
    across, down = rng.uniform(0.05, 0.2), rng.uniform(0.1, 0.5)
    words = str(_text(other or rng, 2)).title()
    size = image.width * 0.75 / max(1.0, ImageDraw.Draw(image).textlength(words, _font(100))) * 100
    place = (int(across * image.width), int(down * image.height))
    draw = ImageDraw.Draw(image)
    draw.text(place, words, ink, _font(size), stroke_width=2, stroke_fill="black")
    return image


def dial(rng: Rng, other: Rng | None, split: str) -> Image.Image:
    """The face of a clock or a meter on a ground. A look-alike tells another time."""
    image = _ground(rng, *_size(rng))
    draw = ImageDraw.Draw(image)
    x, y, radius = image.width / 2, image.height / 2, min(image.size) * rng.uniform(0.3, 0.42)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), _colour(rng), "black", 3)
    ink = _colour(rng)

    def hand(angle: float, start: float, end: float, width: int) -> None:
        way = radius * np.sin(angle), -radius * np.cos(angle)
        draw.line((x + way[0] * start, y + way[1] * start, x + way[0] * end, y + way[1] * end),
                  ink, width)  # fmt: skip

    for hour in range(12):
        hand(hour * np.pi / 6, 0.85, 0.97, 3)
    minutes = float(rng.uniform(0, 720))
    if other is not None:
        minutes += float(other.uniform(60, 660))
    hand(minutes / 720 * 2 * np.pi, 0, 0.5, max(3, int(radius / 14)))
    hand(minutes / 60 * 2 * np.pi, 0, 0.8, max(2, int(radius / 20)))
    return image


DRAWN: dict[str, Callable[[Rng, Rng | None, str], Image.Image]] = {
    "photograph": photograph, "product": product, "page": page, "chart": chart,
    "pattern": pattern, "blank": blank, "sign": sign, "poster": poster, "dial": dial,
}  # fmt: skip
_SHARES = {
    "photograph": 0.45, "product": 0.18, "page": 0.1, "chart": 0.1, "pattern": 0.02, "blank": 0.05,
}  # fmt: skip
SHARES = {
    "dev": _SHARES | {"sign": 0.1},
    "held-out": _SHARES | {"sign": 0.04, "poster": 0.03, "dial": 0.03},
}
"""The shares of kinds by split: two kinds of signs are in `held-out` only."""


def _jpeg(image: Image.Image, quality: int = 88, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **more)
    return out.getvalue()


def _file(image: Image.Image, form: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **more)
    return out.getvalue()


def _resized(image: Image.Image, rng: Rng) -> bytes:
    scale = rng.uniform(0.4, 1.6)
    size = round(image.width * scale), round(image.height * scale)
    return _jpeg(image.resize(size, Image.Resampling.BICUBIC))


def _cropped(image: Image.Image, rng: Rng) -> bytes:
    """2 % less of either side, from edges at random."""
    left, top = rng.uniform(0, 0.02, 2)
    width, height = image.size
    box = left * width, top * height, (left + 0.98) * width, (top + 0.98) * height
    return _jpeg(image.crop(tuple(map(round, box))))


def _watermarked(image: Image.Image, rng: Rng) -> bytes:
    over = Image.new("RGBA", image.size, (255, 255, 255, 0))
    text, size = _text(rng, 2).upper(), min(image.size) / 9
    place = (int(rng.uniform(0, 0.3) * image.width), int(rng.uniform(0.2, 0.7) * image.height))
    shade = int(rng.integers(2)) * 255
    ImageDraw.Draw(over).text(place, text, (shade, shade, shade, 110), _font(size))
    return _jpeg(Image.alpha_composite(image.convert("RGBA"), over).convert("RGB"))


def _tagged(image: Image.Image, rng: Rng) -> bytes:
    """A site's name in a corner."""
    image = image.copy()
    size = min(image.size) / 16
    text = _text(rng, 1) + ".example"
    draw = ImageDraw.Draw(image)
    place = (image.width - draw.textlength(text, _font(size)) - 6, image.height - size * 1.5)
    draw.text(place, text, "white", _font(size), stroke_width=1, stroke_fill="black")
    return _jpeg(image)


def _brighter(image: Image.Image, rng: Rng) -> bytes:
    gain, lift = rng.uniform(0.85, 1.2), rng.uniform(-15, 15)
    return _jpeg(image.point(lambda value: max(0, min(255, value * gain + lift))))


def _softer(image: Image.Image, rng: Rng) -> bytes:
    return _jpeg(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.6))))


def _turned(image: Image.Image, rng: Rng) -> bytes:
    """Stored on its side, with the EXIF orientation that puts it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def _transparent(image: Image.Image, rng: Rng) -> bytes:
    """White made transparent, with black behind it, as editors of products leave it."""
    pixels = np.asarray(image)
    clear = np.all(pixels > 250, axis=2)
    alpha = np.where(clear, 0, 255).astype(np.uint8)
    return _file(Image.fromarray(np.dstack([np.where(clear[:, :, None], 0, pixels), alpha])), "PNG")


def _stretched(image: Image.Image, rng: Rng) -> bytes:
    """3 % off its aspect."""
    size = round(image.width * rng.uniform(0.97, 1.03)), image.height
    return _jpeg(image.resize(size, Image.Resampling.BICUBIC))


COPIES: dict[str, Callable[[Image.Image, Rng], bytes]] = {
    "resized": _resized,
    "recompressed": lambda image, rng: _jpeg(image, int(rng.integers(30, 70))),
    "webp": lambda image, rng: _file(image, "WEBP", quality=int(rng.integers(50, 90))),
    "cropped": _cropped,
    "watermarked": _watermarked,
    "tagged": _tagged,
    "brighter": _brighter,
    "softer": _softer,
    "stretched": _stretched,
    "turned (EXIF)": _turned,
    "transparent": _transparent,
}


_NOT_OF = {"product": (), "blank": ("transparent", "watermarked", "tagged")}
"""Copies that are not made of a kind: nothing else is on white, and a mark on next to nothing makes
another image."""


def _recoloured(image: Image.Image, rng: Rng) -> Image.Image:
    """Other hues at the same lightness, as products come in several colours."""
    lab = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2LAB).astype(np.float32)
    angle = rng.uniform(1.2, 4.5)
    a, b = lab[:, :, 1] - 128, lab[:, :, 2] - 128
    lab[:, :, 1] = 128 + a * np.cos(angle) - b * np.sin(angle)
    lab[:, :, 2] = 128 + a * np.sin(angle) + b * np.cos(angle)
    return Image.fromarray(cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB))


def _differ(one: Image.Image, other: Image.Image) -> bool:
    """Whether two images can be told apart at a glance: a look-alike drawn by chance may be a copy,
    as the mirror image of what is symmetrical."""
    small = (np.asarray(image.resize((48, 48)).convert("RGB"), int) for image in (one, other))
    return bool(np.abs(np.subtract(*small)).max() > 24)


def make(split: str, groups: int, copies: int = 5) -> Iterator[Made]:
    """Make the images of a split.

    Args:
        split: A name of `SPLITS`.
        groups: The number of originals, look-alikes aside.
        copies: The number of copies of each, of kinds drawn at random.
    """
    kinds, shares = [*SHARES[split]], [*SHARES[split].values()]
    number = 0
    for index in range(groups):
        seed = [SPLITS[split], index]
        rng = np.random.default_rng(seed)
        kind = str(rng.choice(kinds, p=shares))
        image = DRAWN[kind](np.random.default_rng([*seed, 1]), None, split)
        yield Made(_jpeg(image, 92), number, kind, "original")
        chosen = [name for name in COPIES if name not in _NOT_OF.get(kind, ("transparent",))]
        for change in rng.choice(chosen, min(copies, len(chosen)), replace=False):
            yield Made(COPIES[change](image, rng), number, kind, str(change))
        number += 1
        others = {}
        if rng.random() < 0.6:
            other = np.random.default_rng([*seed, 2])
            others["same form"] = DRAWN[kind](np.random.default_rng([*seed, 1]), other, split)
        if kind in ("photograph", "product", "sign", "poster") and rng.random() < 0.3:
            others["mirrored"] = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if kind == "product" and rng.random() < 0.5:
            others["recoloured"] = _recoloured(image, rng)
        for change, look_alike in others.items():
            if _differ(image, look_alike):
                yield Made(_jpeg(look_alike, 90), number, kind, change)
                number += 1
