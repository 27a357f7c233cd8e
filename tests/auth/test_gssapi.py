"""The GSS-API's sub-negotiation (RFC 1961): what is taken, what is answered, who is let in."""

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute, fail
from zope.interface.verify import verifyObject

from socks5d.auth import gssapi as module
from socks5d.auth.blocking import Login, current_login
from socks5d.auth.gssapi import GSSAPIAuthenticator
from socks5d.auth.gsscontext import NotEstablished
from socks5d.auth.gssencapsulation import GSSEncapsulation
from socks5d.auth.undecided import TooManyLogins
from socks5d.interfaces import IAuthenticator, IBudgetedAuthenticator, INegotiation
from socks5d.limits.keys import Prefixes
from socks5d.model import Authenticated, Client, Identity, More, NotAuthenticated, Step
from socks5d.wire.gssframe import CONTEXT, ENCAPSULATED, PROTECTION, encode_message

ABORT = b"\x01\xff"
ANN = "ann@SOCKS.TEST"


class Fake:
    """
    Stands for a security context: takes the token C{one} and answers C{two}, takes
    C{three} and is established.  What it wraps stands between brackets.
    """

    def __init__(
        self,
        tokens: tuple[tuple[bytes, bytes], ...] = ((b"one", b"two"), (b"three", b"")),
        principal: str | None = ANN,
        integrity: bool = True,
        confidentiality: bool = True,
    ) -> None:
        self._tokens = list(tokens)
        self.principal = principal
        self.integrity = integrity
        self.confidentiality = confidentiality
        self.complete = False

    def step(self, token: bytes) -> bytes:
        if not self._tokens or self._tokens[0][0] != token:
            raise NotEstablished("no such token")
        _, answer = self._tokens.pop(0)
        self.complete = not self._tokens
        return answer

    def wrap(self, data: bytes, confidential: bool) -> bytes:
        return b"[" + data + b"]"

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        if token[:1] + token[-1:] != b"[]":
            raise ValueError("not wrapped")
        return token[1:-1], False

    def unwrap_datagram(self, token: bytes) -> tuple[bytes, bool]:
        return self.unwrap(token)

    def room(self, token: int, confidential: bool) -> int:
        return token - 2


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be done in a thread is done at once."""

    def in_this_thread(job: Any, reactor: Any) -> Deferred[Any]:
        return execute(job)

    monkeypatch.setattr(module, "in_login_thread", in_this_thread)


def begin(context: Fake | None = None, **changes: Any) -> INegotiation:
    """A negotiation with a context."""
    made = GSSAPIAuthenticator(lambda: context or Fake(), None, **changes)
    return made.negotiate(Client(None))


def say(negotiation: INegotiation, octets: bytes) -> Step:
    """What comes of some octets."""
    answer = negotiation.receive(octets)
    if not isinstance(answer, Deferred):
        return answer
    found: list[Step] = []
    answer.addCallback(found.append)
    (step,) = found
    return step


def context(*tokens: bytes) -> bytes:
    return b"".join(encode_message(CONTEXT, token) for token in tokens)


def level(number: int, *, wrapped: bool = True) -> bytes:
    octet = bytes((number,))
    return encode_message(PROTECTION, b"[" + octet + b"]" if wrapped else octet)


def asked(number: int, context_: Fake | None = None, **changes: Any) -> Step:
    """What comes of a whole negotiation that asks for a level."""
    wrapped = changes.pop("wrapped", True)
    negotiation = begin(context_, **changes)
    assert say(negotiation, context(b"one")) == More(context(b"two"))
    assert say(negotiation, context(b"three")) == More(b"")
    return say(negotiation, level(number, wrapped=wrapped))


def test_it_is_what_the_interfaces_say() -> None:
    made = GSSAPIAuthenticator(Fake, None)
    assert verifyObject(IAuthenticator, made)
    assert verifyObject(IBudgetedAuthenticator, made)
    assert verifyObject(INegotiation, made.negotiate(Client(None)))
    assert (made.method, made.refusal) == (1, ABORT)
    assert made.octets >= 65539


def test_tokens_go_back_and_forth_and_the_principal_is_who_it_is() -> None:
    step = asked(2)
    assert isinstance(step, Authenticated)
    assert step.identity == Identity(ANN, "gssapi")
    assert (step.send, step.rest) == (level(2), b"")
    assert isinstance(step.encapsulation, GSSEncapsulation)


@given(st.data())
def test_it_does_not_matter_how_the_octets_are_cut_up(data: st.DataObject) -> None:
    octets = context(b"one", b"three") + level(1) + encode_message(ENCAPSULATED, b"[early]")
    negotiation, sent, step = begin(), b"", None
    position = 0
    while not isinstance(step, Authenticated):
        size = data.draw(st.integers(1, len(octets) - position))
        step = say(negotiation, octets[position : position + size])
        position += size
        assert isinstance(step, (More, Authenticated))
        sent += step.send
    assert sent == context(b"two") + level(1)
    assert step.rest + octets[position:] == encode_message(ENCAPSULATED, b"[early]")


@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("least", [0, 1, 2])
@pytest.mark.parametrize("most", [0, 1, 2])
def test_the_level_is_what_was_asked_for_within_what_is_accepted(
    number: int, least: int, most: int
) -> None:
    if least > most:
        with pytest.raises(ValueError, match="no protection levels"):
            begin(least=least, most=most)
        return
    step = asked(number, least=least, most=most)
    taken = min(max(number, least), most)
    if number == 3 and (least, most) in ((0, 2), (1, 2)):
        taken = 3
    assert isinstance(step, Authenticated)
    assert step.send == level(taken)
    assert (step.encapsulation is None) is (taken == 0)


@pytest.mark.parametrize(
    ("number", "least", "taken"),
    [(2, 0, 1), (2, 1, 1), (3, 0, 1), (3, 1, 1), (1, 0, 1), (0, 0, 0), (2, 2, None), (1, 2, None)],
)
def test_a_mechanism_without_confidentiality_gives_what_it_has_or_nothing(
    number: int, least: int, taken: int | None
) -> None:
    step = asked(number, Fake(confidentiality=False), least=least)
    if taken is None:
        assert isinstance(step, NotAuthenticated)
        assert step.send == ABORT
    else:
        assert step.send == level(taken)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_mechanism_without_integrity_protects_nothing(number: int) -> None:
    step = asked(number, Fake(integrity=False, confidentiality=False))
    assert isinstance(step, NotAuthenticated)
    assert step.reason == "the mechanism cannot protect messages as is asked for"


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_bare_level_is_taken_where_it_is_let_in_and_answered_alike(number: int) -> None:
    step = asked(number, wrapped=False, nec=True)
    assert isinstance(step, Authenticated)
    assert step.send == level(number, wrapped=False)
    refused = asked(number, wrapped=False)
    assert isinstance(refused, NotAuthenticated)
    assert refused.send == ABORT
    assert "--gssapi-nec" in refused.reason


def test_a_wrapped_level_is_taken_beside_bare_ones() -> None:
    assert asked(1, nec=True).send == level(1)


@pytest.mark.parametrize("number", [4, 255])
def test_what_is_no_level_is_refused(number: int) -> None:
    step = asked(number)
    assert isinstance(step, NotAuthenticated)
    assert (step.send, step.reason) == (ABORT, f"no protection level: {number}")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (b"", "the protection level cannot be unwrapped"),
        (b"garbage", "the protection level cannot be unwrapped"),
        (b"[]", "the protection level is not one octet"),
        (b"[\x01\x02]", "the protection level is not one octet"),
    ],
)
def test_a_level_that_cannot_be_read_is_refused(token: bytes, reason: str) -> None:
    negotiation = begin()
    say(negotiation, context(b"one", b"three"))
    step = say(negotiation, encode_message(PROTECTION, token))
    assert isinstance(step, NotAuthenticated)
    assert (step.send, step.reason) == (ABORT, reason)


@pytest.mark.parametrize(
    ("octets", "send", "reason"),
    [
        (context(b"wrong"), ABORT, "no such token"),
        (context(b"one", b"wrong"), context(b"two") + ABORT, "no such token"),
        (level(1), ABORT, "a message of type 2 out of its turn"),
        (level(1, wrapped=False), ABORT, "a message of type 2 out of its turn"),
        (context(b"one") + level(1), context(b"two") + ABORT, "a message of type 2 out of"),
        (
            context(b"one", b"three", b"four"),
            context(b"two") + ABORT,
            "a message of type 1 out of its turn",
        ),
        (encode_message(ENCAPSULATED, b"[x]"), ABORT, "a message of type 3 out of its turn"),
        (b"\x05", ABORT, "the GSS-API message's VER is not 1"),
        (b"\x01\x04", ABORT, "unknown GSS-API message type"),
        (context(b"one") + b"\x02", context(b"two") + ABORT, "the GSS-API message's VER"),
        (b"\x01\xff", b"", "the client gave the context up"),
    ],
)
def test_what_is_out_of_its_turn_is_refused(octets: bytes, send: bytes, reason: str) -> None:
    step = say(begin(nec=True), octets)
    assert isinstance(step, NotAuthenticated)
    assert step.send == send
    assert step.reason.startswith(reason)


def test_a_context_that_neither_ends_nor_answers_is_given_up() -> None:
    step = say(begin(Fake(((b"one", b""), (b"two", b"")))), context(b"one"))
    assert isinstance(step, NotAuthenticated)
    assert (step.send, step.reason) == (ABORT, "the context stands still")


def test_an_anonymous_client_is_refused() -> None:
    step = say(begin(Fake(principal=None)), context(b"one", b"three"))
    assert isinstance(step, NotAuthenticated)
    assert (step.send[-2:], step.reason) == (ABORT, "the client is anonymous")


def test_principals_that_are_not_listed_are_refused_and_named() -> None:
    step = say(begin(principals=["*@EXAMPLE.ORG", "bob@*"]), context(b"one", b"three"))
    assert isinstance(step, NotAuthenticated)
    assert (step.send[-2:], step.claimed) == (ABORT, ANN)
    assert isinstance(asked(1, principals=["*@SOCKS.TEST"]), Authenticated)


@pytest.mark.parametrize(
    ("names", "name"),
    [((), ANN), ([("*@SOCKS.TEST", "*")], "ann"), ([(ANN, "root"), ("*", "x")], "root")],
)
def test_principals_can_have_other_names(names: Any, name: str) -> None:
    step = asked(1, names=names)
    assert isinstance(step, Authenticated)
    assert step.identity == Identity(name, "gssapi")


def test_too_many_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(job: Any, reactor: Any) -> Deferred[Any]:
        return fail(TooManyLogins("too many logins at once"))

    monkeypatch.setattr(module, "in_login_thread", full)
    step = say(begin(), context(b"one"))
    assert isinstance(step, NotAuthenticated)
    assert (step.send, step.reason) == (ABORT, "too many logins at once")


def test_turns_are_by_client_as_they_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Login] = []

    def looking(job: Any, reactor: Any) -> Deferred[Any]:
        seen.append(current_login())
        return execute(job)

    monkeypatch.setattr(module, "in_login_thread", looking)
    authenticator = GSSAPIAuthenticator(Fake, object(), clients=Prefixes(24, 64))
    for address in (ip_address("192.0.2.7"), ip_address("2001:db8::7"), None):
        say(authenticator.negotiate(Client(address)), context(b"one"))
    assert [each.key for each in seen] == ["192.0.2.0/24", "2001:db8::/64", ""]
    assert not any(each.known for each in seen)
