"""What each error of the HTTP library means, and whether another try is worth it."""

import errno
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from septet.preprocess.http.failures import FetchError, explain

ASKED: Any = SimpleNamespace(real_url="http://e.org/")


@pytest.mark.parametrize(("error", "reason", "value", "transient"), [
    (aiohttp.ServerDisconnectedError(), "connect", "disconnected", True),
    (aiohttp.ConnectionTimeoutError(), "timeout", "connect", True),
    (aiohttp.ServerTimeoutError(), "timeout", "read", True),
    (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), "connect", "ECONNRESET", True),
    (aiohttp.ClientConnectionError(), "connect", "unknown", True),
    (aiohttp.InvalidURL("http://["), "url", "not accepted by the client", False),
    (aiohttp.ClientPayloadError(), "truncated", None, False),
    (aiohttp.ClientResponseError(ASKED, (), message="Expected HTTP/, RTSP/ or ICE/"),
     "protocol", "the first line is no status line", False),
    (aiohttp.ClientResponseError(ASKED, (), message="Got more than 8190 bytes"),
     "protocol", "a header is too long", False),
    (aiohttp.ClientResponseError(ASKED, (), message="Bad chunk: x\ny"),
     "protocol", "Bad chunk", False),
    (aiohttp.ClientError(), "protocol", "ClientError", False),
])  # fmt: skip
def test_each_error_is_one_reason(
    error: aiohttp.ClientError, reason: str, value: str | None, transient: bool
) -> None:
    found = explain(error)
    assert (found.reason, found.value, found.transient) == (reason, value, transient)
    assert found.retry_after is None
    assert str(found) == (f"{reason}: {value}" if value else reason)


def test_a_failure_of_the_resolver_comes_through() -> None:
    failure = FetchError("address", "10.0.0.1")
    key: Any = SimpleNamespace(host="e.org", port=80, ssl=True)
    assert explain(aiohttp.ClientConnectorDNSError(key, failure)) is failure


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_few_files_are_no_fault_of_a_server(number: int) -> None:
    with pytest.raises(OSError, match="too many open files") as raised:
        explain(aiohttp.ClientOSError(number, "no files"))
    assert raised.value.errno == number
