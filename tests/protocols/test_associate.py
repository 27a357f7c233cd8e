"""UDP ASSOCIATE over real sockets: destinations, strangers, fragments, and its end."""

import errno
import gc
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from queue import Queue
from random import Random
from unittest import mock

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent

from socks5d.egress import DirectEgress, FixedResolver
from socks5d.interfaces import IRuleset
from socks5d.limits.lease import ILessor
from socks5d.limits.limiter import Limiter
from socks5d.model import NO_OPINION, Command, Decision, Outcome, Request, Verdict
from socks5d.net.poller import poller_of
from socks5d.parameters import Filtering, Limits, LocalAddresses, Timeouts, UDPParameters
from socks5d.relay import verdicts
from socks5d.rules import Chain, ClientRules, DestinationRules, parse_destination, parse_network
from socks5d.wire import socks5
from socks5d.wire.address import Address, IPAddress
from socks5d.wire.udp import END_OF_SEQUENCE
from tests.protocols.test_seams import Deciding
from tests.support import client
from tests.support.datagrams import (
    BUFFER,
    Associated,
    answering,
    echoing,
    to,
    udp_socket,
    until_taken,
)
from tests.support.origins import closed_port, receive_all, reset
from tests.support.running import PATIENCE, Observed, in_reactor, proxy, reactor
from tests.support.running import Address as SocketAddress
from tests.support.twistd import twistd

OWNER, STRANGER = "127.0.0.1", "127.0.0.2"
ANYWHERE = ("--allow", "127.0.0.0/8", "--allow", "::1")


def nothing_comes(receiver: socket.socket) -> bool:
    """Whether nothing has come by now."""
    receiver.setblocking(False)
    try:
        receiver.recvfrom(BUFFER)
    except BlockingIOError:
        return True
    finally:
        receiver.settimeout(PATIENCE)
    return False


# What is passed on.


def test_datagrams_go_both_ways_and_come_from_where_they_come_from() -> None:
    seen = Observed()
    with echoing() as (host, port), proxy(seen) as server:
        with Associated(server) as association:
            assert association.relay[0] == server[0]
            assert association.relay[1] not in (0, server[1])
            association.send(host, port, b"hello")
            assert association.receive() == ((host, port), b"hello")
        record = seen.record()
    assert (record.command, record.outcome) == (Command.UDP_ASSOCIATE, Outcome.GRANTED)
    assert (record.end, record.received, record.sent, record.dropped) == ("finished", 5, 5, 0)
    assert seen.openings[0].bound == Address(ip_address(association.relay[0]), association.relay[1])


def test_an_empty_datagram_is_one() -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        association.send(host, port, b"")
        assert association.receive() == ((host, port), b"")


@pytest.mark.parametrize("listen", ["127.0.0.1", "::1"])
def test_both_families_are_reached_in_one_association(listen: str) -> None:
    endpoint = f"tcp:0:interface={listen}".replace(":1", r"\:1") if ":" in listen else None
    endpoint = r"tcp6:0:interface=\:\:1" if ":" in listen else "tcp:0:interface=127.0.0.1"
    with echoing("127.0.0.1") as four, echoing("::1") as six:
        with proxy(endpoint=endpoint) as server, Associated(server, listen) as association:
            assert association.relay[0] == listen
            for where in (four, six, four):
                association.send(*where, b"hello")
                assert association.receive() == (where, b"hello")


def test_a_mapped_address_is_the_ipv4_one() -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        association.send(f"::ffff:{host}", port, b"hello")
        assert association.receive() == ((host, port), b"hello")


def test_many_destinations_answer_each_for_itself() -> None:
    def name(sock: socket.socket, data: bytes, source: SocketAddress) -> None:
        sock.sendto(str(sock.getsockname()[1]).encode(), source)

    with answering(name) as one, answering(name) as two, answering(name) as three:
        with proxy() as server, Associated(server) as association:
            for where in (one, two, three, one):
                association.send(*where, b"who are you?")
                assert association.receive() == (where, str(where[1]).encode())


class Resolver:
    """A table that counts what it is asked, and answers when it is told to."""

    def __init__(self, names: dict[str, Sequence[IPAddress]], held: bool = False) -> None:
        self.asked: list[str] = []
        self._table = FixedResolver(names)
        self._held: list[tuple[str, Deferred[Sequence[IPAddress]]]] | None = [] if held else None

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        self.asked.append(name)
        if self._held is None:
            return self._table.resolve(name)
        answer: Deferred[Sequence[IPAddress]] = Deferred()
        self._held.append((name, answer))
        return answer

    def answer(self) -> None:
        held, self._held = self._held, None
        for name, answer in held or ():
            self._table.resolve(name).chainDeferred(answer)


def test_a_name_is_resolved_once_and_judged_by_its_addresses() -> None:
    resolver = Resolver(
        {
            "echo.example": [ip_address("192.0.2.1"), IPv4Address("127.0.0.1")],
            "metadata.example": [ip_address("169.254.169.254")],
        }
    )
    egress = DirectEgress(reactor, resolver=resolver)
    with echoing() as (_, port), proxy(egress=egress) as server:
        with Associated(server) as association:
            for _ in range(3):
                association.send(b"metadata.example", port, b"credentials, please")
                assert association.ask(b"Echo.Example.", port) == b"still there?"
    assert resolver.asked == ["metadata.example", "echo.example"]


def test_datagrams_wait_while_their_name_resolves() -> None:
    resolver = Resolver({"echo.example": [ip_address("127.0.0.1")]}, held=True)
    egress = DirectEgress(reactor, resolver=resolver)
    with echoing() as (host, port), proxy(egress=egress) as server:
        with Associated(server) as association:
            for number in range(10):
                association.send(b"echo.example", port, b"%d" % number)
            # What needs no name does not wait.
            assert association.ask(host, port) == b"still there?"
            in_reactor(resolver.answer)
            assert [association.receive()[1] for _ in range(10)] == [b"%d" % n for n in range(10)]


# What is not.


def test_rules_are_asked_for_every_destination() -> None:
    seen = Observed()
    with echoing() as (host, port), echoing(STRANGER) as denied:
        rules = DestinationRules([parse_destination(f"{host}:{port}")])
        with proxy(seen, ruleset=rules) as server, Associated(server) as association:
            for _ in range(3):
                association.send(*denied, b"let me in")
                assert association.ask(host, port) == b"still there?"
        record = seen.record()
    assert (record.dropped, record.received) == (3, 36)
    assert record.refused == f"no --allow mentions it, for {denied[0]}:{denied[1]}"


def test_a_ruleset_is_told_of_the_association_and_of_each_destination() -> None:
    def permit(request: Request) -> Decision:
        if request.address is None:
            return NO_OPINION
        return Decision(Verdict.PERMIT, "by address", by_address=True)

    ruleset = Deciding(permit)
    with echoing() as (host, port), proxy(ruleset=ruleset) as server:
        announced = Address(ip_address("0.0.0.0"), 0)
        with Associated(server, announced=announced) as association:
            for _ in range(5):
                association.ask(b"localhost", port)
    told = [(each.name, each.address, each.port, each.command) for each in ruleset.asked]
    udp = Command.UDP_ASSOCIATE
    assert told[0] == (None, None, 0, udp)
    assert told[1] == ("localhost", None, port, udp)
    assert ("localhost", IPv4Address(host), port, udp) in told[2:]
    assert len(told) <= 4


@pytest.mark.parametrize(
    "ruleset",
    [
        Chain([ClientRules(deny=[parse_network("127.0.0.0/8")]), DestinationRules()]),
        Deciding(lambda request: Decision(Verdict.DENY, "no UDP")),
    ],
)
def test_a_denied_association_is_refused(ruleset: IRuleset) -> None:
    with proxy(ruleset=ruleset) as server, client.dial(server) as connection:
        client.greet(connection)
        reply = client.request5(connection, Address(IPv4Address(0), 0), socks5.UDP_ASSOCIATE)
        assert reply.code == socks5.NOT_ALLOWED
        assert receive_all(connection) == b""


MALFORMED = [
    b"",
    b"\0",
    b"\0\0\0",
    b"\0\0\0\1",
    b"\0\0\0\1\x7f\0\0\1\0",
    b"\0\0\0\2\x7f\0\0\1\0\x35",
    b"\0\0\0\3",
    b"\0\0\0\3\xff" + b"x" * 100,
    b"\0\0\0\4" + b"\0" * 10,
    b"\0\0\0\xff" * 100,
    b"GET / HTTP/1.0\r\n\r\n",
]


@pytest.mark.parametrize(
    "bad",
    [
        *MALFORMED,
        b"\0\0\0\3\0\0\x35an empty name",
        b"\0\0\0\3\4\0\0\0\0\0\x35NULs",
        to("127.0.0.1", 0, b"port 0"),
        to("192.0.2.1", 9, b"not allowed"),
        to("255.255.255.255", 9, b"broadcast"),
        to("224.0.0.1", 9, b"multicast"),
        to(b"no such name.", 9, b"unresolvable"),
        to(b"does-not-resolve.invalid", 9, b"unresolvable"),
        to("127.0.0.1", 9, b"x" * 65490),
    ],
    ids=lambda bad: repr(bad[:24]),
)
def test_a_bad_datagram_costs_no_other(bad: bytes) -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        for _ in range(2):
            association.socket.sendto(bad, association.relay)
            assert association.ask(host, port) == b"still there?"


def test_a_closed_port_costs_no_other() -> None:
    nobody = udp_socket()
    where: SocketAddress = nobody.getsockname()
    nobody.close()
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        for _ in range(20):
            association.send(*where, b"anybody?")
            assert association.ask(host, port) == b"still there?"


def test_what_does_not_fit_with_a_header_is_dropped() -> None:
    def grow(sock: socket.socket, data: bytes, source: SocketAddress) -> None:
        sock.sendto(b"x" * (65507 if data == b"grow" else 1), source)

    seen = Observed()
    with answering(grow) as (host, port), proxy(seen) as server:
        with Associated(server) as association:
            association.send(host, port, b"grow")
            association.send(host, port, b"small")
            assert association.receive()[1] == b"x"
        assert seen.record().dropped == 1


def test_a_client_that_closes_its_socket_for_a_while_is_served_again() -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        association.ask(host, port)
        own = association.socket.getsockname()
        association.send(host, port, b"nobody will have this")
        association.socket.close()
        association.socket = udp_socket(*own)
        assert b"still there?" in (association.ask(host, port), association.ask(host, port))


# Strangers.


def test_a_stranger_is_dropped_before_and_after_the_owner() -> None:
    seen = Observed()
    arrived: list[bytes] = []

    def note(_sock: socket.socket, data: bytes, _source: SocketAddress) -> None:
        arrived.append(data)

    with ExitStack() as stack:
        host, port = stack.enter_context(echoing())
        _, spy = stack.enter_context(answering(note))
        server = stack.enter_context(proxy(seen))
        other = stack.enter_context(udp_socket(STRANGER))
        with Associated(server) as association:
            for owner_is_known in (False, True):
                for number in range(1000):
                    other.sendto(to(host, spy, b"%d" % number), association.relay)
                    if number % 50 == 49:
                        until_taken(association.relay)
                        if owner_is_known:
                            assert association.ask(host, port) == b"still there?"
                assert association.ask(host, port) == b"still there?"
            assert nothing_comes(other)
            # The same host, but another port than the first that came.
            second = stack.enter_context(udp_socket(OWNER))
            second.sendto(to(host, spy, b"second"), association.relay)
            assert association.ask(host, port) == b"still there?"
            assert nothing_comes(second)
        record = seen.record()
    assert arrived == []
    assert record.received == 23 * len(b"still there?")
    assert record.dropped >= 1


def test_the_announced_port_is_the_only_one() -> None:
    with echoing() as (host, port), proxy() as server:
        for zero in ("0.0.0.0", OWNER):
            own = udp_socket()
            announced = Address(ip_address(zero), own.getsockname()[1])
            with Associated(server, announced=announced, udp=own) as association:
                with udp_socket() as other:
                    other.sendto(to(host, port, b"before"), association.relay)
                    assert association.ask(host, port) == b"still there?"
                    assert nothing_comes(other)


@pytest.mark.parametrize(
    "announced",
    [
        Address(ip_address("10.1.2.3"), 4567),
        Address(ip_address(STRANGER), 4567),
        Address(b"laptop.example", 4567),
        Address(ip_address("::"), 0),
    ],
)
def test_an_announced_address_that_is_not_the_clients_says_nothing(announced: Address) -> None:
    with echoing() as (host, port), proxy() as server:
        with Associated(server, announced=announced) as association:
            with udp_socket(STRANGER) as other:
                other.sendto(to(host, port, b"before"), association.relay)
                assert association.ask(host, port) == b"still there?"
                assert nothing_comes(other)


def test_malformed_datagrams_do_not_pin_the_port() -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        with udp_socket() as other:
            for bad in MALFORMED:
                other.sendto(bad, association.relay)
            assert association.ask(host, port) == b"still there?"


def source_seen(server: SocketAddress, filtering: Filtering, sender: str) -> list[bytes]:
    """What an association lets in that spoke with one port, of what C{sender} sends it."""
    own: list[SocketAddress] = []

    def note(sock: socket.socket, data: bytes, source: SocketAddress) -> None:
        own.append(source)
        sock.sendto(b"answer", source)

    with answering(note) as (host, port), Associated(server) as association:
        assert association.ask(host, port) == b"answer"
        with udp_socket(sender) as other:
            other.sendto(b"unasked", own[0])
            other.sendto(b"unasked", own[0])
        came = [association.ask(host, port)]
        while came[-1] != b"answer":
            came.append(association.receive()[1])
        return came[:-1]


@pytest.mark.parametrize(
    ("filtering", "sender", "comes"),
    [
        (Filtering.ADDRESS_AND_PORT, OWNER, 0),
        (Filtering.ADDRESS_AND_PORT, STRANGER, 0),
        (Filtering.ADDRESS, OWNER, 2),
        (Filtering.ADDRESS, STRANGER, 0),
        (Filtering.NONE, OWNER, 2),
        (Filtering.NONE, STRANGER, 2),
        (Filtering.NONE, "127.0.0.66", 0),
    ],
)
def test_filtering_is_what_rfc_4787_calls_it(filtering: Filtering, sender: str, comes: int) -> None:
    rules = DestinationRules(
        allow=[parse_destination("127.0.0.0/8")], deny=[parse_destination("127.0.0.66")]
    )
    with proxy(udp=UDPParameters(filtering=filtering), ruleset=rules) as server:
        assert source_seen(server, filtering, sender) == [b"unasked"] * comes


# Fragments.


def test_fragments_are_put_together() -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        association.send(host, port, b"one ", 1)
        association.send(host, port, b"two ", 2)
        association.send(host, port, b"three", 3 | END_OF_SEQUENCE)
        assert association.receive() == ((host, port), b"one two three")


@pytest.mark.parametrize("frags", [(1, 3), (2, 3), (1, 2, 2), (1, 1, 3), (3, 2, 1), (0x80,)])
def test_an_incomplete_sequence_is_nothing(frags: Sequence[int]) -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        *first, last = frags
        for frag in first:
            association.send(host, port, b"piece", frag)
        association.send(host, port, b"last", last | END_OF_SEQUENCE if last != 1 else last)
        assert association.ask(host, port) == b"still there?"


def test_fragments_can_be_switched_off() -> None:
    with echoing() as (host, port), proxy(udp=UDPParameters(fragments=False)) as server:
        with Associated(server) as association:
            association.send(host, port, b"whole", 1 | END_OF_SEQUENCE)
            assert association.ask(host, port) == b"still there?"


# Its end.


def gone(relay: SocketAddress) -> bool:
    """Whether nobody receives there any more, within a second."""
    deadline = time.monotonic() + 1
    with udp_socket() as probe:
        probe.connect(relay)
        probe.settimeout(0.01)
        while time.monotonic() < deadline:
            try:
                probe.send(b"?")
                probe.recv(1)
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                continue
    return False


@pytest.mark.parametrize(
    ("leave", "end"),
    [
        (lambda control: control.close(), "finished"),
        (lambda control: control.shutdown(socket.SHUT_WR), "finished"),
        (reset, "client reset"),
    ],
    ids=["close", "half-close", "reset"],
)
def test_an_association_ends_with_its_control_connection(leave, end: str) -> None:  # type: ignore[no-untyped-def]
    seen = Observed()
    with echoing() as (host, port), proxy(seen) as server, Associated(server) as association:
        association.ask(host, port)
        leave(association.control)
        assert gone(association.relay)
        assert seen.record().end == end


def test_octets_on_the_control_connection_mean_nothing() -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        association.control.sendall(os.urandom(1 << 20))
        assert association.ask(host, port) == b"still there?"
        association.control.sendall(b"\5\1\0")
        assert association.ask(host, port) == b"still there?"


def test_a_request_that_leaves_at_once_is_no_association() -> None:
    seen = Observed()
    with proxy(seen) as server, client.dial(server) as connection:
        connection.sendall(b"\5\1\0" + b"\5\3\0\1\0\0\0\0\0\0")
        connection.shutdown(socket.SHUT_WR)
        receive_all(connection)
        assert seen.record().command is Command.UDP_ASSOCIATE


def test_an_idle_association_ends_and_a_strangers_datagrams_do_not_keep_it() -> None:
    seen = Observed()
    timeouts = Timeouts(udp_idle=0.2)
    with echoing() as (host, port), proxy(seen, timeouts=timeouts) as server:
        with Associated(server) as association, udp_socket(STRANGER) as other:
            association.ask(host, port)
            association.control.setblocking(False)
            deadline = time.monotonic() + PATIENCE
            closed = selectors.DefaultSelector()
            closed.register(association.control, selectors.EVENT_READ)
            while not closed.select(0.01):
                other.sendto(to(host, port, b"alive"), association.relay)
                assert time.monotonic() < deadline
            assert association.control.recv(1) == b""
        assert seen.record().end == "idle"


# Limits, and where it is.


def test_a_client_has_a_bounded_number_of_associations() -> None:
    with proxy(limits=Limits(associations=2)) as server:
        with Associated(server), Associated(server) as second:
            third = Associated(server)
            assert third.reply.code == socks5.GENERAL_FAILURE
            third.close()
            second.control.close()
            assert gone(second.relay)
            with Associated(server):
                pass


class Elsewhere:
    """Counts associations somewhere that takes time: a test answers."""

    def __init__(self) -> None:
        self.answer: Deferred[bool] = Deferred(lambda _: self.cancelled.set())
        self.asked = threading.Event()
        self.cancelled = threading.Event()
        self.given_back: Queue[str] = Queue()

    def take(self, key: str) -> Deferred[bool]:
        self.asked.set()
        return self.answer

    def give_back(self, key: str) -> None:
        self.given_back.put(key)

    def shares(self, kind: str) -> "Elsewhere":
        return self

    def lessor(self, kind: str) -> ILessor:
        raise AssertionError("nobody asks for leases here")


@contextmanager
def counted() -> Iterator[tuple[Elsewhere, SocketAddress, Observed]]:
    """A server whose associations are counted elsewhere."""
    elsewhere, seen = Elsewhere(), Observed()
    limiter = Limiter(Limits(), reactor, elsewhere)
    with proxy(seen, limiter=limiter) as server:
        yield elsewhere, server, seen


@contextmanager
def asking(server: SocketAddress, elsewhere: Elsewhere) -> Iterator[socket.socket]:
    """A client's control connection, whose request waits for the count."""
    with client.dial(server) as control:
        client.greet(control)
        request = socks5.Request(socks5.UDP_ASSOCIATE, client.destination("0.0.0.0", 0))
        control.sendall(socks5.encode_request(request))
        assert elsewhere.asked.wait(PATIENCE)
        yield control


def test_a_count_kept_elsewhere_grants_an_association_and_has_it_back() -> None:
    with counted() as (elsewhere, server, _):
        with asking(server, elsewhere) as control:
            in_reactor(elsewhere.answer.callback, True)
            assert client.read(control, socks5.parse_reply).code == socks5.SUCCEEDED
            assert elsewhere.given_back.empty()
        assert elsewhere.given_back.get(timeout=PATIENCE) == "127.0.0.1"
    assert elsewhere.given_back.empty()


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (False, "the client has as many associations as it may"),
        (ConnectionError("nobody there"), "the client's associations could not be counted"),
    ],
)
def test_what_is_not_granted_elsewhere_is_refused(answer: bool | Exception, rule: str) -> None:
    with counted() as (elsewhere, server, seen):
        with asking(server, elsewhere) as control:
            in_reactor(
                elsewhere.answer.errback
                if isinstance(answer, Exception)
                else elsewhere.answer.callback,
                answer,
            )
            assert client.read(control, socks5.parse_reply).code == socks5.GENERAL_FAILURE
        assert seen.record().rule == rule
    assert elsewhere.given_back.empty()


def test_a_count_that_fails_is_told_of_in_the_log(logs: Sequence[LogEvent]) -> None:
    with counted() as (elsewhere, server, seen):
        with asking(server, elsewhere) as control:
            in_reactor(elsewhere.answer.errback, ConnectionError("nobody there"))
            client.read(control, socks5.parse_reply)
        seen.record()
    (failure,) = [event["log_failure"] for event in logs if "log_failure" in event]
    assert failure.getErrorMessage() == "nobody there"


def test_a_count_that_hangs_is_given_up_after_the_time_for_a_decision() -> None:
    elsewhere, seen = Elsewhere(), Observed()
    timeouts = Timeouts(decision=0.01)
    limiter = Limiter(Limits(), reactor, elsewhere)
    with proxy(seen, limiter=limiter, timeouts=timeouts) as server:
        with asking(server, elsewhere) as control:
            assert client.read(control, socks5.parse_reply).code == socks5.GENERAL_FAILURE
        assert seen.record().rule == "the client's associations could not be counted"
    assert elsewhere.cancelled.is_set()
    assert elsewhere.given_back.empty()


@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_a_client_that_leaves_before_it_is_counted_cancels_that(
    leave: Callable[[socket.socket], None],
) -> None:
    with counted() as (elsewhere, server, seen):
        with asking(server, elsewhere) as control:
            leave(control)
        assert elsewhere.cancelled.wait(PATIENCE)
        assert seen.record().outcome is Outcome.CLIENT_LEFT
    assert elsewhere.given_back.empty()


def test_an_association_counts_twice_among_the_sessions() -> None:
    seen = Observed()
    with proxy(seen, limits=Limits(sessions=3)) as server:
        with Associated(server):
            refused = Associated(server)
            assert refused.reply.code == socks5.GENERAL_FAILURE
            refused.close()
        assert seen.record().rule == "no room for the sockets of an association"


def test_a_destination_too_many_makes_it_forget_the_oldest() -> None:
    own: list[SocketAddress] = []

    def note(sock: socket.socket, data: bytes, source: SocketAddress) -> None:
        own.append(source)
        sock.sendto(data, source)

    with answering(note) as first, echoing() as second, echoing() as third:
        with proxy(limits=Limits(destinations=2)) as server, Associated(server) as association:
            for where in (first, second, third):
                assert association.ask(*where) == b"still there?"
            # Forgotten, so filtered, until it is sent to again.
            assert association.ask(*first) == b"still there?"
            assert association.ask(*third) == b"still there?"


def test_it_is_where_it_is_set_to_be_and_says_what_it_is_set_to_say() -> None:
    low = closed_port()
    udp = UDPParameters(
        address=LocalAddresses(ip_address("127.0.0.5")),
        ports=(low, low),
        advertise=LocalAddresses(ip_address("203.0.113.9")),
    )
    with echoing() as (host, port), proxy(udp=udp) as server:
        association = Associated(server)
        with association:
            assert association.relay == ("203.0.113.9", low)
            association.relay = ("127.0.0.5", low)
            assert association.ask(host, port) == b"still there?"
            # The range is used up.
            second = Associated(server)
            assert second.reply.code == socks5.GENERAL_FAILURE
            second.close()


def test_an_address_that_is_not_here_is_a_failure() -> None:
    seen = Observed()
    udp = UDPParameters(address=LocalAddresses(ip_address("192.0.2.77")))
    with proxy(seen, udp=udp) as server:
        association = Associated(server)
        assert association.reply.code == socks5.GENERAL_FAILURE
        association.close()
        assert os.strerror(errno.EADDRNOTAVAIL) in seen.record().rule


def test_a_client_without_an_address_has_no_association(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with proxy(endpoint=f"unix:{path}"), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        client.greet(connection)
        reply = client.request5(connection, Address(IPv4Address(0), 0), socks5.UDP_ASSOCIATE)
        assert reply.code == socks5.GENERAL_FAILURE


def test_a_hanging_ruleset_holds_up_its_own_datagrams_alone() -> None:
    def hang(request: Request) -> Decision | Deferred[Decision]:
        if request.port == 9:
            return Deferred()
        return succeed(Decision(Verdict.PERMIT, "here", by_address=True))

    with echoing() as (host, port), proxy(ruleset=Deciding(hang)) as server:
        with Associated(server) as association:
            for octet in range(1, 30):
                association.send(f"127.0.0.{octet}", 9, b"x" * 1000)
            assert len({association.ask(host, port) for _ in range(3)}) == 1
        assert gone(association.relay)


def test_a_raising_ruleset_denies_its_datagram_alone() -> None:
    def choose(request: Request) -> Decision:
        if request.port == 9:
            raise ZeroDivisionError
        return Decision(Verdict.PERMIT, "here", by_address=True)

    with echoing() as (host, port), proxy(ruleset=Deciding(choose)) as server:
        with Associated(server) as association:
            association.send(host, 9, b"x")
            assert association.ask(host, port) == b"still there?"


# In numbers.


def play(association: Associated, where: SocketAddress, count: int, largest: int) -> None:
    """
    Send datagrams of all lengths, as many ahead as the kernel's buffers hold; each has to
    come back as it was.
    """
    random = Random(count)
    pool = random.randbytes(1 << 20)
    ahead: dict[int, bytes] = {}
    for number in range(count):
        size = random.choice((1, 16, 512, 1472, random.randint(1, largest), largest))
        start = random.randrange(len(pool) - size)
        if size < 5:
            # No room for a number, so it goes alone.
            receive_all_of(association, where, ahead, 0)
            assert association.ask(*where, pool[start : start + size]) == pool[start : start + size]
            continue
        ahead[number] = struct.pack("!I", number) + pool[start : start + size - 4]
        association.send(*where, ahead[number])
        receive_all_of(association, where, ahead, 7 if size < 2000 else 1)
    receive_all_of(association, where, ahead, 0)


def receive_all_of(
    association: Associated, where: SocketAddress, ahead: dict[int, bytes], but: int
) -> None:
    while len(ahead) > but:
        source, data = association.receive()
        assert source == where
        assert ahead.pop(struct.unpack("!I", data[:4])[0]) == data


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.long)], ids=str)
def test_no_datagram_of_any_length_is_altered(count: int) -> None:
    with echoing() as where, twistd(*ANYWHERE) as server:
        with Associated(server.address()) as association:
            play(association, where, count, 65_000)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)], ids=str)
def test_abandoned_associations_leave_no_descriptor(count: int) -> None:
    with echoing() as (host, port), twistd("--allow", "127.0.0.0/8") as server:
        address = server.address()
        sockets = server.sockets()
        with Associated(address) as first:
            first.ask(host, port)
        server.settle(sockets)
        descriptors = server.descriptors()
        for number in range(count):
            association = Associated(address)
            assert association.reply.code == socks5.SUCCEEDED
            if number % 2:
                association.ask(host, port)
            if number % 3:
                association.control.close()
            else:
                reset(association.control)
            association.socket.close()
        server.settle(sockets)
        assert server.descriptors() <= descriptors
        assert "Traceback" not in server.output()


@pytest.mark.parametrize(
    "count", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)], ids=str
)
def test_first_fragments_without_end_cost_nothing(count: int) -> None:
    arrived: list[bytes] = []

    def note(sock: socket.socket, data: bytes, source: SocketAddress) -> None:
        arrived.append(data)
        sock.sendto(data, source)

    with answering(note) as (host, port), twistd(*ANYWHERE) as server:
        with Associated(server.address()) as association:
            association.ask(host, port, b"before")
            datagram = to(host, port, b"x" * 500, 1)
            before = 0
            for number in range(WARM + count):
                association.socket.sendto(datagram, association.relay)
                if number % 64 == 63:
                    # Or the kernel would drop most of them.
                    association.ask(host, port, b"between")
                if number == WARM:
                    before = server.resident()
            association.ask(host, port, b"after")
            assert server.resident() - before < 5 << 20
        # They did arrive at the relay.
        assert int(server.wait_for(r"dropped=(\d+)")[1]) > 0.9 * count
    assert set(arrived) == {b"before", b"between", b"after"}


#: Fragments after which the server has what it needs for them.
WARM = 2000


# What went wrong once.


def test_another_clients_datagrams_do_not_pin_an_association() -> None:
    arrived: list[bytes] = []

    def note(_sock: socket.socket, data: bytes, _source: SocketAddress) -> None:
        arrived.append(data)

    with echoing() as (host, port), answering(note) as spy, proxy() as server:
        with Associated(server) as victim, Associated(server, STRANGER) as other:
            # By way of the server, whose address is the victim's too.
            other.send(*victim.relay, to(*spy, b"in the victim's name"))
            assert other.ask(host, port) == b"still there?"
            assert victim.ask(host, port) == b"still there?"
    assert arrived == []


def test_without_filtering_who_was_sent_to_by_name_may_answer() -> None:
    def by_name(request: Request) -> Decision:
        permitted = request.name == "echo.example" or request.address is None
        return Decision(Verdict.PERMIT if permitted else Verdict.DENY, "name", by_address=True)

    egress = DirectEgress(
        reactor, resolver=FixedResolver({"echo.example": [ip_address("127.0.0.1")]})
    )
    udp = UDPParameters(filtering=Filtering.NONE)
    with echoing() as (_, port), proxy(ruleset=Deciding(by_name), egress=egress, udp=udp) as server:
        with Associated(server) as association:
            assert association.ask(b"echo.example", port) == b"still there?"


def test_one_client_does_not_take_all_lookups() -> None:
    resolver = Resolver({"echo.example": [ip_address("127.0.0.1")]}, held=True)
    egress = DirectEgress(reactor, resolver=resolver)
    with echoing() as (host, port), proxy(egress=egress, limits=Limits(threads=8)) as server:
        for _ in range(2):
            with Associated(server) as greedy:
                for number in range(20):
                    greedy.send(b"name-%d.example" % number, port, b"x")
                assert greedy.ask(host, port) == b"still there?"
        # It has left, but what it asked for is under way.
        assert len(resolver.asked) == 2
        with Associated(server, STRANGER) as modest:
            modest.send(b"echo.example", port, b"mine")
            assert modest.ask(host, port) == b"still there?"
            assert resolver.asked[2:] == ["echo.example"]
            in_reactor(resolver.answer)
            assert modest.receive()[1] == b"mine"


def test_a_flood_is_read_a_share_at_a_time() -> None:
    with echoing() as (host, port), proxy() as server, Associated(server) as association:
        association.ask(host, port)
        datagram = to("192.0.2.1", 9, b"denied")
        longest = 0
        for _ in range(200):
            for _ in range(100):
                association.socket.sendto(datagram, association.relay)
            longest = max(longest, in_reactor(lambda: len(poller_of(reactor)._sharing)))
        until_taken(association.relay)
        assert longest <= 1
        assert association.ask(host, port) == b"still there?"


def test_a_flow_stays_with_its_address_while_its_name_has_it() -> None:
    first, second = ip_address("127.0.0.1"), ip_address("127.0.0.2")
    clock = reactor
    names: dict[str, Sequence[IPAddress]] = {"echo.example": [first, second]}
    egress = DirectEgress(reactor, resolver=FixedResolver(names))
    with echoing("127.0.0.1") as (_, port), proxy(egress=egress) as server:
        with Associated(server) as association:
            assert association.ask(b"echo.example", port) == b"still there?"
            names["echo.example"] = [second, first]
            with mock.patch.object(verdicts, "LIFETIME", -1.0):
                # From here on every verdict has expired when it is found.
                in_reactor(lambda: expire(clock))
                assert association.ask(b"echo.example", port) == b"still there?"


def expire(clock: object) -> None:
    """Make what associations remember a thing of the past."""
    for each in gc.get_objects():
        if isinstance(each, verdicts.Verdicts):
            for verdict in each._verdicts.values():
                verdict.expires = -1.0


def test_all_zeros_are_not_told() -> None:
    udp = UDPParameters(address=LocalAddresses(ip_address("0.0.0.0")))
    with echoing() as (host, port), proxy(udp=udp) as server, Associated(server) as association:
        assert association.relay[0] == "127.0.0.1"
        assert association.ask(host, port) == b"still there?"
