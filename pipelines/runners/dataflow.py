"""The runner for Google Cloud Dataflow, and the dry run that needs no account."""

import argparse
import importlib.util
import logging
import re
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    WorkerOptions,
)
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.runners.runner import PipelineRunner
from apache_beam.runners.worker import bundle_processor
from apache_beam.transforms import environments

from septet.pipelines.runners.base import COLUMN_PASS, RunnerError
from septet.pipelines.runners.beam import BeamRunner, BuildPipeline, check_flags
from septet.preprocess import files

_OURS = ("runner", "job_name", "sdk_location", "save_main_session", "dry_run")

# The primitives of Beam's portable graphs that a Dataflow worker (runner v2) executes in batch.
_PRIMITIVES = frozenset(
    {
        common_urns.primitives.IMPULSE.urn,
        common_urns.primitives.PAR_DO.urn,
        common_urns.primitives.GROUP_BY_KEY.urn,
        common_urns.primitives.FLATTEN.urn,
        common_urns.primitives.ASSIGN_WINDOWS.urn,
        common_urns.composites.COMBINE_PER_KEY.urn,
        common_urns.composites.COMBINE_GLOBALLY.urn,
        common_urns.composites.RESHUFFLE.urn,
        common_urns.combine_components.COMBINE_PER_KEY_PRECOMBINE.urn,
        common_urns.combine_components.COMBINE_PER_KEY_MERGE_ACCUMULATORS.urn,
        common_urns.combine_components.COMBINE_PER_KEY_EXTRACT_OUTPUTS.urn,
        common_urns.sdf_components.PAIR_WITH_RESTRICTION.urn,
        common_urns.sdf_components.SPLIT_AND_SIZE_RESTRICTIONS.urn,
        common_urns.sdf_components.PROCESS_SIZED_ELEMENTS_AND_RESTRICTIONS.urn,
    }
)
_PLUMBING = (bundle_processor.DATA_INPUT_URN, bundle_processor.DATA_OUTPUT_URN)
# Dataflow refuses job requests above this size (https://cloud.google.com/dataflow/quotas).
_LARGEST_GRAPH = 10 * 10**6


_ACCELERATOR = re.compile(r"[a-z][a-z0-9-]*:[1-9]\d*")


class ColumnWorkers(PipelineOptions):
    """Flags for the workers of jobs that make columns: models want GPUs, which the other jobs of a
    build would pay for and not use."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--column_machine_type", help="as --worker_machine_type")
        parser.add_argument("--column_accelerator", help="TYPE:COUNT of a worker's GPUs")


@dataclass(frozen=True)
class Graph:
    """A stage's pipeline in the form that Dataflow would get.

    `steps` are the fused steps in order, each the labels of its transforms in the stage's graph;
    `shuffles` are the transforms that move data between workers; `size` is that of the graph.
    """

    name: str
    steps: tuple[tuple[str, ...], ...]
    shuffles: tuple[str, ...]
    size: int
    proto: beam_runner_api_pb2.Pipeline

    def lines(self) -> list[str]:
        """The graph as lines to print: the stage, then its steps."""
        head = f"{self.name}: {len(self.steps)} steps, {len(self.shuffles)} shuffles, {self.size} B"
        return [head, *(f"  {' + '.join(step)}" for step in self.steps)]


class DataflowRunner(BeamRunner):
    """The runner for Dataflow, by Beam's own. Workers run the image of
    `infra/dataflow/Containerfile`."""

    name: ClassVar[str] = "dataflow"
    # Where to watch the job, and its state.
    log_level: ClassVar[int] = logging.INFO

    def pipeline_options(self, name: str) -> PipelineOptions:
        """See `BeamRunner.pipeline_options`; jobs that make columns have workers of their own
        kind, where flags say so."""
        options = super().pipeline_options(name)
        columns = options.view_as(ColumnWorkers)
        if name.startswith(COLUMN_PASS):
            if columns.column_machine_type:
                options.view_as(WorkerOptions).machine_type = columns.column_machine_type
            if columns.column_accelerator:
                kind, _, count = columns.column_accelerator.partition(":")
                cloud = options.view_as(GoogleCloudOptions)
                cloud.dataflow_service_options = [
                    *(cloud.dataflow_service_options or ()),
                    f"worker_accelerator=type:{kind};count:{count};install-nvidia-driver",
                ]
        return options

    def problems(self) -> list[str]:
        """Find everything that would keep this build from running; returns sentences, needs no
        network."""
        options = super().pipeline_options("check")
        cloud = options.view_as(GoogleCloudOptions)
        found = []
        if not _has_google_parts():
            found.append(
                "Beam's Google Cloud parts are not installed: pip install 'apache-beam[gcp]'"
            )
        if not cloud.project:
            found.append("Dataflow needs a project: --project=NAME")
        if not cloud.region:
            found.append("Dataflow needs a region: --region=NAME, as europe-west4")
        if not (cloud.temp_location or "").startswith("gs://"):
            found.append("Dataflow needs a folder for its own files: --temp_location=gs://BUCKET/…")
        if not options.view_as(WorkerOptions).sdk_container_image:
            found.append(
                "Dataflow's workers need an image with Septet: --sdk_container_image=IMAGE "
                "(infra/dataflow/Containerfile builds it)"
            )
        accelerator = options.view_as(ColumnWorkers).column_accelerator
        if accelerator is not None and not _ACCELERATOR.fullmatch(accelerator):
            found.append(f"--column_accelerator is TYPE:COUNT, as nvidia-l4:1, not {accelerator!r}")
        found += [
            f"{path} is on this machine, which Dataflow's workers cannot see: use gs:// paths"
            for path in (self.job.corpus, *self.job.inputs)
            if path and files.is_local(path)
        ]
        return found

    def check(self) -> None:
        """See `Runner.check`."""
        check_flags(self.job.options, _OURS)
        if found := self.problems():
            raise RunnerError("; ".join(found))

    def engine(self) -> PipelineRunner:
        """See `Runner.engine`."""
        from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner as BeamRunner

        return BeamRunner()

    def flags(self) -> list[str]:
        """See `Runner.flags`."""
        return [
            # The image has Beam and Septet: nothing is uploaded and nothing is pickled by value.
            "--sdk_location=container",
            "--no_save_main_session",
            # A worker has one process a vCPU. One thread in each bounds its memory to one shard.
            "--number_of_worker_harness_threads=1",
        ]

    def dry_run(self, name: str, build_pipeline: BuildPipeline) -> Graph:
        """Build a stage's graph and translate it as for Dataflow; nothing runs, nothing is sent.

        Raises:
            RunnerError: the graph has a transform that Dataflow's workers do not execute, or is
                larger than Dataflow takes.
        """
        pipeline = beam.Pipeline(options=self.pipeline_options(name))
        build_pipeline(pipeline)
        return self.translate(name, pipeline)

    def translate(self, name: str, pipeline: beam.Pipeline) -> Graph:
        """Translate a pipeline as for Dataflow; it may be built on and run afterwards.

        Raises:
            RunnerError: as of `dry_run`.
        """
        options = self.pipeline_options(name)
        image = options.view_as(WorkerOptions).sdk_container_image or "septet"
        proto = pipeline.to_runner_api(
            default_environment=environments.DockerEnvironment.from_container_image(image)
        )
        # Dataflow's own phases for batch; see DataflowRunner.run_pipeline in Beam.
        proto = translations.optimize_pipeline(
            proto,
            phases=[translations.pack_combiners, translations.sort_stages],
            known_runner_urns=frozenset(),
            partial=True,
        )
        _check_graph(name, proto)
        return Graph(name, *_fuse(proto), proto.ByteSize(), proto)


def _has_google_parts() -> bool:
    try:
        return importlib.util.find_spec("google.cloud.storage") is not None
    except ModuleNotFoundError:  # not even the packages above it
        return False


def _check_graph(name: str, proto: beam_runner_api_pb2.Pipeline) -> None:
    for transform in proto.components.transforms.values():
        if not transform.subtransforms and transform.spec.urn not in _PRIMITIVES:
            raise RunnerError(
                f"stage {name}: Dataflow has no {transform.spec.urn!r} ({transform.unique_name})"
            )
    for environment in proto.components.environments.values():
        if environment.urn in (python_urns.EMBEDDED_PYTHON, python_urns.EMBEDDED_PYTHON_LOOPBACK):
            raise RunnerError(f"stage {name} has a step that can only run in this process")
    if proto.ByteSize() > _LARGEST_GRAPH:
        raise RunnerError(
            f"stage {name}'s graph has {proto.ByteSize()} bytes and Dataflow takes "
            f"{_LARGEST_GRAPH}: its tasks belong in a file, not in the graph"
        )


def _fuse(
    proto: beam_runner_api_pb2.Pipeline,
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The steps after producer-consumer fusion, and the shuffles."""
    shuffle = common_urns.primitives.GROUP_BY_KEY.urn
    _, stages = translations.create_and_optimize_stages(
        proto,
        phases=[
            translations.lift_combiners,
            translations.expand_sdf,
            translations.sink_flattens,
            translations.greedily_fuse,
            translations.sort_stages,
        ],
        known_runner_urns=frozenset({shuffle, common_urns.primitives.FLATTEN.urn}),
    )
    steps, shuffles = [], []
    for stage in stages:
        # Fusion puts reads and writes of Beam's own around each step.
        ours = [t for t in stage.transforms if t.spec.urn not in _PLUMBING]
        if any(t.spec.urn == shuffle for t in ours):
            shuffles += [t.unique_name for t in ours]
        else:
            steps.append(tuple(dict.fromkeys(t.unique_name.split("/")[0] for t in ours)))
    return tuple(steps), tuple(shuffles)
