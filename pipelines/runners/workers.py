"""Beam's Python workers of one machine, forked from a server that has imported Beam already.

Spark starts workers anew for each bundle, and importing Beam costs seconds of CPU. The fork server
of `multiprocessing` pays for the import once. It is a process of its own without threads or gRPC
channels, so that forking it is safe.
"""

import logging
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess

import grpc  # type: ignore[import-untyped]

# What a worker of any stage needs; a module that cannot be imported is passed over.
PRELOAD = [
    "septet.pipelines.quiet",
    "apache_beam.runners.worker.sdk_worker",
    "septet.pipelines.runners.beam",
    "septet.pipelines.stages.filter",
    "septet.pipelines.stages.write",  # and with it all stages before
]

_STATE_CACHE_BYTES = 100 * 2**20
_FLUSH_MS = 1000


@dataclass(frozen=True)
class WorkerRequest:
    """The request for a worker: Beam's control address, and the worker's name there."""

    control_address: str
    worker_id: str
    capabilities: frozenset[str] = frozenset()


def warm_up() -> None:
    """Start the fork server, which imports what workers need while the caller goes on."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    multiprocessing.forkserver.ensure_running()


def start(request: WorkerRequest) -> ForkServerProcess:
    """Start one worker process. It ends when the control address closes its stream.

    It also ends, at once, when the process that started it does (even by SIGKILL): nothing goes
    on writing into a corpus behind the back of the next build.
    """
    warm_up()
    process = multiprocessing.get_context("forkserver").Process(
        target=_run,
        args=(request, dict(os.environ), logging.getLogger("apache_beam").level),
        name=f"septet-{request.worker_id}",
        daemon=True,
    )
    process.start()
    return process


def _run(request: WorkerRequest, environment: dict[str, str], log_level: int) -> None:
    """The main function of a worker process."""
    from apache_beam.runners.worker import sdk_worker

    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)
    logging.getLogger("apache_beam").setLevel(log_level)
    # It prints the traceback of a failed bundle besides sending it to the runner.
    sdk_worker.print = lambda *_, **__: None
    try:
        sdk_worker.SdkHarness(
            request.control_address,
            worker_id=request.worker_id,
            state_cache_size=_STATE_CACHE_BYTES,
            data_buffer_time_limit_ms=_FLUSH_MS,
            runner_capabilities=request.capabilities,
        ).run()
    except (grpc.RpcError, grpc.FutureTimeoutError) as error:
        sys.exit(f"worker {request.worker_id} lost its runner: {error!r}"[:300])


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
