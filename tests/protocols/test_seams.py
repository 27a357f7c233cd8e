"""Other people's authenticators, rulesets and observers: what they can do, and what they can't."""

import hashlib
import hmac
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.interfaces import (
    USERID,
    IAuthenticator,
    IBudgetedAuthenticator,
    INegotiation,
    IRuleset,
    ISessionOpeningObserver,
)
from socks5d.model import (
    Authenticated,
    Client,
    Decision,
    Identity,
    More,
    NotAuthenticated,
    Opened,
    Outcome,
    Record,
    Request,
    Step,
    Verdict,
)
from socks5d.parameters import Limits, Timeouts
from socks5d.rules import ClientRules, parse_network
from socks5d.wire import socks5
from tests.support import client
from tests.support.origins import echo, origin, receive_all, receive_exactly, reset
from tests.support.running import Observed, proxy

SECRET = b"a shared secret"
CHALLENGE = b"0123456789abcdef"


@implementer(IAuthenticator)
class Chap:
    """
    A challenge and its response as method 3: the server speaks first, and the
    response may come in any pieces.
    """

    method = 3
    refusal = b"\x01\x01"

    def negotiate(self, client: Client) -> INegotiation:
        return ChapNegotiation()


@implementer(INegotiation)
class ChapNegotiation:
    def __init__(self) -> None:
        self._asked = False
        self._got = b""

    def receive(self, data: bytes) -> Step:
        self._got += data
        if not self._asked:
            self._asked = True
            return More(CHALLENGE)
        if len(self._got) < 32:
            return More()
        response, rest = self._got[:32], self._got[32:]
        if hmac.compare_digest(response, hmac.digest(SECRET, CHALLENGE, hashlib.sha256)):
            return Authenticated(Identity("challenged", "chap"), b"\x01\x00", rest)
        return NotAuthenticated(b"\x01\x01", "wrong response")


@implementer(IAuthenticator, INegotiation)
class Endless:
    """Never has enough."""

    method = 0x80
    refusal = b""

    def negotiate(self, client: Client) -> INegotiation:
        return self

    def receive(self, data: bytes) -> Step:
        return More()


@implementer(IAuthenticator, INegotiation)
class Answering:
    """Answers with whatever a test wants."""

    refusal = b"\x01\x02"

    def __init__(self, answer: Callable[[], Any], method: int = 0x81) -> None:
        self._answer = answer
        self.method = method

    def negotiate(self, client: Client) -> INegotiation:
        return self

    def receive(self, data: bytes) -> Any:
        return self._answer()


@implementer(IRuleset)
class Deciding:
    """Decides as a test wants, and keeps what it was asked."""

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self._answer = answer
        self.asked: list[Request] = []

    def decide(self, request: Request) -> Any:
        self.asked.append(request)
        return self._answer(request)


def boom(*_: Any) -> Any:
    raise ZeroDivisionError("a stranger's bug")


PERMIT = Decision(Verdict.PERMIT, "all", by_address=True)


def test_the_strangers_here_provide_the_interfaces() -> None:
    assert verifyObject(IAuthenticator, Chap())
    assert verifyObject(INegotiation, ChapNegotiation())
    assert verifyObject(IRuleset, Deciding(boom))


@pytest.mark.parametrize("size", [1, 7, 32, 1000])
def test_a_method_where_the_server_speaks_first_is_added_from_outside(size: int) -> None:
    seen = Observed()
    with (
        origin(echo) as (host, port),
        proxy(seen, authenticators=[Chap()]) as server,
        client.dial(server) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert client.greet(connection, b"\x00\x03") == 3
        assert receive_exactly(connection, 16) == CHALLENGE
        request = socks5.encode_request(socks5.Request(1, client.destination(host, port)))
        rest = hmac.digest(SECRET, CHALLENGE, hashlib.sha256) + request + b"early"
        for start in range(0, len(rest), size):
            connection.sendall(rest[start : start + size])
        assert receive_exactly(connection, 2) == b"\x01\x00"
        assert client.read(connection, socks5.parse_reply).code == socks5.SUCCEEDED
        assert receive_exactly(connection, 5) == b"early"
        connection.close()
        identity = seen.record().identity
        assert (identity.name, identity.source) == ("challenged", "chap")


def test_what_a_method_refuses_is_closed_behind_its_own_words() -> None:
    with proxy(authenticators=[Chap()]) as server, client.dial(server) as connection:
        client.greet(connection, b"\x03")
        assert receive_exactly(connection, 16) == CHALLENGE
        connection.sendall(b"x" * 32)
        assert receive_all(connection) == b"\x01\x01"


def test_a_claim_that_is_no_text_does_not_cost_a_place() -> None:
    claimed: Any = 5
    seen = Observed()
    ours = [Answering(lambda: NotAuthenticated(claimed=claimed))]
    with proxy(seen, authenticators=ours, limits=Limits(sessions=1)) as server:
        for number in range(3):
            with client.dial(server) as connection:
                assert client.greet(connection, b"\x81") == 0x81
                assert receive_all(connection) == b""
            assert seen.record(number).claimed == "5"


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        pytest.param(boom, b"\x01\x02", id="raises"),
        pytest.param(lambda: Deferred(), b"\x01\x02", id="never answers"),
        pytest.param(lambda: Deferred().addBoth(boom), b"\x01\x02", id="never answers at all"),
        pytest.param(lambda: None, b"\x01\x02", id="answers nonsense"),
        pytest.param(lambda: True, b"\x01\x02", id="answers true"),
    ],
)
def test_an_authenticator_that_fails_lets_nobody_in(answer: Any, sent: bytes) -> None:
    seen = Observed()
    ours = [Answering(answer), Answering(answer, USERID)]
    with origin(echo) as (host, port):
        with proxy(seen, authenticators=ours, timeouts=Timeouts(decision=0.05)) as server:
            with client.dial(server) as connection:
                assert client.greet(connection, b"\x81") == 0x81
                assert receive_all(connection) == sent
            assert seen.record(0).outcome is Outcome.NOT_AUTHENTICATED
            connection, reply = client.connect4(server, host, port)
            connection.close()
            assert reply.code == 91
            assert seen.record(1).outcome is Outcome.NOT_AUTHENTICATED


def test_what_a_client_claims_is_escaped_in_the_record() -> None:
    claimed = "x\nsession=9 result=granted\udcff"
    seen = Observed()
    ours = [Answering(lambda: NotAuthenticated(claimed=claimed))]
    with proxy(seen, authenticators=ours) as server:
        with client.dial(server) as connection:
            assert client.greet(connection, b"\x81") == 0x81
            assert receive_all(connection) == b""
        assert seen.record().claimed == "x\\nsession=9\\x20result=granted\\xff"


def test_an_authenticator_that_cannot_begin_lets_nobody_in() -> None:
    class Broken(Answering):
        def negotiate(self, client: Client) -> INegotiation:
            raise ZeroDivisionError

    with proxy(authenticators=[Broken(boom)]) as server, client.dial(server) as connection:
        assert client.greet(connection, b"\x81") == 0x81
        assert receive_all(connection) == b"\x01\x02"


def test_an_answer_after_the_client_has_gone_is_dropped() -> None:
    answers: list[Deferred[Step]] = []

    def later() -> Deferred[Step]:
        answers.append(Deferred())
        return answers[-1]

    seen = Observed()
    with proxy(seen, authenticators=[Answering(later)]) as server:
        connection = client.dial(server)
        assert client.greet(connection, b"\x81") == 0x81
        reset(connection)
        assert seen.record().outcome is Outcome.CLIENT_LEFT
        (answer,) = answers
        # It was cancelled, so its late answer goes nowhere, and raises nothing.
        assert answer.called
        answer.callback(Authenticated(Identity("late")))
    assert len(seen.records) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(boom, id="raises"),
        pytest.param(lambda _: Deferred(), id="never answers"),
        pytest.param(lambda _: None, id="answers nonsense"),
        pytest.param(lambda _: True, id="answers true"),
        pytest.param(lambda _: "permit", id="answers a word"),
        pytest.param(lambda _: Decision(Verdict.NO_OPINION), id="has no opinion"),
        pytest.param(lambda _: Decision(Verdict.PERMIT), id="permits by no address"),
    ],
)
def test_a_ruleset_that_does_not_decide_denies(answer: Any) -> None:
    seen = Observed()
    with origin(echo) as (host, port):
        rules = Deciding(answer)
        with proxy(seen, ruleset=rules, timeouts=Timeouts(decision=0.05)) as server:
            for number, asked in enumerate((host.encode(), b"localhost")):
                connection, reply = client.connect5(server, asked, port)
                with connection:
                    assert reply.code == socks5.NOT_ALLOWED
                    assert receive_all(connection) == b""
                assert seen.record(number).outcome is Outcome.DENIED


def test_a_ruleset_may_take_its_time() -> None:
    from twisted.internet.task import deferLater

    from tests.support.running import reactor

    rules = Deciding(lambda _: deferLater(reactor, 0.01, lambda: PERMIT))
    with origin(echo) as (host, port), proxy(ruleset=rules) as server:
        connection, reply = client.connect5(server, host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED


def test_a_ruleset_sees_everything_there_is_to_know() -> None:
    rules = Deciding(lambda _: PERMIT)
    with origin(echo) as (_, port):
        with proxy(ruleset=rules, authenticators=[Chap()], listener="the front door") as server:
            with client.dial(server) as connection:
                client.greet(connection, b"\x03")
                receive_exactly(connection, 16)
                connection.sendall(hmac.digest(SECRET, CHALLENGE, hashlib.sha256))
                assert receive_exactly(connection, 2) == b"\x01\x00"
                client.request5(connection, client.destination(b"localhost", port))
                at_client, at_name, *at_addresses = rules.asked
                near, far = connection.getsockname(), connection.getpeername()
    assert at_client.command is None
    assert (str(at_client.client.address), at_client.client.port) == near
    assert at_client.client.local is not None
    assert (str(at_client.client.local.host), at_client.client.local.port) == far
    assert at_client.client.listener == "the front door"
    assert (at_name.name, at_name.address, at_name.port) == ("localhost", None, port)
    assert (at_name.version, at_name.method) == ("5", 3)
    assert (at_name.identity.name, at_name.identity.source) == ("challenged", "chap")
    assert {str(request.address) for request in at_addresses} <= {"127.0.0.1", "::1"}
    assert all(request.name == "localhost" for request in at_addresses)


def test_a_client_that_no_rule_lets_in_gets_no_try_at_passwords() -> None:
    seen = Observed()
    rules = ClientRules(deny=[parse_network("127.0.0.0/8")])
    with proxy(seen, ruleset=rules, authenticators=[Chap()]) as server:
        with client.dial(server) as connection:
            connection.sendall(b"\x05\x01\x03")
            assert receive_all(connection) == b"\x05\xff"
        assert seen.record().rule == "deny-from 127.0.0.0/8"


def test_an_observer_that_raises_hurts_nobody() -> None:
    @implementer(ISessionOpeningObserver)
    class Broken:
        def opened(self, event: Opened) -> None:
            raise ZeroDivisionError

        def closed(self, record: Record) -> None:
            raise ZeroDivisionError

    seen = Observed()
    with (
        origin(echo) as (host, port),
        proxy(observers=[Broken(), seen]) as server,
    ):
        connection, reply = client.connect5(server, host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            connection.sendall(b"x")
            assert receive_exactly(connection, 1) == b"x"
        assert seen.record().received == 1
        assert len(seen.openings) == 1


def test_an_authenticator_that_cannot_negotiate_refuses_its_clients() -> None:
    class Halfway:
        method = 0x80
        refusal = b"\x01\x01"

    seen, halfway = Observed(), cast(IAuthenticator, Halfway())
    with proxy(seen, authenticators=[halfway]) as server, client.dial(server) as connection:
        connection.sendall(b"\x05\x01\x80")
        assert receive_all(connection) == b"\x05\x80\x01\x01"
        connection.close()
        record = seen.record()
    assert (record.outcome, record.rule) == (Outcome.NOT_AUTHENTICATED, "the authenticator failed")


@implementer(IBudgetedAuthenticator)
class Roomy(Endless):
    """Never has enough, and says how much it may come to."""

    octets = 50_000


@pytest.mark.parametrize(("ours", "budget"), [(Endless(), 8192), (Roomy(), 58_192)])
def test_a_sub_negotiation_may_take_what_its_authenticator_says(ours: Any, budget: int) -> None:
    seen = Observed()
    with proxy(seen, authenticators=[ours]) as server, client.dial(server) as connection:
        assert client.greet(connection, b"\x80") == 0x80
        connection.sendall(bytes(budget - 3))
        connection.sendall(b"x")
        assert receive_all(connection) == b""
        connection.close()
        record = seen.record()
        assert record.outcome is Outcome.OVER_BUDGET
        assert record.handshake == budget + 1
