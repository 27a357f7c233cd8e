"""Who is judged anew, and by what, when rules change once more in the meantime."""

from ipaddress import IPv4Address
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogEvent
from zope.interface import implementer

from socks5d.auth import NoAuthentication
from socks5d.interfaces import IRuleset
from socks5d.model import Command, Decision, Request, Verdict
from socks5d.protocols import SOCKSFactory
from socks5d.protocols.review import Review

SOMEWHERE = IPv4Address("203.0.113.9")
PERMIT, DENY = Decision(Verdict.PERMIT, "so"), Decision(Verdict.DENY, "not so")


@implementer(IRuleset)
class Asked:
    """Answers when the test does."""

    def __init__(self) -> None:
        self.answers: list[Deferred[Decision]] = []

    def decide(self, request: Request) -> Deferred[Decision]:
        self.answers.append(Deferred())
        return self.answers[-1]


@define
class Carried:
    """What relays, as far as a review asks."""

    end: str = ""
    reasons: list[str] = field(factory=list)

    def abort(self, reason: str) -> None:
        self.end = reason
        self.reasons.append(reason)


class Scene:
    """One session that runs under rules that hold no more."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.factory = self._serving(Asked())
        self.first = self.factory.server
        self.connection = self.factory.buildProtocol(None)
        self.connection.makeConnection(StringTransport())
        session = self.connection.session
        session.version, session.command = "5", Command.CONNECT
        session.address, session.port = SOMEWHERE, 443
        self.carried = Carried()
        self.connection._carrier = self.carried
        self.review = Review(self.reactor)

    def _serving(self, ruleset: IRuleset) -> Any:
        reactor: Any = self.reactor
        return SOCKSFactory(ruleset=ruleset, authenticators=[NoAuthentication()], reactor=reactor)

    def reload(self) -> Asked:
        """Other rules hold, by which the session is to be judged."""
        rules = Asked()
        self.factory.follow(self._serving(rules))
        self.review.add([self.connection])
        self.reactor.advance(0)
        return rules


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_who_is_permitted_goes_on_under_the_new_rules(scene: Scene) -> None:
    (answer,) = scene.reload().answers
    assert scene.connection.session.server is scene.first
    answer.callback(PERMIT)
    assert scene.connection.session.server is scene.factory.server
    assert scene.carried.end == ""


def test_who_is_denied_ends(scene: Scene) -> None:
    (answer,) = scene.reload().answers
    answer.callback(DENY)
    assert scene.carried.reasons == ["reload: not so"]


def test_nobody_deciding_ends_it_too(scene: Scene) -> None:
    (answer,) = scene.reload().answers
    answer.errback(RuntimeError("oops"))
    assert len(scene.carried.reasons) == 1


def test_a_permit_of_rules_that_hold_no_more_is_none(scene: Scene) -> None:
    (early,) = scene.reload().answers
    others = scene.reload()
    early.callback(PERMIT)
    # Not yet under the last ones, which have not been asked.
    assert scene.connection.session.server is scene.first
    scene.reactor.advance(0)
    (late,) = others.answers
    late.callback(DENY)
    assert scene.carried.reasons == ["reload: not so"]


def test_a_review_tells_how_many(scene: Scene, logs: list[LogEvent]) -> None:
    scene.reload().answers[0].callback(DENY)
    scene.reactor.advance(0)
    (event,) = [each for each in logs if "judged" in each]
    assert (event["judged"], event["ended"]) == (1, 1)
