"""The command `septet crawl`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from septet.pipelines.crawl.crawl import Figures


def crawl(
    seeds: Annotated[
        Path,
        typer.Argument(
            help="A text file of URLs to begin with, one a line; # begins a comment.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder of the crawl, on a local disk.")
    ],
    contact: Annotated[
        str | None,
        typer.Option(help="A web page or mail address where you can be reached; sent along."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A further host, and names below it; may be given several times."),
    ] = None,
    depth: Annotated[int, typer.Option(help="Most links from a seed to a page.")] = 3,
    pages: Annotated[int, typer.Option(help="Most pages and images in all.")] = 1000,
    per_host: Annotated[int, typer.Option(help="Most pages and images of one host.")] = 1000,
    per_pattern: Annotated[
        int, typer.Option(help="Most pages of a host whose addresses differ by numbers alone.")
    ] = 500,
    delay: Annotated[
        float, typer.Option(help="Seconds from one request of a host to the next.")
    ] = 1.0,
    per_domain: Annotated[
        int, typer.Option(help="Most hosts of one registered domain that are asked at once.")
    ] = 4,
    hours: Annotated[float, typer.Option(help="Most hours of this run.")] = 24.0,
    gigabytes: Annotated[float, typer.Option(help="Most GB of stored answers.")] = 10.0,
    images: Annotated[
        bool, typer.Option("--images", help="Keep captioned images on these hosts, too.")
    ] = False,
    no_sitemaps: Annotated[
        bool, typer.Option("--no-sitemaps", help="Do not read the sites' sitemaps.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Ask again for what failed and may succeed by now.")
    ] = False,
    private: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A host (or host:port) of your own network."),
    ] = None,
) -> None:
    """Crawl pages from seeds and keep them as WARC files, which a recipe reads at no cost.

    Links are followed within the seeds' hosts (and names below them). robots.txt, Crawl-delay,
    nofollow, canonical links and noarchive are honoured; a host gets one request at a time, and
    few hosts of one domain are asked at once. Run it again to go on: after a stop, a kill, or with
    larger budgets. No page that is stored is asked for again.

    **Examples**

    echo https://example.org/ > seeds.txt

    septet crawl seeds.txt --out crawl/ --contact crawler@example.org --pages 200 --images

    septet crawl seeds.txt --out crawl/ --contact crawler@example.org --pages 2000 --images

    Then, in a recipe: `sources: [{kind: warc, paths: [crawl/warc/*.warc.gz]}]`
    """
    from rich.console import Console

    import septet

    console = Console(stderr=True)
    settings = {
        "hosts": host or [],
        "depth": depth,
        "pages": pages,
        "pages_per_host": per_host,
        "pages_per_pattern": per_pattern,
        "per_domain": per_domain,
        "hours": hours,
        "total_bytes": int(gigabytes * 1e9),
        "images": images,
        "sitemaps": not no_sitemaps,
        "fetch": {"contact": contact, "per_host_delay": delay, "allowed_hosts": private or []},
    }
    figures = septet.crawl(seeds, out, settings, retry=retry, console=console)
    for line in summary(figures, out):
        console.print(line, markup=False, soft_wrap=True)


def read_seeds(path: Path) -> list[str]:
    """The seeds in a text file, without blank lines and comments.

    Raises:
        ValueError: there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file of seeds; it is a text file with a URL a line")
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


_ENDED = {
    "all": "nothing is left to be asked for",
    "pages": "the budget of pages is spent (--pages)",
    "bytes": "the budget of bytes is spent (--gigabytes)",
    "hours": "the time is over (--hours)",
}


def summary(figures: "Figures", out: Path) -> list[str]:
    """What a crawl has, in a few lines for people."""
    lost = {name: n for name, n in figures.outcomes.most_common() if name != "stored"}
    lines = [
        f"{figures.pages:,} pages and {figures.images:,} images ({figures.bytes:,} bytes) in "
        f"{figures.archives} archives: {out}/warc",
        f"{_ENDED.get(figures.ended, 'stopped')}; {figures.waiting:,} addresses of "
        f"{figures.hosts:,} hosts wait",
    ]
    if figures.lost:
        lines.append(
            f"{figures.lost:,} lines of the journal told of more than the archive still had, and "
            "were forgotten: these addresses are asked for again"
        )
    if lost:
        lines.append("not stored: " + ", ".join(f"{name} {n:,}" for name, n in lost.items()))
    if figures.left_out:
        found = figures.left_out.most_common()
        lines.append("links left out: " + ", ".join(f"{name} {n:,}" for name, n in found))
    return lines
