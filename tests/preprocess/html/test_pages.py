import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.html.pages import Pair, decode_page, parse_page

URL = "https://example.org/docs/page.html"
PLACES = ["alt", "figcaption"]


def pairs(html: str, places: list[str] = PLACES) -> list[tuple[str, str, str]]:
    return [tuple(pair) for pair in parse_page(html.encode(), URL, "utf-8", places).pairs]


def test_alt_and_figcaption_give_two_pairs() -> None:
    html = """<html lang="de"><figure><img src="a b.png#x" alt="Eine  Katze">
              <figcaption>Die <b>Katze</b> schläft</figcaption></figure></html>"""
    assert pairs(html) == [
        ("https://example.org/docs/a%20b.png", "Eine Katze", "alt"),
        ("https://example.org/docs/a%20b.png", "Die Katze schläft", "figcaption"),
    ]
    assert parse_page(html.encode(), URL, None, PLACES).language == "de"


def test_equal_texts_give_one_pair() -> None:
    html = "<figure><img src=a.png alt='A cat'><figcaption>A cat</figcaption></figure>"
    assert len(pairs(html)) == 1


def test_docbook_figures() -> None:
    html = """<div class="figure"><p class="title">Figure 1. The window</p>
              <div class="mediaobject"><img src="w.png" alt="">
              <div class="caption"><p>The main window</p></div></div></div>"""
    assert pairs(html) == [("https://example.org/docs/w.png", "The main window", "figcaption")]


def test_figures_of_sphinx_and_mediawiki() -> None:
    html = """<figure><img src="a.png"><figcaption><p>A plot<a class="headerlink" href="#x">¶</a></p>
              </figcaption></figure><li class="gallerybox"><div class="thumb"><img src="b.jpg" alt="">
              </div><div class="gallerytext"><p>A bridge</p></div></li>"""
    assert [pair[1] for pair in pairs(html)] == ["A plot", "A bridge"]


def test_lazy_images_and_srcset() -> None:
    html = """<img src="data:image/gif;base64,R0" data-src="/lazy.jpg" alt="lazy one">
              <img srcset="s.jpg 300w, l.jpg 900w" alt="set">"""
    assert [pair[0] for pair in pairs(html)] == [
        "https://example.org/lazy.jpg",
        "https://example.org/docs/s.jpg",
    ]


def test_base_href_and_titles() -> None:
    html = '<base href="//cdn.example.org/i/"><img src=a.png title="A title">'
    assert pairs(html, ["title"]) == [("https://cdn.example.org/i/a.png", "A title", "title")]


def test_what_gives_no_pair_is_counted() -> None:
    page = parse_page(
        b"<img src=a.png><img alt='no source'><img src=b.png alt='  '><img src=ftp://x/y alt=f>"
        b"<img src=data:image/png;base64,AA alt=inline>",
        URL, None, PLACES,
    )  # fmt: skip
    assert (page.images, page.without_caption, page.pairs) == (5, 3, [])
    assert [(bad.reason, bad.caption) for bad in page.bad_urls] == [
        ("url_scheme", "f"), ("inline_image", "inline"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("Café".encode("latin-1"), "utf-8", "Café"),  # the transport lies
        (b"<meta charset=windows-1251>" + "Привет".encode("cp1251"), None, "Привет"),
        ("日本語のページです。画像があります。".encode("shift_jis"), None, "日本語"),
        ("\ufeffGrüße".encode("utf-16-le"), "utf-8", "Grüße"),
        (b"\xef\xbb\xbfna\xc3\xafve", "latin-1", "naïve"),
        (b"ok", "no-such-charset", "ok"),
    ],
)
def test_wrong_charsets(body: bytes, charset: str | None, text: str) -> None:
    assert text in decode_page(body, charset)


@given(st.binary(max_size=300) | st.text(alphabet="<>imgfigurecaption src=alt\"'/&;!-", max_size=300).map(str.encode))  # fmt: skip
def test_no_page_breaks_it(body: bytes) -> None:
    page = parse_page(body, URL, None, ["alt", "figcaption", "title"])
    assert all(isinstance(pair, Pair) and pair.caption for pair in page.pairs)


@pytest.mark.parametrize("base", ["http://[", "javascript:x", "data:text/html,x", "mailto:a@b"])
def test_a_base_that_cannot_be_used_counts_as_absent(base: str) -> None:
    assert pairs(f"<base href='{base}'><img src=a.png alt='A cat'>")[0][0] == (
        "https://example.org/docs/a.png"
    )


def test_a_page_whose_own_address_cannot_be_used() -> None:
    html = b"<base href='/x'><img src=http://e.org/a.png alt='A cat'><img src=b.png alt='A dog'>"
    page = parse_page(html, "http://[", None, PLACES)
    assert [pair.image_url for pair in page.pairs] == ["http://e.org/a.png"]
    assert [bad.caption for bad in page.bad_urls] == ["A dog"]
