"""Why a view left samples out: its conditions, its shares of samples and its split, asked again."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from septet.pipelines.browse.tables import Tables
from septet.pipelines.views.curate import parts
from septet.pipelines.views.expressions import ExpressionError, Share, parse
from septet.preprocess.shards.reader import Corpus
from septet.preprocess.shards.views import key_ids
from septet.schemas.view import Kept

NO_REASON = "not in its list"


class LeftOut:
    """What a view's head says of the samples that it does not have.

    Args:
        tables: The view's tables, before `lock` of their database.
    """

    def __init__(self, tables: Tables):
        self._tables, self._ask = tables, tables.database.ask
        view = tables.corpus.view
        self._head = view.head if view else None
        self._given: str | None = None
        """The table of the samples that it was chosen from; empty for the whole corpus, None where
        they are not known."""
        if self._head is None:
            return
        with suppress(ValueError, OSError):  # the view that it was chosen from may be gone
            self._given = self._make_given(self._head.of)
        if self._head.split:
            tables.database.function(f"part_{tables.schema}", self._part_names, ["VARCHAR"])

    def _make_given(self, of: str | None) -> str:
        path = self._tables.corpus.path
        corpus = Corpus(f"{path}@{of}" if of else path, open_shards=1)
        return "" if corpus.is_whole else self._tables.make_rows("given", corpus)

    def _part_names(self, keys: pa.ChunkedArray) -> pa.Array:
        """The names of the parts of the split that samples belong to; empty for the rest."""
        assert self._head is not None
        high, _ = key_ids(keys.combine_chunks().fill_null(""))
        names = np.full(len(high), "", object)
        for name, mask in parts(high, [*self._head.split.items()]):
            names[mask] = name or ""
        return pa.array(names, pa.string())

    def tell(self, left: str) -> str:
        """Tell of the samples of a table why the view left them out.

        Args:
            left: The table: `key`, `shard_number`, `row_number`, and `reason` and `value`, which
                are filled in.

        Returns:
            What may be the reason of those that still have none.
        """
        head = self._head
        if head is None:
            return NO_REASON
        unknown = []
        if head.of and self._given:
            self._ask(
                f"UPDATE {left} AS l SET reason = ? WHERE reason IS NULL AND NOT EXISTS "
                f"(FROM {self._given} AS g WHERE {_same('g', 'l')})",
                [f"not in the view {head.of}"],
            )
        elif head.of:
            unknown.append(f"the view {head.of}")
        unknown += [kept.keep for kept in head.keep if not self._tell_condition(kept, left)]
        if head.split:
            part = f"part_{self._tables.schema}(l.key)"
            self._ask(
                f"UPDATE {left} AS l SET reason = CASE {part} WHEN '' THEN 'in the rest of its "
                f"split' ELSE 'in the part ' || {part} || ' of its split' END "
                f"WHERE reason IS NULL AND {part} <> ?",
                [head.part or ""],
            )
        return " or ".join(unknown) or NO_REASON

    def _tell_condition(self, kept: Kept, left: str) -> bool:
        """Tell of each sample that does not meet a condition that it does not, and what it has
        instead; returns whether the condition could be asked again."""
        with suppress(ExpressionError):  # a view's head is what a stranger wrote, too
            tests = [*parse(kept.keep).tests()]
            fields = [*dict.fromkeys(test.field for test in tests)]
            for name in fields:
                self._tables.require(name)
            shares = [test for test in tests if isinstance(test, Share)]
            if shares and self._given is None:
                return False
            made = {share: self._make_share(share, left, i) for i, share in enumerate(shares)}

            def among(share: Share) -> str:
                return f"EXISTS (FROM {made[share]} AS among WHERE {_same('among', 'c0')})"

            source, values = self._tables.source(fields, kept.keep, is_whole=True, shares=among)
            if shares and self._count(source, values) != kept.samples:
                return False  # the corpus is not what it was
            self._set_unmet(kept.keep, fields, source, values, left)
            return True
        return False

    def _set_unmet(
        self, keep: str, fields: Sequence[str], source: str, values: Sequence[Any], left: str
    ) -> None:
        """Set a condition as the reason of the samples that do not meet it."""
        what = ", ".join(
            f"{_text(name + ' ') if len(fields) > 1 else _text('')} || "
            f"coalesce(CAST({self._tables.columns[name].sql} AS VARCHAR), 'nothing')"
            for name in fields
        )
        every, _ = self._tables.source(fields, "", is_whole=True)
        self._ask(
            f"UPDATE {left} AS l SET reason = ?, value = found.value FROM (SELECT "
            f"c0.shard_number AS s, c0.row_number AS r, concat_ws(', ', {what}) AS value"
            f"{every} SEMI JOIN {left} AS one ON ({_same('one', 'c0')}) ANTI JOIN (SELECT "
            f"c0.shard_number, c0.row_number{source}) AS met ON ({_same('met', 'c0')})) AS found "
            "WHERE l.reason IS NULL AND l.shard_number = found.s AND l.row_number = found.r",
            [keep, *values],
        )

    def _count(self, source: str, values: Sequence[Any]) -> int:
        """How many of the samples that the view was chosen from meet a condition."""
        given = f" AND EXISTS (FROM {self._given} AS g WHERE {_same('g', 'c0')})"
        found = self._ask(f"SELECT count(*){source}{given if self._given else ''}", values)
        return int(found[0][0])

    def _make_share(self, share: Share, left: str, number: int) -> str:
        """Make a table of the samples that a share has, as `curate` chooses them; its name."""
        made, by = f"{left}_share_{number}", self._head.by if self._head else None
        if not self._tables.require(share.field).is_number:
            raise ExpressionError(f"{share.field} holds no numbers")
        value = f"CAST({self._tables.require(share.field).known} AS DOUBLE)"
        group = f"CAST({self._tables.require(by).sql} AS VARCHAR)" if by else "''"
        source, _ = self._tables.source([share.field, *([by] if by else [])], "", is_whole=True)
        given = f" AND EXISTS (FROM {self._given} AS g WHERE {_same('g', 'c0')})"
        order = f"value {'DESC' if share.end == 'top' else 'ASC'}, shard_number, row_number"
        self._ask(
            f"CREATE OR REPLACE TABLE {made} AS SELECT shard_number, row_number FROM (SELECT "
            f"c0.shard_number, c0.row_number, {value} AS value, {group} AS g{source} "
            f"WHERE {value} IS NOT NULL{given if self._given else ''}) QUALIFY "
            f"row_number() OVER (PARTITION BY g ORDER BY {order}) "
            f"<= floor(count(*) OVER (PARTITION BY g) * {share.percent!r} / 100 + 0.5)"
        )
        return made


def _same(one: str, other: str) -> str:
    return f"{one}.shard_number = {other}.shard_number AND {one}.row_number = {other}.row_number"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
