"""What a task counts while it runs, and where its rows go."""

from pathlib import Path

import pyarrow as pa
import pytest

from septet.pipelines.stages.counts import UNDER_WAY
from septet.pipelines.stages.stage import Parts
from septet.pipelines.stages.tasks import Task
from septet.preprocess import files
from septet.schemas.reasons import UnknownReasonError

SCHEMA = pa.schema([("id", pa.string())])


class Sorted(Task):
    stage = "filter"

    def __init__(self, folder: Path):
        self.output, self.rejects = Parts(str(folder), "kept"), Parts(str(folder), "lost")


def test_counts_are_under_way_until_a_task_ends(tmp_path: Path) -> None:
    task = Sorted(tmp_path)
    with task.results(1, SCHEMA) as outer:
        with task.results(2, SCHEMA) as inner:
            assert [*map(id, UNDER_WAY)] == [id(outer.counts), id(inner.counts)]
        assert [*map(id, UNDER_WAY)] == [id(outer.counts)]
        with pytest.raises(ZeroDivisionError), task.results(3, SCHEMA):
            raise ZeroDivisionError
        assert [*map(id, UNDER_WAY)] == [id(outer.counts)]
    assert not UNDER_WAY
    assert [files.exists(task.path(key)) for key in (1, 2, 3)] == [True, True, False]


def test_rows_are_kept_or_rejected_with_their_stage(tmp_path: Path) -> None:
    task = Sorted(tmp_path)
    with task.results(0, SCHEMA) as results:
        results.keep(pa.table({"id": ["a", "b"]}))
        results.reject(pa.table({"id": ["c", "d"], "reason": ["too_short", "too_long"]}))
        results.reject(pa.table({"id": ["e"], "reason": ["too_short"]}))
        with pytest.raises(UnknownReasonError):
            results.reject(pa.table({"id": ["f"], "reason": ["bad_mood"]}))
    assert results.counts.rows_out == 2
    assert results.counts.rejected == {"too_short": 2, "too_long": 1}
    assert files.read_table(task.path(0))["id"].to_pylist() == ["a", "b"]
    lost = files.read_table(task.rejects.path(0)).select(["id", "stage", "reason"]).to_pylist()
    assert [tuple(row.values()) for row in lost] == [
        ("c", "filter", "too_short"), ("d", "filter", "too_long"), ("e", "filter", "too_short"),
    ]  # fmt: skip
