"""The pool of Python workers, asked over gRPC as Spark's executors ask."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2

from septet.pipelines.runners.pool import WorkerPool, serve


@pytest.fixture
def pool() -> Iterator[tuple[WorkerPool, str]]:
    """A running pool and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    servicer = WorkerPool()
    server = serve(address, servicer)
    yield servicer, address
    for worker in servicer.running():
        worker.process.kill()
    server.stop(None).wait()


@contextmanager
def executor(address: str) -> Iterator[beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub]:
    """A connection of its own, as each executor has one."""
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)


def start(stub: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub, control: str) -> None:
    wanted = beam_fn_api_pb2.StartWorkerRequest(
        worker_id="17-1", control_endpoint=endpoints_pb2.ApiServiceDescriptor(url=control)
    )
    assert not stub.StartWorker(wanted).error


def test_an_executor_does_not_stop_the_worker_of_another(pool: tuple[WorkerPool, str]) -> None:
    servicer, address = pool
    # Nobody answers there: workers wait to be connected, for longer than this test.
    with socket.create_server(("127.0.0.1", 0)) as silent, executor(address) as one:
        port = silent.getsockname()[1]
        start(one, f"127.0.0.1:{port}")
        (worker,) = servicer.running()
        stop = beam_fn_api_pb2.StopWorkerRequest(worker_id="17-1")
        with executor(address) as two:
            two.StopWorker(stop)  # its own 17-1 has ended
            assert servicer.running() == [worker] and worker.process.is_alive()
            start(two, f"localhost:{port}")
            two.StopWorker(stop)
            assert servicer.running() == [worker] and worker.process.is_alive()
        one.StopWorker(stop)
        assert servicer.running() == []
        worker.process.join(10)
        assert not worker.process.is_alive()


def test_a_worker_that_was_killed_is_started_again(pool: tuple[WorkerPool, str]) -> None:
    servicer, address = pool
    with socket.create_server(("127.0.0.1", 0)) as silent, executor(address) as one:
        start(one, f"127.0.0.1:{silent.getsockname()[1]}")
        (worker,) = servicer.running()
        first = worker.process
        first.kill()
        end = time.monotonic() + 60
        while worker.process is first and time.monotonic() < end:
            time.sleep(0.01)
        assert worker.process is not first and worker.process.is_alive()
        assert servicer.running() == [worker]
