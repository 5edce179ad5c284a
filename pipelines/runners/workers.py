"""Beam's Python workers of one machine, forked from a server that has imported Beam already.

Engines ask for a worker anew for each bundle (Spark) or job (Flink). Importing Beam costs seconds
of CPU: the fork server of `multiprocessing` pays for it once. It is a process of its own without
threads or gRPC channels, so that forking it is safe. And a process is one worker after another, so
that it keeps what a bundle has loaded for those that come after.
"""

import logging
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import grpc  # type: ignore[import-untyped]

# What a worker of any stage needs; a module that cannot be imported is passed over.
PRELOAD = [
    "septet.pipelines.quiet",
    "apache_beam.runners.worker.sdk_worker",
    "septet.pipelines.runners.beam",
    "septet.pipelines.stages.filter",
    "septet.pipelines.stages.write",  # and with it all stages before
]

BUILD = "septet_build"
"""The parameter of a request for a worker that says for which build it is."""

_STATE_CACHE_BYTES = 100 * 2**20
FLUSH_MS = 0
"""The time after which Beam sends on what a bundle has yielded; 0 means when there is enough of it.
Otherwise a thread does it, and loses what is yielded while it does (Beam 2.77)."""


@dataclass(frozen=True)
class WorkerRequest:
    """The request for a worker: Beam's control address, and the worker's name there."""

    control_address: str
    worker_id: str
    build: str = ""
    """The build that it is for; processes keep nothing from one for another."""


def warm_up() -> None:
    """Start the fork server, which imports what workers need while the caller goes on."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    multiprocessing.forkserver.ensure_running()


def start() -> tuple[ForkServerProcess, Connection]:
    """Start one worker process; returns it and a line to it. Over the line it is sent requests, one
    when it is free: it is that worker until the control address closes its stream, and then answers
    with the request.

    It ends when the line is closed, when it cannot be free (its runner was lost, a bundle is left
    unfinished), and, at once, when the process that started it does (even by SIGKILL): nothing goes
    on writing into a corpus behind the back of the next build.
    """
    warm_up()
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_run,
        args=(theirs, dict(os.environ), logging.getLogger("apache_beam").level),
        name="septet-worker",
        daemon=True,
    )
    process.start()
    theirs.close()
    return process, ours


def _run(line: Connection, environment: dict[str, str], log_level: int) -> None:
    """The main function of a worker process."""
    from apache_beam.runners.worker import sdk_worker

    from septet.pipelines.runners.beam import bundles_begun
    from septet.pipelines.runners.usage import forget_peak

    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)
    logging.getLogger("apache_beam").setLevel(log_level)
    # It tells of each stream that the runner closes.
    logging.getLogger("apache_beam.runners.worker.data_plane").setLevel(logging.CRITICAL)
    # It prints the traceback of a failed bundle besides sending it to the runner.
    sdk_worker.print = lambda *_, **__: None
    threading.excepthook = _without_broken_streams(threading.excepthook)
    # Where work goes on in threads although its runner has hung up, the process has to end.
    while not bundles_begun():
        try:
            request = line.recv()
        except EOFError:
            return
        forget_peak()
        try:
            harness = sdk_worker.SdkHarness(
                request.control_address,
                worker_id=request.worker_id,
                state_cache_size=_STATE_CACHE_BYTES,
                data_buffer_time_limit_ms=FLUSH_MS,
                runner_capabilities=frozenset(),
            )
            _close_quietly(harness._data_channel_factory)
            harness.run()
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            sys.exit(f"worker {request.worker_id} lost its runner: {error!r}"[:300])
        if not bundles_begun():
            line.send(request)


def _close_quietly(channels: Any) -> None:
    """Let a harness's data channels close without the error that the runner, which closes them at
    the same time, may have left there: what the harness closes after them would stay open."""
    close = channels.close

    def closed() -> None:
        with suppress(grpc.RpcError):
            close()

    channels.close = closed


def _without_broken_streams(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """An exception hook for threads that passes over those of streams which the runner closed."""

    def passing(raised: threading.ExceptHookArgs) -> None:
        if not issubclass(raised.exc_type, grpc.RpcError):
            hook(raised)

    return passing


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
