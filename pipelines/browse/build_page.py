"""What a build tells of itself: its funnel, what it dropped and why, what could not be fetched,
evaluation sets, times. No condition on samples changes it."""

from collections.abc import Mapping
from typing import Any

import yaml

from septet.pipelines.report import charts
from septet.pipelines.report.cuts import cut_text, cuts_of
from septet.pipelines.report.figures import Category, Stage, Statistics
from septet.pipelines.report.funnel import read_build, read_funnel
from septet.pipelines.report.losses import dropped_in_order, language_rows
from septet.pipelines.report.statistics import column_figures, stored_statistics
from septet.preprocess.shards.reader import Corpus

_DOMAINS = 20


def build_facts(corpus: Corpus) -> dict[str, Any]:
    """What is told of a corpus's build, for its page.

    Raises:
        ValueError: a file of its statistics is damaged.
    """
    counted = stored_statistics(corpus.path)
    stages = counted.funnel if counted else read_funnel(corpus.path)
    recipe = corpus.manifest.recipe
    return {
        "charts": charts,
        "segments": charts.funnel_chart(stages),
        "stages": [(stage, _reasons(stage)) for stage in stages],
        "cuts": [_cut(one) for stage in stages for one in cuts_of(stage, recipe)],
        "languages": language_rows(stages),
        "build": read_build(corpus.path),
        "stats": counted,
        "domains": _domains(counted),
        "columns": column_figures(corpus.path),
        "recipe": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else "",
    }


def _reasons(stage: Stage) -> list[tuple[str, int, int | None]]:
    return dropped_in_order(stage.stage, stage.rejected, stage.rows_in)


def _cut(one: Any) -> dict[str, Any]:
    return {"setting": one.setting, "keeps": cut_text(one), "measured": one.total,
            "dropped": sum(one.dropped), "word": one.words[1]}  # fmt: skip


def _domains(counted: Statistics | None) -> Mapping[str, int]:
    found: Category | None = counted.failed_domains if counted else None
    return {one.value: one.count for one in found.values[:_DOMAINS]} if found else {}
