"""Servers of forks keep to their own modules, whichever was first."""

import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from tests.forks import Forks

MODULES = ("wave", "colorsys")


def tell(line: Connection) -> None:
    line.send([name in sys.modules for name in MODULES])


def test_each_server_has_its_own_modules() -> None:
    for found, servers in zip(([True, False], [False, True]), map(Forks, MODULES), strict=True):
        ours, theirs = Pipe()
        child = servers.start(tell, theirs)
        assert ours.poll(60) and ours.recv() == found
        child.join()
        assert child.exitcode == 0
