"""WARC and HTML to (URL, alt) pairs: Septet's source `warc` beside warcio with lxml.

    python -m benchmarks.html [--quick]

Both read the same archive (a gzip member a page, 24 kB pages) and give the absolute URL and the alt
of every image that has one; the pairs are compared. CPU time of one thread, in turns; the ratio is
the median of the rounds' ratios. Beside them stand Septet with a recipe's defaults (alt and
figcaption, two pairs for most images), and the bound of both: the same records given to the same
parser (selectolax's Lexbor), and nothing taken of the tree.

Septet does all that a build asks of a page: opt-outs of headers and `<meta>`, `<base>`,
language, addresses as browsers read them (lazy loading and sets where `src` is a placeholder),
cleaned texts, OpenGraph, and what is lost with its reason.

Then Septet's three in two processes, by the clock, which says what two cores do only where nothing
else runs on them.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser
from warcio.archiveiterator import ArchiveIterator

from benchmarks.in_turns import Rates, rates_in_turns, show_rates, show_ratio
from benchmarks.web_pages import Page, use_peers, write_warc
from septet.pipelines.sources.base import Input, Pair
from septet.pipelines.sources.warc import HtmlRecord, Warc
from septet.preprocess.memory import keep_freed_memory
from septet.schemas.sources import WarcSource

Pairs = list[tuple[str, str]]
_SOURCE = Warc()
_ALTS = WarcSource(kind="warc", paths=["x"], captions=["alt"])
_DEFAULTS = WarcSource(kind="warc", paths=["x"])


def read_septet(path: str, settings: WarcSource = _ALTS) -> Pairs:
    counts: Counter[str] = Counter()
    part = Input(path, 0, path, 0, "", (0, Path(path).stat().st_size))
    return [
        (found.image_url or "", found.caption or "")
        for record in _SOURCE.records(settings, part, counts)
        for found in _SOURCE.read(settings, part, record, counts)  # type: ignore[arg-type]
        if isinstance(found, Pair)
    ]


def peer() -> Callable[[str], Pairs]:
    """The same by warcio and lxml."""
    use_peers("lxml")
    from lxml import etree

    def read(path: str) -> Pairs:
        found: Pairs = []
        with Path(path).open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type != "response":
                    continue
                url = record.rec_headers.get_header("WARC-Target-URI")
                root: Any = etree.fromstring(
                    record.content_stream().read(), etree.HTMLParser(encoding="utf-8")
                )
                for img in root.iter("img"):
                    src, alt = img.get("src"), img.get("alt")
                    if src and alt:
                        found.append((urljoin(url, src), alt))
        return found

    return read


def parse_only(path: str) -> int:
    """Read the records and parse their pages; returns the number of pages."""
    part = Input(path, 0, path, 0, "", (0, Path(path).stat().st_size))
    pages = 0
    for record in _SOURCE.records(_ALTS, part, Counter()):
        if isinstance(record, HtmlRecord):
            LexborHTMLParser(record.body, options=LexborDocumentOptions.WO_EVENTS)
            pages += 1
    return pages


def read_defaults(path: str) -> Pairs:
    return read_septet(path, _DEFAULTS)


def _alts(path: str) -> int:
    return len(read_septet(path))


def _defaults(path: str) -> int:
    return len(read_defaults(path))


def pages_a_second(path: str, pages: int, rounds: int) -> Rates:
    """Pages a second of two processes that each read the archive, by the clock."""
    rates: Rates = {"septet": [], "septet, defaults": [], "parser alone": []}
    readers = (_alts, _defaults, parse_only)
    spawn = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=keep_freed_memory) as pool:
        for reader in readers:
            list(pool.map(reader, [path] * 2))  # imports
        for _ in range(rounds):
            for reader, seen in zip(readers, rates.values(), strict=True):
                start = time.perf_counter()
                list(pool.map(reader, [path] * 2))
                seen.append(2 * pages / (time.perf_counter() - start))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    quick = parser.parse_args().quick
    count, rounds = (600, 5) if quick else (2000, 11)
    pages = [Page(number) for number in range(count)]
    expected = [pair for page in pages for pair in page.pairs()]
    keep_freed_memory()  # as a build's workers do; the peer gains by it, too
    readers: dict[str, Callable[[str], Any]] = {"septet": read_septet, "warcio + lxml": peer()}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "pages.warc.gz")
        size = write_warc(Path(path), pages)
        for name, reader in readers.items():  # warm, and right
            if reader(path) != expected:
                raise SystemExit(f"{name} gives other pairs than the pages hold")
        readers |= {"septet, defaults": read_defaults, "parser alone": parse_only}
        rates = rates_in_turns(readers, path, count, rounds)
        both = pages_a_second(path, count, rounds)
    print(f"{count} pages of {size / count / 1000:.1f} kB, {len(expected) / count:.1f} pairs each")
    show_rates("pages/s/core", rates)
    show_rates("pages/s, two processes", both)
    show_ratio("html_vs_warcio_lxml", rates["septet"], rates["warcio + lxml"])


if __name__ == "__main__":
    main()
