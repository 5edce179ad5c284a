"""Why a picture could not be had: the reasons, and how errors of the network map to them."""

import errno
import re
import ssl

import aiohttp

REASONS = {
    "url": "the URL or a redirect's target is no valid URL; value: what is wrong with it",
    "scheme": "neither http nor https; value: the scheme",
    "address": "the host is or resolves to no public address; value: the host",
    "dns": "the host's name could not be resolved; value: the resolver's error, or timeout",
    "connect": "no connection, or it broke before the answer; value: the system's error",
    "tls": "the TLS handshake or the certificate's check failed; value: what failed",
    "timeout": "a time limit passed; value: connect, first_byte, read or total",
    "protocol": "the answer is not HTTP; value: the parser's complaint",
    "http_status": "the final status is not 200; value: the status",
    "redirects": "more redirects than the policy allows; value: the limit",
    "opt_out": "the answer's headers forbid this use; value: the directive",
    "too_large": "the body is larger than the policy allows; value: the declared or allowed bytes",
    "truncated": "the body ended early; value: received and declared bytes",
    "encoding": "the body's content coding cannot be undone; value: the coding",
    "empty": "the body has no bytes",
    "host_down": "not tried: the host had failed too often in a row; value: how often",
}
"""Every reason that a fetch can fail with. `value` is None where the table names none."""

_LOCAL_FAULTS = {errno.EMFILE, errno.ENFILE}


class Failure(OSError):
    """One fetch failed: `reason` and `value` as in `REASONS`.

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
        super().__init__(f"{reason}: {value}")
        self.reason, self.value = reason, value
        self.transient, self.retry_after = transient, retry_after


def explain(error: aiohttp.ClientError) -> Failure:
    """The failure behind an error of aiohttp.

    Raises:
        OSError: this machine ran out of files: no fault of the server, and it would make every
            further URL fail.
    """
    match error:
        case aiohttp.ClientConnectorDNSError(os_error=Failure() as failure):
            return failure
        case aiohttp.ClientConnectorCertificateError():
            return Failure("tls", _tls(error.certificate_error))
        case aiohttp.ClientConnectorSSLError():
            return Failure("tls", _tls(error.os_error))
        case aiohttp.ConnectionTimeoutError():
            return Failure("timeout", "connect", transient=True)
        case aiohttp.ServerTimeoutError():
            return Failure("timeout", "read", transient=True)
        case aiohttp.ServerDisconnectedError():
            return Failure("connect", "disconnected", transient=True)
        case aiohttp.ClientConnectionError():
            number = getattr(error, "errno", None)
            if number in _LOCAL_FAULTS:
                raise OSError(
                    number,
                    "too many open files for this fetch: raise the limit (ulimit -n) or lower "
                    "the fetch concurrency",
                ) from error
            name = errno.errorcode.get(number or 0, "unknown")
            return Failure("connect", name, transient=True)
        case aiohttp.InvalidURL():
            return Failure("url", "not accepted by the client")
        case aiohttp.ClientPayloadError():
            return Failure("truncated")
        case aiohttp.ClientResponseError():
            return Failure("protocol", re.split(r"[:\n]", error.message.strip())[0][:100])
        case _:
            return Failure("protocol", type(error).__name__)


def _tls(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "reason", None) or type(error).__name__
