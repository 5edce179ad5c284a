"""Numbers, sizes, durations and names as text for people."""

import math
import re

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
# Terminal controls, line separators and bidi marks, which would reach beyond the value, invisible
# tag characters, and halves of surrogate pairs, which no terminal can be sent.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def number(value: float) -> str:
    """A number as text: `1,234,567`; fractions with two decimals below ten, one above."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}".rstrip("0").rstrip(".") if abs(value) < 10 else f"{value:,.1f}"


def size(value: float) -> str:
    """Bytes as text with a binary unit: `3.2 MiB`."""
    for unit in _SIZES:
        if abs(value) < 1024 or unit == _SIZES[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"


def counted(name: str, value: float) -> str:
    """A figure as text by its name: bytes as a size, anything else as a number."""
    return size(value) if name.endswith("bytes") else number(value)


def share(part: float, whole: float) -> str:
    """The share of `part` in `whole` in percent; a dash where there is no whole."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def seconds(value: float) -> str:
    """A duration as text: `0.42 s`, `12.3 s`, `4 min 05 s`, `2 h 11 min`."""
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def label(name: str) -> str:
    """The name of a reason or measure as words: `too_short` as `too short`."""
    return name.replace("_", " ")


def value_name(category: str, value: str) -> str:
    """The value of a category as words, where it has any."""
    if category == "reencoded":
        return {"true": "encoded anew", "false": "original bytes"}.get(value, value)
    return value


def clean(text: str) -> str:
    """Text of any origin made safe to print: controls and bidi marks become U+FFFD; lines stay."""
    return _UNSAFE.sub("�", text)


def one_line(text: str, most: int = 400) -> str:
    """Text of any origin made safe to print on one line: as `clean`, cut at `most` characters."""
    text = clean(re.sub(r"[\t\r\n]+", " ", text[: 4 * most]))
    return text if len(text) <= most else text[: most - 1] + "…"
