"""A pool of Python workers for Spark: `python -m septet.pipelines.runners.pool --port 50000`.

One runs on every machine of a cluster, in the environment that has Septet. It speaks Beam's
protocol for external workers and does what Beam's own `worker_pool_main` does, but forks its
workers from a process that has imported Beam already, and lets a process be one worker of a build
after another.
"""

import argparse
import logging
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import grpc  # type: ignore[import-untyped]
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from septet.pipelines.runners import workers

_LOGGER = logging.getLogger(__name__)


_PATIENCE = 2.0
"""Seconds within which a worker that is stopped has to be done."""


@dataclass
class Worker:
    """A worker process: with the request that it serves and the executor that made it, or free."""

    process: ForkServerProcess
    line: Connection
    wanted: workers.WorkerRequest
    """The last request; what it is free for are others of the same build."""
    executor: str
    """The connection over which it was asked for; an executor stops it over the same."""
    done: threading.Event = field(default_factory=threading.Event)
    """Set when it is free or has ended."""
    free_since: float | None = None


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """A service that starts and stops workers when Spark executors ask for it.

    A worker that is done leaves its process free to be the next one of its build. A process that is
    free for long is ended.

    A killed worker is started again under its name, since an executor waits without end for one
    that was killed before it had connected. One that had connected is given up by its executor,
    which asks for another: its successor then idles until the executor ends.

    Args:
        idle: Seconds after which a free process is ended.
    """

    def __init__(self, idle: float = 30.0) -> None:
        self._idle = idle
        # By control address: the ids of two executors may be the same.
        self._workers: dict[str, Worker] = {}
        self._free: list[Worker] = []
        self._lock = threading.Lock()

    def running(self) -> list[Worker]:
        """The workers that executors have not given up."""
        with self._lock:
            return list(self._workers.values())

    def processes(self) -> list[ForkServerProcess]:
        """The processes of workers, free ones too."""
        with self._lock:
            return [worker.process for worker in (*self._workers.values(), *self._free)]

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Start the worker that an executor names, connected to that executor."""
        try:
            address = request.control_endpoint.url
            build = request.params.get(workers.BUILD, "")
            wanted = workers.WorkerRequest(address, request.worker_id, build)
            with self._lock:
                self._workers[address] = self._reused(wanted, context.peer()) or self._started(
                    wanted, context.peer()
                )
            return beam_fn_api_pb2.StartWorkerResponse()
        except Exception:
            return beam_fn_api_pb2.StartWorkerResponse(error=traceback.format_exc())

    def StopWorker(self, request: Any, context: Any) -> Any:
        """Stop the worker that this executor started under this name: it is done, as its executor
        has hung up, or else ended; an executor that is answered finds its process free.

        Executors count their workers alike, so that the same name is another's worker, too: were
        that one ended before it had connected, its executor would wait without end. A worker that
        is not found here has ended, or ends when its executor hangs up.
        """
        asked = (request.worker_id, context.peer())
        for worker in self.running():
            if (worker.wanted.worker_id, worker.executor) == asked:
                done = worker.done.wait(_PATIENCE if worker.wanted.build else 0)
                with self._lock:
                    if not done and self._workers.get(worker.wanted.control_address) is worker:
                        del self._workers[worker.wanted.control_address]
                        worker.process.terminate()
        return beam_fn_api_pb2.StopWorkerResponse()

    def _started(self, wanted: workers.WorkerRequest, executor: str) -> Worker:
        worker = Worker(*workers.start(), wanted, executor)
        worker.line.send(wanted)
        threading.Thread(target=self._keep, args=(worker,), daemon=True).start()
        return worker

    def _reused(self, wanted: workers.WorkerRequest, executor: str) -> Worker | None:
        """A free process as the worker that is wanted, if there is one."""
        if not wanted.build:
            return None
        for worker in [one for one in self._free if one.wanted.build == wanted.build]:
            self._free.remove(worker)
            with suppress(OSError):  # killed while it was free
                worker.line.send(wanted)
                worker.done.clear()
                worker.wanted, worker.executor, worker.free_since = wanted, executor, None
                return worker
        return None

    def _keep(self, worker: Worker) -> None:
        """Watch one process until it ends of itself or is ended."""
        while True:
            since = worker.free_since
            left = None if since is None else max(0.0, since + self._idle - time.monotonic())
            told = connection.wait([worker.line, worker.process.sentinel], left)
            with self._lock:
                if not told and (since is None or worker.free_since != since):
                    continue  # it is a worker again meanwhile
                if worker.line in told and self._is_done(worker):
                    continue
                if worker in self._free:
                    self._free.remove(worker)
                worker.line.close()  # upon which it ends, unless it has
            if told:
                self._ended(worker)
            return

    def _is_done(self, worker: Worker) -> bool:
        """Take the answer of a worker that is done; False when it ended or was given up."""
        address = worker.wanted.control_address
        try:
            answer = worker.line.recv()
        except (EOFError, OSError):
            return False
        if answer != worker.wanted or self._workers.get(address) is not worker:
            return False
        del self._workers[address]
        self._free.append(worker)
        worker.free_since = time.monotonic()
        worker.done.set()
        return True

    def _ended(self, worker: Worker) -> None:
        """Start a worker again whose process was killed, unless it was given up."""
        worker.process.join()
        with self._lock:
            address = worker.wanted.control_address
            if self._workers.get(address) is worker:
                if (worker.process.exitcode or 0) < 0:
                    _LOGGER.warning("worker %s was killed", worker.wanted.worker_id)
                    self._workers[address] = self._started(worker.wanted, worker.executor)
                else:
                    del self._workers[address]
        worker.done.set()


def serve(address: str, pool: WorkerPool) -> grpc.Server:
    """Serve a pool at `address` (host:port); returns its server.

    Raises:
        ValueError: the address cannot be bound.
    """
    workers.warm_up()
    server = grpc.server(ThreadPoolExecutor(max_workers=32), options=[("grpc.so_reuseport", 0)])
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
