"""A trial of a recipe's rules on a sample of its inputs: nothing is built, nothing fetched."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.inputs import find_inputs
from septet.pipelines.rules.later import Later, LaterDrops
from septet.pipelines.sources.base import Found, ImageLocation, Input, Pair
from septet.pipelines.sources.paths import locate
from septet.pipelines.sources.table import SOURCES
from septet.pipelines.stages.filter import clean, list_digest, located_lists, without_language
from septet.pipelines.stages.source import candidate, read_slice
from septet.preprocess.rules.apply import Asked, as_text, asked_rules
from septet.preprocess.rules.captions import Captions
from septet.preprocess.rules.own import RuleError
from septet.preprocess.rules.rule import Verdict
from septet.preprocess.text.language.model import language_model
from septet.preprocess.text.language.sites import LanguageTeller
from septet.schemas import tables
from septet.schemas.filter import Filter
from septet.schemas.recipe import Recipe

_SLICES = 64
"""The most slices of inputs that a sample is spread over."""
_BATCH = 8192
IMAGES = 500
"""The most images that are read unless more are asked for."""
_MOST_HELD = 1000
"""Rows of a rule of which examples are taken."""


@dataclass
class Drops:
    """What one rule drops of a sample: `first` rows that no rule before it dropped, `alone` all
    that fail it, and examples of the first, each with its value."""

    name: str
    first: int = 0
    alone: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Trial:
    """The outcome of a trial."""

    slices: int
    """How many slices of the inputs were read."""
    of_slices: int
    """How many there are."""
    rows: int
    """Rows with a text."""
    without_text: int
    cleaned: int
    """Captions that were cut."""
    kept: int
    rules: list[Drops]
    by_language: list[tuple[str, int, int]]
    """Language, rows, and rows kept; the most frequent first."""
    later: list[LaterDrops] = field(default_factory=list)
    """What later stages drop of the sample's rows that pass."""
    untried: list[str] = field(default_factory=list)
    """Settings of the recipe that drop rows and were not tried, and why."""


def sample_slices(slices: tuple[Input, ...]) -> list[Input]:
    """At most `_SLICES` slices, the same ones whatever their order."""

    def place(part: Input) -> str:
        name = f"{part.label}\0{part.number}"
        return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    return sorted(slices, key=place)[:_SLICES]


def sample_rows(
    recipe: Recipe, slices: list[Input], rows: int, places: dict[str, ImageLocation]
) -> Iterator[pa.Table]:
    """The first candidates of each slice, about as many of each, in tables of
    `septet.schemas.tables.CANDIDATES`. Where images are of which these tell is added to `places`,
    by their URL."""
    left = rows
    for number, part in enumerate(slices):
        share = -(-left // (len(slices) - number))
        settings = recipe.sources[part.source]
        found = read_slice(SOURCES[settings.kind], settings, part, Counter())
        pairs = islice(_pairs(found, places), share)
        taken = [candidate(pair, part) for pair in pairs]
        left -= len(taken)
        for start in range(0, len(taken), _BATCH):
            yield pa.Table.from_pylist(taken[start : start + _BATCH], tables.CANDIDATES)


def _pairs(found: Iterator[Found], places: dict[str, ImageLocation]) -> Iterator[Pair]:
    for one in found:
        if isinstance(one, Pair):
            yield one
        elif isinstance(one, ImageLocation):
            places.setdefault(one.image_url, one)


def try_rules(recipe: Recipe, folder: str, rows: int, examples: int, images: int = IMAGES) -> Trial:
    """Try the rules of a recipe's section `filter` on a sample of its inputs, and on the rows that
    pass them the later stages, those on images as far as the inputs hold images.

    Args:
        recipe: A parsed recipe.
        folder: Where its relative paths start.
        rows: The size of the sample; fewer where the inputs have fewer.
        examples: How many distinct captions to show of each rule: those with the smallest ids.
        images: The most images to read.

    Raises:
        ValueError: an input, a list or a rule cannot be used.
    """
    inputs = find_inputs(recipe, folder)
    slices = sample_slices(inputs)
    settings = located_lists(recipe.filter, folder)
    for name, path in settings.files.items():
        list_digest(f"filter.{name}", path)  # an error that names the setting
    rules = asked_rules(settings)
    model = None if settings.language_model is None else locate(settings.language_model, folder)
    teller = LanguageTeller(language_model(model), settings.language_score)
    trial = Trial(len(slices), len(inputs), 0, 0, 0, 0, [Drops(rule.name) for rule in rules], [])
    shown: list[list[tuple[str, str, str]]] = [[] for _ in rules]
    seen: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    passed = [tables.FILTERED.empty_table()]
    places: dict[str, ImageLocation] = {}
    for table in sample_rows(recipe, slices, rows, places):
        trial.without_text += table["caption"].null_count
        has_text = pc.is_valid(table["caption"])
        passed.append(without_language(table.filter(pc.invert(has_text))))
        passed += _try_batch(
            table.filter(has_text), settings, teller, rules, trial, shown, (seen, kept)
        )
    for drops, found in zip(trial.rules, shown, strict=True):
        distinct = dict.fromkeys((value, text) for _, value, text in found)
        drops.examples = list(distinct)[:examples]
    whole = pa.concat_tables(one.cast(tables.FILTERED) for one in passed)
    later = Later(recipe, folder, whole, places, images)
    trial.later = later.tried(examples)
    trial.untried = later.untried()
    trial.by_language = [(code, count, kept[code]) for code, count in seen.most_common()]
    return trial


def _judged(rule: Asked, captions: Captions) -> Verdict:
    try:
        return rule.judge(captions)
    except RuleError:
        raise
    except (Exception, SystemExit) as error:
        raise RuleError(
            f"{rule.name} fails on a caption ({type(error).__name__}: {error}); a build makes "
            "rejects of such rows, for the reason rule_error"
        ) from error


def _try_batch(
    table: pa.Table,
    settings: Filter,
    teller: LanguageTeller,
    rules: list[Asked],
    trial: Trial,
    shown: list[list[tuple[str, str, str]]],
    languages: tuple[Counter[str], Counter[str]],
) -> list[pa.Table]:
    """Add what the rules do to a batch to the trial; returns the rows that pass."""
    trial.rows += len(table)
    table, _, changed = clean(table, settings)
    trial.cleaned += changed
    if not len(table):
        return []
    table = teller.add_language(table)
    captions = Captions(table)
    alive = np.ones(len(table), bool)
    for drops, rule, found in zip(trial.rules, rules, shown, strict=True):
        # The tagger is too slow to see more than it would in a build.
        at = np.flatnonzero(alive) if rule.reason == "part_of_speech" else np.arange(len(table))
        verdict = _judged(rule, captions if len(at) == len(table) else Captions(table.take(at)))
        failed = np.zeros(len(table), bool)
        failed[at] = verdict.failed.to_numpy(zero_copy_only=False)
        first = failed & alive
        alive &= ~failed
        drops.alone += int(failed.sum())
        drops.first += int(first.sum())
        places = np.flatnonzero(first)
        values = as_text(verdict.value.take(pa.array(np.searchsorted(at, places))))
        lost = table.select(["id", "caption"]).take(pa.array(places)).to_pydict()
        found += zip(lost["id"], values.to_pylist(), lost["caption"], strict=True)
        found.sort(key=lambda one: one[0])
        del found[_MOST_HELD:]
    trial.kept += int(alive.sum())
    codes = table["language"]
    languages[0].update(codes.to_pylist())
    languages[1].update(codes.filter(pa.array(alive)).to_pylist())
    return [table.filter(pa.array(alive))]
