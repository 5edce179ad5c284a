"""Synthetic crawls for benchmarks: pages of some 24 kB as WARC, and what Common Crawl's WAT says of
them. The same for the same seed."""

import gzip
import io
import json
import random
import sys
from pathlib import Path
from urllib.parse import urljoin

PEERS = Path(sys.prefix) / "peers"
_TEXT = """the harbour in winter light seen from an old bridge red bicycle against brick wall small
boat mountain lake market window street people evening summer station museum painting garden"""
_WORDS = _TEXT.split()


def use_peers(*names: str) -> None:
    """Let packages of `make peers` be imported, behind all that is installed.

    Raises:
        SystemExit: one is missing.
    """
    for name in names:
        if not (PEERS / name).is_dir():
            raise SystemExit(f"{PEERS / name} is missing: `make peers` installs it")
        sys.path.append(str(PEERS / name))


class Page:
    """A page: 40 links of navigation, script and style, 8 to 22 blocks with an image each, six in
    ten of them with an alt. Of ten sites six have their images elsewhere, three write addresses
    without a host, one relative ones."""

    def __init__(self, number: int):
        self._random = random.Random(number)
        self.url = f"https://www.site-{number % 97}.example.org/articles/{number}/index.html"
        self.images: list[tuple[str, str | None, str]] = []
        start = self._random.choices(("https://cdn.example.org", "", ".."), (6, 3, 1))[0]
        for block in range(self._random.randint(8, 22)):
            name = f"/img/{number}/{block}-{self._random.randrange(9999)}.jpg"
            alt = self._words(8) if self._random.random() < 0.6 else None
            self.images.append((start + name, alt, self._words(9)))

    def _words(self, count: int) -> str:
        return " ".join(self._random.choice(_WORDS) for _ in range(count))

    def html(self) -> bytes:
        """The page as served."""
        links = "".join(
            f'<li><a class="nav-link" href="/section/{n}/">{self._words(2)}</a></li>'
            for n in range(40)
        )
        script = "".join(f'var v{n} = {{"name": "{self._words(4)}"}};\n' for n in range(75))
        style = "".join(f".c{n} .d{n} {{ margin: {n}px; padding: {n}px }}\n" for n in range(80))
        blocks = "".join(
            f'<section class="block"><h2>{self._words(5)}</h2><p>{self._words(52)}</p><figure>'
            f'<img loading="lazy" width="640" height="480" src="{src}"'
            + (f' alt="{alt}"' if alt else "")
            + f"><figcaption>{caption}</figcaption></figure><p>{self._words(50)}</p></section>\n"
            for src, alt, caption in self.images
        )
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{self._words(5)}'
            f'</title><meta name="viewport" content="width=device-width"><meta name="description" '
            f'content="{self._words(12)}"><link rel="stylesheet" href="/site.css"><style>{style}'
            f"</style><script>{script}</script></head><body><nav><ul>{links}</ul></nav><main>"
            f"{blocks}</main></body></html>\n"
        ).encode()

    def pairs(self) -> list[tuple[str, str]]:
        """The absolute URL and alt of each image that has one."""
        return [(urljoin(self.url, src), alt) for src, alt, _ in self.images if alt]

    def wat(self) -> bytes:
        """What a WAT file says of the page: 108 links and its images, in any order."""
        links: list[dict[str, str]] = [
            {"path": "A@/href", "url": f"/section/{n}/", "text": self._words(2)} for n in range(108)
        ]
        for src, alt, _ in self.images:
            links.append({"path": "IMG@/src", "url": src, **({"alt": alt} if alt else {})})
        self._random.shuffle(links)
        html = {
            "Head": {
                "Metas": [{"name": "viewport", "content": "width=device-width"}],
                "Title": self._words(5),
                "Link": [{"path": "LINK@/href", "url": "/site.css", "rel": "stylesheet"}],
            },
            "Links": links,
        }
        answer = {
            "Response-Message": {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"},
            "Headers": {"Content-Type": "text/html; charset=utf-8", "Server": "nginx"},
            "HTML-Metadata": html,
        }
        envelope = {
            "Format": "WARC",
            "WARC-Header-Length": "560",
            "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": self.url},
            "Payload-Metadata": {
                "Actual-Content-Type": "application/http; msgtype=response",
                "HTTP-Response-Metadata": answer,
            },
        }
        container = {"Filename": "CC-MAIN.warc.gz", "Compressed": True, "Offset": "0"}
        record = {"Container": container, "Envelope": envelope}
        return json.dumps(record, separators=(",", ":")).encode()  # as Common Crawl writes it


def _record(kind: str, url: str, media: str, block: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{len(block):012d}>\r\n"
        f"Content-Length: {len(block)}\r\nContent-Type: {media}\r\n"
        f"WARC-Target-URI: {url}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", 6, mtime=0)


def write_warc(path: Path, pages: list[Page]) -> int:
    """Write the pages as responses, a gzip member each; returns the bytes of their HTML."""
    out = io.BytesIO()
    total = 0
    for page in pages:
        html = page.html()
        total += len(html)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nServer: nginx\r\n\r\n"
        out.write(_record("response", page.url, "application/http; msgtype=response", head + html))
    path.write_bytes(out.getvalue())
    return total


def write_wat(path: Path, pages: list[Page]) -> int:
    """Write what WAT says of the pages, a gzip member each; returns the bytes of its JSON."""
    out = io.BytesIO()
    total = 0
    for page in pages:
        block = page.wat()
        total += len(block)
        out.write(_record("metadata", page.url, "application/json", block))
    path.write_bytes(out.getvalue())
    return total
