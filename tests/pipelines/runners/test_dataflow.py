import re

import apache_beam as beam
import pytest

from septet.pipelines.runners import RunnerError, dataflow
from septet.pipelines.runners.base import Job
from septet.pipelines.runners.dataflow import DataflowRunner


def stage(pipeline: beam.Pipeline) -> None:
    _ = (
        pipeline
        | "tasks" >> beam.Create(["a", "b"])
        | "read" >> beam.Map(lambda task: (task, task))
        | "bucket" >> beam.GroupByKey()
        | "write" >> beam.Map(print)
    )


def test_dry_run_shows_steps_and_shuffles() -> None:
    graph = DataflowRunner(Job()).dry_run("filter", stage)
    assert graph.steps == (("tasks",), ("tasks", "read"), ("write",))
    assert len(graph.shuffles) == 2
    assert graph.shuffles[-1] == "bucket"
    assert graph.lines()[0].startswith("filter: 3 steps, 2 shuffles, ")
    images = {environment.payload for environment in graph.proto.components.environments.values()}
    assert any(b"septet" in image for image in images)


def test_dry_run_translates_combiners() -> None:
    def count(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "rows" >> beam.Create([("a", 1), ("b", 2)])
            | "sum" >> beam.CombinePerKey(sum)
            | "write" >> beam.Map(print)
        )

    graph = DataflowRunner(Job()).dry_run("count", count)
    # Summed before the shuffle and after it.
    assert graph.steps == (("rows",), ("rows", "sum"), ("sum", "write"))


def test_dry_run_refuses_a_graph_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create([1]) | beam.Map(print)

    assert dataflow._LARGEST_GRAPH == 10_000_000
    size = DataflowRunner(Job()).dry_run("filter", build).size
    monkeypatch.setattr(dataflow, "_LARGEST_GRAPH", size)
    assert DataflowRunner(Job()).dry_run("filter", build).size == size
    monkeypatch.setattr(dataflow, "_LARGEST_GRAPH", size - 1)
    with pytest.raises(RunnerError, match="its tasks belong in a file"):
        DataflowRunner(Job()).dry_run("filter", build)


def test_a_job_is_small_unless_told() -> None:
    assert Job() == Job(workers=1, options=(), corpus="", inputs=())


def test_every_problem_is_told_at_once() -> None:
    runner = DataflowRunner(Job(corpus="/data/corpus", inputs=("gs://bucket/list.parquet",)))
    with pytest.raises(RunnerError) as error:
        runner.check()
    for word in ("--project", "--region", "--temp_location", "--sdk_container_image", "/data/corp"):
        assert word in str(error.value)
    assert "list.parquet" not in str(error.value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--max_workers=3", "Beam knows no flag '--max_workers=3'"),
        ("--autoscaling_algorithm=FASTER", "Beam refuses --autoscaling_algorithm=FASTER: "),
        ("--max_num_workers=many", "invalid int value: 'many'"),
        ("--column_accelerator=nvidia-l4", "TYPE:COUNT, as nvidia-l4:1, not 'nvidia-l4'"),
    ],
)
def test_an_option_that_nobody_knows_is_told_before_anything_runs(
    option: str, message: str
) -> None:
    with pytest.raises(RunnerError, match=re.escape(message)):
        DataflowRunner(Job(options=(option,))).check()


def test_no_problem_is_seen_in_good_options() -> None:
    options = (
        "--project=septet-project",
        "--region=europe-west4",
        "--temp_location=gs://bucket/temp",
        "--sdk_container_image=europe-docker.pkg.dev/septet/septet:1",
    )
    runner = DataflowRunner(Job(options=options, corpus="gs://bucket/corpus"))
    assert [problem for problem in runner.problems() if "apache-beam[gcp]" not in problem] == []
