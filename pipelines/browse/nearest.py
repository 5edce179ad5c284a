"""The samples nearest to one by a column of embeddings: all are compared, in slices."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from septet.pipelines.ahead import map_ahead
from septet.pipelines.browse.drawing import read_value
from septet.pipelines.browse.images import require_sample
from septet.pipelines.browse.stopping import stoppable
from septet.pipelines.browse.tables import Tables
from septet.preprocess.columns.members import unpack_arrays
from septet.preprocess.columns.reader import column_names, is_stale, read_manifest
from septet.preprocess.columns.vectors import VectorColumn
from septet.preprocess.shards.reader import Corpus

SECONDS = 20.0
"""The most time for one search; what was found until then is shown."""
KIND = "clip"
MOST = 60
_THREADS = 2
_SHOWN = ("key", "caption", "language", "url", "width", "height")


@dataclass(frozen=True)
class Found:
    """What is nearest: shard, row and cosine, the nearest first; how many vectors were compared,
    and of how many samples."""

    near: list[tuple[int, int, float]]
    compared: int
    samples: int
    is_whole: bool
    """Whether all were looked at, and the time did not end before."""
    problem: str = ""
    """Why some could not be."""


def search(
    corpus: Corpus,
    column: VectorColumn,
    query: NDArray[np.float32],
    rows: Callable[[int], NDArray[np.int64]],
    without: tuple[int, int] | None = None,
    most: int = MOST,
) -> Found:
    """Find the samples whose vectors are nearest to one, by the cosine of vectors of length 1.

    Args:
        corpus: The corpus.
        column: The vectors.
        query: The one, [width].
        rows: Gives the rows of a shard that are looked at.
        without: Shard and row of a sample that is not.
        most: How many are given.
    """
    ends = time.monotonic() + SECONDS
    stopped: list[bool] = []
    found = Found([], 0, 0, True)

    def of_shard(number: int) -> Found:
        if stopped or time.monotonic() > ends:
            return Found([], 0, 0, False)
        wanted = rows(number)
        near: list[tuple[int, int, float]] = []
        compared, problem = 0, ""
        try:
            for some, vectors in column.shard(number, wanted):
                scores = np.nan_to_num(vectors.astype(np.float32) @ query, nan=-2.0)
                compared += len(some)
                best = np.argpartition(-scores, most)[: most + 1] if len(scores) > most else ...
                near += [
                    (number, row, score)
                    for row, score in zip(some[best].tolist(), scores[best].tolist(), strict=True)
                    if (number, row) != without and score > -1.5
                ]
                near = _first(near, most)
        except (ValueError, OSError) as error:
            problem = str(error)
        return Found(near, compared, len(wanted), True, problem)

    with stoppable(lambda: stopped.append(True)):
        for one in map_ahead(of_shard, range(len(corpus.shards)), _THREADS):
            found = Found(
                _first(found.near + one.near, most), found.compared + one.compared,
                found.samples + one.samples, found.is_whole and one.is_whole,
                found.problem or one.problem,
            )  # fmt: skip
    return found


def _first(near: list[tuple[int, int, float]], most: int) -> list[tuple[int, int, float]]:
    """The nearest of some, in order."""
    return sorted(near, key=lambda one: (-one[2], one[:2]))[:most]


class Nearest:
    """Makes the pages of what is nearest to a sample.

    Args:
        tables: The corpus's tables.
        show: Shows a page by the name of its template.
    """

    def __init__(self, tables: Tables, show: Callable[..., Response]):
        self._tables, self._corpus, self._show = tables, tables.corpus, show
        self._column = lru_cache(4)(self._open)

    def _open(self, name: str, array: str) -> VectorColumn:
        return VectorColumn(self._corpus, read_manifest(self._corpus.path, name), array)

    def columns(self) -> dict[str, list[str]]:
        """The columns of embeddings, with the names of their vectors."""
        found: dict[str, list[str]] = {}
        for name in column_names(self._corpus.path):
            try:
                head = read_manifest(self._corpus.path, name)
                if head.kind == KIND and not is_stale(self._corpus, head):
                    found[name] = [one for one in ("image", "text") if one in head.member.arrays]
            except (ValueError, OSError):
                continue
        return found

    def page(self, request: Request, form: Mapping[str, str]) -> Response:
        """The images or captions that are nearest to a sample's."""
        shard, row = request.path_params["shard"], request.path_params["row"]
        require_sample(self._corpus, shard, row)
        columns = self.columns()
        if not columns:
            raise ValueError(
                f"the corpus has no embeddings: `septet annotate {self._corpus.path} --column "
                "clip` makes them"
            )
        column = form.get("column") or next(iter(columns))
        by, of = form.get("by", "image"), form.get("of", "image")
        arrays = columns.get(column, [])
        for one in (by, of):
            if one not in arrays:
                raise ValueError(
                    f"{column[:100]} has no embeddings {one[:40]!r}; it has: "
                    f"{', '.join(arrays) or 'none'}"
                )
        _, data = read_value(self._corpus, column, shard, row)
        if not data:
            raise ValueError(f"{column} says nothing of this sample")
        vectors = self._column(column, of)
        query = unpack_arrays(data).get(by)
        if query is None or query.shape != (vectors.width,):
            raise ValueError(f"{column} has another value of this sample than its head says")
        keep = form.get("keep", "")
        wanted = self._tables.rows_by_shard(keep) if keep.strip() else self._corpus.rows
        found = search(self._corpus, vectors, query.astype(np.float32), wanted, (shard, row))
        fields = [name for name in _SHOWN if name in self._tables.columns]
        scores = {(one, two): score for one, two, score in found.near}
        near = self._tables.rows([*scores], fields)
        own = self._tables.rows([(shard, row)], fields)
        return self._show(
            "nearest", form, shard=shard, row=row, own=own[0].facts if own else {}, column=column,
            by=by, of=of, arrays=arrays, columns=list(columns), found=found,
            rows=[(one, scores[one.shard, one.row]) for one in near],
        )  # fmt: skip
