"""PROXY headers: believed from some, and from nobody else."""

import pytest

from socks5d.model import Outcome
from socks5d.proxyheader import endpoint_of
from socks5d.rules import parse_network
from tests.support import client
from tests.support.origins import receive_exactly
from tests.support.running import Observed, in_reactor, proxy_factory, reactor

HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\x05\x01\x00"


def test_a_sender_that_is_named_is_believed() -> None:
    seen = Observed()
    with proxy_factory(seen) as factory:
        senders = [parse_network("127.0.0.1")]
        endpoint = endpoint_of(reactor, "haproxy:tcp:0:interface=127.0.0.1", senders)
        port = in_reactor(endpoint.listen, factory)
        with client.dial(("127.0.0.1", port.getHost().port)) as connection:
            connection.sendall(HEADER)
            assert receive_exactly(connection, 2) == b"\x05\x00"
        record = seen.record()
        assert (str(record.client.address), record.client.port) == ("192.0.2.1", 1)
        in_reactor(port.stopListening)


def test_a_sender_that_is_not_named_is_turned_away() -> None:
    seen = Observed()
    with proxy_factory(seen) as factory:
        senders = [parse_network("192.0.2.0/24")]
        endpoint = endpoint_of(reactor, "haproxy:tcp:0:interface=127.0.0.1", senders)
        port = in_reactor(endpoint.listen, factory)
        with client.dial(("127.0.0.1", port.getHost().port)) as connection:
            try:
                connection.sendall(HEADER)
                said = connection.recv(2)
            except ConnectionError:
                said = b""
            assert said == b""
        in_reactor(port.stopListening)
    assert seen.records == []


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP6 ::1%a\x1b[31m\x0bFAKE=1 ::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 70000 2\r\n",
    ],
)
def test_what_a_header_says_is_not_taken_for_more_than_it_is(header: bytes) -> None:
    seen = Observed()
    with proxy_factory(seen) as factory:
        endpoint = endpoint_of(
            reactor, "haproxy:tcp:0:interface=127.0.0.1", [parse_network("127.0.0.1")]
        )
        port = in_reactor(endpoint.listen, factory)
        with client.dial(("127.0.0.1", port.getHost().port)) as connection:
            connection.sendall(header + b"\x05\x01\x09")
            connection.recv(2)
        record = seen.record()
        assert record.outcome is Outcome.NO_ACCEPTABLE_METHOD
        assert str(record.client.address) in ("::1", "None")
        in_reactor(port.stopListening)
