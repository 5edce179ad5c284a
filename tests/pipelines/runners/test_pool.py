"""The pool of Python workers, asked over gRPC as Spark's executors ask."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.worker.data_plane import ClosableOutputStream

from septet.pipelines.runners import workers
from septet.pipelines.runners.pool import WorkerPool, serve
from septet.pipelines.runners.workers import BUILD


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Iterator[tuple[WorkerPool, str]]:
    """A running pool and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    servicer = WorkerPool(idle=getattr(request, "param", 600.0))
    server = serve(address, servicer)
    yield servicer, address
    for process in servicer.processes():
        process.kill()
    server.stop(None).wait()


@contextmanager
def executor(address: str) -> Iterator[beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub]:
    """A connection of its own, as each executor has one."""
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)


def start(
    stub: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub, control: str, build: str = ""
) -> None:
    wanted = beam_fn_api_pb2.StartWorkerRequest(
        worker_id="17-1",
        control_endpoint=endpoints_pb2.ApiServiceDescriptor(url=control),
        params={BUILD: build} if build else {},
    )
    assert not stub.StartWorker(wanted).error


class Control(beam_fn_api_pb2_grpc.BeamFnControlServicer):
    """An executor that hangs up when it is told to, having asked its worker for nothing."""

    def __init__(self) -> None:
        self.connected, self.hang_up = threading.Event(), threading.Event()

    def Control(self, responses: object, context: object) -> Iterator[object]:
        self.connected.set()
        self.hang_up.wait(60)
        return iter(())


def serve_one(stub: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub, build: str) -> None:
    """Have a worker, from its start until it is stopped."""
    control, server = Control(), grpc.server(ThreadPoolExecutor(2))
    beam_fn_api_pb2_grpc.add_BeamFnControlServicer_to_server(control, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    start(stub, f"127.0.0.1:{port}", build)
    assert control.connected.wait(60)
    control.hang_up.set()
    stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="17-1"))
    server.stop(None).wait()


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
        worker.process.kill()
        end = time.monotonic() + 60
        while servicer.running() in ([worker], []) and time.monotonic() < end:
            time.sleep(0.01)
        (again,) = servicer.running()
        assert again is not worker and again.process.is_alive()
        assert again.wanted == worker.wanted


def test_a_process_is_one_worker_of_a_build_after_another(pool: tuple[WorkerPool, str]) -> None:
    """And not another build's."""
    servicer, address = pool
    with executor(address) as one:
        serve_one(one, "first")
        (process,) = servicer.processes()
        serve_one(one, "first")
        assert servicer.processes() == [process]
        serve_one(one, "second")
        assert process in servicer.processes() and len(servicer.processes()) == 2


@pytest.mark.parametrize("pool", [0.1], indirect=True)
def test_a_process_that_is_free_for_long_is_ended(pool: tuple[WorkerPool, str]) -> None:
    servicer, address = pool
    with executor(address) as one:
        serve_one(one, "first")
    end = time.monotonic() + 60
    while servicer.processes() and time.monotonic() < end:
        time.sleep(0.01)
    assert not servicer.processes()


def test_nothing_is_lost_that_a_bundle_yields_while_earlier_elements_are_sent() -> None:
    """Beam's thread that sends by time forgets what is written while it sends: seen as a demo
    corpus without the images of an archive."""
    sent: list[bytes] = []

    def send(data: bytes) -> None:
        sent.append(data)
        time.sleep(0.02)

    stream = ClosableOutputStream.create(sent.append, send, workers.FLUSH_MS)
    written, end = 0, time.monotonic() + 1.3
    while time.monotonic() < end:
        stream.write(b"1")
        written += 1
        time.sleep(0.001)
    stream.close()
    assert sum(map(len, sent)) == written
