"""The runner for Apache Flink (`infra/flink/README.md` sets a cluster up)."""

from typing import ClassVar

from septet.pipelines.runners.job_server import JobServerRunner


class FlinkRunner(JobServerRunner):
    """The runner for a Flink session cluster. Task managers have one slot each, or several and as
    many Python workers (`--sdk_worker_parallelism`)."""

    name: ClassVar[str] = "flink"
    cluster: ClassVar[str] = "Flink"
    process: ClassVar[str] = "task manager"
    job_port: ClassVar[int] = 6125
