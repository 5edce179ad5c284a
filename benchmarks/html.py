"""WARC and HTML to (URL, alt) pairs: Septet's source `warc` beside warcio with lxml.

    python -m benchmarks.html [--quick]

Both read the same archive (a gzip member a page, 24 kB pages) and give the absolute URL and the alt
of every image that has one; the pairs are compared. CPU time of one thread, in turns; the ratio is
the median of the rounds' ratios. Then Septet alone in two processes, with a recipe's defaults
(alt and figcaption, two pairs for most images): pages a second by the clock, which says what two
cores do only where nothing else runs on them.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from warcio.archiveiterator import ArchiveIterator

from benchmarks.in_turns import rates_in_turns, show_rates, show_ratio
from benchmarks.web_pages import Page, use_peers, write_warc
from septet.pipelines.sources.base import Input, Pair
from septet.pipelines.sources.warc import Warc
from septet.schemas.sources import WarcSource

Pairs = list[tuple[str, str]]
_SOURCE = Warc()
_ALTS = WarcSource(kind="warc", paths=["x"], captions=["alt"])
_DEFAULTS = WarcSource(kind="warc", paths=["x"])


def read_septet(path: str, settings: WarcSource = _ALTS) -> Pairs:
    counts: Counter[str] = Counter()
    part = Input(path, 0, path, 0, "", (0, Path(path).stat().st_size))
    return [
        (str(found.image_url), str(found.caption))
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


def _count(path: str) -> int:
    return len(read_septet(path, _DEFAULTS))


def pages_a_second(path: str, pages: int, rounds: int) -> list[float]:
    """Pages a second of two processes that each read the archive, by the clock."""
    rates = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_count, [path] * 2))  # imports
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(_count, [path] * 2))
            rates.append(2 * pages / (time.perf_counter() - start))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    quick = parser.parse_args().quick
    count, rounds = (600, 5) if quick else (2000, 11)
    pages = [Page(number) for number in range(count)]
    expected = [pair for page in pages for pair in page.pairs()]
    readers = {"septet": read_septet, "warcio + lxml": peer()}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "pages.warc.gz")
        size = write_warc(Path(path), pages)
        for name, reader in readers.items():  # warm, and right
            if reader(path) != expected:
                raise SystemExit(f"{name} gives other pairs than the pages hold")
        rates = rates_in_turns(readers, path, count, rounds)
        both = pages_a_second(path, count, rounds)
    print(f"{count} pages of {size / count / 1000:.1f} kB, {len(expected) / count:.1f} pairs each")
    show_rates("pages/s/core", {**rates, "septet, 2 processes": both})
    print(f"pages a second, two processes {statistics.median(both):,.0f}")
    show_ratio("html_vs_warcio_lxml", rates["septet"], rates["warcio + lxml"])


if __name__ == "__main__":
    main()
