import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.html import wat
from septet.preprocess.html.wat import read_wat, wat_pairs
from septet.schemas.reasons import RejectedError

URL = "https://example.org/docs/page.html"


def block(
    links: list[Any] | None = None, head: dict[str, Any] | None = None, **answer: Any
) -> bytes:
    """A record as Common Crawl writes it: no white space, `path` first."""
    html = {"Head": head or {}, "Links": links or []}
    return json.dumps(
        {
            "Container": {"Filename": "x.warc.gz"},
            "Envelope": {
                "WARC-Header-Metadata": {"WARC-Target-URI": URL},
                "Payload-Metadata": {
                    "HTTP-Response-Metadata": {"HTML-Metadata": html, **answer},
                },
            },
        },
        separators=(",", ":"),
    ).encode()


def img(url: str, **more: Any) -> dict[str, Any]:
    return {"path": "IMG@/src", "alt": more.pop("alt", "A cat"), "url": url, **more}


def other(number: int) -> dict[str, Any]:
    return {"path": "A@/href", "text": 'brackets }, {"path": ] in a text', "url": f"/{number}"}


def pairs(data: bytes, places: tuple[str, ...] = ("alt",)) -> list[tuple[str, ...]]:
    page = read_wat(data)
    assert page is not None
    return [tuple(pair) for pair in wat_pairs(page, places).pairs]


def test_images_of_a_page() -> None:
    links = [other(1), img("a.png", alt="A  cat"), other(2), img("/b.png", alt="", title="A dog"),
             img("//cdn.e.org/c.png", alt="A cow", title="A cow"), img("{{x}}"), img("data:,"),
             {"path": "IMG@/longdesc", "url": "d"}, "no object", img("a.png", alt="A  cat")]  # fmt: skip
    page = read_wat(block(links))
    assert page is not None and page.url == URL and page.status == "200"
    found = wat_pairs(page, ["alt", "title"])
    assert [tuple(pair) for pair in found.pairs] == [
        ("https://example.org/docs/a.png", "A cat", "alt"),
        ("https://example.org/b.png", "A dog", "title"),
        ("https://cdn.e.org/c.png", "A cow", "alt"),
    ]
    assert [bad.reason for bad in found.bad_urls] == ["bad_url", "inline_image"]
    assert (found.images, found.without_caption) == (6, 0)
    assert wat_pairs(page, ["alt"]).without_caption == 1


def test_what_the_head_says() -> None:
    head = {
        "Base": "/base/",
        "Metas": [
            {"name": "ROBOTS", "content": "noai"},
            {"property": "og:image", "content": "o.jpg"},
            {"property": "og:title", "content": "A title"},
            {"http-equiv": "Content-Language", "content": "fr"},
            {"name": "tdm-reservation", "content": "1"},
            {"name": None, "content": 7},
            "no object",
        ],
    }
    headers = {"X-Robots-Tag": ["noindex", "a: noml"], "Content-Language": "de"}
    page = read_wat(block([img("a.png")], head, Headers=headers))
    assert page is not None
    assert page.headers == {"x-robots-tag": "noindex\na: noml", "content-language": "de"}
    found = wat_pairs(page, ["alt", "og:title"])
    assert [tuple(pair) for pair in found.pairs] == [
        ("https://example.org/base/a.png", "A cat", "alt"),
        ("https://example.org/base/o.jpg", "A title", "og:title"),
    ]
    assert (found.robots, found.tdm, found.language) == (["noai"], ["1"], "fr")
    plain = read_wat(block([], Headers=headers))
    assert plain is not None and wat_pairs(plain, ["alt"]).language == "de"
    broken = read_wat(block([img("a.png")], {"Base": "http://["}))
    assert broken is not None
    assert wat_pairs(broken, ["alt"]).pairs[0].image_url == "https://example.org/docs/a.png"


def test_records_that_are_no_pages() -> None:
    assert read_wat(b'{"Envelope":{"Payload-Metadata":{}}}') is None
    page = read_wat(
        b'{"Envelope":{"Payload-Metadata":{"HTTP-Response-Metadata":{"Response-Message":'
        b'{"Status":"404"}}},"WARC-Header-Metadata":{"WARC-Target-URI":"<http://e.org/>"}}}'
    )
    assert page is not None and (page.html, page.status, page.url) == (None, "404", "http://e.org/")


BROKEN = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "empty": b"",
    "a list": b"[]",
    "nested deeply": b"[" * 100_000,
    "no envelope": b"{}",
    "envelope is text": b'{"Envelope":"x"}',
    "answer is text": b'{"Envelope":{"Payload-Metadata":{"HTTP-Response-Metadata":"x"}}}',
    "no address": b'{"Envelope":{"WARC-Header-Metadata":{},"Payload-Metadata":{"HTTP-Response-Metadata":{}}}}',
    "HTML is text": block(**{"HTML-Metadata": "x"}),
    "headers are text": block(Headers="x"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_records_that_are_not_of_the_form(data: bytes) -> None:
    with pytest.raises(RejectedError) as failed:
        read_wat(data)
    assert failed.value.reason == "wat_record"


@pytest.mark.parametrize(
    "html", [{"Links": "x"}, {"Links": {}}, {"Head": []}, {"Head": {"Metas": "x"}}]
)
def test_metadata_that_is_not_of_the_form(html: dict[str, Any]) -> None:
    page = read_wat(block(**{"HTML-Metadata": html}))
    assert page is not None
    with pytest.raises(RejectedError) as failed:
        wat_pairs(page, ["alt"])
    assert failed.value.reason == "wat_record"


def test_lone_surrogates_cost_nothing() -> None:
    assert pairs(block([img("a.png", alt="A cat \ud800")]))[0][1] == "A cat"


_TEXT = st.text(alphabet='ab{}[],:"\\/ path@IMGsrcéA', max_size=12)
_VALUE = st.one_of(_TEXT, st.none(), st.integers(), st.lists(_TEXT, max_size=2))
_LINKS = st.lists(
    st.one_of(
        st.builds(lambda url, alt: img(url, alt=alt), _TEXT, _VALUE),
        st.builds(lambda text: {"path": "A@/href", "text": text, "url": "/"}, _TEXT),
        st.builds(lambda text: {"text": text, "path": "A@/href"}, _TEXT),
        st.builds(lambda text: {"path": "A@/href", "x": [img(text), {"path": text}]}, _TEXT),
        st.builds(lambda text: [img(text)], _TEXT),
        _VALUE,
    ),
    max_size=8,
)


@given(_LINKS, _LINKS)
def test_leaving_links_out_changes_nothing(links: list[Any], in_head: list[Any]) -> None:
    data = block(links, {"Link": in_head})
    places = ("alt", "title")
    with pytest.MonkeyPatch.context() as patch:
        quick = pairs(data, places)
        patch.setattr(wat, "_without_other_links", lambda block: block)
        assert pairs(data, places) == quick


@given(
    _LINKS,
    st.lists(
        st.dictionaries(st.sampled_from(["name", "NAME", "content"]), _VALUE, max_size=2) | _VALUE,
        max_size=3,
    ),
    _VALUE,
)
def test_records_of_usual_types_are_read_as_any_others(
    links: list[Any], metas: list[Any], base: Any
) -> None:
    data = block(
        links,
        {"Metas": metas, "Base": base},
        Headers={"X-Robots-Tag": "noai", "content-language": base},
    )
    with pytest.MonkeyPatch.context() as patch:
        quick = read_wat(data)
        patch.setattr(wat, "_DECODER", msgspec.json.Decoder(int))
        other = read_wat(data)
    assert quick is not None and other is not None and not isinstance(other.html, wat.Html)
    assert (quick.url, quick.status, quick.headers) == (other.url, other.status, other.headers)
    assert wat_pairs(quick, ("title", "alt")) == wat_pairs(other, ("title", "alt"))


def test_most_records_are_read_by_type() -> None:
    usual = read_wat(
        block([other(1), img("a.png")], {"Metas": [{"name": "robots"}]}, Headers={"Server": "x"})
    )
    assert usual is not None and isinstance(usual.html, wat.Html) and usual.headers == {}


def nested(levels: int) -> bytes:
    """A record of so many levels in all: five of WAT's, a link, and lists in it."""
    return block([img("a.png", x=1)]).replace(
        b'"x":1', b'"x":' + b"[" * (levels - 7) + b"]" * (levels - 7)
    )


def test_depth_is_bounded_in_every_way_of_reading() -> None:
    for way in (wat._DECODER, msgspec.json.Decoder(int)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wat, "_DECODER", way)
            assert len(pairs(nested(100))) == 1
            with pytest.raises(RejectedError, match="nested too deeply"):
                read_wat(nested(101))


def test_other_links_are_left_out_before_the_parser() -> None:
    data = block([other(n) if n % 5 else img(f"{n}.png") for n in range(100)])
    slim = wat._without_other_links(data)
    assert len(slim) < len(data) / 3 and json.loads(slim)
    assert len(pairs(data)) == 20
