"""The report: one HTML page that needs no other file.

It is bounded whatever the corpus's size, loads nothing (its content security policy forbids it),
and shows text of unknown origin only as text.
"""

import base64
import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from septet.pipelines.report import charts, readable
from septet.pipelines.report.clusters import duplicate_clusters
from septet.pipelines.report.columns import column_views
from septet.pipelines.report.compare import Comparison
from septet.pipelines.report.current import columns_digest, is_current
from septet.pipelines.report.figures import Category, Statistics
from septet.pipelines.report.funnel import Build, ColumnTime, read_build, read_column_times
from septet.pipelines.report.gallery import SHOWN, Card, reject_thumbnails, sample_cards
from septet.pipelines.report.losses import MOST_REASONS, language_rows, percent, stage_blocks
from septet.pipelines.report.rejects import SEED, count_rejects, sample_rejects
from septet.pipelines.report.sections import SECTIONS, TITLES
from septet.pipelines.report.statistics import ShardStatistics, corpus_statistics, known_statistics
from septet.pipelines.store.by_url import RejectedImages
from septet.preprocess import files
from septet.preprocess.columns.base import Column
from septet.preprocess.shards.heads import read_inputs
from septet.preprocess.shards.reader import Corpus
from septet.schemas.layout import MANIFEST, REPORT, STATISTICS
from septet.schemas.manifest import Manifest

MAX_BYTES = 3_000_000
"""The greatest size of a page."""

_CARDS = (200, 180, 160, 140, 120, 100, 60, 20, 0)
_FIRST_CARDS = 42
_EXAMPLES = 12
_SHOWN_EXAMPLES = 6
"""Examples of a reason that have their image, where it is stored."""
_MOST_SHOWN = 100
"""Images of examples on the page."""
_EXAMPLE_SIDE = 96
_ROWS = 20
_SHARDS = 12
_CHANGES = 200
_RECIPE_CHARS = 40_000


@dataclass(frozen=True)
class BarRow:
    """A row of a table with bars; `width` in percent of the longest bar."""

    name: str
    count: int
    share: str
    width: float


@dataclass(frozen=True)
class Bars:
    """A category as a table with bars."""

    name: str
    title: str
    rows: list[BarRow]
    more: str
    """What the table leaves out, in words."""


def write_report(corpus_path: str, found: Iterable[ShardStatistics] | None = None) -> None:
    """Write a corpus's `stats/statistics.json` and `stats/report.html`.

    Args:
        corpus_path: The corpus folder.
        found: Figures of its shards where they were counted already, see `corpus_statistics`.

    Raises:
        ValueError: there is no corpus, or a file of it is damaged.
    """
    statistics = corpus_statistics(corpus_path, found=found)
    files.write_bytes(files.join(corpus_path, STATISTICS), statistics.to_json().encode())
    files.write_bytes(files.join(corpus_path, REPORT), report_page(corpus_path, statistics))


def refresh_report(corpus_path: str, live: Mapping[str, Column]) -> None:
    """Write the report anew, where a corpus has one, until it shows the columns that are there:
    another process may have made one meanwhile. Its figures are those of `known_statistics`.

    Args:
        corpus_path: The corpus folder.
        live: Columns by name that may draw with their models, see `columns.column_views`.

    Raises:
        ValueError: a file of the corpus is damaged.
    """
    while not is_current(corpus_path):
        page = report_page(corpus_path, known_statistics(corpus_path), live=live)
        # A writer that ends first takes others' temporary files for those that killed ones left.
        with suppress(FileNotFoundError):
            files.write_bytes(files.join(corpus_path, REPORT), page)
        files.remove_temporaries(files.join(corpus_path, posixpath.dirname(REPORT)))


def report_page(
    corpus_path: str,
    statistics: Statistics,
    comparison: Comparison | None = None,
    live: Mapping[str, Column] | None = None,
) -> bytes:
    """The page, UTF-8, at most `MAX_BYTES`.

    Args:
        corpus_path: The corpus folder; samples, rejects, build times and manifest are read there.
            PATH@VIEW shows samples of the view.
        statistics: The corpus's figures.
        comparison: What changed since another build, to be shown too.
        live: As for `refresh_report`.

    Raises:
        ValueError: a file of the corpus is damaged.
    """
    corpus = Corpus(corpus_path, open_shards=2)
    corpus_path = corpus.path  # without a view
    drawn_from = columns_digest(corpus_path)
    counts = count_rejects(corpus_path)
    rejects = sample_rejects(corpus_path, counts, _EXAMPLES, MOST_REASONS, SEED)
    images = RejectedImages(corpus_path, corpus.manifest.recipe)
    clusters = duplicate_clusters(Corpus(corpus_path, open_shards=2), counts, rejects, images)
    examples = (row for key, rows in rejects.items() for row in rows[:_SHOWN_EXAMPLES]
                if key[0] == SHOWN and key not in clusters)  # fmt: skip
    thumbnails = reject_thumbnails(images, islice(examples, _MOST_SHOWN), _EXAMPLE_SIDE)
    cards = sample_cards(corpus, _CARDS[0], SEED)
    manifest_bytes = files.read_bytes(files.join(corpus_path, MANIFEST))
    view = {
        "stats": statistics,
        "facts": _facts(statistics),
        "segments": charts.funnel_chart(statistics.funnel),
        "stages": stage_blocks(
            statistics, corpus.manifest.recipe, rejects, clusters, thumbnails
        ),
        "languages_lost": language_rows(statistics.funnel),
        "sections": SECTIONS,
        "histograms": {
            name: charts.histogram_chart(name, histogram, corpus.manifest.recipe)
            for name, histogram in statistics.measures.items()
        },
        "bars": {name: _bars(name, found) for name, found in statistics.categories.items()},
        "failed_domains": _named_bars("failed_domains", TITLES["failed_domain"],
                                      statistics.failed_domains),
        "columns": column_views(corpus, live or {}, SEED),
        "columns_digest": drawn_from,
        "comparison": comparison,
        "build": _build(read_build(corpus_path), read_column_times(corpus_path), statistics),
        "manifest": corpus.manifest,
        "inputs": read_inputs(corpus_path)[:_SHARDS],
        "shards": corpus.shards[:_SHARDS],
        "manifest_sha256": hashlib.sha256(manifest_bytes).hexdigest(),
        "recipe": _recipe(corpus.manifest),
        "most_shards": _SHARDS,
        "most_changes": _CHANGES,
        "first_cards": _FIRST_CARDS,
        "languages": Counter(card.language for card in cards),
    }  # fmt: skip
    for most in _CARDS:
        page = _render({**view, "cards": _thin(cards, most)})
        if len(page) <= MAX_BYTES:
            return page
    raise ValueError(f"{corpus_path}: a report of {len(page):,} bytes; its manifest is too large")


@cache
def templates() -> jinja2.Environment:
    """The report's templates. A process compiles them once: that takes as long as all else of a
    small page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("septet.pipelines.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=readable.number,
        counted=readable.counted,
        size=readable.size,
        seconds=readable.seconds,
        label=readable.label,
        line=readable.one_line,
        share=readable.share,
        value=charts.value_text,
    )
    return environment


def _render(view: Mapping[str, Any]) -> bytes:
    environment = templates()
    loader = environment.loader
    assert loader is not None
    style, script = (
        loader.get_source(environment, name)[0] for name in ("report.css", "report.js")
    )
    page = environment.get_template("report.html.j2").render(
        **view,
        charts=charts,
        style=Markup(style),
        script=Markup(script),
        style_hash=csp_hash(style),
        script_hash=csp_hash(script),
    )
    return page.encode()


def csp_hash(text: str) -> str:
    """How a content security policy names a style or a script that stands in the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _thin(cards: list[Card], most: int) -> list[Card]:
    """Take at most `most` cards, evenly spread."""
    if len(cards) <= most:
        return cards
    return [cards[i * len(cards) // most] for i in range(most)]


def _facts(stats: Statistics) -> list[tuple[str, str]]:
    """The page's key figures, each with its name."""
    facts = [(readable.number(stats.samples), "samples"), (readable.size(stats.bytes), "in tars")]
    if stats.candidates:
        kept = readable.share(stats.samples, stats.candidates)
        facts.append((kept, f"kept of {readable.number(stats.candidates)} pairs"))
    if "language" in stats.categories:
        facts.append((readable.number(stats.categories["language"].distinct), "languages"))
    if "caption_words" in stats.measures:
        median = stats.measures["caption_words"].median
        facts.append((readable.number(median), "words in the median caption"))
    sides = [stats.measures[name] for name in ("width", "height") if name in stats.measures]
    if len(sides) == 2:
        wide, high = (readable.number(side.median) for side in sides)
        facts.append((f"{wide} × {high}", "median stored pixels"))
    if "image_domain" in stats.categories:
        facts.append((readable.number(stats.categories["image_domain"].distinct), "image domains"))
    if stats.rejects:
        doubles = sum(reason.count for reason in stats.duplicates)
        facts.append((readable.number(doubles), "duplicates dropped"))
    return facts


def _bars(name: str, category: Category) -> Bars:
    return _named_bars(name, TITLES.get(name, readable.label(name)), category)


def _named_bars(name: str, title: str, category: Category) -> Bars:
    shown = category.values[:_ROWS]
    most = max((entry.count for entry in shown), default=0)
    more = []
    if category.distinct > len(shown):
        rest = category.count - sum(entry.count for entry in shown)
        others = category.distinct - len(shown)
        more.append(f"{readable.number(others)} more with {readable.number(rest)} in all")
    if category.missing:
        more.append(f"{readable.number(category.missing)} without a value")
    rows = [
        BarRow(
            name=readable.one_line(readable.value_name(name, entry.value), 80),
            count=entry.count,
            share=readable.share(entry.count, category.count),
            width=percent(entry.count, most),
        )
        for entry in shown
    ]
    return Bars(name, title, rows, "; ".join(more))


def _build(
    build: Build | None, columns: list[ColumnTime], stats: Statistics
) -> dict[str, Any] | None:
    """The times of the build with bars and, where the funnel tells the rows, rates; what the tasks
    of stages and columns used, where it is known."""
    if build is None and not columns:
        return None
    build = build or Build()
    rows_in = {stage.stage: stage for stage in stats.funnel}
    longest = max((one.seconds for one in (*build.stages, *columns)), default=0.0)
    stages = []
    for stage in build.stages:
        figures = rows_in.get(stage.stage)
        rate = ""
        if figures and not stage.skipped and stage.seconds > 0:
            rate = f"{readable.number(round(figures.rows_in / stage.seconds))} {figures.unit}/s"
        stages.append((stage, percent(stage.seconds, longest), rate))
    return {
        "stages": stages,
        "columns": [(one, percent(one.seconds, longest)) for one in columns],
        "used": [stage for stage in (*build.stages, *columns) if stage.cpu_seconds is not None],
        "total": sum(stage.seconds for stage in build.stages),
        "runner": build.runner,
        "workers": build.workers,
    }


def _recipe(manifest: Manifest) -> str:
    if manifest.recipe is None:
        return ""
    text = yaml.safe_dump(manifest.recipe, sort_keys=False, allow_unicode=True, width=100)
    if len(text) > _RECIPE_CHARS:
        text = text[:_RECIPE_CHARS] + "\n… (cut here; corpus.json has the complete recipe)\n"
    return text
