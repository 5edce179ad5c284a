import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.bounded import BoundedCall
from septet.preprocess.html import pages
from septet.preprocess.html.charset import codec_of, decode_page, utf8_or_text
from septet.preprocess.html.pages import Pair, parse_page, read_page
from septet.preprocess.http.opt_out import find_opt_out
from septet.preprocess.urls import resolve
from septet.schemas.reasons import RejectedError

URL = "https://example.org/docs/page.html"
PLACES = ["alt", "figcaption"]
READER = "septet.preprocess.html.pages:read_page"


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
    html = """<figure typeof="mw:File/Thumb"><a href="/wiki/File:C.jpg"><img src="c.jpg"></a>
              <figcaption>A <i>castle</i> by night</figcaption></figure><div class="thumb tright">
              <div class="thumbinner"><img src="d.jpg"><div class="thumbcaption"><div class="magnify">
              </div>A dome</div></div></div><div class="informalfigure"><div class="mediaobject">
              <img src="e.png"><div class="caption">An engine</div></div></div>
              <div class="figure"><p class="title"><b>Figure 2. A fox</b></p><div
              class="figure-contents"><div class="mediaobject"><img src="f.png"></div></div></div>"""
    assert [pair[1] for pair in pairs(html)] == [
        "A castle by night", "A dome", "An engine", "Figure 2. A fox",
    ]  # fmt: skip


def test_lazy_images_and_srcset() -> None:
    html = """<img src="data:image/gif;base64,R0" data-src="/lazy.jpg" alt="lazy one">
              <img srcset="s.jpg 300w, l.jpg 900w" alt="set">
              <picture><source srcset="p.webp 1x, q.webp 2x"><img alt="picture"></picture>"""
    assert [pair[0] for pair in pairs(html)] == [
        "https://example.org/lazy.jpg",
        "https://example.org/docs/l.jpg",
        "https://example.org/docs/q.webp",
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
        (b"It\x92s a \x93dog\x94 \x96 5 \x80", "ISO-8859-1", "It’s a “dog” – 5 €"),
        (b"<meta charset=latin1>It\x92s \x81 5 \x80", None, "It’s \x81 5 €"),
        (b"<meta charset=us-ascii>\x93dog\x94", None, "“dog”"),
        (b"<meta charset=utf-16>caf\xc3\xa9", None, "café"),
        (b"<p>An ASCII page</p>", "utf-16", "An ASCII page"),
        ("<p>Grüße</p>".encode("utf-16-le"), "utf-16", "Grüße"),
        (b"<meta charset=unicode_escape>one \\x41", None, "one \\x41"),
        (b"<meta charset=utf-7>+AGE-", None, "+AGE-"),
        ("①髙".encode("cp932"), "shift_jis", "①髙"),
        ("똠방각하".encode("cp949"), "euc-kr", "똠방각하"),
        ("镕基".encode("gbk"), "gb2312", "镕基"),
        ("Größe, Übung, Straße. ".encode() * 9 + b"cut \xc3", "utf-8", "Größe, Übung"),
    ],
)
def test_wrong_charsets(body: bytes, charset: str | None, text: str) -> None:
    assert text in decode_page(body, charset)
    given = utf8_or_text(body, charset)
    assert (given.decode() if isinstance(given, bytes) else given) == decode_page(body, charset)


def test_pages_of_utf8_are_not_decoded_for_the_parser() -> None:
    body = "<meta charset=utf-8>Grüße".encode()
    assert utf8_or_text(body, None) is body and utf8_or_text(body, "UTF8") is body


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


@pytest.mark.parametrize(
    ("html", "caption"),
    [
        ("<b>K</b>atze und H<sub>2</sub>O", "Katze und H2O"),
        ("A<br>B", "A B"),
        ("<p>One</p><p>two</p>", "One two"),
        ("<div>One<div>two</div>three</div>four", "One two three four"),
        ("a<!-- no --> b<script>no</script><style>no</style>", "a b"),
        ("<ruby>漢<rt>kan</rt>字<rt>ji</rt></ruby>", "漢字"),
        ("<ul><li>one<li>two</ul>", "one two"),
        ("<i>It</i>’s <em>a</em> dog", "It’s a dog"),
    ],
)
def test_text_of_captions_is_parted_as_it_is_read(html: str, caption: str) -> None:
    found = pairs(f"<figure><img src=a.png><figcaption>{html}</figcaption></figure>")
    assert [pair[1] for pair in found] == [caption]


@pytest.mark.parametrize(
    ("html", "name"),
    [
        ('src="a.jpg" data-src="b.jpg"', "a.jpg"),
        ('src="thumb.jpg" data-src="b.jpg" class="x lazyload"', "b.jpg"),
        ('src="#" data-src="b.jpg"', "b.jpg"),
        ('src="undefined" data-original="b.jpg"', "b.jpg"),
        ('src="{{ src }}" data-lazy-src="b.jpg"', "b.jpg"),
        ('src="/i/blank.gif" data-src="b.jpg"', "b.jpg"),
        ('src="/i/1x1.png?x" srcset="b.jpg 2x"', "b.jpg"),
        ('src="data:image/gif;base64,R0" data-src="${x}" srcset="b.jpg"', "b.jpg"),
        ('src="data:image/gif;base64,R0" srcset="data:image/gif;base64,R0 1w, b.jpg 2w"', "b.jpg"),
        ('src="" srcset="w_3,h_2/b.jpg 2x, c.jpg 1x"', "w_3,h_2/b.jpg"),
        ('srcset="b.jpg, c.jpg 1x"', "b.jpg"),
        ('src="/i/pixel.gif"', "/i/pixel.gif"),
        ('src="my-placeholder.jpg"', "my-placeholder.jpg"),
    ],
)
def test_a_placeholder_gives_way_to_the_image(html: str, name: str) -> None:
    found = pairs(f'<img {html} alt="A cat">')
    assert [pair[0] for pair in found] == [resolve(name, URL)]


@pytest.mark.parametrize("src", ["#", "undefined", "null", "{{ x }}", "${x}", "data:image/gif;,"])
def test_a_placeholder_alone_is_a_reject(src: str) -> None:
    page = parse_page(f'<img src="{src}" alt="A cat">'.encode(), URL, None, PLACES)
    reason = "inline_image" if src.startswith("data:") else "bad_url"
    assert page.pairs == []
    assert [(bad.reason, bad.value, bad.caption) for bad in page.bad_urls] == [
        (reason, src, "A cat")
    ]


def test_the_nearest_figure_with_a_caption_counts() -> None:
    html = """<figure><figcaption>Outer</figcaption><figure><img src=a.png></figure>
              <figure><img src=b.png><figcaption>Inner</figcaption></figure></figure>"""
    assert [pair[1] for pair in pairs(html)] == ["Outer", "Inner"]


@pytest.mark.parametrize(("levels", "found"), [(39, 1), (40, 0)])
def test_a_figure_is_looked_for_so_far_up(levels: int, found: int) -> None:
    deep = "<div>" * levels + "<img src=a.png>" + "</div>" * levels
    assert len(pairs(f"<figure>{deep}<figcaption>A cat</figcaption></figure>")) == found


def test_bounds_of_what_a_page_may_say() -> None:
    html = f"""<meta name="{"b" * 40}" content="noai"><meta name="{"c" * 41}" content="noai">
               <meta name="robots" content="{"x" * 400}"><meta name="author" content="Noah">
               <img srcset="{"a.png, " * 14_285}" alt="A cat"><img srcset="b.png" alt="A dog">"""
    page = parse_page(html.encode(), URL, "utf-8", PLACES)
    assert page.robots == ["b" * 40 + ": noai", "x" * 300]
    assert [pair.caption for pair in page.pairs] == ["A cat", "A dog"]
    longer = html.replace("a.png, ", "aa.png, ", 10)
    assert [p.caption for p in parse_page(longer.encode(), URL, "utf-8", PLACES).pairs] == ["A dog"]


def test_opt_outs_of_a_page() -> None:
    html = """<meta name="Robots" content="noindex, follow"><meta name=septet content=noai>
              <meta name=description content="a page"><meta name=tdm-reservation content=1>
              <meta name=googlebot content=noindex>"""
    page = parse_page(html.encode(), URL, None, PLACES)
    assert page.robots == ["noindex, follow", "septet: noai", "googlebot: noindex"]
    assert page.tdm == ["1"]
    assert find_opt_out(page.robots, [], "septet", ["noai"]) == "noai"
    assert find_opt_out(page.robots, page.tdm, "other", ["noai"]) == "tdm-reservation"
    assert find_opt_out(page.robots[2:], [], "other", ["noindex"]) is None


# Time.

FIGURE = "<figure><img src=a.png><figcaption>A cat</figcaption>"
GROWING = {
    "nested figures": lambda n: FIGURE * (n // 20),
    "nested captions": lambda n: "<figure class=caption>x<img src=a.png>" * (n // 20),
    "many figures": lambda n: (FIGURE + "</figure>") * n,
    "many images in one": lambda n: "<figure>" + "<img src=a.png>" * n * 3 + "<figcaption>A cat",
    "one figure within many divs": lambda n: "<span>" * n + FIGURE,
    "many captions in one": lambda n: "<figure><img src=a.png>" + "<i class=caption>x</i>" * n,
    "combining marks": lambda n: "<img src=a.png alt='a" + "\u0301\u0327" * n * 10 + "'>",
    "srcset": lambda n: "<img alt=x srcset='" + "a.png 1w, " * n + "'>",
    "long caption": lambda n: "<figure><img src=a.png><figcaption>" + "word <b>x</b>" * n,
}


@pytest.mark.parametrize("name", GROWING)
def test_time_grows_with_the_page_and_not_with_its_square(name: str) -> None:
    def seconds(size: int) -> float:
        body = GROWING[name](size).encode()
        times = []
        for _ in range(2):
            start = time.process_time()
            read_page(body, URL, "utf-8", PLACES)
            times.append(time.process_time() - start)
        return min(times)

    def grows_slowly() -> bool:  # eight times as large; 64 times by the square
        return seconds(16_000) < 30 * max(seconds(2000), 0.02)

    assert any(grows_slowly() for _ in range(5))  # A busy machine may hold one of them up.


@pytest.mark.parametrize(
    "body",
    [
        b"<div>" * 60_000 + b"<img src=a.png alt='A cat'>",
        b"<img " + b" ".join(b"a%d=1" % i for i in range(60_000)) + b" src=a.png alt='A cat'>",
    ],
    ids=["deep", "attributes"],
)
def test_a_page_that_takes_the_parser_too_long_is_stopped(body: bytes, monkeypatch) -> None:
    monkeypatch.setattr(pages, "_READER", BoundedCall(READER, 1.0, 2**31))
    with pytest.raises(RejectedError) as failed:
        parse_page(body, URL, "utf-8", PLACES)
    assert failed.value.reason == "page_timeout"


def test_large_pages_give_what_small_ones_give() -> None:
    html = (FIGURE + "</figure>").replace("a.png", "/i/{}.png")
    body = "".join(html.format(i) for i in range(4000)).encode()
    assert len(body) > pages.SMALL_PAGE
    assert parse_page(body, URL, None, PLACES) == read_page(body, URL, None, PLACES)


def test_labels_are_those_of_the_standard() -> None:
    for label, codec in (("L1", "cp1252"), ("windows-31j", "cp932"), ("tis-620", "cp874"),
                         ("unicode", "utf-16-le"), (" UTF8 ", "utf-8")):  # fmt: skip
        assert codec_of(label) == codec
    for label in ("punycode", "idna", "unicode_escape", "raw_unicode_escape", "utf-7", "hex", "rot13",
                  "iso-2022-kr", "hz-gb-2312", "x-no", "\ud800"):  # fmt: skip
        assert codec_of(label) is None
    assert codec_of("utf-16be", stands_in_page=True) == "utf-8"


@pytest.mark.parametrize("label", [b"punycode", b"unicode_escape", b"utf-7", b"idna"])
def test_no_codec_of_python_is_reached_from_a_page(label: bytes) -> None:
    body = b"<meta charset=" + label + b">" + b"x" * 400_000 + b"-" + b"a" * 400_000
    start = time.process_time()
    decode_page(body)
    assert time.process_time() - start < 1
