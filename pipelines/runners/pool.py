"""The pool that Spark asks for Python workers: `python -m pipelines.runners.pool --port 50000`.

One runs on every machine of a cluster, in the environment that has Septet. It speaks Beam's
protocol for external workers and does what Beam's own `worker_pool_main` does, but forks its
workers from a process that has imported Beam already: 0.1 s instead of seconds of CPU a worker.
"""

import argparse
import logging
import sys
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerProcess
from typing import Any

import grpc  # type: ignore[import-untyped]
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from pipelines.runners import workers

_LOGGER = logging.getLogger(__name__)


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts and stops worker processes when a Spark executor asks for it."""

    def __init__(self) -> None:
        self._processes: dict[str, ForkServerProcess] = {}

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Start the worker that an executor names, connected to that executor."""
        try:
            wanted = workers.WorkerRequest(request.control_endpoint.url, request.worker_id)
            self._processes[wanted.worker_id] = process = workers.start(wanted)
            threading.Thread(target=self._keep, args=(wanted, process), daemon=True).start()
            return beam_fn_api_pb2.StartWorkerResponse()
        except Exception:
            return beam_fn_api_pb2.StartWorkerResponse(error=traceback.format_exc())

    def StopWorker(self, request: Any, context: Any) -> Any:
        """Stop a worker; nothing happens when it has ended."""
        if process := self._processes.pop(request.worker_id, None):
            process.terminate()
        return beam_fn_api_pb2.StopWorkerResponse()

    def _keep(self, wanted: workers.WorkerRequest, process: ForkServerProcess) -> None:
        """Start a worker again, under its name, when it was killed.

        An executor waits without end for a worker that was killed before it had connected. One
        that had connected is given up by its executor, which asks for another: its successor
        then idles until the executor ends.
        """
        while True:
            process.join()
            if self._processes.get(wanted.worker_id) is not process:
                return
            if (process.exitcode or 0) >= 0:
                del self._processes[wanted.worker_id]
                return
            _LOGGER.warning("worker %s was killed; starting it again", wanted.worker_id)
            self._processes[wanted.worker_id] = process = workers.start(wanted)


def serve(address: str) -> grpc.Server:
    """Start a pool at `address` (host:port) and return its server.

    Raises:
        ValueError: the address cannot be bound.
    """
    workers.warm_up()
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise ValueError(f"cannot listen at {address}: {error}; choose another port") from error
    server.start()
    return server


def main(arguments: Sequence[str]) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.runners.pool")
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen at")
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        server = serve(f"{chosen.host}:{chosen.port}")
    except ValueError as error:
        parser.error(str(error))
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1:])
