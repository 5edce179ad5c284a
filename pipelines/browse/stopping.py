"""Work of a request that ends when who asked has left, or asks for something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stop:
    """The end of one request's work; the work says how it is ended."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self.is_asked = False

    def ask(self) -> None:
        """End what is under way, and what is begun later at once."""
        with self._lock:
            self.is_asked = True
            for call in self._calls:
                call()

    @contextmanager
    def by(self, call: Callable[[], object]) -> Iterator[None]:
        """Work that ends when `call` is called, from another thread."""
        with self._lock:
            if self.is_asked:
                raise StoppedError
            self._calls.append(call)
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)


class StoppedError(ValueError):
    """Raised in work that nobody waits for any more."""


CURRENT: ContextVar[Stop | None] = ContextVar("stop", default=None)
"""The request's that this thread works for."""


@contextmanager
def stoppable(call: Callable[[], object]) -> Iterator[None]:
    """Work that `call` ends, where it is for a request.

    Raises:
        StoppedError: nobody waits for it.
    """
    stop = CURRENT.get()
    if stop is None:
        yield
        return
    with stop.by(call):
        yield
