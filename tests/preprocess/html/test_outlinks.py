import time

import pytest

from septet.preprocess.html.outlinks import outlinks

URL = "http://e.org/dir/page.html"


def links(body: str, **more):
    return outlinks(body.encode(), URL, "utf-8", "septet", **more)


@pytest.mark.parametrize(
    ("body", "pages"),
    [
        ("<a href=a.html>a</a><area href=/b><a href='//f.org/c#x'>c</a>", ["http://e.org/dir/a.html", "http://e.org/b", "http://f.org/c"]),
        ("<base href=/other/><a href=a.html>a</a>", ["http://e.org/other/a.html"]),
        ("<a href=a.html>a</a><a href=a.html#b>again</a>", ["http://e.org/dir/a.html"]),
        ("<a rel=nofollow href=a>a</a><a rel='noopener NoFollow' href=b>b</a><a rel=ugc href=c>c</a><a rel=next href=d>d</a>", ["http://e.org/dir/d"]),
        ("<meta name=robots content='index, NOFOLLOW'><a href=a>a</a>", []),
        ("<meta name=Septet content=none><a href=a>a</a>", []),
        ("<meta name=otherbot content=nofollow><a href=a>a</a>", ["http://e.org/dir/a"]),
        ("<a href='#top'>a</a><a href='javascript:x()'>a</a><a href='mailto:a@e.org'>m</a><a href='http://['>b</a><a>n</a>", []),
        ("<a href='{{ url }}'>a</a>", []),
    ],
)  # fmt: skip
def test_pages(body, pages):
    assert links(body).pages == pages


def test_canonical_and_directives():
    found = links(
        "<link rel='Canonical' href=/real><link rel=canonical href=/second><meta name=robots content='noarchive,noai'>"
    )
    assert found.canonical == "http://e.org/real"
    assert found.robots == {"noarchive", "noai"}
    assert links("<link rel=canonical href='data:,x'>").canonical is None


def test_images_are_those_with_a_caption():
    body = "<img src=a.jpg alt='A red house'><img src=icon.png><figure><img data-src=b.jpg src=blank.gif><figcaption>A boat</figcaption></figure>"
    assert links(body, with_images=True).images == [
        "http://e.org/dir/a.jpg",
        "http://e.org/dir/b.jpg",
    ]
    assert links(body).images == []


def test_a_page_without_end_of_links_is_bounded():
    start = time.process_time()
    found = links("".join(f"<a href=/{n}>x</a>" for n in range(60_000)))
    assert len(found.pages) == 10_000
    assert time.process_time() - start < 20
