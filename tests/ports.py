"""Ports of this machine for servers that tests start."""

import socket


def free_ports(count: int, start: int) -> int:
    """The first of `count` neighbouring free ports, from `start` on."""
    for base in range(start, 60000, count):
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    raise RuntimeError("no free ports")
