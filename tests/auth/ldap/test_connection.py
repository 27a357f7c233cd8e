"""One connection to a directory: what it takes for an answer, and what ends it."""

from typing import Any

import pytest
from ldaptor.protocols import pureldap
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from socks5d.auth.ldap.connection import GOODBYE, LONGEST_ANSWER, Connection, Found
from socks5d.auth.ldap.failures import ConnectionEnded, DirectoryError
from socks5d.auth.ldap.messages import Codec, Entry
from socks5d.auth.ldap.templates import Filter
from tests.auth.ldap.directory import (
    bind_response,
    entry,
    extended_response,
    message,
    read_request,
    search_done,
)

WANTED = Filter("(uid=%s)").of(b"ann")
OPTIONS: Any = object()
ANN = Entry(b"uid=ann", {b"uid": (b"ann",)})


class Transport(StringTransport):
    """Also says what TLS was begun with, and whether it was aborted."""

    tls: Any = None
    aborted = False

    def startTLS(self, options: Any) -> None:
        self.tls = options

    def abortConnection(self) -> None:
        self.aborted = True


class Opened:
    """A connection, and what became of what it was asked."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.connection = Connection(Codec(), self.clock)
        self.connection.makeConnection(self.transport)
        self.said: list[Any] = []
        self.deferred: Deferred[Any]

    def ask(self, question: Any) -> "Opened":
        self.deferred = Deferred.fromCoroutine(question)
        self.deferred.addBoth(self.said.append)
        return self

    def bind(self, dn: str = "uid=ann", password: bytes = b"x") -> "Opened":
        return self.ask(self.connection.bind(dn, password))

    def search(self) -> "Opened":
        return self.ask(self.connection.search("dc=x", WANTED, "uid", most=2, seconds=5))

    def start_tls(self, ask: bool = True) -> "Opened":
        return self.ask(self.connection.start_tls(OPTIONS, ask))

    def ended(self, why: str) -> None:
        """It has, and says why."""
        assert self.transport.aborted
        assert self.connection.ended
        assert [each.type for each in self.said] == [ConnectionEnded]
        assert why in str(self.said[0].value)


@pytest.mark.parametrize("code", [0, 49, 53])
def test_a_bind_says_its_code(code: int) -> None:
    opened = Opened().bind()
    assert read_request(opened.transport.value())[0].value.auth == b"x"
    for octet in bind_response(code):
        assert opened.said == []
        opened.connection.dataReceived(bytes([octet]))
    assert opened.said == [code]
    assert not opened.connection.ended


@pytest.mark.parametrize(("dn", "password"), [("", b"x"), ("uid=ann", b""), ("", b"")])
def test_nobody_binds_with_nothing(dn: str, password: bytes) -> None:
    opened = Opened().bind(dn, password)
    assert [each.type for each in opened.said] == [DirectoryError]
    assert opened.transport.value() == b""


def test_a_search_says_what_it_found_and_follows_no_reference() -> None:
    opened = Opened().search()
    reference = bytes.fromhex("300f020101 730a 0408") + b"ldap://x"
    opened.connection.dataReceived(entry("uid=ann", uid=[b"ann"]) + reference + search_done(0)[:4])
    assert opened.said == []
    opened.connection.dataReceived(search_done(0)[4:])
    assert opened.said == [Found(0, (ANN,))]


def test_one_after_the_other() -> None:
    opened = Opened().bind()
    opened.connection.dataReceived(bind_response(0, 1))
    opened.search().connection.dataReceived(search_done(0, 2))
    opened.bind().connection.dataReceived(bind_response(49, 3))
    assert opened.said == [0, Found(0, ()), 49]


def test_two_things_at_once_are_refused() -> None:
    opened = Opened().bind().bind()
    assert [each.type for each in opened.said] == [DirectoryError]
    opened.connection.dataReceived(bind_response(49))
    assert opened.said[1:] == [49]


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (bind_response(0, 2), "what was not asked for"),
        (search_done(0), "what was not asked for"),
        (extended_response(0), "what was not asked for"),
        (entry("uid=ann", uid=[b"ann"]), "what was not asked for"),
        (bind_response(0) + b"\x30", "more than was asked for"),
        (bind_response(49) + bind_response(0, 2), "more than was asked for"),
        # A notice of disconnection.
        (extended_response(52, 0), "it ends the connection"),
        (bind_response(0, 0), "it ends the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n", "no LDAP message"),
        (b"\x30\x84\xff\xff\xff\xff", "a message too long"),
        (message(pureldap.LDAPUnbindRequest()), "not an answer"),
    ],
)
def test_what_is_no_answer_to_a_bind_ends_it(octets: bytes, why: str) -> None:
    opened = Opened().bind()
    opened.connection.dataReceived(octets)
    opened.ended(why)
    # And nothing that comes later is one.
    opened.connection.dataReceived(bind_response(0))
    assert len(opened.said) == 1
    opened.bind()
    assert opened.said[1].type is ConnectionEnded


def test_an_answer_without_a_question_ends_it() -> None:
    opened = Opened()
    opened.connection.dataReceived(bind_response(0))
    assert opened.transport.aborted
    opened.bind()
    assert opened.said[0].type is ConnectionEnded
    assert opened.transport.value() == b""


def test_a_huge_answer_ends_it() -> None:
    opened = Opened().search()
    octets = entry("uid=ann", uid=[b"x" * 1000])
    for _ in range(LONGEST_ANSWER // len(octets)):
        opened.connection.dataReceived(octets)
    assert opened.said == []
    opened.connection.dataReceived(octets)
    opened.ended("its answer is too long")


def test_the_end_is_told_to_who_waits() -> None:
    opened = Opened().bind()
    opened.connection.connectionLost(Failure(ConnectionLost()))
    opened.ended("it ended the connection")


def test_who_gives_up_ends_it() -> None:
    opened = Opened().bind()
    opened.deferred.cancel()
    assert [each.type for each in opened.said] == [CancelledError]
    assert opened.transport.aborted
    opened.connection.dataReceived(bind_response(0))
    opened.connection.connectionLost(Failure(ConnectionLost()))
    assert len(opened.said) == 1


def test_who_gives_up_is_not_told_of_the_end() -> None:
    for begin in (Opened.bind, lambda opened: opened.start_tls(ask=False)):
        opened = Opened()
        connection, lost = opened.connection, Failure(ConnectionLost())

        def abort(connection: Connection = connection, lost: Failure = lost) -> None:
            connection.connectionLost(lost)

        opened.transport.abortConnection = abort  # type: ignore[method-assign]
        begin(opened)
        opened.deferred.cancel()
        assert [each.type for each in opened.said] == [CancelledError]


def test_tls_that_cannot_begin_is_the_end() -> None:
    opened = Opened()

    def fail(options: Any) -> None:
        raise RuntimeError("no TLS")

    opened.transport.startTLS = fail  # type: ignore[method-assign]
    opened.start_tls(ask=False)
    assert [each.type for each in opened.said] == [RuntimeError]
    assert opened.transport.aborted


def test_tls_is_asked_for_and_waited_for() -> None:
    opened = Opened().start_tls()
    assert type(read_request(opened.transport.value())[0].value).__name__ == "LDAPExtendedRequest"
    opened.connection.dataReceived(extended_response(0))
    assert opened.transport.tls is OPTIONS
    assert opened.said == []
    opened.connection.handshakeCompleted()
    assert opened.said == [None]
    opened.transport.clear()
    opened.bind().connection.dataReceived(bind_response(0, 2))
    assert opened.said == [None, 0]


def test_tls_from_the_start_is_not_asked_for() -> None:
    opened = Opened().start_tls(ask=False)
    assert (opened.transport.value(), opened.transport.tls) == (b"", OPTIONS)
    opened.connection.handshakeCompleted()
    assert opened.said == [None]


@pytest.mark.parametrize("code", [1, 2, 52])
def test_a_refusal_of_tls_is_the_end(code: int) -> None:
    opened = Opened().start_tls()
    opened.connection.dataReceived(extended_response(code))
    assert opened.said[0].type is DirectoryError
    assert "it refuses StartTLS" in str(opened.said[0].value)
    assert opened.transport.aborted
    assert opened.transport.tls is None


@pytest.mark.parametrize("behind", [bind_response(0, 2), bind_response(0, 2)[:5], b"\x00"])
def test_octets_before_tls_are_no_answer_after_it(behind: bytes) -> None:
    opened = Opened().start_tls()
    opened.connection.dataReceived(extended_response(0) + behind)
    opened.ended("more than was asked for")
    assert opened.transport.tls is None


def test_octets_during_the_handshake_end_it() -> None:
    opened = Opened().start_tls(ask=False)
    opened.connection.dataReceived(bind_response(0))
    opened.ended("it said what it was not asked for")


def test_nothing_is_asked_during_the_handshake() -> None:
    opened = Opened().start_tls(ask=False).bind()
    assert [each.type for each in opened.said] == [DirectoryError]
    assert opened.transport.value() == b""


def test_who_gives_up_on_a_handshake_ends_it() -> None:
    opened = Opened().start_tls(ask=False)
    opened.deferred.cancel()
    assert [each.type for each in opened.said] == [CancelledError]
    assert opened.transport.aborted
    opened.connection.connectionLost(Failure(ConnectionLost()))
    assert len(opened.said) == 1


def test_it_says_goodbye_and_ends_in_any_case() -> None:
    opened = Opened()
    opened.connection.close()
    assert type(read_request(opened.transport.value())[0].value).__name__ == "LDAPUnbindRequest"
    assert opened.transport.disconnecting
    opened.clock.advance(GOODBYE - 0.01)
    assert not opened.transport.aborted
    opened.clock.advance(0.01)
    assert opened.transport.aborted
    opened.connection.close()
    assert opened.clock.getDelayedCalls() == []


def test_nothing_is_left_behind_a_goodbye() -> None:
    opened = Opened()
    opened.connection.close()
    opened.connection.connectionLost(Failure(ConnectionLost()))
    assert opened.clock.getDelayedCalls() == []
