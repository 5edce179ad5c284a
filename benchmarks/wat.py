"""WAT to (URL, alt) pairs: Septet's source `wat` beside cc2dataset's own extraction function.

    python -m benchmarks.wat [--quick]

Both read the same WAT file (a gzip member a record, as Common Crawl writes them) from the page
cache and give the absolute URL, the alt and the page of every image that has one; the pairs are
compared. CPU time of one thread, in turns; the ratio is the median of the rounds' ratios. Of
cc2dataset only `extract_documents_from_wat` runs: Spark, which its module imports, is not needed
for that and is stood in for.
"""

import argparse
import io
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.in_turns import rates_in_turns, show_rates, show_ratio
from benchmarks.web_pages import Page, use_peers, write_wat
from septet.pipelines.sources.base import Input, Pair
from septet.pipelines.sources.wat import Wat
from septet.preprocess.memory import keep_freed_memory
from septet.schemas.sources import WatSource

Pairs = list[tuple[str, str]]
_SOURCE = Wat()
_SETTINGS = WatSource(kind="wat", paths=["x"])
_STOOD_IN = {
    "pyspark": "SparkContext",
    "pyspark.sql": "SparkSession",
    "pyspark.sql.functions": "rand",
    "loguru": "logger",
}


def read_septet(path: str) -> Pairs:
    counts: Counter[str] = Counter()
    part = Input(path, 0, path, 0, "", (0, Path(path).stat().st_size))
    return [
        (found.image_url or "", found.caption or "")
        for record in _SOURCE.records(_SETTINGS, part, counts)
        for found in _SOURCE.read(_SETTINGS, part, record, counts)  # type: ignore[arg-type]
        if isinstance(found, Pair)
    ]


def peer() -> Callable[[str], Pairs]:
    """The same by cc2dataset."""
    use_peers("cc2dataset")
    for name, attribute in _STOOD_IN.items():
        module = types.ModuleType(name)
        setattr(module, attribute, None)
        sys.modules.setdefault(name, module)
    from cc2dataset.main import extract_documents_from_wat

    def read(path: str) -> Pairs:
        found = extract_documents_from_wat(io.BytesIO(Path(path).read_bytes()), "image")
        return [(link["url"], link["alt"]) for link in found]

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    quick = parser.parse_args().quick
    count, rounds = (1000, 5) if quick else (3000, 11)
    pages = [Page(number) for number in range(count)]
    expected = [pair for page in pages for pair in page.pairs()]
    keep_freed_memory()  # as a build's workers do; the peer has the same
    readers = {"septet": read_septet, "cc2dataset": peer()}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "pages.wat.gz")
        size = write_wat(Path(path), pages)
        for name, reader in readers.items():  # warm, and right
            if sorted(reader(path)) != sorted(expected):
                raise SystemExit(f"{name} gives other pairs than the pages hold")
        rates = rates_in_turns(readers, path, count, rounds)
    print(
        f"{count} records of {size / count / 1000:.1f} kB, {len(expected) / count:.1f} pairs each"
    )
    show_rates("records/s/core", rates)
    show_ratio("wat_vs_cc2dataset", rates["septet"], rates["cc2dataset"])


if __name__ == "__main__":
    main()
