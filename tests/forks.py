"""Processes of tests, forked from one that has imported what they need."""

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest

_CONTEXT = multiprocessing.get_context("forkserver")


class Forks:
    """A server that forks processes, with the given modules imported.

    That of `multiprocessing` is one for all: it keeps the modules that it was first started with,
    so that the children of other tests would import theirs anew, for seconds each.
    """

    def __init__(self, *modules: str):
        self._server = forkserver.ForkServer()
        self._server.set_forkserver_preload([*modules])

    def start(self, function: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
        """A process that calls a module-level function."""
        process = _CONTEXT.Process(target=function, args=arguments)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forkserver, "connect_to_new_process", self._server.connect_to_new_process)
            # Else children import pytest's command, which is their parent's main module.
            patch.delattr(sys.modules["__main__"], "__file__", raising=False)
            process.start()
        return process
