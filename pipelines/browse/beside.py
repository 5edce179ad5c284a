"""The pages of two corpora side by side."""

import math
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from septet.pipelines.browse import bars
from septet.pipelines.browse.comparing import Compared

SIDES = ("first", "second")
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
        views = [one.corpus.view for one in compared.sides]
        self._views = [view.head if view else None for view in views]

    def overview(self, request: Request, form: Mapping[str, str]) -> Response:
        """Figures of both, and how many samples one alone has, with the reasons."""
        keep = form.get("keep", "")
        compared = self._compared
        found = compared.figures(bars.FACETS, bars.numbers(compared.sides[0].columns), keep)
        facets = []
        for name, pairs in found.facets.items():
            most = max((max(one.first, one.second) for one in pairs), default=1)
            sides = (
                bars.of_values(
                    name, [(one.names[0], n) for one, n in zip(pairs, counts, strict=True)], most
                )
                for counts in ([one.first for one in pairs], [one.second for one in pairs])
            )
            facets.append((name, [*zip(*sides, strict=True)], found.different[name]))
        spreads = []
        for name, two in found.numbers.items():
            most = max(*two[0].counts, *two[1].counts)
            spreads.append(
                (name, [*zip(*(bars.of_bins(name, one, most) for one in two), strict=True)])
            )
        lone = [
            [
                (stage, reason, n, bars.meaning(reason))
                for stage, reason, n in compared.why(side, keep)
            ]
            for side in (0, 1)
        ]
        return self._show(
            "compare", form, labels=self._labels, views=self._views, samples=found.samples,
            facets=facets, spreads=spreads, lone=lone, reasons=compared.reasons()[:200],
            meaning=bars.meaning,
        )  # fmt: skip

    def lone(self, request: Request, form: Mapping[str, str]) -> Response:
        """Samples that one side alone has, and what the other says of them."""
        side = SIDES.index(request.url.path.rsplit("/", 1)[1])
        keep, stage, reason = (form.get(name, "") for name in ("keep", "stage", "reason"))
        number = bars.whole_number(form)
        tables = self._compared.sides[side]
        fields = [name for name in _SHOWN if name in tables.columns]
        counts = {(one, two): n for one, two, n in self._compared.why(side, keep)}
        count = counts.get((stage, reason), 0)
        rows = self._compared.rows(side, stage, reason, keep, fields, (number - 1) * A_PAGE, A_PAGE)
        return self._show(
            "lone", form, labels=self._labels, side=side, stage=stage, reason=reason, rows=rows,
            count=count, number=number, pages=max(1, math.ceil(count / A_PAGE)),
            meaning=bars.meaning(reason),
        )  # fmt: skip
