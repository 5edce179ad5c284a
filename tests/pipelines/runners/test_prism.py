import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import apache_beam as beam
import pytest

from septet.pipelines.runners import RunnerError, StageFailed, make_runner
from septet.preprocess import files

needs_prism = pytest.mark.skipif(
    not (os.environ.get("SEPTET_PRISM") or shutil.which("prism")),
    reason="no prism binary on PATH or in SEPTET_PRISM",
)


def test_a_missing_binary_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEPTET_PRISM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunnerError, match=r"go install github\.com/apache/beam"):
        make_runner("prism").check()
    monkeypatch.setenv("SEPTET_PRISM", str(tmp_path / "prism"))
    with pytest.raises(RunnerError, match=f"no prism binary at {tmp_path}"):
        make_runner("prism").check()


def test_more_workers_are_refused() -> None:
    with pytest.raises(RunnerError, match="set workers to 1"):
        make_runner("prism", workers=2).check()


class Write(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def process(self, group: tuple[str, Iterable[str]]) -> None:
        files.write_bytes(files.join(self.folder, group[0]), "".join(sorted(group[1])).encode())


@needs_prism
def test_prism_runs_a_stage(tmp_path: Path) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | beam.Create([str(i) for i in range(20)])
            | beam.Map(lambda task: (str(int(task) % 3), task))
            | beam.GroupByKey()
            | beam.ParDo(Write(str(tmp_path)))
        )

    runner = make_runner("prism")
    runner.check()
    runner.run_pipeline("group", build)
    assert (tmp_path / "2").read_text() == "".join(sorted(["2", "5", "8", "11", "14", "17"]))


@needs_prism
def test_a_failure_on_prism_is_told_with_its_step(capfd: pytest.CaptureFixture[str]) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create([0]) | "divide" >> beam.Map(lambda x: 1 // x)

    with pytest.raises(StageFailed) as failure:
        make_runner("prism").run_pipeline("sum", build)
    assert "ZeroDivisionError" in str(failure.value)
    assert str(failure.value).endswith("(in divide)")
    assert "Traceback" not in capfd.readouterr().err
