import pytest

from septet.preprocess.html.head import one_language
from septet.preprocess.html.pages import Wanted, parse_page

URL = "https://example.org/docs/page.html"
OG = ("og:image:alt", "og:title", "og:description")


def og_pairs(html: str, places: tuple[str, ...] = OG) -> list[tuple[str, ...]]:
    return [tuple(pair) for pair in parse_page(html.encode(), URL, "utf-8", places).pairs]


def test_open_graph_images_with_their_texts() -> None:
    html = """<meta property="og:title" content="The  Night Watch"><meta property=og:image content=a.jpg>
        <meta property="og:image:secure_url" content="https://example.org/secure.jpg">
        <meta property="og:image:alt" content="A group of men"><meta name="og:image" content="/b.jpg">
        <meta property="og:image:alt" content="A detail"><meta property="og:image:alt" content="Late">
        <meta property="og:description" content="Painted in 1642"><img src=c.jpg alt=other>"""
    assert og_pairs(html) == [
        ("https://example.org/docs/a.jpg", "A group of men", "og:image:alt"),
        ("https://example.org/docs/a.jpg", "The Night Watch", "og:title"),
        ("https://example.org/docs/a.jpg", "Painted in 1642", "og:description"),
        ("https://example.org/b.jpg", "A detail", "og:image:alt"),
    ]
    assert [pair[2] for pair in og_pairs(html, ("og:title",))] == ["og:title"]
    assert og_pairs(html, ("alt",)) == [("https://example.org/docs/c.jpg", "other", "alt")]


def test_open_graph_images_without_an_address() -> None:
    html = "<meta property=og:image content='{{x}}'><meta property=og:title content='A title'>"
    page = parse_page(html.encode(), URL, None, OG)
    assert page.pairs == []
    assert [(bad.reason, bad.caption) for bad in page.bad_urls] == [("bad_url", "A title")]
    assert og_pairs("<meta property=og:image:url content=a.jpg><meta name=og:title content=T>") == [
        ("https://example.org/docs/a.jpg", "T", "og:title")
    ]
    many = "<meta property=og:image content=a><meta property=og:image:alt content=b>" * 300
    assert len(parse_page(many.encode(), URL, None, OG).pairs) == 1


@pytest.mark.parametrize(
    ("html", "header", "language"),
    [
        ("<html lang=de><meta http-equiv=content-language content=fr>", "it", "de"),
        ("<meta http-equiv=Content-Language content=' pt-BR '>", "it", "pt-BR"),
        ("<meta http-equiv=content-language content='de, en'>", "it", "it"),
        ("<meta http-equiv=content-language content=''><html lang=''>", "it", "it"),
        ("<html xml:lang=ja>", None, "ja"),
        ("<p>", None, None),
    ],
)
def test_language_of_a_page(html: str, header: str | None, language: str | None) -> None:
    page = parse_page(html.encode(), URL, None, ["alt"], Wanted(language=header))
    assert page.language == language


@pytest.mark.parametrize("value", ["", "de, en", "x", "a language", "de;q=1", "*"])
def test_what_is_no_one_language(value: str) -> None:
    assert one_language(value) is None
