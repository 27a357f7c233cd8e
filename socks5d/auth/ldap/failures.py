"""What goes wrong with a directory, in few and fixed words that hold no secret."""

from typing import Final

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as errors
from twisted.python.failure import Failure

from socks5d.escape import one_line

#: Characters of what OpenSSL says.
_LONGEST: Final = 100


class DirectoryError(Exception):
    """The directory cannot tell who somebody is.  The text says why, on one line."""


class ConnectionEnded(DirectoryError):
    """A connection ended before the answer; another may do better."""


_REASONS: Final = (
    (errors.ConnectionRefusedError, "it refuses connections"),
    (errors.DNSLookupError, "its name does not resolve"),
    (errors.TimeoutError, "it cannot be reached in time"),
    (errors.TCPTimedOutError, "it cannot be reached in time"),
    (errors.ConnectError, "it cannot be reached"),
    (VerificationError, "TLS: its certificate is for another name"),
)


def reason(failure: Failure) -> str:
    """
    @param failure: why there is no connection, or no longer.
    """
    error = failure.value
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    if isinstance(error, SSL.Error):
        return f"TLS: {_of_tls(error)}"
    return "it ended the connection"


def _of_tls(error: SSL.Error) -> str:
    # A list of (library, function, reason), whose texts are OpenSSL's own.
    pieces = error.args[0] if error.args and isinstance(error.args[0], list) else []
    texts = [str(piece[-1]) for piece in pieces if isinstance(piece, tuple) and piece]
    return one_line(", ".join(texts) or "it fails")[:_LONGEST]
