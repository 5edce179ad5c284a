"""The runner for Apache Spark, through Beam's job server (`infra/spark/README.md` sets it up)."""

import socket
from typing import ClassVar

from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PortableOptions
from apache_beam.runners.portability.portable_runner import JobServiceHandle, PortableRunner
from apache_beam.runners.runner import PipelineRunner
from google.protobuf import struct_pb2  # type: ignore[import-untyped]

from septet.pipelines.runners.base import RunnerError
from septet.pipelines.runners.beam import BeamRunner, check_flags
from septet.preprocess import files

_OURS = ("runner", "job_name")
_ON_THIS_MACHINE = ("localhost", "127.0.0.1", "::1", socket.gethostname())


class SparkRunner(BeamRunner):
    """The runner for a Spark cluster: Beam's portable runner with a job server that drives the
    cluster.

    Python workers come from a pool (`pipelines.runners.pool`) on each machine, and run the code
    that is installed there: nothing is shipped but the graph. The cluster decides how many there
    are, one an executor; executors of one core survive the death of their worker best.
    """

    name: ClassVar[str] = "spark"

    def check(self) -> None:
        """See `Runner.check`."""
        check_flags(self.job.options, _OURS)
        options = super().pipeline_options("check").view_as(PortableOptions)
        if not options.job_endpoint:
            raise RunnerError(
                "Spark needs the address of Beam's job server: --job_endpoint=HOST:PORT "
                "(infra/spark/cluster.sh start brings one up on this machine, at localhost:7079)"
            )
        host, _ = _reach(options.job_endpoint, "--job_endpoint", "Beam's job server")
        if options.environment_type in (None, "EXTERNAL"):
            if not options.environment_config:
                raise RunnerError(
                    "Spark's executors need a pool of Python workers: "
                    "--environment_config=HOST:PORT, as each executor sees it "
                    "(python -m septet.pipelines.runners.pool serves one)"
                )
            if host in _ON_THIS_MACHINE:
                _reach(options.environment_config, "--environment_config", "the worker pool")
        elif options.environment_type == "LOOPBACK" and host not in _ON_THIS_MACHINE:
            raise RunnerError(
                f"--environment_type=LOOPBACK runs the workers in this process, which "
                f"executors behind {host} cannot reach: leave it out and serve worker pools"
            )
        shared = options.view_as(DebugOptions).lookup_experiment("shared_paths")
        if host not in _ON_THIS_MACHINE and not shared:
            for path in (self.job.corpus, *self.job.inputs):
                if path and files.is_local(path):
                    raise RunnerError(
                        f"{path} is on this machine and the Spark cluster ({host}) is not: use "
                        "gs://, s3:// or hdfs:// paths, or --experiments=shared_paths if every "
                        "machine mounts it under that name"
                    )

    def engine(self) -> PipelineRunner:
        """See `Runner.engine`."""
        return _Portable()

    def flags(self) -> list[str]:
        """See `Runner.flags`."""
        return ["--environment_type=EXTERNAL", "--sdk_worker_parallelism=1"]


class _Portable(PortableRunner):
    """Beam's portable runner without its habit of shipping the job server's own jars with every
    job.

    Beam's default is to send its class path (300 MB) to each executor of each pipeline. Executors
    that have the parts (see `infra/spark/README.md`) do not need it; for those that have not,
    `--experiments=stage_jars` brings the default back.
    """

    def create_job_service_handle(
        self, job_service: object, options: PipelineOptions
    ) -> JobServiceHandle:
        if options.view_as(DebugOptions).lookup_experiment("stage_jars"):
            return JobServiceHandle(job_service, options)
        return _WithoutJars(job_service, options)


class _WithoutJars(JobServiceHandle):
    def get_pipeline_options(self) -> struct_pb2.Struct:
        options = super().get_pipeline_options()
        options["beam:option:files_to_stage:v1"] = []
        return options


def _reach(address: str, flag: str, what: str) -> tuple[str, int]:
    """Connect to `address`; returns its host and port once something has answered."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise RunnerError(f"{flag} is HOST:PORT, not {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise RunnerError(f"{what} does not answer at {address} ({flag}): {error}") from error
    return host, int(port)
