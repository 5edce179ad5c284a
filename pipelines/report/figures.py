"""The statistics of a corpus as a tree of figures, which is stored as `stats/statistics.json`."""

import json
from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from septet.pipelines.report.frequent import Frequent
from septet.pipelines.report.measures import MEASURES, Distribution

FORMAT_VERSION = 2
"""Raised whenever a reader of the previous version could misread what is written."""

JsonText = str | bytes

TOP = 100
"""Values listed of a category; the others are counted together."""


def _is_empty(value: dict[str, Any]) -> bool:
    return not value


class _Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Count(_Figures):
    """The number of samples (or rejects) that have a value."""

    value: str
    count: int
    share: float
    """The share among all that have any value, in [0, 1], rounded to six decimals."""


class Category(_Figures):
    """A quantity whose values are names, commonest first."""

    count: int
    """How many samples have a value."""
    missing: int
    distinct: int
    values: list[Count]
    """The commonest values, at most `TOP`."""
    others: int
    """How many samples have a value that is not listed."""
    error: int = 0
    """By how much a count may be too low at most, where there were too many values to count each.
    `distinct` is an estimate then, within 5 %."""

    @classmethod
    def of(cls, found: Frequent, rows: int) -> "Category":
        """Make a category from counts by value and the number of rows that could have had one."""
        total = found.total
        ranked = sorted(found.counts.items(), key=lambda item: (-item[1], item[0]))
        listed = [
            Count(value=value, count=count, share=round(count / total, 6))
            for value, count in ranked[:TOP]
        ]
        return cls(
            count=total,
            missing=rows - total,
            distinct=found.distinct,
            values=listed,
            others=total - sum(entry.count for entry in listed),
            error=found.error,
        )

    def count_of(self, value: str) -> int:
        """The count of a listed value; 0 where it is not listed."""
        return next((entry.count for entry in self.values if entry.value == value), 0)


class Histogram(_Figures):
    """A measured quantity. Bin i holds `edges[i] <= value < edges[i + 1]`, the last one all from
    its edge on. Quantiles are at most 0.2 % low (see `septet.pipelines.report.measures`)."""

    unit: str
    count: int
    """How many samples have a value."""
    missing: int
    min: float
    max: float
    mean: float
    quantiles: dict[str, float]
    edges: list[float]
    counts: list[int]

    @classmethod
    def of(cls, name: str, found: Distribution, rows: int) -> "Histogram | None":
        """Make a histogram from a measure's distribution over `rows` rows; None where no row has a
        value."""
        if found.minimum is None or found.maximum is None:
            return None
        measure = MEASURES[name]

        def real(value: float) -> float:
            return value if measure.scale == 1 else round(value / measure.scale, 3)

        return cls(
            unit=measure.unit,
            count=found.count,
            missing=max(rows - found.count, 0),
            min=real(found.minimum),
            max=real(found.maximum),
            mean=round(found.total / found.count / measure.scale, 3),
            quantiles={key: real(value) for key, value in found.quantiles().items()},
            edges=[real(edge) for edge in measure.edges],
            counts=found.bins(measure.edges),
        )

    @property
    def median(self) -> float:
        """The median."""
        return self.quantiles["p50"]


class Members(_Figures):
    """The members of one extension: how many there are in all shards, and their bytes."""

    ext: str
    count: int
    bytes: int


class Stage(_Figures):
    """A stage of the build, as `stats/funnel.json` has it."""

    model_config = ConfigDict(extra="ignore")

    stage: str
    rows_in: int = Field(alias="in")
    rows_out: int = Field(alias="out")
    unit: str = "pairs"
    rejected: dict[str, int] = {}
    counts: dict[str, int] = {}
    values: dict[str, tuple[list[int], list[int]]] = Field(default={}, exclude_if=_is_empty)
    """By setting, how many values were kept and dropped in each bin of
    `septet.schemas.cuts.EDGES`."""
    languages: dict[str, dict[str, int]] = Field(default={}, exclude_if=_is_empty)
    """By declared language ("" for none), the rows that came `in` and those dropped by reason."""


class Reason(_Figures):
    """The rows that a stage dropped for one reason, as counted in `rejects/`."""

    stage: str
    reason: str
    count: int


class FailureClass(_Figures):
    """A class of fetch failures: reasons that share a cause."""

    failure: str
    count: int
    reasons: dict[str, int]


class EvaluationSample(_Figures):
    """A sample that was dropped for an evaluation set: its id, the image or text of the set, and
    how like it is (bits in which hashes differ, or the share of the text that is there)."""

    id: str
    item: str
    similarity: str


class EvaluationHits(_Figures):
    """What was dropped for one evaluation set (`decontaminate`)."""

    name: str
    images: int
    texts: int
    examples: list[EvaluationSample]
    """Those with the smallest ids, images before texts."""


class ColumnFigures(_Figures):
    """The figures of a column: samples with and without a value, and the size of its tars."""

    name: str
    kind: str
    samples: int
    values: int
    bytes: int
    without: dict[str, int]
    """Samples without a value, by reason."""
    languages: dict[str, dict[str, int]] = {}
    """Samples and values of each language; empty where an older Septet made the column."""
    rows: dict[str, dict[str, int]] = {}
    """Rows of the files that it was made from, see `ColumnManifest.rows`."""
    stale: bool = False
    """Whether it was made from other shards than the corpus has: its figures are of another
    build."""


class Statistics(_Figures):
    """All figures of a corpus. Equal corpora give equal JSON."""

    format_version: int = FORMAT_VERSION
    name: str
    samples: int
    shards: int
    bytes: int
    """Size of the tars together."""
    shard_list: str = ""
    """SHA-256 of the list of the shards that were counted."""
    removed_list: str = Field(default="", exclude_if=lambda value: not value)
    """SHA-256 of the list of removed samples, which are not counted; empty where none were."""
    members: list[Members]
    funnel: list[Stage]
    """The stages in build order; empty where the corpus has no `stats/funnel.json`."""
    rejects: list[Reason]
    duplicates: list[Reason]
    """The rejects of the stages dedup and curate whose reason starts with `duplicate`."""
    evaluation: list[EvaluationHits] = Field(default=[], exclude_if=lambda value: not value)
    """The evaluation sets of which anything was found, by name."""
    fetch_failures: list[FailureClass]
    failed_domains: Category
    """Registered domains of the images that could not be fetched."""
    categories: dict[str, Category]
    """The categories by name: language, language_from, caption_from, format, reencoded, status,
    chinese (scripts of captions in Chinese, see `preprocess.text.han`), image_domain, page_domain;
    only those of which any sample has a value."""
    measures: dict[str, Histogram]
    """The histograms by name, see `septet.pipelines.report.measures.MEASURES`; only those that any
    sample has."""
    notes: list[str]
    """Sentences about figures that do not add up."""
    columns: list[ColumnFigures] | None = None
    """The columns by name; None in `stats/statistics.json`, which is of the build: columns come and
    go."""

    @property
    def candidates(self) -> int | None:
        """The number of pairs that entered the build; None where there is no funnel."""
        return self.funnel[0].rows_in if self.funnel else None

    def to_json(self) -> str:
        """The statistics as canonical JSON: equal statistics give equal bytes."""
        without = {"columns"} if self.columns is None else None
        data = self.model_dump(mode="json", by_alias=True, exclude=without)
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: JsonText, where: str = "statistics") -> "Statistics":
        """Parse what `to_json` wrote.

        Raises:
            ValueError: not JSON, of a newer format version, or not of this form.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{where} is not JSON ({error}); expected the output of `septet stats --json`"
            ) from error
        version = data.get("format_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ValueError(
                f"{where} has format version {version}, this Septet reads up to {FORMAT_VERSION}: "
                "upgrade Septet"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ValueError(
                f"{where} does not have the form of `septet stats --json`: {error}"
            ) from error


def ranked(counts: Counter[str]) -> dict[str, int]:
    """Counts as a dict, largest first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
