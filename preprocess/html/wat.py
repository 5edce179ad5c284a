"""Pages as Common Crawl's WAT describes them: links and `<meta>` elements as JSON, without text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from septet.preprocess.html.head import one_language, read_head
from septet.preprocess.html.pages import Found, Page
from septet.preprocess.text.clean import clean_captions
from septet.preprocess.urls import UrlError, image_url, plain_image_urls, resolve
from septet.schemas.reasons import RejectedError

_LINKS = b'"Links":['
_IMAGE = b'{"path":"IMG@/src"'
_NEXT_LINK = b'},{"path":"'


@dataclass(frozen=True)
class WatPage:
    """A page of a WAT record.

    Attributes:
        url: Its address.
        status: That of the answer, as text.
        headers: Those of the answer, by names in lower case; the values of a repeated one in lines.
        html: Its HTML metadata; None where it is no HTML.
    """

    url: str
    status: str
    headers: Mapping[str, str]
    html: Mapping[str, Any] | None


def read_wat(block: bytes) -> WatPage | None:
    """Read the block of a WAT record; None where it describes no HTTP answer.

    Raises:
        RejectedError: `wat_record`, it is not JSON or not of WAT's form.
    """
    envelope = _member(_parse(block), "Envelope")
    payload = _member(envelope, "Payload-Metadata")
    if "HTTP-Response-Metadata" not in payload:
        return None
    answer = _member(payload, "HTTP-Response-Metadata")
    url = _member(envelope, "WARC-Header-Metadata").get("WARC-Target-URI")
    if not isinstance(url, str):
        raise RejectedError("wat_record", "no WARC-Target-URI")
    status = _member(answer, "Response-Message", {}).get("Status")
    headers = {
        name.lower(): "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in _member(answer, "Headers", {}).items()
    }
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
    html = page.html or {}
    described = _member(html, "Head", {})
    head = read_head(_texts(one) for one in _list(described, "Metas") if isinstance(one, dict))
    base = page.url
    if isinstance(link := described.get("Base"), str):
        try:
            base = resolve(link, page.url)
        except UrlError:
            base = page.url
    images = [
        one
        for one in _list(html, "Links")
        if isinstance(one, dict) and one.get("path") == "IMG@/src"
    ]
    own_places = [place for place in places if place in ("alt", "title")]
    texts = [clean_captions([_text(one, place) for one in images]) for place in own_places]
    links = [_text(one, "url") for one in images]
    urls = plain_image_urls(base, links) if links else []
    found = Found()
    without = 0 if own_places else len(images)
    for link, url, *said in zip(links, urls, *texts, strict=True):
        if link and any(said):
            found.add(url or image_url(base, link), said, own_places, {})
        else:
            without += 1
    found.add_open_graph(head, base, places)
    language = head.language or one_language(page.headers.get("content-language", ""))
    return found.page(language, len(images), without, head)


def _parse(block: bytes) -> dict[str, Any]:
    """The JSON of a record, for most without the links that are no images."""
    slim = _without_other_links(block)
    for text in (slim, block) if slim is not block else (block,):
        try:
            value = from_json(text)
        except ValueError:
            continue
        break
    else:  # a stricter parser than most: of lone surrogates, say
        try:
            value = json.loads(block.decode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            raise RejectedError("wat_record", f"not JSON: {error}"[:200]) from error
    if not isinstance(value, dict):
        raise RejectedError("wat_record", f"expected an object, found {type(value).__name__}")
    return value


def _without_other_links(block: bytes) -> bytes:
    """The block without most links that are no images, five in six of its bytes, where these can
    be told without a parser: the marks below cannot stand in a string of JSON, whose quotes are
    escaped.

    Between two images all links but the first image are left out, up to a comma. Where that is not
    a row of whole elements what is left is no JSON, and the block is to be parsed whole.
    """
    first, *others = block.split(_IMAGE)
    if not others:
        return block
    start = first.find(_LINKS) + len(_LINKS)
    kept = [first[:start] if start >= len(_LINKS) and first.endswith(b"},") else first]
    for part in others[:-1]:
        end = part.find(_NEXT_LINK)
        kept.append(part[: end + 2] if end >= 0 and part.endswith(b"},") else part)
    kept.append(others[-1])
    return _IMAGE.join(kept)


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
