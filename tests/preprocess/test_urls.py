import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.preprocess.http.addresses import parse_url
from septet.preprocess.urls import (
    _PLACEHOLDER,
    UrlError,
    image_url,
    is_placeholder,
    plain_image_urls,
    resolve,
)
from septet.schemas.reasons import Rejected

BASE = "https://example.org/docs/page.html?q#f"

SAME = [
    # What one address may be written as, and the one form of it.
    ("HTTP://E.COM:80/a.jpg", "http://e.com/a.jpg"),
    ("https://e.com:443/a.jpg", "https://e.com/a.jpg"),
    ("http://e.com:443/a.jpg", "http://e.com:443/a.jpg"),
    ("http://e.com./a.jpg", "http://e.com/a.jpg"),
    ("http://e.com/a.jpg#part", "http://e.com/a.jpg"),
    ("http://e.com", "http://e.com/"),
    ("http://e.com\\a\\b.jpg", "http://e.com/a/b.jpg"),
    ("http:\\\\e.com/a.jpg", "http://e.com/a.jpg"),
    ("ht\ntp://e.com/a\tb.jpg", "http://e.com/ab.jpg"),
    (" \x00http://e.com/a.jpg\x1f ", "http://e.com/a.jpg"),
    ("http://e.com/a/./b/../c.jpg", "http://e.com/a/c.jpg"),
    ("http://e.com/a/%2e%2E/c.jpg", "http://e.com/c.jpg"),
    ("http://e.com/a%2Fb.jpg", "http://e.com/a%2Fb.jpg"),
    ("http://straße.de/a.jpg", "http://xn--strae-oqa.de/a.jpg"),
    ("http://faß.de/", "http://xn--fa-hia.de/"),
    ("http://BÜCHER.example/", "http://xn--bcher-kva.example/"),
    ("http://例え.jp/絵", "http://xn--r8jz45g.jp/%E7%B5%B5"),
    ("http://e.com。/x", "http://e.com/x"),
    ("http://ﾉ.com/", "http://xn--ldk.com/"),
    ("http://a%62.com/", "http://ab.com/"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://[0:0::1]/", "http://[::1]/"),
    ("http://e.com/a b.jpg?c d|'\"<>", "http://e.com/a%20b.jpg?c%20d|%27%22%3C%3E"),
    ('http://e.com/a"<>`{}^', "http://e.com/a%22%3C%3E%60%7B%7D%5E"),
    ("http://e.com/ü?ä", "http://e.com/%C3%BC?%C3%A4"),
    ("http://e.com/100%.jpg?%zz", "http://e.com/100%.jpg?%zz"),
    ("http://e.com/%7ea?s=a%2Bb%20c&t=%41", "http://e.com/%7ea?s=a%2Bb%20c&t=%41"),
    ("http://e.com/caf\udcc3\udca9", "http://e.com/caf%C3%A9"),
    ("http://e.com/caf\udce9", "http://e.com/caf%E9"),
    ("http://e.com/\ud800.jpg", "http://e.com/%EF%BF%BD.jpg"),
    # Relative ones.
    ("../a.png", "https://example.org/a.png"),
    ("//cdn.example/x", "https://cdn.example/x"),
    ("?x=1", "https://example.org/docs/page.html?x=1"),
    ("https:a.png", "https://example.org/docs/a.png"),
]


@pytest.mark.parametrize(("link", "url"), SAME)
def test_one_form_for_one_address(link, url):
    assert resolve(link, BASE) == url
    assert resolve(url) == url
    assert str(parse_url(url)) == url
    assert image_url(BASE, link) == url


@pytest.mark.parametrize(
    ("link", "reason", "value"),
    [
        ("", "bad_url", ""),
        ("  ", "bad_url", ""),
        ("#", "bad_url", "#"),
        ("#gallery", "bad_url", "#gallery"),
        ("undefined", "bad_url", "undefined"),
        ("NULL", "bad_url", "NULL"),
        ("about:blank", "bad_url", "about:blank"),
        ("[object Object]", "bad_url", "[object Object]"),
        ("{{ image.src }}", "bad_url", "{{ image.src }}"),
        ("/img/${id}.jpg", "bad_url", "/img/${id}.jpg"),
        ("https://e.org/%7B%7Bid%7D%7D.jpg", "bad_url", "https://e.org/%7B%7Bid%7D%7D.jpg"),
        ("<%= src %>", "bad_url", "<%= src %>"),
        ("javascript:void(0)", "bad_url", "javascript:void(0)"),
        ("data:image/gif;base64,R0lGOD", "inline_image", "data:image/gif;base64,R0lGOD"),
        ("DATA:image/gif;base64," + "A" * 90, "inline_image", "DATA:image/gif;base64," + "A" * 18),
        ("ftp://e.org/a.jpg", "url_scheme", "ftp"),
        ("file:///etc/passwd", "url_scheme", "file"),
        ("C:\\images\\a.jpg", "url_scheme", "c"),
        ("http://[", "bad_url", "http://["),
        ("http://", "bad_url", "http://"),
        ("http://a:99999/x", "bad_url", "http://a:99999/x"),
        ("http://999.999.999.999/", "bad_url", "http://999.999.999.999/"),
        ("http://user:pw@e.com/a.jpg", "bad_url", "http://user:pw@e.com/a.jpg"),
        ("http://" + "a" * 64 + ".com/", "bad_url", "http://" + "a" * 64 + ".com/"),
        ("http://a..b/", "bad_url", "http://a..b/"),
        ("http://exa mple.org/", "bad_url", "http://exa mple.org/"),
        ("x" * 3000, "bad_url", "x" * 2048),
    ],
)
def test_links_that_are_no_address_say_why(link, reason, value):
    assert image_url(BASE, link) == Rejected(reason, value)


@pytest.mark.parametrize(
    ("link", "length"),
    [
        ("http://e.com/" + "a" * (8192 - 13), 8192),
        ("http://e.com/" + "a" * (8192 - 12), None),
        ("http://e.com/" + "é" * 1363, 13 + 6 * 1363),  # escapes count
        ("http://e.com/" + "é" * 1363 + "a", 8192),
        ("http://e.com/" + "é" * 1363 + "aa", None),
        ("http://" + ".".join(["a" * 63] * 3 + ["b" * 61]) + "/", 7 + 253 + 1),
        ("http://" + ".".join(["a" * 63] * 3 + ["b" * 62]) + "/", None),
    ],
)
def test_addresses_have_a_longest(link, length):
    if length is None:
        with pytest.raises(UrlError):
            resolve(link)
    else:
        assert len(resolve(link)) == length


def test_empty_segments_stay():
    page = "http://e.org/a/b/c.html"
    assert resolve("..//x.jpg", page) == "http://e.org/a//x.jpg"
    assert resolve("../http://x.org/a", page) == "http://e.org/a/http://x.org/a"


def test_links_have_a_longest():
    assert image_url(BASE, " " + "x" * 2048 + " ") == "https://example.org/docs/" + "x" * 2048
    assert image_url(BASE, "x" * 2049) == Rejected("bad_url", "x" * 2048)


def test_a_base_that_cannot_be_used_counts_as_absent():
    assert image_url("http://[", "http://e.org/a.jpg") == "http://e.org/a.jpg"
    assert image_url("http://[", "a.jpg") == Rejected("url_scheme", "none")
    assert image_url("", "//e.org/a.jpg") == Rejected("url_scheme", "none")


def test_words_that_are_no_placeholders():
    for link in ("null.jpg", "none/a.jpg", "/undefined/x.jpg", "a.jpg#x", "{a}.jpg"):
        assert not is_placeholder(link)


@given(st.text(max_size=60) | st.text(max_size=40).map("http://".__add__), st.text(max_size=20))
def test_any_link_gives_an_address_or_says_why(link, base):
    found = image_url(base, link)
    if isinstance(found, Rejected):
        assert found.value.encode() is not None
    else:
        assert found.isascii()
        assert found.startswith(("http://", "https://"))
        assert image_url("", found) in (found, Rejected("bad_url", found))


@given(st.text(max_size=60) | st.text(max_size=40).map("http://".__add__))
def test_one_form_stays_that_form(link):
    try:
        url = resolve(link)
    except UrlError as error:
        assert error.part in ("url", "scheme")
    else:
        assert resolve(url) == url
        assert str(parse_url(url)) == url.removesuffix("?")  # yarl drops a query of nothing


_WEB = st.text(alphabet="abzAZ09/.:%2eE?#&='()~_-{}$@\\ x\tñ\udce9", max_size=30)
_BASES = st.sampled_from(
    ["http://e.org/a/b.html", "https://sub.e-x.org/", "http://e.org/a/../b/./c", "http://e.org",
     "http://e.org/%2e%2E/x/", "http://1.2.3.4/a/b", "http://e.org:81/a/b", "http://xn--a/b/",
     "https://u@e.org/x/y", "http://e.org/a?b/c/d#e/f", "", "http://["]
)  # fmt: skip


@given(_BASES, st.sampled_from(["", "/", "//", "//e.com/", "http://e.org/", "https://a.b.c/",
                                "http://xn--a.com/", "http://e.0x1/", "./", "../", "../../", "../http://", "a/"]), _WEB)  # fmt: skip
def test_links_that_need_no_parser_give_what_it_gives(base: str, start: str, rest: str) -> None:
    def found(link: str) -> str:
        try:
            return resolve(link, base)
        except UrlError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch:
        quick = found(start + rest)
        patch.setattr("septet.preprocess.urls._resolve_plain", lambda link, base: None)
        assert found(start + rest) == quick


@given(st.text(alphabet="ab/.:h tps{}$%7Bb<>#undefil", max_size=20))
def test_usual_links_are_no_placeholders(link: str) -> None:
    assert is_placeholder(link) == (not link or _PLACEHOLDER.fullmatch(link) is not None)


_LINK = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "/", "//", "http://e.org", "http://e.org/", "https://cdn.e.org/", "../", "data:", "HTTP://e.org/", "http://e.org:80/"]),
        st.text(alphabet="ab/.:?#%27$' {}@\n\t\\é", max_size=8),
        st.sampled_from(["", "a.jpg", "/b", "?x=/", "?x'", "xn--", "%2e", "/./"]),
    ),
)  # fmt: skip
_FORMS = st.sampled_from(["https://cdn.e.org/", "/", "a/", "../", "../../", ""])


@given(
    st.lists(_LINK, min_size=1, max_size=4)
    | st.builds(lambda form, links: [form + one for one in links], _FORMS, st.lists(_LINK, min_size=1, max_size=3)),
    st.sampled_from(["http://e.org/a/b", "http://e.org", "http://e.org:8080/x/", "not a base", "http://E.org/a/?q"]),
)  # fmt: skip
def test_links_that_are_looked_at_together(links: list[str], base: str) -> None:
    for link, url in zip(links, plain_image_urls(base, links), strict=True):
        assert url is None or url == image_url(base, link)


def test_links_of_one_form_need_no_closer_look() -> None:
    page = "https://e.org/a/page.html"
    for links in (
        ["/a.jpg", "/b/c.png?w=1"],
        ["https://cdn.e.org/a.jpg", "https://cdn.e.org/?x"],
        ["a.jpg", "b/c.jpg"],
    ):
        assert plain_image_urls(page, links) == [image_url(page, link) for link in links]
