"""The stage balance: few samples of what is frequent. One pass counts and adds up, one draws; rows
stay where they are, and nothing is shuffled but counts."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from septet.pipelines.sources.paths import locate
from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.filter import list_digest
from septet.pipelines.stages.graphs import map_tasks, shuffle_tasks
from septet.pipelines.stages.stage import Key, Parts, Pass, Stage
from septet.pipelines.stages.tasks import SendingTask, Task
from septet.preprocess import files
from septet.preprocess.rules.balance import Hits, domains_in, drawn, entries_in
from septet.preprocess.rules.lists import made_of, spaced_phrases
from septet.schemas import tables
from septet.schemas.recipe import Balance, Recipe

_BATCH = 8192
_COUNTS = pa.schema([("kind", pa.string()), ("key", pa.uint64()), ("rows", pa.int64())])
_ENTRY, _DOMAIN = "entry", "domain"


class BalanceStage(Stage):
    """The stage that draws samples of frequent entries and domains."""

    name = "balance"
    version = 1
    sections = ("balance",)
    reads = ("filtered",)
    gives = ("filtered",)

    @classmethod
    def asked_for(cls, recipe: Recipe) -> bool:
        """Whether the recipe has anything to balance."""
        return bool(recipe.balance.entries) or recipe.balance.most_of_a_domain is not None

    def settings(self) -> dict[str, Any]:
        """The section of the recipe, with a digest of the list of entries."""
        entries = located_entries(self.recipe.balance, self.context.folder).entries
        digest = list_digest("balance.entries", entries) if isinstance(entries, str) else None
        return {**super().settings(), "entries": digest}

    def keys(self) -> Sequence[Key]:
        """The keys of the inputs."""
        return self.givers["filtered"].keys()

    def passes(self) -> Iterator[Pass]:
        """Count and add up, draw."""
        filtered, keys = self.input("filtered"), self.keys()
        settings = located_entries(self.recipe.balance, self.context.folder)
        count = CountTask(self.parts("entry_counts"), filtered, settings)
        add = AddTask(self.parts("entry_totals"), [count.path(key) for key in keys])
        if not files.exists(add.path(0)):
            yield Pass(
                "balance: count",
                count.outputs(keys) | add.outputs([0]),
                lambda _: shuffle_tasks(count, keys, add, [0]),
            )
        draw = DrawTask(self.parts("filtered"), self.rejects, filtered, settings, add.path(0))
        yield Pass("balance", draw.outputs(keys), lambda todo: map_tasks(draw, todo))


def located_entries(settings: Balance, folder: str) -> Balance:
    """The settings with the path of a list of entries as it is on this machine.

    Args:
        settings: The recipe's `balance` section.
        folder: Where the recipe's relative paths start.
    """
    if not isinstance(settings.entries, str):
        return settings
    return settings.model_copy(update={"entries": locate(settings.entries, folder)})


def _batches(path: str) -> Iterator[pa.Table]:
    with files.open_read(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH):
            yield pa.Table.from_batches([batch])


def hits_in(rows: pa.Table, settings: Balance) -> dict[str, Hits]:
    """What stands in rows, by kind."""
    found = {}
    if settings.entries:
        entries = made_of("entries", settings, spaced_phrases)
        found[_ENTRY] = entries_in(rows["caption"].combine_chunks(), entries)
    if settings.most_of_a_domain is not None:
        found[_DOMAIN] = domains_in(rows["image_url"].combine_chunks())
    return found


def count_hits(rows: pa.Table, settings: Balance) -> pa.Table:
    """The counts of what stands in rows, by kind and key."""
    counted = ((kind, hits.counted()) for kind, hits in hits_in(rows, settings).items())
    return _added([_table(kind, keys, numbers) for kind, (keys, numbers) in counted])


class CountTask(SendingTask):
    """The task that counts entries and domains of one input's rows."""

    stage = "balance"

    def __init__(self, output: Parts, filtered: Parts, settings: Balance):
        self.output, self.filtered, self.settings = output, filtered, settings

    def run(self, key: Key) -> Counts:
        """Write the counts."""
        counts = Counts()
        parts = []
        for rows in _batches(self.filtered.path(key)):
            counts.rows_in += len(rows)
            parts.append(count_hits(rows, self.settings))
        files.write_table(self.path(key), _added(parts), metadata=counts.to_metadata())
        return counts

    def sent(self, key: Key) -> Iterable[tuple[int, bytes]]:
        """Yield nothing: what adds up reads the files one by one, when all are there."""
        return ()


class AddTask(Task):
    """The task that adds the counts of all inputs up."""

    stage = "balance"

    def __init__(self, output: Parts, parts: list[str]):
        self.output, self.parts = output, parts

    def run(self, key: int, parts: list[bytes]) -> Counts:
        """Write the sums."""
        total = _COUNTS.empty_table()
        for path in self.parts:
            total = _added([total, files.read_table(path)])
        counts = Counts(rows_in=len(total), rows_out=len(total))
        files.write_table(self.path(key), total, metadata=counts.to_metadata())
        return counts


def _table(kind: str, keys: np.ndarray, numbers: np.ndarray) -> pa.Table:
    return pa.table([pa.repeat(kind, len(keys)), keys, numbers], schema=_COUNTS)


def _added(parts: list[pa.Table]) -> pa.Table:
    """Sums of counts by kind and key, in their order."""
    whole = pa.concat_tables([_COUNTS.empty_table(), *parts])
    summed = whole.group_by(["kind", "key"]).aggregate([("rows", "sum")])
    summed = summed.rename_columns({"rows_sum": "rows"}).select(_COUNTS.names)
    return summed.sort_by([("kind", "ascending"), ("key", "ascending")]).cast(_COUNTS)


class DrawTask(Task):
    """The task that draws among one input's rows."""

    stage = "balance"

    def __init__(
        self, output: Parts, rejects: Parts, filtered: Parts, settings: Balance, totals: str
    ):
        self.output, self.rejects = output, rejects
        self.filtered, self.settings, self.totals = filtered, settings, totals

    def run(self, key: Key) -> Counts:
        """Write the rows that were drawn and the rejects."""
        known = by_kind(files.read_table(self.totals))
        with self.results(key, tables.FILTERED) as results:
            for rows in _batches(self.filtered.path(key)):
                results.counts.rows_in += len(rows)
                kept, lost = draw_rows(rows, self.settings, known)
                results.keep(kept)
                results.reject(lost)
        return results.counts


Totals = dict[str, tuple[np.ndarray, np.ndarray]]
"""By kind: keys, ascending, and how many rows of the whole corpus each stands in."""


def by_kind(totals: pa.Table) -> Totals:
    """The counts of all inputs, as `draw_rows` reads them."""
    known = {}
    for kind in (_ENTRY, _DOMAIN):
        of_kind = totals.filter(pc.equal(totals["kind"], kind))
        known[kind] = (of_kind["key"].to_numpy(), of_kind["rows"].to_numpy())
    return known


def draw_rows(rows: pa.Table, settings: Balance, known: Totals) -> tuple[pa.Table, pa.Table]:
    """Draw among some rows; returns those drawn, and the others with `reason` and `value`."""
    found, ids, seed = hits_in(rows, settings), rows["id"], settings.seed
    kept = np.ones(len(rows), bool)
    reasons = np.full(len(rows), "", object)
    values = np.full(len(rows), None, object)

    def drop(which: np.ndarray, reason: str, least: np.ndarray) -> None:
        which = which & kept
        kept[which], reasons[which] = False, reason
        values[which] = [str(count) if count else None for count in least[which].tolist()]

    if _ENTRY in found:
        won, least = drawn(found[_ENTRY], ids, known[_ENTRY], settings.most_of_an_entry, seed)
        has_text = pc.is_valid(rows["caption"]).to_numpy()
        drop(has_text & (least == 0), "no_entry", least)
        drop(has_text & ~won, "entry_draw", least)
    if _DOMAIN in found:
        most = settings.most_of_a_domain or 0
        won, least = drawn(found[_DOMAIN], ids, known[_DOMAIN], most, seed)
        drop((least > 0) & ~won, "domain_draw", least)
    lost = rows.append_column("reason", pa.array(reasons, pa.string()))
    lost = lost.append_column("value", pa.array(values, pa.string()))
    return rows.filter(pa.array(kept)), lost.filter(pa.array(~kept))
