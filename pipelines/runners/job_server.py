"""Runners for clusters that Beam's job servers drive: Spark and Flink."""

import json
import secrets
import socket
from typing import ClassVar

from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineRunner

from septet.pipelines.runners.base import Job, RunnerError
from septet.pipelines.runners.beam import BeamRunner, check_flags
from septet.pipelines.runners.workers import BUILD
from septet.preprocess import files

_OURS = ("runner", "job_name")
_ON_THIS_MACHINE = ("localhost", "127.0.0.1", "::1", socket.gethostname())


class JobServerRunner(BeamRunner):
    """A runner for a cluster: Beam's portable runner with a job server that drives the cluster.

    Python workers come from a pool (`pipelines.runners.pool`) on each machine, and run the code
    that is installed there: nothing is shipped but the graph. The cluster decides how many there
    are, one for each of the processes that ask for them.
    """

    cluster: ClassVar[str]
    """What the cluster is called."""
    process: ClassVar[str]
    """What the cluster calls its processes that ask for Python workers."""
    job_port: ClassVar[int]
    """Where `infra/NAME/cluster.sh` puts the job server."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._build = secrets.token_hex(8)

    def check(self) -> None:
        """See `Runner.check`."""
        check_flags(self.job.options, _OURS)
        options = super().pipeline_options("check").view_as(PortableOptions)
        if not options.job_endpoint:
            raise RunnerError(
                f"{self.cluster} needs the address of Beam's job server: --job_endpoint=HOST:PORT "
                f"(infra/{self.name}/cluster.sh start brings one up on this machine, at "
                f"localhost:{self.job_port})"
            )
        host, _ = _reach(options.job_endpoint, "--job_endpoint", "Beam's job server")
        if options.environment_type in (None, "EXTERNAL"):
            if not options.environment_config:
                raise RunnerError(
                    f"{self.cluster}'s {self.process}s need a pool of Python workers: "
                    f"--environment_config=HOST:PORT, as each {self.process} sees it "
                    "(python -m septet.pipelines.runners.pool serves one)"
                )
            if host in _ON_THIS_MACHINE:
                _reach(options.environment_config, "--environment_config", "the worker pool")
        elif options.environment_type == "LOOPBACK" and host not in _ON_THIS_MACHINE:
            raise RunnerError(
                "--environment_type=LOOPBACK runs the workers in this process, which "
                f"{self.process}s behind {host} cannot reach: leave it out and serve worker pools"
            )
        shared = options.view_as(DebugOptions).lookup_experiment("shared_paths")
        if host not in _ON_THIS_MACHINE and not shared:
            for path in (self.job.corpus, *self.job.inputs):
                if path and files.is_local(path):
                    raise RunnerError(
                        f"{path} is on this machine and the {self.cluster} cluster ({host}) is "
                        "not: use gs://, s3:// or hdfs:// paths, or --experiments=shared_paths "
                        "if every machine mounts it under that name"
                    )

    def pipeline_options(self, name: str) -> PipelineOptions:
        """See `BeamRunner.pipeline_options`."""
        options = super().pipeline_options(name)
        portable = options.view_as(PortableOptions)
        pool = portable.environment_config or ""
        if portable.environment_type == "EXTERNAL" and not pool.startswith("{"):
            # Pools keep a build's processes from bundle to bundle.
            portable.environment_config = json.dumps({"url": pool, "params": {BUILD: self._build}})
        return options

    def engine(self) -> PipelineRunner:
        """See `Runner.engine`."""
        return PortableRunner()

    def flags(self) -> list[str]:
        """See `Runner.flags`."""
        return ["--environment_type=EXTERNAL", "--sdk_worker_parallelism=1"]


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
