"""Builds on this machine: Beam's embedded runner, alone or with worker processes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    FNAPI_RUNNER_CAPABILITIES,
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.runner import PipelineResult, PipelineRunner
from apache_beam.transforms.environments import Environment

from septet.pipelines.runners import workers
from septet.pipelines.runners.base import RunnerError
from septet.pipelines.runners.beam import BeamRunner, BuildPipeline, check_flags

_URN = "septet:environment:worker_process:v1"
_OURS = ("runner", "direct_num_workers", "direct_running_mode", "job_name")


class LocalRunner(BeamRunner):
    """Beam's embedded runner (FnApiRunner).

    One worker runs in this process. With more, each step's elements are dealt out in turn to as
    many processes, one bundle each: two workers get the elements 0, 2, 4, … and 1, 3, 5, ….
    What is grouped or reshuffled is held in this process's memory.
    """

    name: ClassVar[str] = "local"

    def check(self) -> None:
        """See `Runner.check`."""
        if self.job.workers < 1:
            raise RunnerError(f"a build needs 1 worker or more, not {self.job.workers}")
        check_flags(self.job.options, _OURS)
        if self.job.workers > 1:
            workers.warm_up()

    def engine(self) -> PipelineRunner:
        """See `Runner.engine`."""
        if self.job.workers == 1:
            return FnApiRunner()
        return FnApiRunner(default_environment=WorkerProcess())

    def flags(self) -> list[str]:
        """See `Runner.flags`."""
        return [f"--direct_num_workers={self.job.workers}"]

    def pipeline_options(self, name: str) -> PipelineOptions:
        """See `Runner.pipeline_options`."""
        options = super().pipeline_options(name)
        if self.job.workers > 1:
            # Neither of Beam's modes: the environment says how workers start.
            options.view_as(DirectOptions).direct_running_mode = "worker_process"
        return options

    def run_pipeline(self, name: str, build_pipeline: BuildPipeline) -> PipelineResult:
        """See `BeamRunner.run_pipeline`. Ctrl-C ends the workers at once."""
        with _workers_end_on_interrupt():
            return super().run_pipeline(name, build_pipeline)


class WorkerProcess(Environment):
    """A Beam environment: Python processes started by `septet.pipelines.runners.workers`."""

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        """What Beam keeps of an environment in a pipeline's graph."""
        return _URN, b""


@WorkerHandler.register_environment(_URN, bytes)
class _WorkerProcessHandler(GrpcWorkerHandler):
    """Starts and stops one worker process for the embedded runner."""

    running: ClassVar[set["_WorkerProcessHandler"]] = set()

    def __init__(self, payload: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)

    def start_worker(self) -> None:
        self._stopping = threading.Event()
        self.process = workers.start(
            workers.WorkerRequest(self.control_address, self.worker_id, FNAPI_RUNNER_CAPABILITIES)
        )
        self.running.add(self)
        threading.Thread(target=self._watch, daemon=True).start()

    def stop_worker(self) -> None:
        self._stopping.set()
        self.process.join()
        self.running.discard(self)

    def close(self) -> None:
        self._stopping.set()
        super().close()

    def _watch(self) -> None:
        """Fail the pipeline when its worker dies: Beam alone would wait for it for ever."""
        self.process.join()
        if self._stopping.is_set():
            return
        error = RuntimeError(f"worker process {self.process.pid} died ({_reason(self.process)})")
        # The other workers' results are lost to the stage too; waiting for them helps nobody.
        for other in [*self.running]:
            other.process.kill()
        while not self._stopping.wait(0.1):
            self.control_conn.abort(error)


def _reason(process: Any) -> str:
    code = process.exitcode
    if code == -signal.SIGKILL:
        return "SIGKILL: out of memory, or killed by hand"
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


@contextmanager
def _workers_end_on_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for handler in [*_WorkerProcessHandler.running]:
            handler.process.kill()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
