"""A pool of Python workers for Spark: `python -m septet.pipelines.runners.pool --port 50000`.

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
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from typing import Any

import grpc  # type: ignore[import-untyped]
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from septet.pipelines.runners import workers

_LOGGER = logging.getLogger(__name__)


@dataclass
class Worker:
    """A worker process and the executor that asked for it."""

    wanted: workers.WorkerRequest
    executor: str
    """The connection over which it was asked for; an executor stops it over the same."""
    process: ForkServerProcess


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """A service that starts and stops worker processes when Spark executors ask for it.

    A killed worker is started again under its name, since an executor waits without end for one
    that was killed before it had connected. One that had connected is given up by its executor,
    which asks for another: its successor then idles until the executor ends.
    """

    def __init__(self) -> None:
        # By control address: the ids of two executors may be the same.
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()

    def running(self) -> list[Worker]:
        """The workers that executors have not given up."""
        with self._lock:
            return list(self._workers.values())

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Start the worker that an executor names, connected to that executor."""
        try:
            wanted = workers.WorkerRequest(request.control_endpoint.url, request.worker_id)
            with self._lock:
                worker = Worker(wanted, context.peer(), workers.start(wanted))
                self._workers[wanted.control_address] = worker
            threading.Thread(target=self._keep, args=(worker,), daemon=True).start()
            return beam_fn_api_pb2.StartWorkerResponse()
        except Exception:
            return beam_fn_api_pb2.StartWorkerResponse(error=traceback.format_exc())

    def StopWorker(self, request: Any, context: Any) -> Any:
        """Stop the worker that this executor started under this name.

        Executors count their workers alike, so that the same name is another's worker, too: were
        that one ended before it had connected, its executor would wait without end. A worker that
        is not found here has ended, or ends when its executor hangs up.
        """
        with self._lock:
            for address, worker in list(self._workers.items()):
                asked = (worker.wanted.worker_id, worker.executor)
                if asked == (request.worker_id, context.peer()):
                    del self._workers[address]
                    worker.process.terminate()
        return beam_fn_api_pb2.StopWorkerResponse()

    def _keep(self, worker: Worker) -> None:
        """Watch one worker until it ends of itself or is stopped."""
        address = worker.wanted.control_address
        while True:
            worker.process.join()
            with self._lock:
                if self._workers.get(address) is not worker:
                    return
                if (worker.process.exitcode or 0) >= 0:
                    del self._workers[address]
                    return
                _LOGGER.warning("worker %s was killed", worker.wanted.worker_id)
                worker.process = workers.start(worker.wanted)


def serve(address: str, pool: WorkerPool) -> grpc.Server:
    """Serve a pool at `address` (host:port); returns its server.

    Raises:
        ValueError: the address cannot be bound.
    """
    workers.warm_up()
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise ValueError(f"cannot listen at {address}: {error}; choose another port") from error
    server.start()
    return server


def main(arguments: Sequence[str]) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m septet.pipelines.runners.pool")
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen at")
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        server = serve(f"{chosen.host}:{chosen.port}", WorkerPool())
    except ValueError as error:
        parser.error(str(error))
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1:])
