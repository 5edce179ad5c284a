"""Real processes that form a process group over gloo, as `torchrun` would start them."""

import faulthandler
import multiprocessing
import os
import queue
import signal
import socket
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist

from tests.forks import Forks

_CONTEXT = multiprocessing.get_context("forkserver")
_FORKS = Forks(
    "tests.trainers.conftest", "septet.trainers.engine.storage", "torch.distributed.fsdp",
    "torch.utils.tensorboard", "torch._dynamo", "triton", "pandas",
)  # fmt: skip
"""What a run imports only when it needs it, some of it within torch and Arrow: seconds for each
process."""


def start(function: Callable[..., Any], *arguments: Any) -> Any:
    """A process that calls a module-level function, with torch imported already."""
    return _FORKS.start(function, *arguments)


def shared(number: float) -> Any:
    """A number that processes to come share: `.value`."""
    return _CONTEXT.Value("d", number)


def _enter(rank: int, size: int, port: int, results: Any, function: Any, arguments: Any) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    faulthandler.register(signal.SIGUSR1)
    torch.set_num_threads(1)
    with mock.patch.object(dist, "init_process_group", _once(dist.init_process_group)):
        results.put((rank, function(*arguments)))


def _once(form: Callable[..., None]) -> Callable[..., None]:
    """Form a process group, and no second one: on the same port, a rank that comes early would
    wait for ever in the store of the first."""
    formed: list[bool] = []

    def first(*given: Any, **named: Any) -> None:
        assert not formed, "this process was in a process group already"
        formed.append(True)
        form(*given, **named)

    return first


def _show_stacks(processes: list[Any]) -> None:
    """Where each rank stands, on stderr."""
    for process in processes:
        os.kill(process.pid, signal.SIGUSR1)
        process.join(1)


def run_ranks(
    size: int, function: Callable[..., Any], *arguments: Any, timeout: float = 180
) -> list[Any]:
    """Call a module-level function in `size` processes; what each returned, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = _CONTEXT.Queue()
    processes = [
        _FORKS.start(_enter, rank, size, port, results, function, arguments) for rank in range(size)
    ]
    found: dict[int, Any] = {}
    try:
        while len(found) < size:
            try:
                rank, value = results.get(timeout=1)
                found[rank] = value
            except queue.Empty:
                timeout -= 1
                failed = [p.exitcode for p in processes if p.exitcode]
                if failed:
                    raise RuntimeError(f"ranks ended with {failed}") from None
                if timeout < 0:
                    _show_stacks(processes)
                    raise RuntimeError("ranks took too long; stderr shows where") from None
    finally:
        for process in processes:
            process.join(10 if len(found) == size else 0)
            process.kill()
            process.join()  # what it held, such as the lock of a run's folder, is free then
    return [found[rank] for rank in range(size)]
