"""A guard of addresses: which URLs may be requested, http(s) to public addresses, checked on every
hop.

A crawled page may point at anything: a cloud's metadata service, a router's set-up page. So a
name is resolved here, its private addresses are dropped, and the connection goes to an address
that was checked (a second look-up could give another one).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from septet.preprocess import urls
from septet.preprocess.http.failures import FetchError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_V4 = """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4
240.0.0.0/4"""
_SPECIAL_V4 = tuple(ipaddress.IPv4Network(network) for network in _V4.split())
"""Addresses that are not for the public internet (IANA's registry of special purposes, 2025). Not
`ipaddress.is_global`: its table follows the patch release of Python."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_V6 = """2001::/23 2001:db8::/32 3fff::/20"""
_SPECIAL_V6 = tuple(ipaddress.IPv6Network(network) for network in _V6.split())
"""The parts of 2000::/3 that are not either: protocol assignments with Teredo, documentation."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_PORTS = """0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110
111 113 115 117 119 123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548
554 556 563 587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 4190 5060 5061 6000 6566 6665
6666 6667 6668 6669 6679 6697 10080"""
BAD_PORTS = frozenset(int(port) for port in _PORTS.split())
"""Ports of other services, which browsers refuse (the WHATWG's fetch standard, "bad port")."""


def is_public(address: Address) -> bool:
    """Whether an address is globally reachable unicast (IANA's special-purpose registries).

    IPv6 addresses that carry an IPv4 one (mapped, 6to4, NAT64) are judged by that one.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in special for special in _SPECIAL_V4)
    carried = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if carried is not None:
        return is_public(carried)
    return address in _GLOBAL_UNICAST and not any(address in special for special in _SPECIAL_V6)


def literal_address(host: str) -> Address | None:
    """The address that a URL's host is, or None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def parse_url(text: str, base: URL | None = None) -> URL:
    """Parse the http(s) URL to request, as `septet.preprocess.urls.resolve` gives it.

    Args:
        text: A URL, or a redirect's target.
        base: The URL that a target is relative to.

    Raises:
        FetchError: `url` or `scheme`.
    """
    try:
        return URL(urls.resolve(text, str(base) if base else None), encoded=True)
    except urls.UrlError as error:
        raise FetchError(error.part, error.detail) from error
    except ValueError as error:
        raise FetchError("url", type(error).__name__) from error


def is_allowed(host: str, port: int | None, allowed_hosts: Collection[str]) -> bool:
    """Whether a host is one of those that may have private addresses."""
    name = f"[{host}]" if ":" in host else host
    return name in allowed_hosts or f"{name}:{port}" in allowed_hosts


def check_address(url: URL, allowed_hosts: Collection[str]) -> None:
    """Refuse a URL whose host is itself an address that is not public, or whose port is that of
    another service.

    Raises:
        FetchError: `address`.
    """
    host = url.raw_host or ""
    if is_allowed(host, url.port, allowed_hosts):
        return
    address = literal_address(host)
    if address is not None and not is_public(address):
        raise FetchError("address", host)
    if url.port in BAD_PORTS:
        raise FetchError("address", f"port {url.port}")


class PublicResolver(AbstractResolver):
    """A resolver of names to their public addresses; names in `allowed_hosts` to all of theirs.

    Look-ups run in threads of their own: a dead name server blocks a look-up for many seconds,
    and the default executor has a handful of threads.
    """

    def __init__(self, allowed_hosts: Collection[str], timeout: float, threads: int):
        self._allowed, self._timeout = allowed_hosts, timeout
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve `host` to the addresses that may be connected to.

        Raises:
            FetchError: `dns` or `address`.
        """
        loop = asyncio.get_running_loop()
        lookup = loop.run_in_executor(
            self._threads, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM
        )
        try:
            found = await asyncio.wait_for(lookup, self._timeout)
        except TimeoutError as error:
            raise FetchError("dns", "timeout", transient=True) from error
        except socket.gaierror as error:
            transient = error.errno == socket.EAI_AGAIN
            raise FetchError("dns", error.strerror, transient) from error
        except UnicodeError as error:
            raise FetchError("dns", "name is too long") from error
        allowed = is_allowed(host, port, self._allowed)
        results = [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, where in found
            if allowed or is_public(ipaddress.ip_address(where[0]))
        ]
        if not results:
            raise FetchError("address", host)
        return results

    async def close(self) -> None:
        """Stop; look-ups that still run are left to end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
