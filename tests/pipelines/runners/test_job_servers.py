import json
import socket
from collections.abc import Iterator

import pytest

from septet.pipelines.runners import RunnerError, make_runner
from septet.pipelines.runners.workers import BUILD


@pytest.fixture
def listening() -> Iterator[str]:
    """An address of this machine at which something answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("name", "needs", "port"),
    [
        ("spark", "Spark's executors need a pool of Python workers", 7079),
        ("flink", "Flink's task managers need a pool of Python workers", 6125),
    ],
)
def test_what_a_cluster_needs_is_told(listening: str, name: str, needs: str, port: int) -> None:
    where = rf"--job_endpoint=HOST:PORT \(infra/{name}/cluster.sh start .*localhost:{port}\)"
    with pytest.raises(RunnerError, match=where):
        make_runner(name).check()
    with pytest.raises(RunnerError, match=f"{needs}: --environment_config=HOST:PORT"):
        make_runner(name, options=[f"--job_endpoint={listening}"]).check()


def test_addresses_are_told_to_be_none() -> None:
    with pytest.raises(RunnerError, match="--job_endpoint is HOST:PORT, not 'here'"):
        make_runner("spark", options=["--job_endpoint=here"]).check()


def test_servers_that_do_not_answer_are_told(listening: str) -> None:
    nobody = "127.0.0.1:1"
    with pytest.raises(RunnerError, match=r"job server does not answer at 127\.0\.0\.1:1 "):
        make_runner(
            "spark", options=[f"--job_endpoint={nobody}", f"--environment_config={nobody}"]
        ).check()
    with pytest.raises(RunnerError, match=r"worker pool does not answer at 127\.0\.0\.1:1 "):
        make_runner(
            "spark", options=[f"--job_endpoint={listening}", f"--environment_config={nobody}"]
        ).check()


def test_pools_are_told_of_which_build_a_bundle_is() -> None:
    def told(config: str) -> str:
        runner = make_runner("spark", options=[f"--environment_config={config}"])
        found = {
            str(runner.pipeline_options(name).get_all_options()["environment_config"])
            for name in ("source", "filter")
        }
        (one,) = found
        return one

    one, other = (json.loads(told("10.0.0.1:50000")) for _ in range(2))
    assert one["url"] == other["url"] == "10.0.0.1:50000"
    assert one["params"][BUILD] != other["params"][BUILD]
    own = '{"url": "10.0.0.1:50000", "params": {"key": "value"}}'
    assert told(own) == own


def test_a_cluster_on_this_machine_may_see_local_paths(listening: str) -> None:
    options = [f"--job_endpoint={listening}", f"--environment_config={listening}"]
    make_runner("spark", 2, options, corpus="/data/corpus").check()


def test_a_cluster_elsewhere_does_not_see_local_paths(
    listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The name of another machine, which for once is this one.
    monkeypatch.setattr("septet.pipelines.runners.job_server._ON_THIS_MACHINE", ())
    options = [f"--job_endpoint={listening}", "--environment_config=localhost:50000"]
    inputs = ["gs://bucket/list.parquet", "/data/list.parquet"]
    with pytest.raises(RunnerError, match=r"/data/list\.parquet is on this machine"):
        make_runner("spark", 2, options, "gs://bucket/corpus", inputs).check()
    make_runner("spark", 2, options, "gs://bucket/corpus", inputs[:1]).check()
    make_runner(
        "spark", 2, [*options, "--experiments=shared_paths"], "gs://bucket/corpus", inputs
    ).check()
    with pytest.raises(RunnerError, match="LOOPBACK runs the workers in this process"):
        make_runner(
            "spark", 2, [f"--job_endpoint={listening}", "--environment_type=LOOPBACK"]
        ).check()
