"""The runner for Apache Spark (`infra/spark/README.md` sets a cluster up)."""

from typing import ClassVar

from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions
from apache_beam.runners.portability.portable_runner import JobServiceHandle, PortableRunner
from apache_beam.runners.runner import PipelineRunner
from google.protobuf import struct_pb2  # type: ignore[import-untyped]

from septet.pipelines.runners.job_server import JobServerRunner


class SparkRunner(JobServerRunner):
    """The runner for a Spark cluster; executors of one core survive their worker's death best."""

    name: ClassVar[str] = "spark"
    cluster: ClassVar[str] = "Spark"
    process: ClassVar[str] = "executor"
    job_port: ClassVar[int] = 7079

    def engine(self) -> PipelineRunner:
        """See `Runner.engine`."""
        return _Portable()


_SMALL = "/etc/hosts"
"""A small file that every job server has: to one that is told of no file at all, Beam's default
applies. It lies unused in the class path of executors."""


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
        options["beam:option:files_to_stage:v1"] = [_SMALL]
        return options
