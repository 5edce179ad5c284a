"""The stage filter: captions cleaned, text rules and language identification.

Passes before it survey the sites that declare a language (`septet.pipelines.stages.sites`); the
filter has one task for each input, which depends on it and on what is known of its own sites.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.sources.paths import locate
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.sites import ModelFile, Survey, site_languages
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage, digest_of
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.preprocess.rules.apply import Asked, apply_rules, asked_rules
from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.clean import clean_rows
from septet.preprocess.rules.parts_of_speech import tagger_digest
from septet.preprocess.rules.tally import Tally
from septet.preprocess.text.language.model import language_model, model_digest
from septet.preprocess.text.language.sites import LanguageTeller
from septet.schemas import tables
from septet.schemas.filter import Filter
from septet.schemas.layout import STAGES

_BATCH = 8192
_SHOWN = 300
_SEPARATOR = "-"


class FilterStage(Stage):
    """The stage that drops pairs whose caption fails a rule, and finds the language of the
    others."""

    name = "filter"
    version = 5
    sections = ("filter",)
    reads = ("candidates",)
    gives = ("filtered",)

    @property
    def by_input(self) -> bool:
        """True: what is learnt of the other inputs is in the keys."""
        return True

    @property
    def fingerprint(self) -> str:
        """A digest of all that decides the stage's output, known before anything is learnt."""
        return digest_of(self.identity, list(self.givers["candidates"].keys()))

    def settings(self) -> dict[str, Any]:
        """The section of the recipe, and what stands behind its names: versions of the rules,
        digests of the language model, of lists and of the tagger.

        Raises:
            ValueError: a rule, a list, the tagger or the language model is not there.
        """
        settings = self.recipe.filter
        lists = located_lists(settings, self.context.folder).files
        return {
            **super().settings(),
            "language_model": self._model[1],
            "rules": [rule.name for rule in asked_rules(settings)],
            "lists": {name: list_digest(f"filter.{name}", path) for name, path in lists.items()},
            "tagger": tagger_digest() if settings.parts_of_speech else None,
        }

    @cached_property
    def _model(self) -> ModelFile:
        label = self.recipe.filter.language_model
        path = None if label is None else locate(label, self.context.folder)
        return path, model_digest(path)

    @cached_property
    def _survey(self) -> Survey | None:
        """The survey of sites, where declared languages are weighed by it."""
        if self.recipe.filter.declared_language == "usual":
            return None
        folder, candidates = files.join(self.corpus, STAGES), self.givers["candidates"]
        return Survey(folder, self.input("candidates"), candidates.keys(), self._model)

    def keys(self) -> Sequence[Key]:
        """The keys of the inputs, each with a digest of what was learnt of its sites."""
        inputs = self.givers["candidates"].keys()
        if self._survey is None:
            return inputs
        return [*map(_SEPARATOR.join, zip(map(str, inputs), self._survey.digests, strict=True))]

    def passes(self) -> Iterator[Pass]:
        """The survey of sites where declared languages are weighed by it, then the filter."""
        if self._survey is not None:
            rows = self.givers["candidates"].require_done().counts.rows_out
            yield from self._survey.passes(rows)
        task = FilterTask(
            self.parts("filtered"),
            self.rejects,
            self.input("candidates"),
            located_lists(self.recipe.filter, self.context.folder),
            self._model,
            self._survey.priors if self._survey is not None else None,
        )
        yield Pass("filter", task.outputs(self.keys()), lambda todo: map_tasks(task, todo))

    def current_files(self) -> Iterator[str]:
        """See `Stage.current_files`."""
        yield from super().current_files()
        if self._survey is not None:
            yield from self._survey.current_files()


def located_lists(settings: Filter, folder: str) -> Filter:
    """The settings with the paths of lists as they are on this machine.

    Args:
        settings: The recipe's `filter` section.
        folder: Where the recipe's relative paths start.
    """
    paths = {name: locate(path, folder) for name, path in settings.files.items()}
    return settings.model_copy(update=paths)


def list_digest(name: str, path: str) -> str:
    """The digest of a list's content.

    Raises:
        ValueError: the file is not there.
    """
    try:
        return files.content_digest(path)[1]
    except OSError as error:
        raise ValueError(
            f"{name}: the list {path} cannot be read ({error}); put it there, or state the "
            "entries themselves as a list in brackets"
        ) from error


class FilterTask(Task):
    """The task that filters the candidates of one input; `priors` are what the survey of sites
    found for each input, where there is one."""

    stage = "filter"

    def __init__(
        self,
        output: Parts,
        rejects: Parts,
        candidates: Parts,
        settings: Filter,
        model: ModelFile,
        priors: Parts | None,
    ):
        self.output, self.rejects = output, rejects
        self.candidates, self.settings = candidates, settings
        self.model, self.priors = model, priors

    def setup(self) -> None:
        """Load the language model and the lists: one that cannot be read is no fault of a row."""
        language_model(*self.model)
        empty = tables.FILTERED.empty_table()
        clean_rows(empty, self.settings)
        for rule in asked_rules(self.settings):
            rule.judge(Captions(empty))

    def run(self, key: Key) -> Counts:
        """Write the rows that passed and the rejects."""
        candidates, _, learnt = str(key).partition(_SEPARATOR)
        path = self.candidates.path(candidates)
        sites = site_languages(self.priors.path(learnt)) if self.priors else None
        rules = asked_rules(self.settings)
        teller = LanguageTeller(language_model(*self.model), self.settings.language_score, sites)
        with (
            files.open_read(path) as file,
            self.results(key, tables.FILTERED) as results,
        ):
            for batch in pq.ParquetFile(file).iter_batches(_BATCH):
                results.counts.rows_in += len(batch)
                rows = pa.Table.from_batches([batch])
                has_text = pc.is_valid(rows["caption"])
                results.keep(without_language(rows.filter(pc.invert(has_text))))
                rows, lost, changed = clean(rows.filter(has_text), self.settings)
                results.reject(lost)
                results.counts.other.update({"captions cleaned": changed} if changed else {})
                for passed, rejected in guarded_rules(rows, rules, teller, results.counts.tally):
                    results.keep(passed)
                    results.reject(rejected)
        return results.counts


def clean(rows: pa.Table, settings: Filter) -> tuple[pa.Table, pa.Table, int]:
    """Clean captions.

    Returns:
        The rows; those of which nothing is left, as rejects; and how many changed.
    """
    rows, changed = clean_rows(rows, settings)
    if not changed:
        return rows, rows.slice(0, 0), 0
    empty = pc.equal(rows["caption"], "")
    lost = rows.filter(empty)
    before = [json.loads(extra)["caption_before"] for extra in lost["extra"].to_pylist()]
    caption = pa.array(before, pa.string())
    lost = lost.set_column(lost.column_names.index("caption"), "caption", caption)
    lost = lost.append_column("value", caption)
    lost = lost.append_column("reason", pa.repeat("boilerplate", len(lost)))
    return rows.filter(pc.invert(empty)), lost, changed


def guarded_rules(
    rows: pa.Table, rules: list[Asked], teller: LanguageTeller, tally: Tally
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Apply the rules; a row on which a rule itself fails becomes a reject (`rule_error`), and is
    not in the tally."""
    measured = Tally()
    try:
        found = apply_rules(rows, rules, teller, measured)
    except (Exception, SystemExit) as error:
        if len(rows) > 1:
            half = len(rows) // 2
            yield from guarded_rules(rows.slice(0, half), rules, teller, tally)
            yield from guarded_rules(rows.slice(half), rules, teller, tally)
            return
        value = f"{type(error).__name__}: {error}"[:_SHOWN]
        lost = rows.append_column("reason", pa.array(["rule_error"]))
        yield without_language(rows.slice(0, 0)), lost.append_column("value", pa.array([value]))
        return
    tally.add(measured)
    yield found


def without_language(rows: pa.Table) -> pa.Table:
    """Candidates as rows of `FILTERED` of which no language is told: the images without a text,
    which pass, for the rules are about texts."""
    for field in list(tables.FILTERED)[len(tables.CANDIDATES) :]:
        rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows
