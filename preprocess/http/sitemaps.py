"""Sitemaps (sitemaps.org, protocol 0.9): the addresses that a site lists, in XML, text, or gzip of
either."""

import html
import io
import re
from dataclasses import dataclass
from itertools import islice

from septet.preprocess.http.body import decode_content
from septet.schemas.reasons import RejectedError

MAX_BYTES = 50 * 2**20
MAX_URLS = 50_000
"""Bounds of the protocol on one sitemap."""
_LOCATION = re.compile(r"<(?:\w+:)?loc>\s*(?:<!\[CDATA\[\s*)?([^<>\s\]]{1,2048})")
_INDEX = re.compile(r"<(?:\w+:)?sitemapindex[\s>]")
_URL_SET = re.compile(r"<(?:\w+:)?urlset[\s>]")


@dataclass(frozen=True)
class Sitemap:
    """The addresses in a sitemap, as written: of pages, or of further sitemaps."""

    pages: list[str]
    sitemaps: list[str]


def read_sitemap(data: bytes) -> Sitemap:
    """Read a sitemap; what is none names nothing. No entity but those of characters is expanded.

    Args:
        data: The file as served; gzip is known by its first bytes.
    """
    if data.startswith(b"\x1f\x8b"):
        try:
            data = decode_content(data, "gzip", MAX_BYTES)
        except RejectedError:
            return Sitemap([], [])
    text = data[:MAX_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
    head = text[:4096]
    is_index = _INDEX.search(head) is not None
    if is_index or _URL_SET.search(head):
        found = [html.unescape(one[1]) for one in islice(_LOCATION.finditer(text), MAX_URLS)]
        return Sitemap([], found) if is_index else Sitemap(found, [])
    # Not all lines at once: there may be 50 million.
    lines = [line.strip() for line in islice(io.StringIO(text, newline=None), MAX_URLS)]
    return Sitemap([line for line in lines if line.startswith(("http://", "https://"))], [])
