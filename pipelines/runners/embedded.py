"""The runner that uses Beam's embedded engine, for trying the Beam pipelines of a build on this
machine."""

from typing import ClassVar

from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from septet.pipelines.runners.base import RunnerError
from septet.pipelines.runners.beam import BeamRunner, check_flags

_OURS = ("runner", "direct_num_workers", "direct_running_mode", "job_name")


class EmbeddedRunner(BeamRunner):
    """Beam's FnApiRunner with one worker, in this process.

    What is grouped or reshuffled is held in this process's memory, so it is for small builds: the
    local runner is the one for work.
    """

    name: ClassVar[str] = "embedded"

    def check(self) -> None:
        """See `Runner.check`."""
        if self.job.workers != 1:
            raise RunnerError(
                f"the embedded runner has one worker, not {self.job.workers}: set workers to 1, or "
                "take the local runner"
            )
        check_flags(self.job.options, _OURS)

    def engine(self) -> PipelineRunner:
        """See `BeamRunner.engine`."""
        return FnApiRunner()

    def flags(self) -> list[str]:
        """See `BeamRunner.flags`."""
        return ["--direct_num_workers=1"]
