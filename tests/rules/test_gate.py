"""The one door: whatever a ruleset does, what comes out is a decision, and mostly a denial."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Request, Verdict
from socks5d.rules import DestinationRules, Gate, PermitUnprotected, Protection, parse_destination
from tests.rules.requests import (
    DENY,
    PERMIT,
    PERMIT_BY_ADDRESS,
    Says,
    for_address,
    for_client,
    for_name,
)

SECONDS = 10.0
FAILED = Decision(Verdict.DENY, "the ruleset failed to decide")
STAGES = (for_client(), for_name("example.com"), for_address("192.0.2.1"))
STAGE_NAMES = ("client", "name", "address")


def gate(ruleset: IRuleset, clock: Clock, protection: Protection | None = None) -> Gate:
    return Gate(ruleset, protection or Protection(), clock, SECONDS)


def heard(answer: Decision | Deferred[Decision]) -> list[Any]:
    """What an answer says, now or later."""
    assert isinstance(answer, Deferred)
    said: list[Any] = []
    answer.addBoth(said.append)
    return said


def complaints(logs: Sequence[LogEvent]) -> list[str]:
    return [event["text"] for event in logs if event.get("log_namespace", "").endswith("Gate")]


# What it lets through as it is.


@pytest.mark.parametrize("request_", STAGES, ids=STAGE_NAMES)
@pytest.mark.parametrize("decision", [PERMIT, DENY], ids=["permit", "deny"])
def test_a_decision_that_comes_at_once_costs_no_deferred(
    clock: Clock, request_: Request, decision: Decision
) -> None:
    assert gate(Says(decision), clock).judge(request_) == decision
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("request_", STAGES, ids=STAGE_NAMES)
@pytest.mark.parametrize("decision", [PERMIT, DENY], ids=["permit", "deny"])
def test_a_decision_that_comes_later_is_the_same(
    clock: Clock, request_: Request, decision: Decision
) -> None:
    pending: Deferred[Decision] = Deferred()
    said = heard(gate(Says(pending), clock).judge(request_))
    clock.advance(SECONDS - 0.5)
    assert said == []
    pending.callback(decision)
    assert said == [decision]
    assert clock.getDelayedCalls() == []


def test_a_deferred_that_has_fired_answers_at_once(clock: Clock) -> None:
    assert heard(gate(Says(succeed(PERMIT)), clock).judge(STAGES[2])) == [PERMIT]
    assert clock.getDelayedCalls() == []


def test_the_ruleset_is_told_the_request_itself(clock: Clock) -> None:
    ruleset = Says(PERMIT)
    gate(ruleset, clock).judge(STAGES[1])
    assert ruleset.asked == [STAGES[1]]


# No opinion.


@pytest.mark.parametrize("request_", STAGES[:2], ids=STAGE_NAMES[:2])
def test_no_opinion_of_a_client_or_a_name_stays_none(clock: Clock, request_: Request) -> None:
    assert gate(Says(NO_OPINION), clock).judge(request_) == NO_OPINION


def test_no_opinion_of_an_address_denies(clock: Clock) -> None:
    denial = Decision(Verdict.DENY, "no rule mentions it")
    assert gate(Says(NO_OPINION), clock).judge(STAGES[2]) == denial
    assert heard(gate(Says(succeed(NO_OPINION)), clock).judge(STAGES[2])) == [denial]


# Protection.


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
    ],
)
def test_only_a_permit_by_address_reaches_what_is_protected(
    clock: Clock, address: str, what: str
) -> None:
    request = for_address(address, name="innocent.example")
    denial = Decision(Verdict.DENY, f"protected: {what}")
    assert gate(Says(PERMIT), clock).judge(request) == denial
    assert heard(gate(Says(succeed(PERMIT)), clock).judge(request)) == [denial]
    assert gate(Says(PERMIT_BY_ADDRESS), clock).judge(request) == PERMIT_BY_ADDRESS


def test_a_star_does_not_lift_the_protection_and_an_address_does(clock: Clock) -> None:
    def judged(*allow: str) -> Verdict:
        ruleset = DestinationRules([parse_destination(each) for each in allow])
        answer = gate(ruleset, clock).judge(for_address("127.0.0.1", 80, name="localhost"))
        assert isinstance(answer, Decision)
        return answer.verdict

    assert judged("*") is Verdict.DENY
    assert judged("localhost") is Verdict.DENY
    assert judged("*:80") is Verdict.DENY
    assert judged("127.0.0.1") is Verdict.PERMIT
    assert judged("127.0.0.0/8:80") is Verdict.PERMIT
    assert judged("127.0.0.0/8:81") is Verdict.DENY
    assert judged("*", "127.0.0.1") is Verdict.PERMIT
    assert judged("::ffff:127.0.0.1") is Verdict.PERMIT


def test_an_allowed_ipv4_address_does_not_lift_the_protection_of_a_disguise(clock: Clock) -> None:
    ruleset = DestinationRules([parse_destination("*"), parse_destination("127.0.0.1")])
    found = gate(ruleset, clock).judge(for_address("64:ff9b::127.0.0.1"))
    assert found == Decision(Verdict.DENY, "protected: loopback")


def test_permit_unprotected_permits_what_is_not_protected(clock: Clock) -> None:
    door = gate(PermitUnprotected(), clock)
    assert door.judge(for_address("10.0.0.1")) == Decision(Verdict.PERMIT, "default")
    assert door.judge(for_address("127.0.0.1")) == Decision(Verdict.DENY, "protected: loopback")


def test_a_name_is_not_protected_before_it_has_an_address(clock: Clock) -> None:
    assert gate(Says(PERMIT), clock).judge(for_name("localhost")) == PERMIT


# What goes wrong.


@pytest.mark.parametrize("request_", STAGES, ids=STAGE_NAMES)
def test_a_ruleset_that_raises_denies(
    clock: Clock, logs: Sequence[LogEvent], request_: Request
) -> None:
    assert gate(Says(RuntimeError("boom")), clock).judge(request_) == FAILED
    assert complaints(logs) == ["a ruleset failed to decide, which denies"]
    assert "boom" in str(logs[0]["log_failure"])


@pytest.mark.parametrize("request_", STAGES, ids=STAGE_NAMES)
def test_a_ruleset_whose_deferred_fails_denies(
    clock: Clock, logs: Sequence[LogEvent], request_: Request
) -> None:
    assert heard(gate(Says(fail(RuntimeError("boom"))), clock).judge(request_)) == [FAILED]
    pending: Deferred[Decision] = Deferred()
    said = heard(gate(Says(pending), clock).judge(request_))
    pending.errback(RuntimeError("later"))
    assert said == [FAILED]
    assert len(complaints(logs)) == 2


@pytest.mark.parametrize("request_", STAGES, ids=STAGE_NAMES)
@pytest.mark.parametrize("garbage", [None, True, "permit", Verdict.PERMIT, object], ids=repr)
def test_a_ruleset_that_gives_no_decision_denies(
    clock: Clock, logs: Sequence[LogEvent], request_: Request, garbage: Any
) -> None:
    assert gate(Says(garbage), clock).judge(request_) == FAILED
    assert heard(gate(Says(succeed(garbage)), clock).judge(request_)) == [FAILED]
    assert set(complaints(logs)) == {"a ruleset gave something that is no Decision"}


def test_a_decision_with_a_verdict_that_is_none_permits_no_address(clock: Clock) -> None:
    verdict: Any = "permit"
    answer = gate(Says(Decision(verdict)), clock).judge(for_address("192.0.2.1"))
    assert isinstance(answer, Decision)
    assert answer.verdict is Verdict.DENY


@pytest.mark.parametrize("request_", STAGES, ids=STAGE_NAMES)
def test_a_ruleset_that_never_answers_denies_when_its_time_is_over(
    clock: Clock, logs: Sequence[LogEvent], request_: Request
) -> None:
    cancelled: list[object] = []
    pending: Deferred[Decision] = Deferred(cancelled.append)
    said = heard(gate(Says(pending), clock).judge(request_))
    clock.advance(SECONDS - 0.001)
    assert (said, cancelled) == ([], [])
    clock.advance(0.001)
    assert said == [FAILED]
    assert cancelled == [pending]
    assert complaints(logs) == ["a ruleset failed to decide, which denies"]


def test_an_answer_that_comes_too_late_is_dropped(clock: Clock) -> None:
    # Twisted lets a Deferred without a canceller be fired once after it was cancelled.
    pending: Deferred[Decision] = Deferred()
    said = heard(gate(Says(pending), clock).judge(STAGES[2]))
    clock.advance(SECONDS)
    pending.callback(PERMIT)
    assert said == [FAILED]


def test_a_ruleset_that_answers_its_cancellation_with_a_permit_has_denied(clock: Clock) -> None:
    pending: Deferred[Decision] = Deferred(lambda deferred: deferred.callback(PERMIT))
    said = heard(gate(Says(pending), clock).judge(STAGES[2]))
    clock.advance(SECONDS)
    assert said == [FAILED]


def test_cancelling_cancels_the_ruleset_and_is_told_as_that(
    clock: Clock, logs: Sequence[LogEvent]
) -> None:
    cancelled: list[object] = []
    pending: Deferred[Decision] = Deferred(cancelled.append)
    answer = gate(Says(pending), clock).judge(STAGES[2])
    said = heard(answer)
    assert isinstance(answer, Deferred)
    answer.cancel()
    assert cancelled == [pending]
    assert isinstance(said[0], Failure)
    assert said[0].check(CancelledError)
    assert clock.getDelayedCalls() == []
    assert complaints(logs) == []


@pytest.mark.parametrize("request_", STAGES, ids=STAGE_NAMES)
def test_a_ruleset_that_was_cancelled_by_somebody_else_denies(
    clock: Clock, request_: Request
) -> None:
    pending: Deferred[Decision] = Deferred()
    said = heard(gate(Says(pending), clock).judge(request_))
    # Its own affair: nobody cancelled what the gate gave.
    pending.cancel()
    assert said == [FAILED]


@pytest.mark.parametrize("request_", STAGES, ids=STAGE_NAMES)
def test_a_ruleset_that_raises_a_cancellation_denies(clock: Clock, request_: Request) -> None:
    assert gate(Says(CancelledError()), clock).judge(request_) == FAILED


def test_a_ruleset_that_always_fails_is_complained_of_once_a_minute(
    clock: Clock, logs: Sequence[LogEvent]
) -> None:
    door = gate(Says(RuntimeError("boom")), clock)
    for _ in range(1000):
        door.judge(STAGES[2])
    assert len(complaints(logs)) == 1
    clock.advance(60)
    door.judge(STAGES[2])
    assert complaints(logs)[1] == (
        "a ruleset failed to decide, which denies (and 999 times since the last line about it)"
    )


@implementer(IRuleset)
class Interrupted:
    """Is stopped by something that is no ruleset's fault."""

    def decide(self, request: Request) -> Decision:
        raise KeyboardInterrupt


def test_an_interruption_is_not_taken_for_a_rulesets_failure(clock: Clock) -> None:
    with pytest.raises(KeyboardInterrupt):
        gate(Interrupted(), clock).judge(STAGES[2])
