"""Work on many shards in threads, ahead of its use. Reading, digests, decompression and Arrow
release Python's lock, so threads run at once."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def default_threads() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ahead(
    work: Callable[[In], Out], items: Iterable[In], threads: int | None = None
) -> Iterator[Out]:
    """Results in the order of the items; few are begun before they are asked for.

    Args:
        work: Called in threads.
        items: Any number of them; they are not all held at once.
        threads: The number of threads; as many as there are cores when absent.
    """
    threads = threads or default_threads()
    rest = iter(items)
    with ThreadPoolExecutor(threads, "ahead") as pool:
        begun: deque[Future[Out]] = deque(
            pool.submit(work, item) for item in islice(rest, 2 * threads)
        )
        try:
            while begun:
                found = begun.popleft().result()
                begun.extend(pool.submit(work, item) for item in islice(rest, 1))
                yield found
        finally:
            for future in begun:
                future.cancel()
