"""A runner that measures what its graphs shuffle and cost, on this machine."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam import coders
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.runner import PipelineResult

from septet.pipelines.runners.base import Job
from septet.pipelines.runners.beam import BuildPipeline
from septet.pipelines.runners.embedded import EmbeddedRunner

_NAMESPACE = "septet.measure"


@dataclass
class PassFigures:
    """The figures of one pipeline: CPU seconds, bytes that entered a shuffle, and the largest
    encoded element that a step gave or that entered a shuffle, with its place. What a shuffle
    gives is what entered it: runners stream grouped values one by one."""

    cpu_seconds: float = 0.0
    shuffled_bytes: int = 0
    largest: int = 0
    largest_at: str = ""


class _Sizes(beam.DoFn):
    """A step that counts the encoded sizes of the elements that pass."""

    def __init__(self, name: str):
        self.name = name
        self.coder = coders.FastPrimitivesCoder()

    def process(self, element: Any) -> Iterable[None]:
        """Count one element."""
        size = len(self.coder.encode(element))
        Metrics.distribution(_NAMESPACE, self.name).update(size)
        return ()


class _Edges(PipelineVisitor):
    """A visitor of pipelines that notes what the stage's own steps give, and what goes into a
    shuffle. Of what Beam's own steps consist of, nothing else is looked at: it is the same
    elements, and to look at all of it would be most of a dry run's work."""

    def __init__(self) -> None:
        self.outputs: dict[str, beam.PCollection] = {}
        self.shuffled: set[str] = set()

    def visit_transform(self, node: AppliedPTransform) -> None:
        """Called by Beam for each primitive step."""
        if isinstance(node.transform, beam.GroupByKey):
            for one in node.inputs:
                if one.producer:
                    self.outputs[one.producer.full_label] = one
                    self.shuffled.add(one.producer.full_label)
        elif "/" not in node.full_label:
            for output in node.outputs.values():
                self.outputs[node.full_label] = output


class MeasuringRunner(EmbeddedRunner):
    """The embedded runner with measurements: `figures` holds them, by pass."""

    name: ClassVar[str] = "measure"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.figures: dict[str, PassFigures] = defaultdict(PassFigures)

    def run_pipeline(self, name: str, build_pipeline: BuildPipeline) -> PipelineResult:
        """See `BeamRunner.run_pipeline`. The CPU seconds include what measuring takes."""
        figures, edges = self.figures[name], _Edges()

        def measured(pipeline: beam.Pipeline) -> None:
            build_pipeline(pipeline)
            pipeline.visit(edges)
            for number, (label, output) in enumerate([*edges.outputs.items()]):
                _ = output | f"size {number}" >> beam.ParDo(_Sizes(label))

        start = time.process_time()
        result = super().run_pipeline(name, measured)
        figures.cpu_seconds += time.process_time() - start
        ours = MetricsFilter().with_namespace(_NAMESPACE)
        for metric in result.metrics().query(ours)["distributions"]:
            label, sizes = metric.key.metric.name, metric.result
            if sizes.max is not None and sizes.max > figures.largest:
                figures.largest, figures.largest_at = sizes.max, label
            if label in edges.shuffled:
                figures.shuffled_bytes += sizes.sum
        return result
