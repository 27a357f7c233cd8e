"""Identification by identd, over real sockets: the question, every kind of answer, and none."""

import gc
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent

from socks5d.auth import NoAuthentication, PasswordAuthenticator, UserIDList
from socks5d.model import Client, Command, Ident, Identity, Outcome
from socks5d.parameters import IdentMode, Limits, Timeouts
from socks5d.protocols import SOCKSFactory
from socks5d.protocols.ident import IdentLookups
from socks5d.rules import (
    Chain,
    ClientRules,
    DestinationRules,
    RequireIdent,
    parse_destination,
    parse_network,
)
from socks5d.sessionlog import AccessLog, SessionLog
from socks5d.wire import identline, socks4, socks5
from socks5d.wire.address import Address
from tests.protocols.test_seams import PERMIT, Deciding
from tests.support import client
from tests.support.origins import echo, origin, receive_all, receive_exactly, reset
from tests.support.origins import unanswering as never_accepting
from tests.support.running import (
    LOOPBACK,
    PATIENCE,
    Observed,
    in_reactor,
    listening,
    proxy,
    proxy_factory,
    reactor,
)
from tests.support.running import Address as SocketAddress
from tests.support.waiting import readable

OLD, NEW = "4", "5"


@pytest.fixture(autouse=True)
def lane() -> str:
    """Once is enough: identd is asked by Twisted's transports, wherever the client comes."""
    return "fast"


LOG, REQUIRE = IdentMode.LOG, IdentMode.REQUIRE

GRANTED = {OLD: socks4.GRANTED, NEW: socks5.SUCCEEDED}
UNREACHABLE = {OLD: socks4.IDENTD_UNREACHABLE, NEW: socks5.NOT_ALLOWED}
DENIED = {OLD: socks4.REJECTED, NEW: socks5.NOT_ALLOWED}
#: Where nobody is to be reached, in the tests that do not get as far.
NOWHERE: SocketAddress = ("127.0.0.1", 9)
#: For a deadline that is to pass.
SOON = 0.1

Answer = Callable[[socket.socket, int, int], None]


class Question(NamedTuple):
    """
    What a server asked.

    @ivar ports: port-on-server and port-on-client.
    @ivar source: the address that it asked from.
    """

    ports: tuple[int, int]
    source: str


class Identd:
    """
    A daemon that answers as a test wants, and then waits for the server to go.

    @ivar port: where it listens.
    @ivar peers: who has come; None for one that was gone again by then.
    @ivar questions: what they asked.
    @ivar ended: how many of them are gone.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._changed = threading.Condition()
        self.port = 0
        self.peers: list[SocketAddress | None] = []
        self.questions: list[Question] = []
        self.ended = 0

    def serve(self, connection: socket.socket) -> None:
        # A server that has heard enough, or whose client has left, is gone any time.
        peer = None
        with suppress(OSError):
            peer = connection.getpeername()[:2]
        with self._changed:
            self.peers.append(peer)
            self._changed.notify_all()
        with suppress(ConnectionError):
            ports = client.read(connection, identline.parse_query)
            with self._changed:
                self.questions.append(Question(ports, peer[0] if peer else ""))
                self._changed.notify_all()
            self._answer(connection, *ports)
            if connection.fileno() >= 0:
                receive_all(connection)
        with self._changed:
            self.ended += 1
            self._changed.notify_all()

    def wait(self, *, questions: int = 0, ended: int = 0) -> None:
        """Wait until there have been so many."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: len(self.questions) >= questions and self.ended >= ended, PATIENCE
            ), vars(self)

    def disturbed(self) -> bool:
        """Whether anybody has come so far: whoever has, has come before ourselves."""
        with client.dial(("127.0.0.1", self.port)) as connection:
            ours = connection.getsockname()
            with self._changed:
                assert self._changed.wait_for(lambda: ours in self.peers, PATIENCE)
        return self.peers != [ours]


@contextmanager
def identd(answer: Answer, host: str = "127.0.0.1") -> Iterator[Identd]:
    daemon = Identd(answer)
    with origin(daemon.serve, host) as (_, daemon.port):
        yield daemon


def lookups(port: int, *, seconds: float = PATIENCE, at_once: int = 4) -> IdentLookups:
    made: IdentLookups = in_reactor(
        lambda: IdentLookups(reactor, port=port, seconds=seconds, at_once=at_once)
    )
    return made


@contextmanager
def asking(
    answer: Answer,
    seen: Observed | None = None,
    mode: IdentMode = REQUIRE,
    *,
    host: str = "127.0.0.1",
    seconds: float = PATIENCE,
    at_once: int = 4,
    **changes: Any,
) -> Iterator[tuple[SocketAddress, Identd]]:
    """A proxy and the daemon that it asks; C{changes} are the proxy's."""
    with identd(answer, host) as daemon:
        ours = lookups(daemon.port, seconds=seconds, at_once=at_once)
        with proxy(seen, ident=mode, ident_lookups=ours, **changes) as server:
            yield server, daemon


@contextmanager
def nobody_listens() -> Iterator[int]:
    """A port that refuses, and that nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def says(text: bytes) -> Answer:
    """The answer with these octets; PORTS are those that were asked about."""

    def answer(connection: socket.socket, *ports: int) -> None:
        connection.sendall(text.replace(b"PORTS", b"%d , %d" % ports))

    return answer


def named(name: bytes) -> Answer:
    return says(b"PORTS : USERID : UNIX : " + name + b"\r\n")


ANN = named(b"ann")


class Turnstile:
    """
    Says ann, but not before it may.

    @ivar open: set when it may.
    @ivar most: how many questions there were at once.
    """

    def __init__(self) -> None:
        self.open = threading.Event()
        self.most = 0
        self._changed = threading.Condition()
        self._inside = 0

    def __call__(self, connection: socket.socket, *ports: int) -> None:
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
        assert self.open.wait(PATIENCE)
        # Before the answer, upon which the next question is asked.
        with self._changed:
            self._inside -= 1
        ANN(connection, *ports)

    def wait(self, inside: int) -> None:
        """Wait until there are so many questions at once."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._inside >= inside, PATIENCE)


def silent(connection: socket.socket, *_: int) -> None:
    """Nothing is said, until the server goes."""


def send(server: SocketAddress, version: str, to: SocketAddress, command: int = 1) -> socket.socket:
    """The whole of a request, with USERID ann, and no look at the reply."""
    destination = client.destination(*to)
    connection = client.dial(server)
    if version == OLD:
        connection.sendall(socks4.encode_request(socks4.Request(command, destination, b"ann")))
    else:
        assert client.greet(connection) == socks5.NO_AUTHENTICATION
        connection.sendall(socks5.encode_request(socks5.Request(command, destination)))
    return connection


def code(connection: socket.socket, version: str) -> int:
    parser: Any = socks4.parse_reply if version == OLD else socks5.parse_reply
    told: int = client.read(connection, parser).code
    return told


def ask(server: SocketAddress, version: str, to: SocketAddress = NOWHERE) -> int:
    """Ask as ann; gives the reply's code, behind which the server must have closed."""
    with send(server, version, to) as connection:
        told = code(connection, version)
        assert told != GRANTED[version]
        assert receive_all(connection) == b""
    return told


def served(server: SocketAddress, version: str) -> None:
    """Ann is carried to an origin and back."""
    with origin(echo) as here, send(server, version, here) as connection:
        assert code(connection, version) == GRANTED[version]
        connection.sendall(b"over and out")
        assert receive_exactly(connection, 12) == b"over and out"


def requests(factory: Any) -> int:
    """How many sessions have made their request."""
    made: int = in_reactor(
        lambda: len({each.session.id for each in factory.sessions if each.session.command})
    )
    return made


def settle(condition: Callable[[], bool]) -> None:
    """Wait until something is so that nobody tells us of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


# The question.


def test_the_question_is_about_the_control_connection_and_comes_from_where_it_goes() -> None:
    with asking(ANN, host="127.0.0.2", endpoint="tcp:0:interface=0.0.0.0") as (server, daemon):
        port = server[1]
        with socket.create_connection(("127.0.0.3", port), PATIENCE, ("127.0.0.2", 0)) as ours:
            client.request4(ours, client.destination(*NOWHERE), b"ann")
            assert daemon.questions == [Question((ours.getsockname()[1], port), "127.0.0.3")]


def test_an_ipv6_client_is_asked_about_on_ipv6() -> None:
    seen = Observed()
    with asking(ANN, seen, host="::1", endpoint=r"tcp6:0:interface=\:\:1") as (server, daemon):
        with origin(echo) as here, send(server, NEW, here) as connection:
            assert code(connection, NEW) == socks5.SUCCEEDED
            assert daemon.questions == [
                Question((connection.getsockname()[1], server[1]), "::1"),
            ]
        assert seen.record().ident == Ident("ann")


def test_an_ipv4_client_of_an_ipv6_listener_is_asked_about_on_ipv4() -> None:
    with asking(ANN, endpoint=r"tcp6:0:interface=\:\:ffff\:127.0.0.1") as (server, daemon):
        port = server[1]
        with send(("127.0.0.1", port), NEW, NOWHERE) as connection:
            code(connection, NEW)
            assert daemon.questions == [Question((connection.getsockname()[1], port), "127.0.0.1")]


def test_behind_a_proxy_header_the_client_it_names_is_asked_about() -> None:
    seen = Observed()
    endpoint = "haproxy:tcp:0:interface=127.0.0.1"
    with asking(ANN, seen, LOG, host="127.0.0.2", endpoint=endpoint) as (server, daemon):
        with client.dial(server) as connection:
            connection.sendall(b"PROXY TCP4 127.0.0.2 127.0.0.3 50000 1080\r\n")
            client.request4(connection, client.destination(*NOWHERE), b"ann")
        assert daemon.questions == [Question((50000, 1080), "127.0.0.3")]
        assert seen.record().ident == Ident("ann")


def test_where_the_header_names_another_hosts_address_the_question_cannot_be_asked() -> None:
    seen = Observed()
    with asking(ANN, seen, endpoint="haproxy:tcp:0:interface=127.0.0.1") as (server, _):
        with client.dial(server) as connection:
            connection.sendall(b"PROXY TCP4 127.0.0.1 192.0.2.99 50000 1080\r\n")
            reply = client.request4(connection, client.destination(*NOWHERE), b"ann")
        assert reply.code == socks4.IDENTD_UNREACHABLE
        assert seen.record().ident == Ident(problem="general failure")


def test_nobody_is_asked_where_it_is_off() -> None:
    seen = Observed()
    with asking(ANN, seen, IdentMode.OFF) as (server, daemon):
        served(server, NEW)
        assert seen.record().ident is None
        assert not daemon.disturbed()


# Answers.

GOOD = [
    pytest.param(ANN, id="a line"),
    pytest.param(says(b"PORTS:USERID:OTHER:ann\n"), id="no blanks, and a bare LF"),
    pytest.param(says(b" PORTS\t:\tUSERID \t: UNIX , UTF-8 :\t ann \t\r\n"), id="many blanks"),
    pytest.param(says(b"PORTS : USERID : UNIX : ann\r\nhello\r\n"), id="something behind it"),
    pytest.param(
        says(b"PORTS : USERID : UNIX : ann\r\nPORTS : USERID : UNIX : eve\r\n"), id="two lines"
    ),
    pytest.param(says(b"PORTS : USERID : UNIX : ann\r\n" + b"x" * 100_000), id="much behind it"),
]


def octet_by_octet(connection: socket.socket, *ports: int) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in b"%d , %d : USERID : UNIX : ann\r\n" % ports:
        connection.sendall(bytes([octet]))


def and_closes(connection: socket.socket, *ports: int) -> None:
    ANN(connection, *ports)
    connection.close()


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize(
    "answer",
    [
        *GOOD,
        pytest.param(octet_by_octet, id="octet by octet"),
        pytest.param(and_closes, id="closed behind it"),
    ],
)
def test_who_is_named_is_served_by_that_name(answer: Answer, version: str) -> None:
    seen = Observed()
    with asking(answer, seen) as (server, daemon):
        served(server, version)
        record = seen.record()
        assert (record.ident, record.identity) == (Ident("ann"), Identity("ann", "ident"))
        assert record.outcome is Outcome.GRANTED
        assert record.claimed == ("ann" if version == OLD else None)
        daemon.wait(ended=1)
        assert len(daemon.questions) == 1


def closes(connection: socket.socket, *_: int) -> None:
    connection.close()


def closes_in_the_middle(connection: socket.socket, *ports: int) -> None:
    connection.sendall(b"%d , %d : USERID : UNIX : ann" % ports)
    connection.close()


def resets(connection: socket.socket, *_: int) -> None:
    reset(connection)


def resets_in_the_middle(connection: socket.socket, *ports: int) -> None:
    connection.sendall(b"%d , %d : USERID" % ports)
    reset(connection)


def endless(connection: socket.socket, *_: int) -> None:
    while True:
        connection.sendall(b"x" * 4096)


def of_other_ports(change: Callable[[int, int], tuple[int, int]]) -> Answer:
    def answer(connection: socket.socket, *ports: int) -> None:
        ANN(connection, *change(*ports))

    return answer


NO_USERID = "the response has no user-id"
NO_RESPONSE = "the line is no response"
OTHER_PORTS = "the response is about other ports"
TOO_LONG = "the response is longer than 1000 octets"
CLOSED = "closed without a response"

BAD = [
    pytest.param(says(b"PORTS : ERROR : NO-USER\r\n"), "NO-USER", id="no user"),
    pytest.param(says(b"PORTS : ERROR : HIDDEN-USER\r\n"), "HIDDEN-USER", id="hidden user"),
    pytest.param(says(b"PORTS : ERROR : INVALID-PORT\r\n"), "INVALID-PORT", id="invalid port"),
    pytest.param(says(b"PORTS : ERROR : UNKNOWN-ERROR\r\n"), "UNKNOWN-ERROR", id="unknown error"),
    pytest.param(says(b"PORTS : ERROR : X\x1b[2J\0ann\r\n"), "UNKNOWN-ERROR", id="its own error"),
    pytest.param(says(b"PORTS:ERROR:ann : USERID : UNIX : ann\n"), "UNKNOWN-ERROR", id="both"),
    pytest.param(says(b"PORTS : USERID : UNIX : " + b"x" * 1000 + b"\r\n"), TOO_LONG, id="long"),
    pytest.param(named(b"x" * 513), NO_USERID, id="a user-id of 513 octets"),
    pytest.param(endless, TOO_LONG, id="endless octets"),
    pytest.param(says(b"\r\n"), NO_RESPONSE, id="an empty line"),
    pytest.param(says(b"\nPORTS : USERID : UNIX : ann\r\n"), NO_RESPONSE, id="an empty line first"),
    pytest.param(says(b"\0" * 20 + b"\r\n"), NO_RESPONSE, id="nothing but NULs"),
    pytest.param(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), NO_RESPONSE, id="another protocol"),
    pytest.param(says(b"\xff\xfe\x80\r\n"), NO_RESPONSE, id="no text"),
    pytest.param(says(b"PORTS : userid : UNIX : ann\r\n"), NO_RESPONSE, id="lower case"),
    pytest.param(says(b"PORTS\r\n"), NO_RESPONSE, id="the question itself"),
    pytest.param(says(b"PORTS : USERID\r\n"), NO_RESPONSE, id="half a line"),
    pytest.param(says(b"PORTS : USERID : ann\r\n"), NO_USERID, id="no system"),
    pytest.param(says(b"PORTS : USERID : UNIX :\r\n"), NO_USERID, id="no user-id"),
    pytest.param(named(b" \t "), NO_USERID, id="blanks for a user-id"),
    pytest.param(named(b"ann\0"), NO_USERID, id="a NUL behind the user-id"),
    pytest.param(named(b"\0"), NO_USERID, id="a NUL for a user-id"),
    pytest.param(of_other_ports(lambda a, b: (b, a)), OTHER_PORTS, id="ports swapped"),
    pytest.param(of_other_ports(lambda a, b: (a, b ^ 1)), OTHER_PORTS, id="another port here"),
    pytest.param(of_other_ports(lambda a, b: (a ^ 1, b)), OTHER_PORTS, id="another port there"),
    pytest.param(of_other_ports(lambda a, b: (0, 0)), "a port is out of range", id="no ports"),
    pytest.param(
        of_other_ports(lambda a, b: (a, 65536)), "a port is out of range", id="a port too high"
    ),
    pytest.param(
        says(b"1 , 2 : USERID : UNIX : ann\r\nPORTS : USERID : UNIX : ann\r\n"),
        OTHER_PORTS,
        id="two lines, the second right",
    ),
    pytest.param(closes, CLOSED, id="closed at once"),
    pytest.param(closes_in_the_middle, CLOSED, id="closed in the middle"),
    pytest.param(resets, CLOSED, id="reset at once"),
    pytest.param(resets_in_the_middle, CLOSED, id="reset in the middle"),
]


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize(("answer", "problem"), BAD)
def test_who_is_not_named_is_refused(answer: Answer, problem: str, version: str) -> None:
    seen = Observed()
    with asking(answer, seen) as (server, daemon):
        assert ask(server, version) == UNREACHABLE[version]
        record = seen.record()
        assert (record.ident, record.rule) == (Ident(problem=problem), f"no ident: {problem}")
        assert record.outcome is Outcome.IDENT_UNREACHABLE
        assert record.identity == Identity()
        daemon.wait(ended=1)


@pytest.mark.parametrize(("answer", "problem"), BAD)
def test_where_it_is_only_logged_who_is_not_named_is_served(answer: Answer, problem: str) -> None:
    seen = Observed()
    with asking(answer, seen, LOG) as (server, daemon):
        served(server, NEW)
        record = seen.record()
        assert (record.ident, record.identity) == (Ident(problem=problem), Identity())
        assert record.outcome is Outcome.GRANTED
        daemon.wait(ended=1)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_where_nobody_listens_there_is_no_name(version: str) -> None:
    seen = Observed()
    with nobody_listens() as port:
        with proxy(seen, ident=REQUIRE, ident_lookups=lookups(port)) as server:
            assert ask(server, version) == UNREACHABLE[version]
            assert seen.record().ident == Ident(problem="connection refused")
            assert seen.record().rule == "no ident: connection refused"


def test_where_nobody_listens_and_it_is_only_logged_clients_are_served() -> None:
    seen = Observed()
    with nobody_listens() as port:
        with proxy(seen, ident=LOG, ident_lookups=lookups(port)) as server:
            served(server, OLD)
            assert seen.record().ident == Ident(problem="connection refused")


#: The connection attempt has the same deadline as the whole; either may come first.
LATE = (Ident(problem="no answer in time"), Ident(problem="timed out"))


def half_an_answer(connection: socket.socket, *ports: int) -> None:
    connection.sendall(b"%d , %d : USERID : UNIX : an" % ports)


def drips(connection: socket.socket, *_: int) -> None:
    """Octets that keep coming buy no time."""
    while not readable([connection], 0.005):
        connection.sendall(b" ")


@pytest.mark.parametrize("mode", [LOG, REQUIRE])
@pytest.mark.parametrize("answer", [silent, half_an_answer, drips])
def test_no_answer_in_time_is_none(answer: Answer, mode: IdentMode) -> None:
    seen = Observed()
    with asking(answer, seen, mode, seconds=SOON) as (server, daemon):
        if mode is REQUIRE:
            assert ask(server, OLD) == socks4.IDENTD_UNREACHABLE
        else:
            served(server, OLD)
        assert seen.record().ident in LATE
        daemon.wait(ended=1)


@pytest.mark.parametrize("mode", [LOG, REQUIRE])
def test_a_host_that_does_not_answer_gives_no_name(mode: IdentMode) -> None:
    seen = Observed()
    with never_accepting() as (_, port):
        with proxy(seen, ident=mode, ident_lookups=lookups(port, seconds=SOON)) as server:
            if mode is REQUIRE:
                assert ask(server, OLD) == socks4.IDENTD_UNREACHABLE
            else:
                served(server, OLD)
            assert seen.record().ident in LATE


def test_the_deadline_of_the_request_counts_too() -> None:
    seen = Observed()
    with asking(silent, seen, timeouts=Timeouts(connect=SOON)) as (server, daemon):
        assert ask(server, NEW) == socks5.TTL_EXPIRED
        assert (seen.record().outcome, seen.record().ident) == (Outcome.TIMED_OUT, None)
        daemon.wait(ended=1)


# USERID.


@pytest.mark.parametrize("name", [b"ann", b"j\xc3\xb6rg", b"\xff\xfe", b"a b", b"*", b"x" * 255])
def test_the_same_userid_is_granted(name: bytes) -> None:
    with asking(named(name)) as (server, _), origin(echo) as here:
        connection, reply = client.connect4(server, *here, name)
        with connection:
            assert reply.code == socks4.GRANTED


@pytest.mark.parametrize(
    ("userid", "name"),
    [
        (b"bob", b"ann"),
        (b"", b"ann"),
        (b"Ann", b"ann"),
        (b"an", b"ann"),
        (b"ann ", b"ann"),
        (b"*", b"ann"),
        (b"ann", b"*"),
        (b"j\xf6rg", b"j\xc3\xb6rg"),
        (b"x" * 255, b"x" * 256),
    ],
)
def test_another_userid_is_told_so(userid: bytes, name: bytes) -> None:
    seen = Observed()
    with asking(named(name), seen) as (server, _):
        connection, reply = client.connect4(server, *NOWHERE, userid)
        with connection:
            assert reply.code == socks4.USERID_MISMATCH
            assert receive_all(connection) == b""
        record = seen.record()
        assert record.outcome is Outcome.IDENT_MISMATCH
        assert record.rule == "USERID is not what identd says"
        assert record.ident == Ident(name.decode("utf-8", "surrogateescape"))
        assert record.identity == Identity()


def test_where_it_is_only_logged_another_userid_is_served() -> None:
    seen = Observed()
    with asking(named(b"eve"), seen, LOG) as (server, _):
        served(server, OLD)
        record = seen.record()
        assert (record.claimed, record.ident) == ("ann", Ident("eve"))
        assert record.identity == Identity()


@pytest.mark.parametrize(("mode", "source"), [(LOG, "userid"), (REQUIRE, "ident")])
def test_what_identd_says_counts_more_than_a_listed_userid(mode: IdentMode, source: str) -> None:
    seen = Observed()
    with asking(ANN, seen, mode, authenticators=[UserIDList(["a*"])]) as (server, _):
        served(server, OLD)
        assert seen.record().identity == Identity("ann", source)
        assert seen.record().ident == Ident("ann")


def test_a_userid_that_is_not_listed_is_not_asked_about() -> None:
    seen = Observed()
    with asking(ANN, seen, authenticators=[UserIDList(["bob"])]) as (server, daemon):
        assert ask(server, OLD) == socks4.REJECTED
        assert (seen.record().outcome, seen.record().ident) == (Outcome.NOT_AUTHENTICATED, None)
        assert not daemon.disturbed()


# SOCKS 5.


def passwords() -> PasswordAuthenticator:
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse()
    checker.addUser(b"user", b"pass")
    return PasswordAuthenticator([checker], reactor, PATIENCE)


@pytest.mark.parametrize("mode", [LOG, REQUIRE])
def test_who_showed_a_password_stays_who_that_is(mode: IdentMode) -> None:
    seen = Observed()
    with origin(echo) as here, asking(ANN, seen, mode, authenticators=[passwords()]) as (server, _):
        with client.dial(server) as connection:
            assert client.greet(connection, b"\x00\x02") == 2
            assert client.log_in(connection, b"user", b"pass") == 0
            reply = client.request5(connection, client.destination(*here))
            assert reply.code == socks5.SUCCEEDED
        record = seen.record()
        assert (record.identity, record.ident) == (Identity("user", "password"), Ident("ann"))
        assert record.method == 2


def test_a_password_does_not_make_up_for_a_name() -> None:
    seen = Observed()
    refusing = says(b"PORTS : ERROR : NO-USER\r\n")
    with asking(refusing, seen, authenticators=[passwords()]) as (server, _):
        with client.dial(server) as connection:
            assert client.greet(connection, b"\x02") == 2
            assert client.log_in(connection, b"user", b"pass") == 0
            reply = client.request5(connection, client.destination(*NOWHERE))
            assert reply.code == socks5.NOT_ALLOWED
        assert seen.record().identity == Identity("user", "password")
        assert seen.record().ident == Ident(problem="NO-USER")


def test_who_has_no_acceptable_method_is_not_asked_about() -> None:
    seen = Observed()
    with asking(ANN, seen, authenticators=[NoAuthentication()]) as (server, daemon):
        with client.dial(server) as connection:
            assert client.greet(connection, b"\x01\x02\x80") == socks5.NO_ACCEPTABLE_METHODS
            assert receive_all(connection) == b""
        assert seen.record().outcome is Outcome.NO_ACCEPTABLE_METHOD
        assert seen.record().ident is None
        assert not daemon.disturbed()


def test_who_shows_a_wrong_password_is_not_asked_about() -> None:
    seen = Observed()
    with asking(ANN, seen, authenticators=[passwords()]) as (server, daemon):
        with client.dial(server) as connection:
            assert client.greet(connection, b"\x02") == 2
            assert client.log_in(connection, b"user", b"wrong") != 0
            assert receive_all(connection) == b""
        assert seen.record().ident is None
        assert not daemon.disturbed()


# The other commands, and what a client sends or does meanwhile.


@pytest.mark.parametrize(
    ("version", "command"), [(OLD, socks4.BIND), (NEW, socks5.BIND), (NEW, socks5.UDP_ASSOCIATE)]
)
def test_every_command_needs_a_name(version: str, command: int) -> None:
    seen = Observed()
    with asking(says(b"PORTS : ERROR : NO-USER\r\n"), seen) as (server, _):
        with send(server, version, NOWHERE, command) as connection:
            assert code(connection, version) == UNREACHABLE[version]
        assert seen.record().ident == Ident(problem="NO-USER")
    with asking(ANN, seen) as (server, _):
        with send(server, version, NOWHERE, command) as connection:
            assert code(connection, version) == GRANTED[version]
        assert seen.record(1).identity == Identity("ann", "ident")


def test_for_a_command_that_is_switched_off_nobody_is_asked() -> None:
    seen = Observed()
    with asking(ANN, seen, commands=frozenset([Command.BIND])) as (server, daemon):
        assert ask(server, NEW) == socks5.COMMAND_NOT_SUPPORTED
        assert seen.record().ident is None
        assert not daemon.disturbed()


@pytest.mark.parametrize("version", [OLD, NEW])
def test_what_the_client_sends_meanwhile_is_kept(version: str) -> None:
    turnstile = Turnstile()
    with origin(echo) as here, asking(turnstile) as (server, daemon):
        with send(server, version, here) as connection:
            daemon.wait(questions=1)
            # Its half-close is no reason to stop: it may want the answer.
            connection.sendall(b"early")
            connection.shutdown(socket.SHUT_WR)
            turnstile.open.set()
            assert code(connection, version) == GRANTED[version]
            assert receive_all(connection) == b"early"


def leave_by_reset(connection: socket.socket) -> None:
    reset(connection)


def leave_by_fin(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    assert receive_all(connection) == b""
    connection.close()


CROWD = 20


@pytest.mark.parametrize(
    ("version", "command", "leave"),
    [
        (OLD, socks4.CONNECT, leave_by_reset),
        (NEW, socks5.CONNECT, leave_by_reset),
        (OLD, socks4.BIND, leave_by_fin),
        (NEW, socks5.BIND, leave_by_fin),
        (NEW, socks5.UDP_ASSOCIATE, leave_by_fin),
    ],
)
def test_the_question_is_withdrawn_when_the_client_leaves(
    version: str, command: int, leave: Callable[[socket.socket], None]
) -> None:
    seen = Observed()
    with asking(silent, seen, at_once=CROWD) as (server, daemon):
        before = descriptors()
        crowd = [send(server, version, NOWHERE, command) for _ in range(CROWD)]
        daemon.wait(questions=CROWD)
        for connection in crowd:
            leave(connection)
        daemon.wait(ended=CROWD)
        for number in range(CROWD):
            assert seen.record(number).outcome is Outcome.CLIENT_LEFT
            assert seen.record(number).ident is None
        settle(lambda: descriptors() <= before)


def test_the_attempt_to_ask_is_given_up_when_the_client_leaves() -> None:
    seen = Observed()
    with never_accepting() as (_, port):
        ours = lookups(port, at_once=CROWD)
        with proxy_factory(seen, ident=REQUIRE, ident_lookups=ours) as factory:
            with listening(factory) as server:
                before = descriptors()
                crowd = [send(server, OLD, NOWHERE) for _ in range(CROWD)]
                settle(lambda: requests(factory) == CROWD)
                for connection in crowd:
                    reset(connection)
                assert seen.record(CROWD - 1).outcome is Outcome.CLIENT_LEFT
                settle(lambda: descriptors() <= before)


def test_an_attempt_that_stands_as_it_is_given_up_is_closed_and_not_complained_of(
    logs: Sequence[LogEvent],
) -> None:
    whom = Client(ip_address("127.0.0.1"), 50000, Address(ip_address("127.0.0.1"), 1080))
    with identd(silent) as daemon:
        ours = lookups(daemon.port)

        def ask_and_leave() -> None:
            asked = Deferred.fromCoroutine(ours.ask(whom))
            asked.addErrback(lambda failure: failure.trap(CancelledError))
            # Behind the connect(2), and before the poll that tells of its success.
            reactor.callLater(0, asked.cancel)

        in_reactor(ask_and_leave)
        # Attempt, end, and one to spare.
        for _ in range(3):
            in_reactor(deferLater, reactor, 0, lambda: None)
    assert daemon.questions == []
    # A Deferred's failure that nobody hears is told when it is collected.
    in_reactor(gc.collect)
    assert [event["log_failure"] for event in logs if "log_failure" in event] == []


def test_the_question_is_withdrawn_when_the_server_stops() -> None:
    seen = Observed()
    with identd(silent) as daemon:
        ours = lookups(daemon.port)
        with proxy_factory(seen, ident=REQUIRE, ident_lookups=ours) as factory:
            with listening(factory) as server, send(server, OLD, NOWHERE) as connection:
                daemon.wait(questions=1)
                in_reactor(lambda: [each.shut_down(now=True) for each in list(factory.sessions)])
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
                assert seen.record().outcome is Outcome.SHUTDOWN
                daemon.wait(ended=1)


# Many at once.


@pytest.mark.parametrize(("at_once", "crowd"), [(1, 10), (3, 50)])
def test_one_address_is_asked_about_a_few_at_a_time_and_all_are_served(
    at_once: int, crowd: int
) -> None:
    seen, turnstile = Observed(), Turnstile()
    with origin(echo) as here, identd(turnstile) as daemon:
        ours = lookups(daemon.port, at_once=at_once)
        with (
            proxy_factory(seen, ident=REQUIRE, ident_lookups=ours) as factory,
            listening(factory) as server,
        ):
            connections = [send(server, OLD, here) for _ in range(crowd)]
            settle(lambda: requests(factory) == crowd)
            turnstile.wait(inside=at_once)
            turnstile.open.set()
            for connection in connections:
                assert code(connection, OLD) == socks4.GRANTED
                connection.close()
            for number in range(crowd):
                assert seen.record(number).ident == Ident("ann")
            daemon.wait(ended=crowd)
    assert (turnstile.most, len(daemon.peers)) == (at_once, crowd)
    assert len({question.ports for question in daemon.questions}) == crowd


def test_factories_that_are_given_the_same_lookups_share_the_turns() -> None:
    turnstile = Turnstile()
    with origin(echo) as here, identd(turnstile) as daemon:
        changes: dict[str, Any] = {
            "ident": REQUIRE,
            "ident_lookups": lookups(daemon.port, at_once=2),
        }
        with (
            proxy_factory(**changes) as one,
            proxy_factory(**changes) as other,
            listening(one) as first,
            listening(other) as second,
        ):
            connections = [send(server, OLD, here) for server in (first, second) * 3]
            settle(lambda: requests(one) == requests(other) == 3)
            turnstile.wait(inside=2)
            turnstile.open.set()
            for connection in connections:
                assert code(connection, OLD) == socks4.GRANTED
                connection.close()
    assert (turnstile.most, len(daemon.peers)) == (2, 6)


def test_a_client_that_leaves_the_queue_is_never_asked_about() -> None:
    seen, turnstile = Observed(), Turnstile()
    with origin(echo) as here, asking(turnstile, seen, at_once=1) as (server, daemon):
        first = send(server, OLD, here)
        daemon.wait(questions=1)
        second = send(server, OLD, here)
        third = send(server, OLD, here)
        gone = second.getsockname()[1]
        reset(second)
        assert seen.record().outcome is Outcome.CLIENT_LEFT
        turnstile.open.set()
        for connection in (first, third):
            assert code(connection, OLD) == socks4.GRANTED
            connection.close()
        daemon.wait(ended=2)
        asked = [question.ports[0] for question in daemon.questions]
        assert gone not in asked
        assert len(asked) == 2


def test_a_client_that_leaves_makes_room_for_the_next_question() -> None:
    def answer(connection: socket.socket, *ports: int) -> None:
        if len(daemon.questions) > 1:
            ANN(connection, *ports)

    with origin(echo) as here, asking(answer, at_once=1) as (server, daemon):
        first = send(server, OLD, here)
        daemon.wait(questions=1)
        with send(server, OLD, here) as second:
            reset(first)
            assert code(second, OLD) == socks4.GRANTED


def test_another_address_has_turns_of_its_own() -> None:
    def answer(connection: socket.socket, *ports: int) -> None:
        if connection.getsockname()[0] == "127.0.0.2":
            ANN(connection, *ports)

    with origin(echo) as here, asking(answer, host="0.0.0.0", at_once=1) as (server, daemon):
        first = send(server, OLD, here)
        daemon.wait(questions=1)
        with socket.create_connection(server, PATIENCE, ("127.0.0.2", 0)) as other:
            reply = client.request4(other, client.destination(*here), b"ann")
            assert reply.code == socks4.GRANTED
        reset(first)


# Time, which here a test turns.

HERE = Address(ip_address("192.0.2.1"), 1080)


def about(port: int, address: str = "192.0.2.10") -> Client:
    return Client(ip_address(address), port, HERE)


def begun(ours: IdentLookups, whom: Client) -> list[Ident]:
    """Ask; gives a list that the answer comes into."""
    said: list[Ident] = []
    Deferred.fromCoroutine(ours.ask(whom)).addCallback(said.append)
    return said


def test_by_default_it_asks_on_port_113_for_5_seconds() -> None:
    memory: Any = MemoryReactorClock()
    said = begun(IdentLookups(memory), about(50000))
    ((host, port, _, timeout, source),) = memory.tcpClients
    assert (host, port, timeout, source) == ("192.0.2.10", 113, 5, ("192.0.2.1", 0))
    memory.advance(4.999)
    assert said == []
    memory.advance(0.001)
    assert said == [LATE[0]]


def test_waiting_for_other_questions_counts() -> None:
    memory = MemoryReactorClock()
    ours = IdentLookups(memory, seconds=5, at_once=1)
    first, second = begun(ours, about(1)), begun(ours, about(2))
    memory.advance(3)
    third = begun(ours, about(3))
    assert len(memory.tcpClients) == 1
    memory.advance(2)
    assert (first, second, third) == ([LATE[0]], [LATE[0]], [])
    memory.advance(2.999)
    assert third == []
    memory.advance(0.001)
    assert third == [LATE[0]]
    # It is everybody's turn again.
    tried = len(memory.tcpClients)
    begun(ours, about(4))
    assert len(memory.tcpClients) == tried + 1


def test_a_factory_that_is_given_no_lookups_asks_by_its_own_limits() -> None:
    memory: Any = MemoryReactorClock()
    factory = SOCKSFactory(
        ruleset=DestinationRules(),
        authenticators=[],
        reactor=memory,
        timeouts=Timeouts(ident=7),
        limits=Limits(idents=2),
    )
    ours = factory.server.ident_lookups
    said = [begun(ours, about(number)) for number in (1, 2, 3)]
    assert [timeout for *_, timeout, _ in memory.tcpClients] == [7, 7]
    memory.advance(6.999)
    assert said == [[], [], []]
    memory.advance(0.001)
    assert said == [[LATE[0]]] * 3


def test_an_attempt_that_is_given_up_is_stopped_in_the_next_turn() -> None:
    memory = MemoryReactorClock()
    asked = Deferred.fromCoroutine(IdentLookups(memory).ask(about(1)))
    failed = asked.addErrback(lambda failure: failure.check(CancelledError))
    (connector,) = memory.connectors
    asked.cancel()
    assert failed.result is CancelledError
    # See abandonable.
    assert not connector.stoppedConnecting
    memory.advance(0)
    assert connector.stoppedConnecting
    assert memory.getDelayedCalls() == []


@pytest.mark.parametrize("whom", [Client(None, 0, HERE), Client(ip_address("192.0.2.10"), 1)])
def test_without_an_address_on_either_side_nobody_is_asked(whom: Client) -> None:
    memory = MemoryReactorClock()
    assert begun(IdentLookups(memory), whom) == [
        Ident(problem="the client has no address to ask at")
    ]
    assert memory.tcpClients == []


# The rules.


@pytest.mark.parametrize("mode", [LOG, REQUIRE])
@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize(
    "rules",
    [
        ClientRules(deny=[parse_network("127.0.0.0/8")]),
        ClientRules(allow=[parse_network("192.0.2.0/24")]),
    ],
    ids=["deny-from", "allow-from"],
)
def test_a_client_that_no_rule_lets_in_is_not_asked_about(
    rules: ClientRules, version: str, mode: IdentMode
) -> None:
    seen = Observed()
    with asking(ANN, seen, mode, ruleset=rules) as (server, daemon):
        assert ask(server, version) == DENIED[version]
        record = seen.record()
        assert (record.outcome, record.ident) == (Outcome.DENIED, None)
        assert "-from" in record.rule
        assert not daemon.disturbed()


def only(*names: str) -> Chain:
    reach_loopback = DestinationRules([parse_destination(text) for text in LOOPBACK])
    return Chain([RequireIdent(names), reach_loopback])


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_rule_sees_who_it_is_where_it_is_only_logged(version: str) -> None:
    seen = Observed()
    with asking(ANN, seen, LOG, ruleset=only("bob", "ann")) as (server, _):
        served(server, version)
        assert seen.record().outcome is Outcome.GRANTED
    with asking(ANN, seen, LOG, ruleset=only("bob", "a")) as (server, _):
        assert ask(server, version) == DENIED[version]
        assert (seen.record(1).outcome, seen.record(1).ident) == (Outcome.DENIED, Ident("ann"))
        assert seen.record(1).rule == "ident name not listed"
    with asking(closes, seen, LOG, ruleset=only("ann")) as (server, _):
        assert ask(server, version) == UNREACHABLE[version]
        assert seen.record(2).rule == f"no ident: {CLOSED}"


def test_a_rule_tells_socks4_of_another_userid() -> None:
    with asking(named(b"eve"), mode=LOG, ruleset=only("*")) as (server, _):
        assert ask(server, OLD) == socks4.USERID_MISMATCH


def test_where_nobody_asks_such_a_rule_denies() -> None:
    seen = Observed()
    with proxy(seen, ruleset=only("*")) as server:
        assert ask(server, OLD) == socks4.IDENTD_UNREACHABLE
        assert seen.record().rule == "no ident: nobody asked"


@pytest.mark.parametrize("mode", [LOG, REQUIRE])
def test_rules_are_asked_before_identd_and_told_afterwards(mode: IdentMode) -> None:
    rules = Deciding(lambda _: PERMIT)
    with origin(echo) as (_, port), asking(ANN, mode=mode, ruleset=rules) as (server, _):
        connection, reply = client.connect5(server, b"localhost", port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
    at_client, at_name, *at_addresses = rules.asked
    assert (at_client.command, at_client.ident) == (None, None)
    assert at_addresses
    for request in (at_name, *at_addresses):
        assert request.command is Command.CONNECT
        assert request.ident == Ident("ann")
        assert request.identity == (Identity("ann", "ident") if mode is REQUIRE else Identity())


def test_who_is_named_reaches_no_more_than_the_rules_allow() -> None:
    seen = Observed()
    rules = DestinationRules(deny=[parse_destination("127.0.0.1")])
    with asking(ANN, seen, ruleset=rules) as (server, _):
        assert ask(server, NEW) == socks5.NOT_ALLOWED
        assert (seen.record().outcome, seen.record().ident) == (Outcome.DENIED, Ident("ann"))


# A client without an address.


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("mode", [LOG, REQUIRE])
def test_nobody_can_be_asked_about_the_client_of_a_unix_socket(
    mode: IdentMode, version: str, tmp_path: Path
) -> None:
    seen = Observed()
    path = tmp_path / "socks"
    with asking(ANN, seen, mode, endpoint=f"unix:{path}") as (_, daemon), origin(echo) as here:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(path))
            to = client.destination(*here)
            if version == OLD:
                told = client.request4(connection, to, b"ann").code
            else:
                assert client.greet(connection) == socks5.NO_AUTHENTICATION
                told = client.request5(connection, to).code
        assert told == (UNREACHABLE if mode is REQUIRE else GRANTED)[version]
        assert seen.record().ident == Ident(problem="the client has no address to ask at")
        assert not daemon.disturbed()


# What a stranger's daemon says goes into logs.


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        (b"ann result=granted rule=-", r"ann\x20result=granted\x20rule=-"),
        (b"ann\rsession=9", r"ann\rsession=9"),
        (b"\xff\xfe\x80", r"\xff\xfe\x80"),
        ("\u2028\u202e\u0085".encode(), r"\u2028\u202e\u0085"),
        (b"\\x41\\", r"\\x41\\"),
        (b'"}{"result":1}', '"}{"result":1}'),
        (b"%s{text}{0}%(a)s", "%s{text}{0}%(a)s"),
        (b"-", "-"),
        (b"x" * 512, "x" * 300 + "..."),
    ],
)
def test_a_hostile_name_is_escaped_in_the_logs(
    name: bytes, shown: str, tmp_path: Path, logs: Sequence[LogEvent]
) -> None:
    seen = Observed()
    path = tmp_path / "access.log"
    access_log = AccessLog(path, reactor)
    observers = [access_log, SessionLog(), seen]
    with asking(named(name), observers=observers) as (server, _):
        served(server, NEW)
        assert seen.record().ident == Ident(name.decode("utf-8", "surrogateescape"))
    access_log.close()
    assert path.read_bytes().isascii()
    (line,) = path.read_text().splitlines()
    fields = json.loads(line)
    assert (fields["ident"], fields["identity"]) == (shown, shown)
    assert (fields["ident_problem"], fields["identity_source"]) == (None, "ident")
    (text,) = (event["text"] for event in logs if "session" in event)
    assert text.isprintable()
    assert re.findall(r"(?<= )(identity|ident|result)=(\S+)", text) == [
        ("identity", f"ident:{shown}"),
        ("ident", shown),
        ("result", "granted"),
    ]


def test_a_problem_is_in_the_logs_in_our_own_words(
    tmp_path: Path, logs: Sequence[LogEvent]
) -> None:
    seen = Observed()
    path = tmp_path / "access.log"
    access_log = AccessLog(path, reactor)
    hostile = says(b"PORTS : ERROR : X\x1b[2J ident=root\r\n")
    with asking(hostile, observers=[access_log, SessionLog(), seen]) as (server, _):
        assert ask(server, OLD) == socks4.IDENTD_UNREACHABLE
        seen.record()
    access_log.close()
    (line,) = path.read_text().splitlines()
    fields = json.loads(line)
    assert (fields["ident"], fields["ident_problem"]) == (None, "UNKNOWN-ERROR")
    assert fields["rule"] == "no ident: UNKNOWN-ERROR"
    assert fields["result"] == "identd gave no name"
    (text,) = (event["text"] for event in logs if "session" in event)
    assert " ident=- " in text
    assert ' result="identd gave no name" rule="no ident: UNKNOWN-ERROR" ' in text
