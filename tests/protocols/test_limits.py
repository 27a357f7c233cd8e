"""What a client, and an identity, may have: over real sockets, by each version."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent
from zope.interface import implementer

from socks5d.auth import NoAuthentication, UserIDList
from socks5d.interfaces import IRuleset
from socks5d.limits.lease import EXHAUSTED
from socks5d.limits.limiter import CLIENT_SESSIONS, UNCOUNTED, Limiter
from socks5d.limits.quota import QuotaBook
from socks5d.limits.store import MemoryStore
from socks5d.model import Decision, Opened, Outcome, Record, Request, Terms, Verdict
from socks5d.parameters import Limits, QuotaParameters, Timeouts
from socks5d.protocols.capacity import Capacity
from socks5d.proxyheader import endpoint_of
from socks5d.relay.stream import FINISHED
from socks5d.rules import parse_network
from socks5d.wire import socks4, socks5
from tests.limits.test_holding import Counted
from tests.protocols.test_encapsulation import Framed, FramedDatagrams, Wrapping, begin
from tests.protocols.test_handshake import passwords, said
from tests.support import client
from tests.support.datagrams import Associated, echoing, to, udp_socket
from tests.support.origins import echo, origin, receive_all, receive_exactly, reset
from tests.support.running import (
    PATIENCE,
    Address,
    Observed,
    in_reactor,
    listening,
    proxy,
    proxy_factory,
    reactor,
)

HERE = "127.0.0.1"
OVER = f"limit: 1 sessions of {HERE}"


@contextmanager
def open_session(server: Address, where: Address) -> Iterator[socket.socket]:
    connection, reply = client.connect5(server, *where)
    with connection:
        assert reply.code == socks5.SUCCEEDED
        yield connection


def until_free(factory: object) -> None:
    """Wait until no session is left."""
    deadline = time.monotonic() + PATIENCE
    while in_reactor(lambda: factory.server.capacity.used):  # type: ignore[attr-defined]
        assert time.monotonic() < deadline


# Sessions of a client.


def test_one_too_many_is_refused_in_each_versions_terms(logs: Sequence[LogEvent]) -> None:
    seen = Observed()
    with origin(echo) as here, proxy(seen, limits=Limits(client_sessions=1)) as server:
        with open_session(server, here):
            refused, reply = client.connect5(server, *here)
            with refused:
                assert reply.code == socks5.NOT_ALLOWED
                assert receive_all(refused) == b""
            refused, reply4 = client.connect4(server, *here)
            with refused:
                assert reply4.code == socks4.REJECTED
            for number in range(2):
                record = seen.record(number)
                assert (record.outcome, record.rule) == (Outcome.OVER_LIMIT, OVER)
        seen.record(2)
        with open_session(server, here):
            pass
        seen.record(3)
    warned = [formatEvent(each) for each in logs if each["log_level"].name == "warn"]
    assert warned == [f"{OVER}: over it"]


def test_with_authentication_it_is_refused_before_that() -> None:
    seen = Observed()
    limits = Limits(client_sessions=1)
    with proxy(seen, limits=limits, authenticators=[passwords(ann="secret")]) as server:
        with client.dial(server) as first:
            assert client.greet(first, b"\x02") == 2
            with client.dial(server) as second:
                assert client.greet(second, b"\x02") == socks5.NO_ACCEPTABLE_METHODS
                assert receive_all(second) == b""
            assert (seen.record().outcome, seen.record().rule) == (Outcome.OVER_LIMIT, OVER)
            assert client.log_in(first, b"ann", b"secret") == 0


def test_another_address_is_another_client() -> None:
    with (
        origin(echo) as here,
        proxy(limits=Limits(client_sessions=1)) as server,
        open_session(server, here),
        socket.create_connection(server, PATIENCE, ("127.0.0.2", 0)) as other,
    ):
        client.greet(other)
        reply = client.request5(other, client.destination(*here))
        assert reply.code == socks5.SUCCEEDED


def test_addresses_that_begin_alike_are_one_where_that_is_set() -> None:
    limits = Limits(client_sessions=1, client_ipv4=24)
    with (
        origin(echo) as here,
        proxy(limits=limits) as server,
        open_session(server, here),
        socket.create_connection(server, PATIENCE, ("127.0.0.2", 0)) as other,
    ):
        client.greet(other)
        reply = client.request5(other, client.destination(*here))
        assert reply.code == socks5.NOT_ALLOWED


def test_the_client_is_the_one_that_the_proxy_header_names() -> None:
    header = b"PROXY TCP4 192.0.2.%d 127.0.0.1 4321 1080\r\n"
    with (
        origin(echo) as here,
        proxy(
            limits=Limits(client_sessions=1), endpoint="haproxy:tcp:0:interface=127.0.0.1"
        ) as server,
        ExitStack() as stack,
    ):
        codes = []
        for number in (1, 2, 1):
            connection = stack.enter_context(client.dial(server))
            connection.sendall(header % number)
            client.greet(connection)
            codes.append(client.request5(connection, client.destination(*here)).code)
        assert codes == [socks5.SUCCEEDED, socks5.SUCCEEDED, socks5.NOT_ALLOWED]


def test_one_too_many_that_says_nothing_is_not_waited_for() -> None:
    seen = Observed()
    timeouts = Timeouts(closing=0.05)
    with proxy(seen, limits=Limits(client_sessions=1), timeouts=timeouts) as server:
        with client.dial(server) as first:
            assert client.greet(first) == 0
            with client.dial(server) as second:
                assert receive_all(second) == b""
            assert (seen.record().outcome, seen.record().rule) == (Outcome.OVER_LIMIT, OVER)


def test_one_too_many_is_ended_at_once_where_sessions_are_scarce() -> None:
    seen = Observed()
    limits = Limits(client_sessions=1)
    with proxy_factory(seen, limits=limits, capacity=Capacity(2, reactor)) as factory:
        with listening(factory) as server, client.dial(server) as first:
            assert client.greet(first) == 0
            # Its end may come before its connection is known to be there.
            with suppress(ConnectionError), client.dial(server) as second:
                assert receive_all(second) == b""
            assert (seen.record().outcome, seen.record().rule) == (Outcome.OVER_LIMIT, OVER)


def test_a_proxy_header_alone_says_whose_session_it_is() -> None:
    header = b"PROXY TCP4 192.0.2.1 127.0.0.1 4321 1080\r\n"
    seen = Observed()
    timeouts = Timeouts(closing=0.05)
    senders = [parse_network("127.0.0.1")]
    with proxy_factory(seen, limits=Limits(client_sessions=1), timeouts=timeouts) as factory:
        endpoint = endpoint_of(reactor, "haproxy:tcp:0:interface=127.0.0.1", senders)
        port = in_reactor(endpoint.listen, factory)
        server = ("127.0.0.1", port.getHost().port)
        with client.dial(server) as first:
            first.sendall(header)
            client.greet(first)
            with client.dial(server) as second:
                second.sendall(header)
                assert receive_all(second) == b""
            assert seen.record().rule == "limit: 1 sessions of 192.0.2.1"
        in_reactor(port.stopListening)


def leaves_at_once(server: Address, here: Address) -> None:
    client.dial(server).close()


def resets_at_once(server: Address, here: Address) -> None:
    reset(client.dial(server))


def leaves_after_greeting(server: Address, here: Address) -> None:
    with client.dial(server) as connection:
        client.greet(connection)


def talks_nonsense(server: Address, here: Address) -> None:
    said(server, b"GET / HTTP/1.0\r\n\r\n")


def is_refused(server: Address, here: Address) -> None:
    with origin(echo) as gone:
        pass
    connection, reply = client.connect5(server, *gone)
    with connection:
        assert reply.code == socks5.CONNECTION_REFUSED


def relays(server: Address, here: Address) -> None:
    with open_session(server, here) as connection:
        connection.sendall(b"hello")
        assert receive_exactly(connection, 5) == b"hello"


def relays_and_resets(server: Address, here: Address) -> None:
    with open_session(server, here) as connection:
        connection.sendall(b"hello")
        assert receive_exactly(connection, 5) == b"hello"
        reset(connection)


def associates(server: Address, here: Address) -> None:
    with Associated(server), echoing():
        pass


def patient(connection: socket.socket) -> None:
    """An echo that does not mind a reset."""
    with suppress(ConnectionResetError):
        echo(connection)


ENDS = [
    leaves_at_once,
    resets_at_once,
    leaves_after_greeting,
    talks_nonsense,
    is_refused,
    relays,
    relays_and_resets,
    associates,
]


class Failing:
    """An observer that cannot do anything."""

    def opened(self, event: Opened) -> None:
        raise RuntimeError("at a beginning")

    def closed(self, record: Record) -> None:
        raise RuntimeError("at an end")


@pytest.mark.parametrize("observer", [Observed, Failing])
@pytest.mark.parametrize("end", ENDS)
def test_however_a_session_ends_all_that_it_had_is_had_again(
    end: Callable[[Address, Address], None],
    observer: type[Observed] | type[Failing],
    logs: Sequence[LogEvent],
) -> None:
    limits = Limits(client_sessions=1, identity_sessions=1, identity_rate=1_000_000, rate=500_000)
    with origin(patient) as here:
        with proxy_factory(limits=limits, observers=[observer()]) as factory:
            with listening(factory) as server:
                for _ in range(3):
                    end(server, here)
                    until_free(factory)
        counted = factory.server.limiter._shares.values()
        assert [len(each) for each in counted] == [0] * 3
    failures = [each["log_failure"].type for each in logs if "log_failure" in each]
    assert set(failures) <= ({RuntimeError} if observer is Failing else set())


def test_a_shutdown_gives_everything_back() -> None:
    limits = Limits(client_sessions=2)
    with origin(patient) as here, proxy_factory(limits=limits) as factory:
        with listening(factory) as server:
            with open_session(server, here), client.dial(server) as waiting:
                client.greet(waiting)

                def shut_down() -> None:
                    for protocol in list(factory.sessions):
                        protocol.shut_down(now=True)

                in_reactor(shut_down)
                until_free(factory)
        assert len(factory.server.limiter._shares[CLIENT_SESSIONS]) == 0


# New sessions in a second.


def test_too_many_new_ones_are_refused() -> None:
    seen = Observed()
    limits = Limits(session_rate=1, session_burst=3)
    with origin(echo) as here, proxy(seen, limits=limits) as server:
        codes: list[int] = []
        # However long each takes, there come more in a second than one.
        while len(codes) < 100 and socks5.NOT_ALLOWED not in codes:
            connection, reply = client.connect5(server, *here)
            connection.close()
            codes.append(reply.code)
        assert codes[:3] == [socks5.SUCCEEDED] * 3
        assert codes[-1] == socks5.NOT_ALLOWED
        rules = {seen.record(number).rule for number in range(len(codes))}
        assert f"limit: 1 new sessions per second of {HERE}" in rules


# Sessions of an identity.


def log_in(server: Address, name: bytes) -> socket.socket:
    connection = client.dial(server)
    assert client.greet(connection, b"\x02") == 2
    assert client.log_in(connection, name, b"secret") == 0
    return connection


def test_an_identity_has_so_many_and_another_has_its_own() -> None:
    seen = Observed()
    limits = Limits(identity_sessions=1)
    known = passwords(ann="secret", bob="secret")
    with origin(echo) as here, proxy(seen, limits=limits, authenticators=[known]) as server:
        to = client.destination(*here)
        with log_in(server, b"ann") as first, log_in(server, b"ann") as second:
            # Before there is a request there is nothing to count.
            assert client.request5(first, to).code == socks5.SUCCEEDED
            assert client.request5(second, to).code == socks5.NOT_ALLOWED
            second.close()
            assert seen.record().rule == "limit: 1 sessions of password:ann"
            with log_in(server, b"bob") as third:
                assert client.request5(third, to).code == socks5.SUCCEEDED


@implementer(IRuleset)
class Barring:
    """Denies ann whatever she asks for, and permits the others everything."""

    def decide(self, request: Request) -> Decision:
        verdict = Verdict.DENY if request.identity.name == "ann" else Verdict.PERMIT
        return Decision(verdict, "not ann", by_address=True)


def test_who_may_reach_nothing_takes_nothing_from_the_others_of_that_name() -> None:
    seen, shares = Observed(), Counted()
    limits = Limits(identity_sessions=1)
    limiter = Limiter(limits, reactor, shares)
    known = passwords(ann="secret")
    with proxy(
        seen, limits=limits, limiter=limiter, authenticators=[known], ruleset=Barring()
    ) as server:
        with log_in(server, b"ann") as connection:
            reply = client.request5(connection, client.destination(HERE, 1))
            assert reply.code == socks5.NOT_ALLOWED
        assert (seen.record().outcome, seen.record().rule) == (Outcome.DENIED, "not ann")
    assert shares.asked == []


def test_a_userid_is_counted_apart_and_refused_with_91() -> None:
    listed = UserIDList(["ann", "bob"])
    with (
        origin(echo) as here,
        proxy(limits=Limits(identity_sessions=1), authenticators=[listed]) as server,
    ):
        first, reply = client.connect4(server, *here, b"ann")
        with first:
            assert reply.code == socks4.GRANTED
            second, reply = client.connect4(server, *here, b"ann")
            with second:
                assert reply.code == socks4.REJECTED
            third, reply = client.connect4(server, *here, b"bob")
            with third:
                assert reply.code == socks4.GRANTED


# Counted elsewhere.


@contextmanager
def counted(**changes: Any) -> Iterator[tuple[Counted, Address, Observed]]:
    shares, seen = Counted(), Observed()
    limits = Limits(client_sessions=5)
    limiter = Limiter(limits, reactor, shares)
    with proxy(seen, limits=limits, limiter=limiter, **changes) as server:
        yield shares, server, seen


def first_asked(shares: Counted) -> Deferred[bool]:
    deadline = time.monotonic() + PATIENCE
    while not shares.asked:
        assert time.monotonic() < deadline
    return shares.asked[0]


@pytest.mark.parametrize("methods", ["none", "password"])
@pytest.mark.parametrize("granted", [True, False, ConnectionError("nobody there")])
def test_what_is_counted_elsewhere_is_waited_for(granted: bool | Exception, methods: str) -> None:
    known = NoAuthentication() if methods == "none" else passwords(ann="secret")
    with origin(echo) as here, counted(authenticators=[known]) as (shares, server, seen):
        with client.dial(server) as connection:
            answer = first_asked(shares)
            connection.sendall(socks5.encode_greeting(bytes([known.method])))
            if methods == "none":
                assert client.read(connection, socks5.parse_selection) == 0
                request = socks5.Request(socks5.CONNECT, client.destination(*here))
                connection.sendall(socks5.encode_request(request))
            settle = answer.callback if isinstance(granted, bool) else answer.errback
            in_reactor(settle, granted)
            if methods == "none":
                code = client.read(connection, socks5.parse_reply).code
                assert code == (socks5.SUCCEEDED if granted is True else socks5.NOT_ALLOWED)
            else:
                method = client.read(connection, socks5.parse_selection)
                assert method == (2 if granted is True else socks5.NO_ACCEPTABLE_METHODS)
        record = seen.record()
        if granted is not True:
            expected = f"limit: 5 sessions of {HERE}" if granted is False else UNCOUNTED
            assert (record.outcome, record.rule) == (Outcome.OVER_LIMIT, expected)
    assert shares.back == ({HERE: 1} if granted is True else {})


@pytest.mark.parametrize("methods", ["none", "password"])
def test_an_answer_that_does_not_come_refuses(methods: str) -> None:
    known = NoAuthentication() if methods == "none" else passwords(ann="secret")
    timeouts = Timeouts(decision=0.05)
    with counted(authenticators=[known], timeouts=timeouts) as (shares, server, seen):
        with client.dial(server) as connection:
            if methods == "none":
                client.greet(connection)
                reply = client.request5(connection, client.destination("127.0.0.1", 1))
                assert reply.code == socks5.NOT_ALLOWED
            else:
                assert client.greet(connection, b"\x02") == socks5.NO_ACCEPTABLE_METHODS
        assert (seen.record().outcome, seen.record().rule) == (Outcome.OVER_LIMIT, UNCOUNTED)
    assert shares.back == {}


@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_who_leaves_before_the_answer_has_nothing(leave: Callable[[socket.socket], None]) -> None:
    with counted() as (shares, server, seen):
        with client.dial(server) as connection:
            client.greet(connection)
            leave(connection)
        assert seen.record().outcome is Outcome.CLIENT_LEFT
        in_reactor(first_asked(shares).callback, True)
        assert in_reactor(lambda: dict(shares.back)) == {HERE: 1}


# Octets in a second.


def took(server: Address, here: Address, size: int) -> float:
    """How long so many octets take down, in seconds."""
    with open_session(server, here) as connection:
        began = time.monotonic()
        assert len(receive_exactly(connection, size)) == size
        return time.monotonic() - began


def sending(size: int) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(bytes(size))


def test_a_session_has_a_rate() -> None:
    with origin(sending(400_000)) as here, proxy(limits=Limits(rate=400_000)) as server:
        # All but a burst takes its time.
        assert took(server, here, 400_000) > 0.6


@implementer(IRuleset)
class Slow:
    """Permits everything, on terms."""

    def decide(self, request: Request) -> Decision:
        terms = Terms(rate=400_000)
        return Decision(Verdict.PERMIT, "slow", by_address=True, terms=terms)


def test_a_rule_may_set_a_sessions_rate() -> None:
    limits = Limits(rate=1)
    with origin(sending(400_000)) as here, proxy(limits=limits, ruleset=Slow()) as server:
        assert took(server, here, 400_000) > 0.6


def test_the_sessions_of_an_identity_share_one() -> None:
    limits = Limits(identity_rate=800_000)
    known = passwords(ann="secret")
    times: list[float] = []
    with (
        origin(sending(400_000)) as here,
        proxy(limits=limits, authenticators=[known]) as server,
    ):
        to = client.destination(*here)
        began = time.monotonic()

        def one() -> None:
            with log_in(server, b"ann") as connection:
                assert client.request5(connection, to).code == socks5.SUCCEEDED
                assert len(receive_exactly(connection, 400_000)) == 400_000
            times.append(time.monotonic() - began)

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert len(times) == 2
    # Neither was done while the other had to wait for it.
    assert min(times) > 0.4


def test_datagrams_beyond_the_rate_are_dropped_and_counted() -> None:
    seen = Observed()
    with echoing() as there, proxy(seen, limits=Limits(rate=10_000)) as server:
        with Associated(server) as association:
            assert association.ask(*there, b"first") == b"first"
            for _ in range(50):
                association.send(*there, bytes(1000))
            # What is left of the burst goes: the answers do not go beyond it either.
            association.socket.settimeout(0.5)
            answers = 0
            with pytest.raises(TimeoutError):
                while True:
                    association.receive()
                    answers += 1
        record = seen.record()
    assert 1 <= answers <= 8
    assert record.dropped >= 40


def framed(server: Address, where: Address, ours: Framed) -> socket.socket:
    """A session whose streams are encapsulated."""
    connection = client.dial(server)
    begin(connection, "in the relay", client.destination(*where))
    return connection


def test_an_encapsulated_stream_has_a_rate_and_arrives_whole() -> None:
    data = bytes(n % 251 for n in range(400_000))
    limits = Limits(identity_rate=400_000)
    with (
        origin(lambda connection: connection.sendall(data)) as here,
        proxy(limits=limits, authenticators=[Wrapping(Framed)]) as server,
    ):
        ours = Framed()
        began = time.monotonic()
        with framed(server, here, ours) as connection:
            assert ours.decapsulate(receive_all(connection)) == data
        assert time.monotonic() - began > 0.6


# Quotas.


def quota(octets: int) -> Limiter:
    """Of a limiter that forgets it."""
    book = QuotaBook(reactor, QuotaParameters(octets=octets), MemoryStore(), over=lambda what: None)
    in_reactor(book.open)
    return Limiter(Limits(), reactor, quota=book)


def test_a_session_ends_with_the_quota_and_the_next_is_refused() -> None:
    seen = Observed()
    known = passwords(ann="secret", bob="secret")
    with (
        origin(patient) as here,
        proxy(seen, limiter=quota(100_000), authenticators=[known]) as server,
    ):
        to = client.destination(*here)
        with log_in(server, b"ann") as connection:
            assert client.request5(connection, to).code == socks5.SUCCEEDED
            connection.sendall(bytes(30_000))
            assert len(receive_exactly(connection, 30_000)) == 30_000
        record = seen.record()
        assert (record.end, record.received, record.sent) == (FINISHED, 30_000, 30_000)
        with log_in(server, b"ann") as connection:
            assert client.request5(connection, to).code == socks5.SUCCEEDED
            with suppress(ConnectionError):
                connection.sendall(bytes(30_000))
                receive_all(connection)
        record = seen.record(1)
        assert (record.outcome, record.end) == (Outcome.GRANTED, EXHAUSTED)
        assert record.received + record.sent == 40_000
        with log_in(server, b"ann") as connection:
            assert client.request5(connection, to).code == socks5.NOT_ALLOWED
        record = seen.record(2)
        assert record.outcome is Outcome.OVER_LIMIT
        assert record.rule == "limit: 100000 octets a day of password:ann"
        with log_in(server, b"bob") as connection:
            assert client.request5(connection, to).code == socks5.SUCCEEDED


def test_what_comes_to_the_client_is_the_quota_to_the_octet() -> None:
    def send(connection: socket.socket) -> None:
        with suppress(ConnectionError):
            connection.sendall(bytes(1_000_000))

    with origin(send) as here:
        known, seen = passwords(ann="secret"), Observed()
        with proxy(seen, limiter=quota(300_001), authenticators=[known]) as server:
            with log_in(server, b"ann") as connection:
                assert client.request5(connection, client.destination(*here)).code == 0
                total = 0
                with suppress(ConnectionResetError):
                    while data := connection.recv(1 << 16):
                        total += len(data)
            assert seen.record().sent == 300_001
    # The reset may destroy what was under way.
    assert total <= 300_001


def test_an_association_ends_with_the_quota() -> None:
    seen = Observed()
    known = Wrapping(FramedDatagrams)
    with (
        echoing() as there,
        proxy(seen, limiter=quota(3000), authenticators=[known]) as server,
        client.dial(server) as control,
        udp_socket() as ours,
    ):
        framing = FramedDatagrams()
        assert client.greet(control, b"\x80") == 0x80
        ask = socks5.Request(socks5.UDP_ASSOCIATE, client.destination("0.0.0.0", 0))
        control.sendall(framing.encapsulate(socks5.encode_request(ask)))
        reply = socks5.parse_reply(framing.decapsulate(receive_exactly(control, 14)))
        assert reply is not None
        where = (str(reply.value.bound.host), reply.value.bound.port)
        for _ in range(2):
            ours.sendto(framing.encapsulate_datagram(to(*there, bytes(1000))), where)
        with suppress(ConnectionResetError):
            assert receive_all(control) == b""
        record = seen.record()
    assert record.end == EXHAUSTED
    assert 2000 <= record.received + record.sent <= 4000


@implementer(IRuleset)
class Denying:
    """A ruleset that a refused client should not even be judged by."""

    def decide(self, request: Request) -> Decision:
        return Decision(Verdict.DENY, "everything")


def test_rules_come_behind_the_clients_limit() -> None:
    ruleset, seen = Denying(), Observed()
    with proxy(seen, limits=Limits(client_sessions=1), ruleset=ruleset) as server:
        with client.dial(server) as first:
            assert client.greet(first) == 0
            connection, reply = client.connect5(server, HERE, 1)
            with connection:
                assert reply.code == socks5.NOT_ALLOWED
            assert seen.record().rule == OVER
            assert client.request5(first, client.destination(HERE, 1)).code == socks5.NOT_ALLOWED
        assert seen.record(1).rule == "everything"
