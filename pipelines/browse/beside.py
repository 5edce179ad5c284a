"""The pages of two corpora side by side."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from septet.pipelines.browse.bars import SPREADS, FACETS, bins, equals, page_number
from septet.pipelines.browse.comparing import Compared
from septet.pipelines.browse.drawing import as_text
from septet.schemas.reasons import REASONS

A_PAGE = 60
_SHOWN = ("key", "caption", "language", "width", "height", "url")


class Beside:
    """Makes the pages of two corpora side by side.

    Args:
        compared: The corpora.
        show: Shows a page by the name of its template.
    """

    def __init__(self, compared: Compared, show: Callable[..., Response]):
        self._compared, self._show = compared, show
        self._labels = [one.corpus.label for one in compared.sides]

    def overview(self, request: Request, form: Mapping[str, str]) -> Response:
        """Figures of both, and how many samples one alone has, with the reasons."""
        keep = form.get("keep", "")
        compared = self._compared
        columns = compared.sides[0].columns
        numbers = [*SPREADS, *(name for name in columns if "." in name)]
        found = compared.figures(
            FACETS, [name for name in numbers if name in columns and columns[name].is_number], keep
        )
        facets = [
            (name, [(as_text(one.names[0]) if one.names[0] is not None else "(none)", one,
                     equals(name, one.names[0])) for one in pairs[:20]])
            for name, pairs in found.facets.items()
        ]  # fmt: skip
        spreads = [
            (name, [*zip(bins(name, first), bins(name, second), strict=True)],
             max(*first.counts, *second.counts, 1))
            for name, (first, second) in found.numbers.items()
        ]  # fmt: skip
        lone = [
            [(stage, reason, n, meaning(reason)) for stage, reason, n in compared.why(side, keep)]
            for side in (0, 1)
        ]
        return self._show(
            "compare", form, labels=self._labels, samples=found.samples, facets=facets,
            spreads=spreads, lone=lone, reasons=compared.reasons()[:200], meaning=meaning,
        )  # fmt: skip

    def lone(self, request: Request, form: Mapping[str, str]) -> Response:
        """Samples that one side alone has, and what the other says of them."""
        side = ("first", "second").index(request.path_params["side"])
        keep, stage, reason = (form.get(name, "") for name in ("keep", "stage", "reason"))
        number = page_number(form)
        tables = self._compared.sides[side]
        fields = [name for name in _SHOWN if name in tables.columns]
        counts = {(one, two): n for one, two, n in self._compared.why(side, keep)}
        count = counts.get((stage, reason), 0)
        rows = self._compared.rows(
            side, stage, reason, keep, fields, (number - 1) * A_PAGE, A_PAGE
        )
        return self._show(
            "lone", form, labels=self._labels, side=side, stage=stage, reason=reason, rows=rows,
            count=count, number=number, pages=max(1, math.ceil(count / A_PAGE)),
            meaning=meaning(reason),
        )  # fmt: skip


def meaning(reason: str) -> str:
    """What a reason means; empty of one that is not known."""
    known = REASONS.get(reason)
    return known.meaning if known else ""
