"""Prints what the demo's WARC files hold, as the tables of README.md.

python -m examples.demo.count_pairs examples/demo/pages
"""

import argparse
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

from fastwarc.warc import ArchiveIterator, WarcRecordType

from examples.demo.page_images import page_images

SHORTEST_TEXT = 2  # characters: a word, in Chinese, Japanese and Korean
FILE_LANGUAGE = re.compile(r"-([a-z]{2,3}(?:-[A-Z]{2})?)\.warc\.gz$")
LANGUAGE = re.compile(rb'<html lang="([A-Za-z-]+)"')


@dataclass
class Counts:
    """Figures of one work in one language."""

    pages: int = 0
    shown: int = 0  # img elements
    missing: int = 0  # img elements whose image is in no file
    images: set[str] = field(default_factory=set)  # digests of images that pages show
    pairs: set[tuple[str, str]] = field(default_factory=set)  # (digest, text)
    patterns: Counter[str] = field(default_factory=Counter)  # img elements by markup

    ROW = "| {} | {} | {} | {} | {} | {} |"
    HEAD = ROW.format("file", "language", "pages", "`img`", "distinct images", "distinct pairs")

    def row(self, name: str, language: str) -> str:
        """A row of the table."""
        return self.ROW.format(
            name, language, self.pages, self.shown, len(self.images), len(self.pairs)
        )


def responses(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Address, content type and body of every response in a WARC file."""
    with path.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            media_type = str(record.http_headers.get("Content-Type", ""))
            yield record.headers["WARC-Target-URI"], media_type, record.reader.read()


def count(folder: Path) -> dict[tuple[str, str], Counts]:
    """Figures by file and language, both sorted."""
    paths = sorted(folder.glob("*.warc.gz"))
    if not paths:
        raise ValueError(f"expected WARC files (*.warc.gz) in {folder}, found none")
    found: dict[tuple[str, str], Counts] = defaultdict(Counts)
    for path in paths:
        bodies = {uri: (kind, body) for uri, kind, body in responses(path)}
        digests = {
            uri: hashlib.sha256(body).hexdigest()
            for uri, (kind, body) in bodies.items()
            if kind.startswith("image/")
        }
        language = _language(path)
        for uri, (kind, body) in bodies.items():
            if not kind.startswith("text/html"):
                continue
            own = LANGUAGE.search(body[:300]) if language == "mul" else None
            counts = found[path.name, own[1].decode() if own else language]
            counts.pages += 1
            for image in page_images(body):
                counts.shown += 1
                digest = digests.get(urljoin(uri, image.src))
                if digest is None:
                    counts.missing += 1
                    continue
                counts.patterns[image.pattern or ("alt" if image.alt else "no text")] += 1
                counts.images.add(digest)
                if len(image.text) >= SHORTEST_TEXT:
                    counts.pairs.add((digest, image.text))
    return dict(sorted(found.items()))


def _language(path: Path) -> str:
    match = FILE_LANGUAGE.search(path.name)
    if match is None:
        raise ValueError(f"expected a name like work-en.warc.gz, found {path.name}")
    return match[1]


def table(counts: dict[tuple[str, str], Counts]) -> str:
    """The figures as a Markdown table with a last row of sums."""
    rows = [Counts.HEAD, "|---|---|---|---|---|---|"]
    rows += [figures.row(name, language) for (name, language), figures in counts.items()]
    every = Counts(
        pages=sum(figures.pages for figures in counts.values()),
        shown=sum(figures.shown for figures in counts.values()),
        images=set().union(*(figures.images for figures in counts.values())),
        pairs=set().union(*(figures.pairs for figures in counts.values())),
    )
    return "\n".join([*rows, every.row("all", f"{len({lang for _, lang in counts})} languages")])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of WARC files")
    counts = count(parser.parse_args().folder)
    print(table(counts))
    patterns = sum((figures.patterns for figures in counts.values()), Counter[str]())
    print("\n| text of an `img` from | `img` |\n|---|---|")
    for pattern, n in patterns.most_common():
        print(f"| {pattern} | {n} |")
    missing = sum(figures.missing for figures in counts.values())
    print(f"\n{missing} `img` show images that are in no file.")


if __name__ == "__main__":
    main()
