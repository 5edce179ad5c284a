"""What each stage dropped, reason by reason in order: how many rows were left after each, examples,
where its cuts lay, clusters of duplicates; and what was dropped of each language."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from septet.pipelines.report import readable
from septet.pipelines.report.clusters import Cluster
from septet.pipelines.report.cuts import CutChart, CutFigures, cut_chart, cuts_of
from septet.pipelines.report.figures import Stage, Statistics
from septet.preprocess.rules.tally import CAME_IN
from septet.schemas.reasons import REASONS

MOST_REASONS = 48
"""Reasons shown of a stage."""

_IN_ORDER = ("filter", "balance", "dedup", "curate")
"""The stages whose rules follow one another; those of the others are outcomes of one attempt."""
_PLACES = {reason: place for place, reason in enumerate(REASONS)}
_EXAMPLE_CHARS = 160
_REJECT_FIELDS = ("caption", "value", "image_url", "page_url", "source", "id")
_LANGUAGES = 40
_REASONS_A_LANGUAGE = 3


@dataclass(frozen=True)
class Example:
    """A reject as text by field, and the thumbnail of its image, empty where there is none."""

    told: dict[str, str]
    thumbnail: str
    width: int
    height: int


@dataclass(frozen=True)
class ReasonRow:
    """A reject reason with its examples."""

    reason: str
    count: int
    share: str
    width: float
    left: int | None
    """Rows after it; None where the reasons of the stage have no order."""
    examples: list[Example]
    cuts: list[CutChart]
    clusters: list[Cluster]


@dataclass(frozen=True)
class StageBlock:
    """A stage of the funnel, or of the rejects where there is no funnel, with its reasons."""

    stage: str
    figures: Stage | None
    dropped: int
    kept: str
    reasons: list[ReasonRow]


@dataclass(frozen=True)
class LanguageRow:
    """What the text rules dropped of the captions that declare a language, and for which reasons
    most."""

    language: str
    came_in: int
    dropped: int
    share: str
    width: float
    reasons: list[tuple[str, int]]


def dropped_in_order(
    stage: str, reasons: Mapping[str, int], came_in: int
) -> list[tuple[str, int, int | None]]:
    """The reasons of a stage, each with the rows dropped and those left after it: in the order of
    the rules, or the largest first where there is none."""
    if stage not in _IN_ORDER:
        ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        return [(reason, count, None) for reason, count in ranked]
    rows: list[tuple[str, int, int | None]] = []
    left = came_in
    for reason in sorted(reasons, key=lambda one: (_PLACES.get(one, len(_PLACES)), one)):
        left -= reasons[reason]
        rows.append((reason, reasons[reason], left))
    return rows


def stage_blocks(
    stats: Statistics,
    recipe: Mapping[str, Any] | None,
    examples: Mapping[tuple[str, str], list[dict[str, Any]]],
    clusters: Mapping[tuple[str, str], list[Cluster]],
    thumbnails: Mapping[str, tuple[str, int, int]],
) -> list[StageBlock]:
    """The stages of a corpus's funnel with all that they dropped.

    Args:
        stats: The corpus's figures.
        recipe: The recipe of the build.
        examples: Rejects by stage and reason.
        clusters: Clusters of duplicates by stage and reason.
        thumbnails: Of examples' images, by URL: a URI, width and height.
    """
    reasons = {stage.stage: dict(stage.rejected) for stage in stats.funnel}
    for entry in stats.rejects:
        reasons.setdefault(entry.stage, {}).setdefault(entry.reason, entry.count)
    figures = {stage.stage: stage for stage in stats.funnel}
    most = max((count for told in reasons.values() for count in told.values()), default=0)
    blocks = []
    for stage, told in reasons.items():
        found = figures.get(stage)
        dropped = sum(told.values())
        whole = found.rows_in if found else dropped
        cuts: dict[str, list[CutFigures]] = {}
        for one in cuts_of(found, recipe) if found else ():
            cuts.setdefault(one.reason, []).append(one)
        told = {reason: count for reason, count in told.items() if count}
        told |= {reason: 0 for reason in cuts if reason not in told}
        rows = [
            ReasonRow(
                reason=reason,
                count=count,
                share=readable.share(count, whole),
                width=percent(count, most),
                left=left if found else None,
                examples=[
                    Example(_example(row), *thumbnails.get(row["image_url"], ("", 0, 0)))
                    for row in examples.get((stage, reason), ())
                    if (stage, reason) not in clusters  # which show more of the same
                ],
                cuts=[cut_chart(one) for one in cuts.get(reason, ())],
                clusters=clusters.get((stage, reason), []),
            )
            for reason, count, left in dropped_in_order(stage, told, whole)
        ]
        blocks.append(
            StageBlock(
                stage=stage,
                figures=found,
                dropped=dropped,
                kept=readable.share(found.rows_out, found.rows_in) if found else "",
                reasons=rows[:MOST_REASONS],
            )
        )
    return blocks


def language_rows(funnel: Iterable[Stage]) -> list[LanguageRow]:
    """What the text rules dropped by declared language, the most frequent languages first."""
    rows = []
    for stage in funnel:
        for language, told in stage.languages.items():
            lost = Counter({reason: n for reason, n in told.items() if reason != CAME_IN})
            came_in, dropped = told.get(CAME_IN, 0), lost.total()
            ranked = sorted(lost.items(), key=lambda item: (-item[1], item[0]))
            rows.append(
                LanguageRow(
                    language, came_in, dropped, readable.share(dropped, came_in),
                    percent(dropped, came_in), ranked[:_REASONS_A_LANGUAGE],
                )
            )  # fmt: skip
    return sorted(rows, key=lambda row: (-row.came_in, row.language))[:_LANGUAGES]


def percent(part: float, whole: float) -> float:
    """The share of `part` in `whole` in percent, rounded to two decimals."""
    return round(100 * part / whole, 2) if whole else 0.0


def _example(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: readable.one_line(str(row[name]), _EXAMPLE_CHARS)
        for name in _REJECT_FIELDS
        if row.get(name) is not None and str(row[name]) != ""
    }
