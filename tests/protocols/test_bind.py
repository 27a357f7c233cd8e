"""BIND over real sockets: the peer that is expected, strangers, and nobody at all."""

import select
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from socks5d.egress import DirectEgress, FixedResolver
from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.model import (
    ANONYMOUS,
    Authenticated,
    Client,
    Command,
    Decision,
    Outcome,
    Request,
    Step,
    Verdict,
)
from socks5d.parameters import Limits, LocalAddresses, Strangers, Timeouts
from socks5d.rules import DestinationRules, parse_destination
from socks5d.wire import socks4, socks5
from socks5d.wire.address import Address, IPAddress
from tests.protocols.test_seams import Deciding
from tests.support import client
from tests.support.origins import receive_all, receive_exactly, reset
from tests.support.running import PATIENCE, Observed, in_reactor, proxy, reactor
from tests.support.running import Address as SocketAddress
from tests.support.twistd import twistd

#: The control connection of FTP, say: what the client said it is connected to.
EXPECTED = "127.0.0.1"
STRANGER = "127.0.0.2"
OLD, NEW = "4", "5"


def ask(server: SocketAddress, version: str, host: str = EXPECTED) -> tuple[socket.socket, Any]:
    """A BIND request, and its first reply."""
    connection = client.dial(server)
    to = Address(ip_address(host), 21)
    if version == OLD:
        return connection, client.request4(connection, to, command=socks4.BIND)
    client.greet(connection)
    return connection, client.request5(connection, to, socks5.BIND)


def second(connection: socket.socket, version: str) -> Any:
    parser: Any = socks4.parse_reply if version == OLD else socks5.parse_reply
    return client.read(connection, parser)


def listening(reply: Any) -> SocketAddress:
    return str(reply.bound.host), reply.bound.port


def come(reply: Any, source: str = EXPECTED) -> socket.socket:
    return socket.create_connection(listening(reply), PATIENCE, (source, 0))


def turned_away(reply: Any, source: str = STRANGER) -> None:
    """Whoever comes from there is reset, be it before it knows that it is connected."""
    with pytest.raises(ConnectionResetError), come(reply, source) as peer:
        peer.recv(1)


def gone(where: SocketAddress) -> bool:
    """Whether nobody listens there; the socket closes in a moment."""
    for _ in range(200):
        try:
            socket.create_connection(where, PATIENCE).close()
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_peer_that_is_expected_is_let_in(version: str) -> None:
    seen = Observed()
    with proxy(seen) as server:
        connection, reply = ask(server, version)
        assert reply.code == (socks4.GRANTED if version == OLD else socks5.SUCCEEDED)
        assert reply.bound.host == IPv4Address(EXPECTED)
        with connection, come(reply) as peer:
            told = second(connection, version)
            assert told.code == reply.code
            assert (str(told.bound.host), told.bound.port) == peer.getsockname()
            peer.sendall(b"from the peer")
            assert receive_exactly(connection, 13) == b"from the peer"
            connection.sendall(b"from the client")
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(peer) == b"from the client"
            peer.close()
            assert receive_all(connection) == b""
        record = seen.record()
        assert (record.command, record.outcome) == (Command.BIND, Outcome.GRANTED)
        assert (record.end, record.received, record.sent) == ("finished", 15, 13)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_early_data_of_either_side_is_kept(version: str) -> None:
    with proxy() as server:
        connection, reply = ask(server, version)
        connection.sendall(b"early from the client")
        with connection, come(reply) as peer:
            peer.sendall(b"early from the peer")
            second(connection, version)
            assert receive_exactly(connection, 19) == b"early from the peer"
            assert receive_exactly(peer, 21) == b"early from the client"


def test_an_ipv6_peer_is_expected_on_ipv6() -> None:
    with proxy() as server:
        connection, reply = ask(server, NEW, "::1")
        assert reply.bound.host == ip_address("::1")
        with connection, socket.create_connection(listening(reply), PATIENCE) as peer:
            assert second(connection, NEW).bound.port == peer.getsockname()[1]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_all_zeros_expect_anybody_that_the_rules_let_in(version: str) -> None:
    with proxy() as server:
        connection, reply = ask(server, version, "0.0.0.0")
        with connection, come(reply, STRANGER) as peer:
            second(connection, version)
            peer.sendall(b"!")
            assert receive_exactly(connection, 1) == b"!"


@pytest.mark.parametrize(
    ("version", "strangers"), [(NEW, {}), (OLD, {OLD: Strangers.IGNORE})], ids=["5", "4, set so"]
)
def test_a_stranger_is_ignored_and_the_wait_goes_on(
    version: str, strangers: dict[str, Strangers]
) -> None:
    with proxy(strangers=strangers) as server:
        connection, reply = ask(server, version)
        with connection:
            for _ in range(3):
                turned_away(reply)
            with come(reply) as peer:
                told = second(connection, version)
                assert told.bound.port == peer.getsockname()[1]


@pytest.mark.parametrize(
    ("version", "strangers"), [(OLD, {}), (NEW, {NEW: Strangers.REFUSE})], ids=["4", "5, set so"]
)
def test_a_stranger_ends_the_bind(version: str, strangers: dict[str, Strangers]) -> None:
    seen = Observed()
    with proxy(seen, strangers=strangers) as server:
        connection, reply = ask(server, version)
        with connection:
            turned_away(reply)
            code = second(connection, version).code
            assert code == (socks4.REJECTED if version == OLD else socks5.NOT_ALLOWED)
            assert receive_all(connection) == b""
            assert gone(listening(reply))
        assert seen.record().rule == "a stranger connected"


@pytest.mark.parametrize("version", [OLD, NEW])
def test_the_listening_socket_is_gone_with_the_first_peer(version: str) -> None:
    with proxy() as server:
        connection, reply = ask(server, version)
        with connection, come(reply) as peer:
            second(connection, version)
            assert gone(listening(reply))
            peer.sendall(b"unharmed")
            assert receive_exactly(connection, 8) == b"unharmed"


def test_of_two_peers_at_once_one_is_let_in() -> None:
    with proxy() as server:
        connection, reply = ask(server, NEW)
        with connection, socket.socket() as one, socket.socket() as two:
            for peer in (one, two):
                peer.setblocking(False)
                peer.connect_ex(listening(reply))
            told = second(connection, NEW).bound.port
            let_in, other = (one, two) if one.getsockname()[1] == told else (two, one)
            for peer in (one, two):
                peer.settimeout(PATIENCE)
            assert let_in.getpeername() == listening(reply)
            with pytest.raises(ConnectionError):
                other.sendall(b"!")
                other.recv(1)
            let_in.sendall(b"!")
            assert receive_exactly(connection, 1) == b"!"


@pytest.mark.parametrize("version", [OLD, NEW])
def test_when_nobody_comes_the_deadline_ends_it(version: str) -> None:
    seen = Observed()
    with proxy(seen, timeouts=Timeouts(bind=0.05)) as server:
        connection, reply = ask(server, version)
        with connection:
            code = second(connection, version).code
            assert code == (socks4.REJECTED if version == OLD else socks5.TTL_EXPIRED)
            assert receive_all(connection) == b""
            assert gone(listening(reply))
        assert seen.record().outcome is Outcome.TIMED_OUT


@pytest.mark.parametrize("leave", ["close", "fin", "reset"])
def test_the_listening_socket_is_gone_with_the_control_connection(leave: str) -> None:
    seen = Observed()
    with proxy(seen) as server:
        connection, reply = ask(server, NEW)
        match leave:
            case "close":
                connection.close()
            case "fin":
                connection.shutdown(socket.SHUT_WR)
                assert receive_all(connection) == b""
                connection.close()
            case _:
                reset(connection)
        assert seen.record().outcome is Outcome.CLIENT_LEFT
        assert gone(listening(reply))


def test_a_reset_of_the_peers_arrives_as_a_reset() -> None:
    with proxy() as server:
        connection, reply = ask(server, NEW)
        with connection:
            peer = come(reply)
            second(connection, NEW)
            reset(peer)
            with pytest.raises(ConnectionResetError):
                connection.recv(1)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_the_rules_are_asked_for_the_request(version: str) -> None:
    rules = DestinationRules(deny=[parse_destination(EXPECTED)])
    with proxy(ruleset=rules) as server:
        connection, reply = ask(server, version)
        with connection:
            assert reply.code == (socks4.REJECTED if version == OLD else socks5.NOT_ALLOWED)


def test_the_rules_are_asked_for_the_peer() -> None:
    def without_strangers(request: Request) -> Decision:
        known = request.peer is None or request.peer.host != ip_address(STRANGER)
        return Decision(Verdict.PERMIT if known else Verdict.DENY, by_address=True)

    rules = Deciding(without_strangers)
    with proxy(ruleset=rules) as server:
        connection, reply = ask(server, NEW, "0.0.0.0")
        with connection:
            turned_away(reply)
            with come(reply) as peer:
                told = second(connection, NEW)
                where = peer.getsockname()
            asked = rules.asked[-1]
            assert asked.command is Command.BIND
            assert asked.peer == told.bound
            assert (str(asked.address), asked.port) == (where[0], 21)


def test_what_is_protected_is_not_expected_either() -> None:
    with proxy(ruleset=DestinationRules(allow=[parse_destination("*")])) as server:
        connection, reply = ask(server, NEW)
        with connection:
            assert reply.code == socks5.NOT_ALLOWED
        connection, reply = ask(server, NEW, "0.0.0.0")
        with connection:
            turned_away(reply, EXPECTED)


def test_address_and_ports_can_be_set() -> None:
    with socket.create_server(("127.0.0.3", 0)) as probe:
        port = probe.getsockname()[1]
    from socks5d.parameters import LocalAddresses

    egress = DirectEgress(
        reactor, bind=LocalAddresses(IPv4Address("127.0.0.3")), bind_ports=(port, port)
    )
    with proxy(egress=egress) as server:
        connection, reply = ask(server, NEW)
        with connection:
            assert listening(reply) == ("127.0.0.3", port)
            another, refused = ask(server, NEW)
            another.close()
            assert refused.code == socks5.GENERAL_FAILURE


@pytest.mark.parametrize("count", [1000])
def test_abandoned_binds_leave_nothing_behind(count: int) -> None:
    with twistd("--allow", "127.0.0.1") as server:
        address = server.address()
        ask(address, NEW)[0].close()
        server.settle(server.sockets())
        sockets, descriptors = server.sockets(), server.descriptors()
        for number in range(count):
            connection, reply = ask(address, NEW if number % 2 else OLD)
            if number % 3:
                connection.close()
            else:
                reset(connection)
            assert reply.code in (socks4.GRANTED, socks5.SUCCEEDED)
        server.settle(sockets)
        assert server.descriptors() <= descriptors
        assert server.stop() == 0
        assert "Traceback" not in server.output()


def test_socks_4_is_told_of_an_ipv4_address_or_of_none() -> None:
    names: dict[str, Sequence[IPAddress]] = {
        "both.example": [ip_address("::1"), ip_address(EXPECTED)],
        "six.example": [ip_address("::1")],
    }
    egress = DirectEgress(reactor, resolver=FixedResolver(names))
    with proxy(egress=egress) as server:
        with client.dial(server) as connection:
            reply = client.request4(connection, Address(b"both.example", 21), command=socks4.BIND)
            assert reply.code == socks4.GRANTED
            with come(reply) as peer:
                assert second(connection, OLD).bound.port == peer.getsockname()[1]
        with client.dial(server) as connection:
            reply = client.request4(connection, Address(b"six.example", 21), command=socks4.BIND)
            assert reply.code == socks4.REJECTED


def test_an_expected_peer_that_resets_while_it_is_judged_is_waited_past() -> None:
    judging: list[Deferred[Decision]] = []

    def decide(request: Request) -> Any:
        if request.peer is None:
            return Decision(Verdict.PERMIT, "all", by_address=True)
        judging.append(Deferred())
        return judging[-1]

    permit = Decision(Verdict.PERMIT, "all", by_address=True)
    with proxy(ruleset=Deciding(decide)) as server:
        connection, reply = ask(server, NEW)
        with connection:
            reset(come(reply))
            wait_until(lambda: len(judging) == 1)
            in_reactor(reactor.callLater, 0, lambda: None)
            in_reactor(judging[0].callback, permit)
            with come(reply) as peer:
                wait_until(lambda: len(judging) == 2)
                in_reactor(judging[1].callback, permit)
                told = second(connection, NEW)
                assert (told.code, told.bound.port) == (socks5.SUCCEEDED, peer.getsockname()[1])


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.002)


def test_more_early_data_than_is_kept_ends_it_and_its_listener() -> None:
    with proxy(limits=Limits(early=10)) as server:
        connection, reply = ask(server, NEW)
        with connection:
            connection.sendall(b"x" * 100)
            assert second(connection, NEW).code == socks5.GENERAL_FAILURE
            assert gone(listening(reply))


def test_all_zeros_are_not_told() -> None:
    egress = DirectEgress(reactor, bind=LocalAddresses(ip_address("0.0.0.0")))
    with proxy(egress=egress) as server:
        connection, reply = ask(server, NEW)
        with connection, come(reply):
            assert reply.bound.host == ip_address("127.0.0.1")
            assert second(connection, NEW).code == socks5.SUCCEEDED


@implementer(IAuthenticator, INegotiation)
class Slow:
    """Takes its time."""

    method = socks5.NO_AUTHENTICATION
    refusal = b""

    def __init__(self) -> None:
        self.answer: Deferred[Step] = Deferred()
        self.rest = b""

    def negotiate(self, client: Client) -> INegotiation:
        return self

    def receive(self, data: bytes) -> Deferred[Step]:
        return self.answer


async def in_some_turns(slow: Slow) -> None:
    """Let the client in once everything that it has sent has been read."""
    for _ in range(5):
        await deferLater(reactor, 0)
    slow.answer.callback(Authenticated(ANONYMOUS))


@pytest.mark.parametrize("command", [socks5.BIND, socks5.UDP_ASSOCIATE])
def test_nothing_is_opened_for_a_client_that_has_left_before_its_request_was_read(
    command: int,
) -> None:
    slow, seen = Slow(), Observed()
    with proxy(seen, authenticators=[slow]) as server, client.dial(server) as connection:
        connection.sendall(b"\x05\x01\x00")
        assert receive_exactly(connection, 2) == b"\x05\x00"
        request = socks5.Request(command, Address(ip_address(EXPECTED), 21))
        connection.sendall(socks5.encode_request(request))
        connection.shutdown(socket.SHUT_WR)
        in_reactor(lambda: Deferred.fromCoroutine(in_some_turns(slow)))
        assert receive_all(connection) == b""
        assert seen.record().outcome is Outcome.CLIENT_LEFT
        assert seen.openings == []
