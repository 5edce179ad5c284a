"""Pages that are read in a process that can be stopped and may crash: those that are not small, and
all of a slice that was begun before and never ended.

The parser takes more than linear time for deep nesting and very many attributes.
"""

from typing import Any

from septet.preprocess.bounded import BoundedCall, CrashError, MemoryLimitError, TimeLimitError
from septet.schemas.reasons import RejectedError

SMALL_PAGE = 2**17
"""Bytes of a page that are parsed in this process: the worst takes about five seconds."""
PAGE_SECONDS = 20.0
"""CPU time that a larger page may take; one of 8 MiB takes about one second."""
_PAGE_MEMORY = 2**31


def page_reader(function: str) -> BoundedCall:
    """A reader of pages ("module:name") that runs in a process of its own, within the bounds."""
    return BoundedCall(function, PAGE_SECONDS, _PAGE_MEMORY)


def read_apart(reader: BoundedCall, *arguments: Any) -> Any:
    """Read a page by a `page_reader`; returns what it found.

    Raises:
        RejectedError: `page_timeout`: it took more than `PAGE_SECONDS`, or more than 2 GiB.
            `page_crash`: the parser crashed on it. Besides, what the reader raises.
    """
    try:
        return reader(*arguments)
    except TimeLimitError as error:
        raise RejectedError("page_timeout", f"{PAGE_SECONDS:g}") from error
    except MemoryLimitError as error:
        raise RejectedError("page_timeout", f"more than {_PAGE_MEMORY} bytes of memory") from error
    except CrashError as error:
        raise RejectedError("page_crash", str(error)) from error
