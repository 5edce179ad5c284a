"""The kind of a file, found by its first bytes. Names and declared types are not asked: they
lie."""

import re
from collections.abc import Collection

from septet.schemas.reasons import RejectedError

DECODABLE = ("jpeg", "png", "gif", "webp", "bmp", "tiff", "avif")
"""Kinds of images that are read."""

_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_HTML_TAGS = frozenset(
    b"html head body script title meta style link div span p h1 h2 table center font a br b pre "
    b"iframe img form".split()
)
_TAG = re.compile(rb"<([a-z0-9]+)[\s>/]")
_PREFIXES = (
    (b"\xff\xd8\xff", "image", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image", "png"),
    (b"GIF87a", "image", "gif"),
    (b"GIF89a", "image", "gif"),
    (b"II*\0", "image", "tiff"),
    (b"MM\0*", "image", "tiff"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "unsupported", "jxl"),
    (b"\xff\x0a", "unsupported", "jxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "unsupported", "jp2"),
    (b"\xff\x4f\xff\x51", "unsupported", "jp2"),
    (b"\0\0\1\0", "unsupported", "ico"),
    (b"8BPS", "unsupported", "psd"),
    (b"%!PS", "unsupported", "eps"),
    (b"\x1f\x8b", "not_image", "gzip"),
    (b"%PDF-", "not_image", "pdf"),
    (b"PK\x03\x04", "not_image", "zip"),
    (b"\x1aE\xdf\xa3", "not_image", "webm"),
    (b"{", "not_image", "json"),
)
_BRANDS = {
    b"avif": ("image", "avif"),
    b"avis": ("image", "avif"),
    b"heic": ("unsupported", "heic"),
    b"heix": ("unsupported", "heic"),
    b"hevc": ("unsupported", "heic"),
    b"hevx": ("unsupported", "heic"),
    b"heim": ("unsupported", "heic"),
    b"heis": ("unsupported", "heic"),
}


def image_kind(data: bytes, more: Collection[str] = ()) -> str:
    """The kind of image that `data` is, one of `DECODABLE`, or of those of `plug_ins.OPTIONAL` that
    are asked for.

    Raises:
        RejectedError: `empty`, `not_image` or `unsupported`.
    """
    if not data:
        raise RejectedError("empty")
    verdict, kind = _sniff(data[:4096])
    if verdict != "image" and kind not in more:
        raise RejectedError(verdict, kind)
    return kind


def _sniff(head: bytes) -> tuple[str, str]:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image", "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image", "bmp"
    if head[4:8] == b"ftyp":
        return _sniff_boxes(head)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return _sniff_markup(text.lower())
    for prefix, verdict, kind in _PREFIXES:
        if head.startswith(prefix):
            return verdict, kind
    return "not_image", head[:8].hex()


def _sniff_markup(text: bytes) -> tuple[str, str]:
    """SVG, HTML or other XML, by the first tag or document type (lower case)."""
    rest = text
    while rest.startswith((b"<?", b"<!--")):
        end = b"?>" if rest.startswith(b"<?") else b"-->"
        rest = rest.partition(end)[2].lstrip()
    if rest.startswith(b"<!doctype"):
        return ("unsupported", "svg") if rest[9:].split()[:1] == [b"svg"] else ("not_image", "html")
    tag = _TAG.match(rest)
    if tag and tag[1] == b"svg":
        return "unsupported", "svg"
    return "not_image", "html" if tag and tag[1] in _HTML_TAGS else "xml"


def _sniff_boxes(head: bytes) -> tuple[str, str]:
    """ISO base media files: the first brand that is known, the major one before the others."""
    end = min(int.from_bytes(head[:4], "big"), 256)
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))]
    for brand in brands:
        if brand in _BRANDS:
            return _BRANDS[brand]
    return "not_image", "mp4"
