"""Pages as Common Crawl's WAT describes them: links and `<meta>` elements as JSON, without text."""

import re
from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any, NamedTuple

import msgspec

from septet.preprocess.html.head import one_language, read_head
from septet.preprocess.html.pages import Found, Page
from septet.preprocess.text.clean import clean_captions
from septet.preprocess.text.json_depth import check_depth, parse_json
from septet.preprocess.urls import UrlError, image_url, plain_image_urls, resolve
from septet.schemas.reasons import Rejected, RejectedError

_LINKS = b'"Links":['
_IMAGE = b'{"path":"IMG@/src"'
_ELEMENT_END = b"},"
_IS_WHOLE = methodcaller("endswith", _ELEMENT_END)
_NEXT_IMAGE = _ELEMENT_END + _IMAGE
_NEXT_LINK = b'},{"path":"'
_HEADERS = ("x-robots-tag", "tdm-reservation", "content-language")
_MAY_BE_HEADER = re.compile(rb"x-robots|tdm-res|content-lang|\\u")


class Link(msgspec.Struct, gc=False):
    """An element of a page that names an address: which element and attribute, and what it says."""

    path: str = ""
    url: str = ""
    alt: str = ""
    title: str = ""


class Head(msgspec.Struct, rename="pascal"):
    """The `<base href>` of a page, and the attributes of its `<meta>` elements."""

    base: str | None = None
    metas: list[dict[str, Any]] = []


class Html(msgspec.Struct, rename="pascal"):
    """The HTML metadata of a page; of its links at least those of images."""

    head: Head = msgspec.field(default_factory=Head)
    links: list[Link] = []


class _Message(msgspec.Struct, rename="pascal"):
    status: str = ""


class _Answer(msgspec.Struct):
    message: _Message = msgspec.field(name="Response-Message", default_factory=_Message)
    headers: msgspec.Raw = msgspec.field(name="Headers", default=msgspec.Raw(b"{}"))
    html: Html | None = msgspec.field(name="HTML-Metadata", default=None)


class _Payload(msgspec.Struct):
    answer: _Answer | msgspec.UnsetType = msgspec.field(
        name="HTTP-Response-Metadata", default=msgspec.UNSET
    )


class _Target(msgspec.Struct):
    url: str = msgspec.field(name="WARC-Target-URI")


class _Envelope(msgspec.Struct):
    target: _Target = msgspec.field(name="WARC-Header-Metadata")
    payload: _Payload = msgspec.field(name="Payload-Metadata")


class _Record(msgspec.Struct, rename="pascal"):
    envelope: _Envelope


_DECODER = msgspec.json.Decoder(_Record)
_HEADERS_DECODER = msgspec.json.Decoder(dict[str, Any])


class WatPage(NamedTuple):
    """A page of a WAT record.

    Attributes:
        url: Its address.
        status: That of the answer, as text.
        headers: Those of the answer that opt out or name its language, by names in lower case; the
            values of a repeated one in lines.
        html: Its HTML metadata, as the record has them where they are of an unusual form; None
            where it is no HTML.
    """

    url: str
    status: str
    headers: Mapping[str, str]
    html: Html | Mapping[str, Any] | None


def read_wat(block: bytes) -> WatPage | None:
    """Read the block of a WAT record; None where it describes no HTTP answer.

    Raises:
        RejectedError: `wat_record`, it is not JSON or not of WAT's form.
    """
    slim = _without_other_links(block)
    for data in (slim, block) if slim is not block else (block,):
        try:
            check_depth(data)
            envelope = _DECODER.decode(data).envelope
            answer = envelope.payload.answer
            if isinstance(answer, msgspec.UnsetType):
                return None
            headers = _told(answer.headers)
        except (ValueError, RecursionError):
            continue
        return WatPage(
            envelope.target.url.strip("<> "), answer.message.status or "200", headers, answer.html
        )
    return _read_unusual(block)


def _told(headers: msgspec.Raw) -> dict[str, str]:
    """Those of an answer's headers that count.

    Raises:
        ValueError: they are no object.
    """
    data = bytes(headers)
    if data.startswith(b"{") and not _MAY_BE_HEADER.search(data.lower()):
        return {}
    return _of_headers(_HEADERS_DECODER.decode(data))


def _of_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in ((name.lower(), value) for name, value in headers.items())
        if name in _HEADERS
    }


def _read_unusual(block: bytes) -> WatPage | None:
    """The same by a parser that takes what is not quite JSON, or of other types than usual: lone
    surrogates, bytes that are no UTF-8, a status that is a number."""
    try:
        value = parse_json(block.decode("utf-8", "replace"))
    except ValueError as error:
        raise RejectedError("wat_record", f"not JSON: {error}"[:200]) from error
    if not isinstance(value, dict):
        raise RejectedError("wat_record", f"expected an object, found {type(value).__name__}")
    envelope = _member(value, "Envelope")
    payload = _member(envelope, "Payload-Metadata")
    if "HTTP-Response-Metadata" not in payload:
        return None
    answer = _member(payload, "HTTP-Response-Metadata")
    url = _member(envelope, "WARC-Header-Metadata").get("WARC-Target-URI")
    if not isinstance(url, str):
        raise RejectedError("wat_record", "no WARC-Target-URI")
    status = _member(answer, "Response-Message", {}).get("Status")
    headers = _of_headers(_member(answer, "Headers", {}))
    html = answer.get("HTML-Metadata")
    if html is not None and not isinstance(html, dict):
        raise RejectedError("wat_record", "HTML-Metadata is no object")
    return WatPage(url.strip("<> "), str(status or "200"), headers, html)


def wat_pairs(page: WatPage, places: Sequence[str]) -> Page:
    """The pairs of a page whose `html` is there.

    Args:
        page: As of `read_wat`.
        places: The places of captions that are taken: alt, title, og:….

    Raises:
        RejectedError: `wat_record`.
    """
    html = page.html if isinstance(page.html, Html) else _usual(page.html or {})
    head = read_head(_texts(one) for one in html.head.metas)
    base = page.url
    if html.head.base is not None:
        try:
            base = resolve(html.head.base, page.url)
        except UrlError:
            base = page.url
    images = [one for one in html.links if one.path == "IMG@/src"]
    own_places = [place for place in places if place in ("alt", "title")]
    texts = [clean_captions([getattr(one, place) for one in images]) for place in own_places]
    links = [one.url for one in images]
    addresses: list[str | Rejected | None] = [*plain_image_urls(base, links)]
    if None in addresses:
        closer = zip(addresses, links, strict=True)
        addresses = [known or (image_url(base, link) if link else None) for known, link in closer]
    found = Found()
    without = found.add_images(addresses, texts, own_places)
    found.add_open_graph(head, base, places)
    language = head.language or one_language(page.headers.get("content-language", ""))
    return found.page(language, len(images), without, head)


def _usual(html: Mapping[str, Any]) -> Html:
    """HTML metadata of an unusual form: what is of another type than usual counts as absent."""
    head = _member(html, "Head", {})
    base = head.get("Base")
    metas = [one for one in _list(head, "Metas") if isinstance(one, dict)]
    links = [
        Link(*(_text(one, name) for name in ("path", "url", "alt", "title")))
        for one in _list(html, "Links")
        if isinstance(one, dict)
    ]
    return Html(Head(base if isinstance(base, str) else None, metas), links)


def _without_other_links(block: bytes) -> bytes:
    """The block without most links that are no images, five in six of its bytes, where these can
    be told without a parser: the marks below cannot stand in a string of JSON, whose quotes are
    escaped.

    Between two images, all that stands behind the first element is left out, up to a comma behind
    another element. Where that is not a row of whole elements what is left is no JSON, and the
    block is to be parsed whole.
    """
    first, *others = block.split(_IMAGE)
    if not others:
        return block
    last = others.pop()
    if not all(map(_IS_WHOLE, others)):
        return block
    start = first.find(_LINKS) + len(_LINKS)
    if start >= len(_LINKS) and first.endswith(_ELEMENT_END):
        first = first[:start]
    end, final = last.find(_ELEMENT_END), last.rfind(_NEXT_LINK)
    if 0 <= end < final:
        last = last[:end] + last[final:]
    images = [one.partition(_ELEMENT_END)[0] for one in others]
    return first + _IMAGE + _NEXT_IMAGE.join([*images, last])


def _member(value: Mapping[str, Any], name: str, default: Any = None) -> dict[str, Any]:
    member = value.get(name, default)
    if not isinstance(member, dict):
        raise RejectedError(
            "wat_record", f"{name} is {'no object' if name in value else 'missing'}"
        )
    return member


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    members = value.get(name, [])
    if not isinstance(members, list):
        raise RejectedError("wat_record", f"{name} is no list")
    return members


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    return text if isinstance(text, str) else ""


def _texts(value: dict[str, Any]) -> dict[str, str | None]:
    return {name.lower(): text for name, text in value.items() if isinstance(text, str)}
