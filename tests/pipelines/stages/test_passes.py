"""What the driver holds of a pass's tasks."""

import os
import tracemalloc
from pathlib import Path

import pyarrow as pa

from septet.pipelines.stages.counts import Counts
from septet.pipelines.stages.folders import remove_others
from septet.pipelines.stages.graphs import map_tasks
from septet.pipelines.stages.stage import Parts, Pass
from septet.preprocess import files

TASKS = 500


def test_figures_of_tasks_are_added_up_and_not_held(tmp_path: Path) -> None:
    """A task's figures, of a hundred reasons, are some 10 KB; its name and path are 300 bytes."""
    parts = Parts(str(tmp_path / "kept"), "identity")
    counts = Counts(10_000, 9_000)
    counts.rejected.update({f"reason {n}": 10 for n in range(100)})
    outputs = {number: parts.path(number) for number in range(TASKS)}
    first, *others = outputs.values()
    files.write_table(first, pa.table({}), metadata=counts.to_metadata())
    one = Pass("a pass", outputs, lambda todo: map_tasks(None, todo))  # type: ignore[arg-type]
    one.poll()
    for path in others:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.link(first, path)
    tracemalloc.start()
    try:
        total = one.poll()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / TASKS < 1000
    assert one.poll() == total
    assert (total.rows_in, total.rows_out) == (10_000 * TASKS, 9_000 * TASKS)
    assert total.rejected == {f"reason {n}": 10 * TASKS for n in range(100)}
    assert one.rows_out == dict.fromkeys(range(TASKS), 9_000)


def test_what_is_not_current_goes_with_its_folders(tmp_path: Path) -> None:
    names = ["kept/0/00/a", "kept/0/00/b", "kept/0/11/c", "kept/1/11/d", "old/0/00/e", "cache/f"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    current = (f"{tmp_path}/{name}" for name in ("kept/0/00/a", "kept/9/99/z"))
    remove_others(str(tmp_path), current, ("cache",))
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["cache", "cache/f", "kept", "kept/0", "kept/0/00", "kept/0/00/a"]
