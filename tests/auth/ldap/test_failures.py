"""What goes wrong with a directory, in words."""

import pytest
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as errors
from twisted.python.failure import Failure

from socks5d.auth.ldap.failures import reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.ConnectionRefusedError(), "it refuses connections"),
        (errors.DNSLookupError("a secret"), "its name does not resolve"),
        (errors.TimeoutError(), "it cannot be reached in time"),
        (errors.TCPTimedOutError(), "it cannot be reached in time"),
        (errors.NoRouteError(), "it cannot be reached"),
        (errors.ConnectionDone(), "it ended the connection"),
        (errors.ConnectionLost(), "it ended the connection"),
        (VerificationError(errors=()), "TLS: its certificate is for another name"),
        (SSL.Error([("a", "b", "it is\nwrong"), ("a", "b", "so")]), "TLS: it is\\nwrong, so"),
        (SSL.Error(), "TLS: it fails"),
        (SSL.Error([]), "TLS: it fails"),
        (SSL.Error([("a", "b", "x" * 500)]), "TLS: " + "x" * 100),
        (RuntimeError("a secret"), "it ended the connection"),
    ],
)
def test_reasons(error: Exception, text: str) -> None:
    assert reason(Failure(error)) == text
