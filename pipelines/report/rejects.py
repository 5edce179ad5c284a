"""The rejects of a build: counts by stage and reason, and examples of each."""

import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from septet.pipelines.ahead import map_ahead
from septet.pipelines.report.domains import count_domains
from septet.pipelines.report.figures import (
    EvaluationHits,
    EvaluationSample,
    FailureClass,
    Reason,
    ranked,
)
from septet.pipelines.report.frequent import Frequent
from septet.preprocess import files
from septet.schemas.layout import REJECTS
from septet.schemas.reasons import REASONS, class_of

STAGES = ("source", "filter", "balance", "dedup", "fetch", "curate", "write")
"""The stages in build order."""

SEED = 7
"""What examples are drawn by, on the terminal and on the page."""

_OTHER = "other"
"""Class of reasons that this Septet does not know."""

_WITH_VALUE = ["http_status", "timeout"]
"""Reasons whose values are few and tell the cause: the status, the limit that passed."""

_SHOWN = ["id", "value", "image_url", "caption", "page_url", "source"]

_EXAMPLES = 3
"""Examples of images, and of texts, of each evaluation set."""
_OF_SETS = ("evaluation_image", "evaluation_text")

Key = tuple[str, str]
"""Stage and reason."""


@dataclass
class EvaluationCounts:
    """What was dropped for one evaluation set: rows, and the first of them by id (id, value), by
    reason."""

    rows: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, reason: str, rows: int, some: list[tuple[str, str]]) -> None:
        """Add rows, with some of them."""
        self.rows[reason] += rows
        self.first[reason] = sorted([*self.first.get(reason, []), *some])[:_EXAMPLES]


@dataclass
class RejectCounts:
    """The counts of the rows in `rejects/`."""

    by_file: list[tuple[str, Counter[Key]]] = field(default_factory=list)
    """Each file's name and what is in it; in order of names."""
    fetch: Counter[str] = field(default_factory=Counter)
    """Reasons of the stage fetch; HTTP statuses and time-outs with their value."""
    failed_domains: Frequent = field(default_factory=Frequent)
    evaluation: dict[str, "EvaluationCounts"] = field(default_factory=dict)
    """By evaluation set, what was dropped for it."""

    @property
    def total(self) -> Counter[Key]:
        """The counts of rejects by stage and reason."""
        total: Counter[Key] = Counter()
        for _, counts in self.by_file:
            total.update(counts)
        return total

    @property
    def failed(self) -> int:
        """The number of rejects of the stage fetch."""
        return self.fetch.total()

    def reasons(self) -> list[Reason]:
        """The reasons with their counts, in the order of the stages, then largest first."""
        return [
            Reason(stage=stage, reason=reason, count=count)
            for (stage, reason), count in sorted(
                self.total.items(), key=lambda item: (_order(item[0][0]), -item[1], item[0])
            )
        ]

    def evaluation_sets(self) -> list[EvaluationHits]:
        """The evaluation sets with what was dropped for them, by name."""
        return [
            EvaluationHits(
                name=name,
                images=counts.rows[_OF_SETS[0]],
                texts=counts.rows[_OF_SETS[1]],
                examples=[_evaluation_sample(*row) for reason in _OF_SETS
                          for row in counts.first.get(reason, [])],
            )
            for name, counts in sorted(self.evaluation.items())
        ]  # fmt: skip


def _evaluation_sample(id_: str, told: str) -> EvaluationSample:
    item, _, similarity = told.rpartition(", ")
    return EvaluationSample(id=id_, item=item, similarity=similarity)


def _order(stage: str) -> tuple[int, str]:
    return (STAGES.index(stage) if stage in STAGES else len(STAGES)), stage


def read_rejects(corpus: str, name: str, columns: list[str]) -> pa.Table:
    """Some columns of a file of a corpus's `rejects/`.

    Raises:
        ValueError: it is not a table of `septet.schemas.tables.REJECTS`.
    """
    path = files.join(corpus, REJECTS, name)
    try:
        return files.read_table(path, columns)
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path} is no table of rejects ({error}): run `septet check`") from error


def count_rejects(corpus: str) -> RejectCounts:
    """Count the rows in a corpus's `rejects/`, one file at a time.

    Raises:
        ValueError: a file there is not a table of `septet.schemas.tables.REJECTS`.
    """
    names = files.list_folder(files.join(corpus, REJECTS))
    found = RejectCounts()
    for part in map_ahead(
        lambda name: _count_file(corpus, name), [n for n in names if n.endswith(".parquet")]
    ):
        found.by_file += part.by_file
        found.fetch.update(part.fetch)
        found.failed_domains += part.failed_domains
        for set_, counts in part.evaluation.items():
            known = found.evaluation.setdefault(set_, EvaluationCounts())
            for reason, rows in counts.rows.items():
                known.add(reason, rows, counts.first[reason])
    return found


def _count_file(corpus: str, name: str) -> RejectCounts:
    found = RejectCounts()
    table = read_rejects(corpus, name, ["stage", "reason"])
    found.by_file.append((name, _counted(table)))
    fetch = pc.equal(table["stage"], "fetch")
    if pc.any(fetch).as_py():
        lost = read_rejects(corpus, name, ["reason", "value", "image_url"]).filter(fetch)
        telling = pc.is_in(lost["reason"], value_set=pa.array(_WITH_VALUE))
        value = pc.if_else(telling, pc.fill_null(lost["value"], ""), "")
        pairs = _counted(pa.table([lost["reason"], value], ["reason", "value"]))
        for (reason, told), count in pairs.items():
            found.fetch[f"{reason} {told}".strip()] += count
        found.failed_domains += Frequent.of(count_domains(lost["image_url"].drop_null()))
    if pc.any(pc.is_in(table["reason"], value_set=pa.array(_OF_SETS))).as_py():
        for reason in _OF_SETS:
            lost = read_rejects(corpus, name, ["id", "reason", "value"])
            lost = lost.filter(pc.equal(lost["reason"], reason))
            by_set: dict[str, list[tuple[str, str]]] = {}
            for id_, value in zip(lost["id"].to_pylist(), lost["value"].to_pylist(), strict=True):
                set_, _, told = (value or "").partition(": ")
                by_set.setdefault(set_, []).append((id_ or "", told))
            for set_, rows in by_set.items():
                found.evaluation.setdefault(set_, EvaluationCounts()).add(reason, len(rows), rows)
    return found


def _counted(table: pa.Table) -> Counter[Key]:
    """Count each pair of values of a table's two columns."""
    first, second = table.column_names
    grouped = table.group_by([first, second]).aggregate([([], "count_all")])
    keys = zip(grouped[first].to_pylist(), grouped[second].to_pylist(), strict=True)
    return Counter(dict(zip(keys, grouped["count_all"].to_pylist(), strict=True)))


def failure_class(reason: str) -> str:
    """The class (see `septet.schemas.reasons`) of a reason of the stage fetch with its value, such
    as `http_status 503`."""
    name, _, value = reason.partition(" ")
    return class_of(name, value or None) if name in REASONS else _OTHER


def failure_classes(found: RejectCounts) -> list[FailureClass]:
    """The fetch failures by class, largest first."""
    classes: dict[str, Counter[str]] = {}
    for reason, count in found.fetch.items():
        classes.setdefault(failure_class(reason), Counter())[reason] += count
    rows = [
        FailureClass(failure=name, count=counts.total(), reasons=ranked(counts))
        for name, counts in classes.items()
    ]
    return sorted(rows, key=lambda row: (-row.count, row.failure))


def sample_rejects(
    corpus: str, found: RejectCounts, each: int, reasons: int, seed: int
) -> dict[Key, list[dict[str, Any]]]:
    """Draw rejects evenly from all of one reason; returns rows of `septet.schemas.tables.REJECTS`.

    Args:
        corpus: The corpus folder.
        found: What `count_rejects` found there.
        each: Most rows of one reason.
        reasons: Most reasons, the largest ones.
        seed: Equal seeds draw equal rows.
    """
    picks: dict[Key, np.ndarray] = {}
    total = found.total
    for key in sorted(total, key=lambda key: (-total[key], key))[:reasons]:
        generator = np.random.default_rng([seed, zlib.crc32("/".join(key).encode())])
        draw = generator.choice(total[key], min(each, total[key]), replace=False)
        picks[key] = np.sort(draw)
    rows: dict[Key, list[dict[str, Any]]] = {key: [] for key in picks}
    before: Counter[Key] = Counter()
    for name, counts in found.by_file:
        here = {
            key: ranks - before[key]
            for key, ranks in picks.items()
            if ((ranks >= before[key]) & (ranks < before[key] + counts[key])).any()
        }
        before.update(counts)
        if not here:
            continue
        labels = read_rejects(corpus, name, ["stage", "reason"])
        places = {}
        for key, ranks in here.items():
            mask = pc.and_(pc.equal(labels["stage"], key[0]), pc.equal(labels["reason"], key[1]))
            indices = np.flatnonzero(mask.to_numpy())
            places[key] = indices[ranks[(ranks >= 0) & (ranks < counts[key])]]
        table = read_rejects(corpus, name, _SHOWN)
        for key, at in places.items():
            rows[key] += table.take(pa.array(at)).to_pylist()
    return rows
