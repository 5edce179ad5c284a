"""The text of an HTML page, decoded by the labels of the WHATWG's encoding standard."""

import codecs
import re
from contextlib import suppress

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

_META = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{2,40})""", re.I)
_META_WITHIN = 4096
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_MARKS = tuple(mark for mark, _ in _BYTE_ORDER_MARKS)
# Python's names of what the standard means: its decoders are supersets of the encodings that
# Python knows by the same name.
_WIDER = {
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso8859-11": "cp874",
}
_TOLERATED = 20  # characters beyond ASCII for each one that is damaged

codecs.register_error(
    "septet.c1",
    lambda error: (chr(error.object[error.start]), error.start + 1),  # type: ignore[attr-defined]
)


def decode_page(body: bytes, charset: str | None = None) -> str:
    """Decode a page's bytes, whatever charset it claims.

    Tried in turn, as browsers do: byte-order mark, the transport's charset, `<meta charset>`, and
    detection. Unlike in browsers an encoding in which the bytes are not valid counts as not
    declared, unless next to all of them are (a page that was cut, a mistake of its author).

    Args:
        body: The page as served.
        charset: The transport's charset, if any.
    """
    for mark, unicode in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(unicode, "replace")
    for stands_in_page in (False, True):
        label = _declared(body) if stands_in_page else charset
        codec = codec_of(label, stands_in_page) if label else None
        text = _decode(body, codec) if codec else None
        if text is not None:
            return text
    detected = detect_encoding(body) or "utf-8"
    return str(bytes_to_str(body, detected, fallback_encodings=("utf-8", "cp1252")))


def utf8_or_text(body: bytes, charset: str | None = None) -> bytes | str:
    """A page for a parser of UTF-8: its bytes where they are UTF-8 and declared so, as most are,
    else its text as of `decode_page`."""
    codec = codec_of(charset) if charset else None
    if codec is None and (label := _declared(body)):
        codec = codec_of(label, stands_in_page=True)
    if codec == "utf-8" and not body.startswith(_MARKS):
        with suppress(UnicodeDecodeError):
            body.decode()
            return body
    return decode_page(body, charset)


def _declared(body: bytes) -> str | None:
    meta = _META.search(body[:_META_WITHIN])
    return meta.group(1).decode("ascii") if meta else None


def codec_of(label: str, stands_in_page: bool = False) -> str | None:
    """Python's codec for a label; None for a label that the standard does not know, or whose
    content it refuses to show (ISO-2022-KR, HZ).

    `stands_in_page`: a label that could be read in a `<meta>` cannot be UTF-16; it means UTF-8.
    """
    label = label.strip().lower()
    if not label.isascii():
        return None
    if label == "x-user-defined" and stands_in_page:
        return "cp1252"
    codec: str | None = map_encoding_to_html5(label, fallback_utf8=False)
    if codec is not None and codec.startswith("utf-16") and stands_in_page:
        return "utf-8"
    return _WIDER.get(codec, codec) if codec else None


def _decode(body: bytes, codec: str) -> str | None:
    """Decode `body`; None where it is plainly something else."""
    if codec.startswith("utf-16") and b"\0" not in body[:_META_WITHIN]:
        return None  # hardly any page is free of markup
    try:
        return body.decode(codec)
    except UnicodeDecodeError as error:
        if error.encoding == "charmap":  # the standard leaves no byte undefined there
            return body.decode(codec, "septet.c1")
    text = body.decode(codec, "replace")
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    return text if text.count("\ufffd") * _TOLERATED <= foreign else None
