"""The failures of a fetch, and the failure behind each error of the network."""

import errno
import re
import ssl
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp

from septet.schemas.reasons import RejectedError

_LOCAL_FAULTS = {errno.EMFILE, errno.ENFILE}


class FetchError(RejectedError, OSError):
    """Raised when one fetch failed, for a reason of `septet.schemas.reasons.REASONS`.

    An OSError, so that aiohttp carries it unchanged out of the resolver. `transient` failures are
    worth another try; `retry_after` is the pause, in seconds, that the server asked for.
    """

    def __init__(
        self,
        reason: str,
        value: str | None = None,
        transient: bool = False,
        retry_after: float | None = None,
    ):
        super().__init__(reason, value)
        self.transient, self.retry_after = transient, retry_after

    def __str__(self) -> str:
        return f"{self.reason}: {self.value}" if self.value else self.reason


def explain(error: aiohttp.ClientError) -> FetchError:
    """Find the failure behind an error of aiohttp.

    Raises:
        OSError: this machine ran out of files: no fault of the server, and it would make every
            further URL fail.
    """
    match error:
        case aiohttp.ClientConnectorDNSError(os_error=FetchError() as failure):
            return failure
        case aiohttp.ClientConnectorCertificateError():
            return FetchError("tls", _tls(error.certificate_error))
        case aiohttp.ClientConnectorSSLError():
            return FetchError("tls", _tls(error.os_error))
        case aiohttp.ConnectionTimeoutError():
            return FetchError("timeout", "connect", transient=True)
        case aiohttp.ServerTimeoutError():
            return FetchError("timeout", "read", transient=True)
        case aiohttp.ServerDisconnectedError():
            return FetchError("connect", "disconnected", transient=True)
        case aiohttp.ClientConnectionError():
            number = getattr(error, "errno", None)
            if number in _LOCAL_FAULTS:
                raise OSError(
                    number,
                    "too many open files for this fetch: raise the limit (ulimit -n) or lower "
                    "the fetch concurrency",
                ) from error
            name = errno.errorcode.get(number or 0, "unknown")
            return FetchError("connect", name, transient=True)
        case aiohttp.InvalidURL():
            return FetchError("url", "not accepted by the client")
        case aiohttp.ClientPayloadError():
            return FetchError("truncated")
        case aiohttp.ClientResponseError():
            return FetchError("protocol", _protocol(error.message.strip()))
        case _:
            return FetchError("protocol", type(error).__name__)


def _protocol(complaint: str) -> str:
    """A parser's complaint in one form; its words differ between versions of aiohttp."""
    if "Expected HTTP/" in complaint:
        return "the first line is no status line"
    if complaint.startswith("Got more than"):
        return "a header is too long"
    return re.split(r"[:\n]", complaint)[0][:100]


def _tls(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "reason", None) or type(error).__name__


def retry_after(value: str | None) -> float | None:
    """Parse a Retry-After header into seconds from now; None where it cannot be understood."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
        if when.tzinfo is None:  # "-0000": UTC, the sender's own zone unknown (RFC 5322, 3.3)
            when = when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
