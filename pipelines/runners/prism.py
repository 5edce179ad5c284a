"""The runner for Prism, Beam's reference engine, the strictest that fits on one machine."""

import logging
import os
import shutil
from pathlib import Path
from typing import ClassVar

from apache_beam import version as beam_version
from apache_beam.options.pipeline_options import PrismRunnerOptions
from apache_beam.runners.portability.prism_runner import PrismRunner as BeamPrismRunner
from apache_beam.runners.runner import PipelineRunner

from septet.pipelines.runners.base import RunnerError
from septet.pipelines.runners.beam import BeamRunner, check_flags

_OURS = ("runner", "job_name", "environment_type")
_GET = (
    "go install github.com/apache/beam/sdks/v2/go/cmd/prism@v"
    f"{beam_version.__version__} builds it (about two minutes); then put it on PATH, set "
    "SEPTET_PRISM=PATH, or give --prism_location=PATH"
)


class PrismRunner(BeamRunner):
    """Prism in a process of its own; the Python code runs in this one.

    It cuts and retries bundles as a cluster would, and refuses graphs that lean on what the
    embedded runner forgives. It starts one Python worker, so it is for trying graphs, not for
    speed.
    """

    name: ClassVar[str] = "prism"

    def check(self) -> None:
        """See `Runner.check`."""
        check_flags(self.job.options, _OURS)
        if self.job.workers != 1:
            raise RunnerError(
                f"Prism has one Python worker, not {self.job.workers}: set workers to 1, or take "
                "the local runner"
            )
        location = self._location()
        if location is None:
            raise RunnerError(f"there is no prism binary: {_GET}")
        if "://" not in location and not Path(location).is_file():
            raise RunnerError(f"there is no prism binary at {location}: {_GET}")

    def engine(self) -> PipelineRunner:
        """See `Runner.engine`."""
        # When this process ends Beam stops Prism, and warns that it does.
        logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.ERROR)
        return BeamPrismRunner()

    def flags(self) -> list[str]:
        """See `Runner.flags`."""
        location = self._location()
        return [
            "--environment_type=LOOPBACK",
            "--prism_log_level=warn",
            *([f"--prism_location={location}"] if location else []),
        ]

    def _location(self) -> str | None:
        """The path of the Prism binary: as a flag says, as SEPTET_PRISM says, or on PATH."""
        given = PrismRunnerOptions([*self.job.options]).prism_location
        return given or os.environ.get("SEPTET_PRISM") or shutil.which("prism")
