import gzip
import tracemalloc

import pytest

from septet.preprocess.http.sitemaps import MAX_URLS, Sitemap, read_sitemap

NAMESPACE = "xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'"
URLS = f"<?xml version='1.0'?><urlset {NAMESPACE}><url><loc> http://e.org/a?x=1&amp;y=2 </loc></url><url><loc><![CDATA[http://e.org/b]]></loc><lastmod>2026</lastmod></url></urlset>".encode()
PAGES = ["http://e.org/a?x=1&y=2", "http://e.org/b"]
BOMB = b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]><urlset><url><loc>http://e.org/&b;</loc></url></urlset>"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (URLS, Sitemap(PAGES, [])),
        (gzip.compress(URLS), Sitemap(PAGES, [])),
        (b"\xef\xbb\xbf" + URLS, Sitemap(PAGES, [])),
        (b"<s:sitemapindex xmlns:s='x'><s:sitemap><s:loc>http://e.org/1.xml</s:loc></s:sitemap></s:sitemapindex>", Sitemap([], ["http://e.org/1.xml"])),
        (b"http://e.org/a\r\n# no\nhttps://e.org/b\nnothing", Sitemap(["http://e.org/a", "https://e.org/b"], [])),
        (BOMB, Sitemap(["http://e.org/&b;"], [])),
        (gzip.compress(URLS)[:-20], Sitemap([], [])),
        (b"<html><body>Not here</body></html>", Sitemap([], [])),
        (b"", Sitemap([], [])),
    ],
)  # fmt: skip
def test_forms(data, found):
    assert read_sitemap(data) == found


def test_bounds():
    many = b"<urlset>" + b"<url><loc>http://e.org/x</loc></url>" * (MAX_URLS + 10) + b"</urlset>"
    assert len(read_sitemap(many).pages) == MAX_URLS
    assert len(read_sitemap(b"http://e.org/x\n" * (MAX_URLS + 10)).pages) == MAX_URLS
    bomb = gzip.compress(b"<urlset>" + b"a" * (60 * 2**20))
    assert read_sitemap(bomb) == Sitemap([], [])


def test_lines_without_end_take_no_more_memory_than_the_file():
    lines = gzip.compress(b"\n" * 2**23, 1)
    tracemalloc.start()
    try:
        assert read_sitemap(lines) == Sitemap([], [])
        # The bytes and their text; of all lines there would be eight bytes each, too.
        assert tracemalloc.get_traced_memory()[1] < 7 * 2**23
    finally:
        tracemalloc.stop()
