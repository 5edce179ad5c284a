"""Which URLs may be requested: http(s) to public addresses, checked on every hop.

A crawled page may point at anything: a cloud's metadata service, a router's set-up page. So a
name is resolved here, its private addresses are dropped, and the connection goes to an address
that was checked (a second look-up could give another one).
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urljoin, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from septet.preprocess.http.failures import FetchError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PATH_SAFE = "/%:@!$&'()*+,;=~-._[]"
_QUERY_SAFE = _PATH_SAFE + "?"
_NUMBER = r"(?:0[xX][0-9a-fA-F]*|[0-9]+)"
_NUMERIC_HOST = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,3}}")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address is globally reachable unicast (IANA's special-purpose registries).

    IPv6 addresses that carry an IPv4 one (mapped, 6to4, NAT64) are judged by that one.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    carried = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if carried is not None:
        return is_public(carried)
    return address in _GLOBAL_UNICAST and address.is_global


def literal_address(host: str) -> Address | None:
    """The address that `host` spells, or None if it is a name.

    Besides the usual forms also those that C libraries accept: 2130706433, 0x7f.1, 0177.0.0.1.
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        if _NUMERIC_HOST.fullmatch(host):
            try:
                return ipaddress.IPv4Address(socket.inet_aton(host))
            except OSError as error:
                raise FetchError("url", "host is no address") from error
        return None


def parse_url(text: str, base: URL | None = None) -> URL:
    """An http(s) URL in the form in which it is requested; relative to `base` if one is given.

    Percent-escapes are kept as they are (signed URLs break when they are rewritten); characters
    that may not stand in a URL are escaped as UTF-8; host names go to IDNA and numeric hosts to
    the usual form; a fragment is dropped.

    Raises:
        FetchError: `url` or `scheme`.
    """
    try:
        parts = urlsplit(urljoin(str(base), text) if base else text.strip())
        if parts.scheme not in ("http", "https"):
            raise FetchError("scheme", parts.scheme[:20] or "none")
        if not parts.hostname:
            raise FetchError("url", "no host")
        if parts.username is not None:
            raise FetchError("url", "carries a user name")
        host = URL.build(scheme=parts.scheme, host=parts.hostname.rstrip(".")).raw_host or ""
        address = literal_address(host)
        if address is not None:
            host = f"[{address}]" if address.version == 6 else str(address)
        port = f":{parts.port}" if parts.port is not None else ""
        path = quote(parts.path or "/", safe=_PATH_SAFE, errors="surrogateescape")
        query = quote(parts.query, safe=_QUERY_SAFE, errors="surrogateescape")
        return URL(
            f"{parts.scheme}://{host}{port}{path}" + (f"?{query}" if query else ""), encoded=True
        )
    except ValueError as error:
        raise FetchError("url", type(error).__name__) from error


def _is_allowed(host: str, port: int | None, allowed_hosts: Collection[str]) -> bool:
    name = f"[{host}]" if ":" in host else host
    return name in allowed_hosts or f"{name}:{port}" in allowed_hosts


def check_literal(url: URL, allowed_hosts: Collection[str]) -> None:
    """Refuse a URL whose host is itself an address that is not public.

    Raises:
        FetchError: `address`.
    """
    host = url.raw_host or ""
    address = literal_address(host)
    if (
        address is not None
        and not is_public(address)
        and not _is_allowed(host, url.port, allowed_hosts)
    ):
        raise FetchError("address", host)


class PublicResolver(AbstractResolver):
    """Resolves names to their public addresses; names in `allowed_hosts` to all of them.

    Look-ups run in threads of their own: a dead name server blocks a look-up for many seconds,
    and the default executor has a handful of threads.
    """

    def __init__(self, allowed_hosts: Collection[str], timeout: float, threads: int):
        self._allowed, self._timeout = allowed_hosts, timeout
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of `host` that may be connected to.

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
        allowed = _is_allowed(host, port, self._allowed)
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
