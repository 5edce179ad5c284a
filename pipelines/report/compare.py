"""A comparison of the figures of two builds."""

import json
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from septet.pipelines.report.figures import Statistics


class Change(BaseModel):
    """One figure before and after; a figure that one side does not have is 0 there."""

    model_config = ConfigDict(frozen=True)

    group: str
    name: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def ratio(self) -> float | None:
        """After over before; None where there was nothing before."""
        return self.after / self.before if self.before else None


class Comparison(BaseModel):
    """All figures that differ between two corpora, by group. Values of categories and reject
    reasons are sorted by the size of their change, the others in the order of the statistics."""

    model_config = ConfigDict(frozen=True)

    before: str
    after: str
    changes: list[Change]
    same: int
    """How many figures were compared and found equal."""

    def to_json(self) -> str:
        """The comparison as canonical JSON: equal comparisons give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def compare(before: Statistics, after: Statistics) -> Comparison:
    """Compare two corpora figure by figure: totals, funnel, rejects, categories and medians.

    Values of a category count as listed in `statistics.json`, so its rarest values are not
    compared singly.
    """
    a, b = dict(_figures(before)), dict(_figures(after))
    names = list(dict.fromkeys([*a, *b]))
    groups = list(dict.fromkeys(group for group, _ in names))
    changes = [
        Change(group=name[0], name=name[1], before=a.get(name, 0), after=b.get(name, 0))
        for name in names
        if a.get(name, 0) != b.get(name, 0)
    ]
    ranked = {"rejects", *before.categories, *after.categories}
    changes.sort(
        key=lambda c: (groups.index(c.group), -abs(c.difference) if c.group in ranked else 0.0)
    )
    return Comparison(
        before=before.name, after=after.name, changes=changes, same=len(names) - len(changes)
    )


def _figures(stats: Statistics) -> Iterator[tuple[tuple[str, str], float]]:
    """The figures that are compared, by group and name."""
    yield ("total", "samples"), stats.samples
    yield ("total", "shards"), stats.shards
    yield ("total", "bytes"), stats.bytes
    for column in stats.columns or []:
        yield ("columns", f"{column.name} values"), column.values
        yield ("columns", f"{column.name} bytes"), column.bytes
    for stage in stats.funnel:
        yield ("funnel", f"{stage.stage} in"), stage.rows_in
        yield ("funnel", f"{stage.stage} out"), stage.rows_out
    for reason in stats.rejects:
        yield ("rejects", f"{reason.stage}: {reason.reason}"), reason.count
    for found in stats.evaluation:
        yield ("evaluation sets", f"{found.name}: images"), found.images
        yield ("evaluation sets", f"{found.name}: texts"), found.texts
    for name, category in stats.categories.items():
        for value in category.values:
            yield (name, value.value), value.count
        yield (name, "distinct values"), category.distinct
    for name, histogram in stats.measures.items():
        yield ("median", name), histogram.median
    for name, histogram in stats.measures.items():
        yield ("mean", name), histogram.mean
