"""Checkers that accept, refuse, fail and hang: how often each is asked, and what that counts."""

import asyncio
import hmac
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.checkers import (
    ICredentialsChecker,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.auth import PasswordAuthenticator, checks
from socks5d.auth.blocking import Login, current_login
from socks5d.auth.checks import UsernamePassword
from socks5d.auth.guessing import Guessing
from socks5d.auth.logins import KNOWN, MISSES
from socks5d.auth.undecided import TooManyLogins, Unanswered, Undecided
from socks5d.model import Authenticated, Client, Identity, NotAuthenticated
from socks5d.parameters import Limits
from socks5d.wire.userpass import Credentials, encode_credentials
from tests.support.checkers import (
    ACCEPTED,
    GOOD,
    REFUSED,
    SECONDS,
    SECRET,
    WRONG,
    Checker,
    begin,
    database,
    heard,
    told,
)

# Several checkers.


def test_the_first_checker_that_accepts_counts_and_no_more_are_asked(clock: Clock) -> None:
    last = Checker(b"last")
    step = told(clock, [database(alice="other"), Checker(b"second"), last])
    assert step.identity == Identity("second", "password")
    assert last.asked == []


def test_when_none_accepts_all_were_asked(clock: Clock) -> None:
    checkers = [Checker(UnauthorizedLogin()), Checker(UnauthorizedLogin())]
    assert isinstance(told(clock, checkers), NotAuthenticated)
    assert [len(checker.asked) for checker in checkers] == [1, 1]


def test_a_checker_cannot_spoil_the_credentials_for_the_next(clock: Clock) -> None:
    @implementer(ICredentialsChecker)
    class Spoiler(Checker):
        def requestAvatarId(self, credentials: Any) -> Any:
            credentials.username, credentials.password = b"root", b"root"
            raise UnauthorizedLogin

    second = Checker(b"alice")
    told(clock, [Spoiler(None), second])
    assert (second.asked[0].username, second.asked[0].password) == (b"alice", SECRET)


# Checkers that fail.


def test_one_that_fails_with_what_is_no_exception_is_one_that_fails(clock: Clock) -> None:
    """As one that asyncio has cancelled."""
    failed: Deferred[bytes] = Deferred()
    failed.errback(Failure(asyncio.CancelledError()))
    step = told(clock, [Checker(failed), Checker(asyncio.CancelledError()), Checker(b"third")])
    assert step.identity.name == "third"


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyError(b"alice"), OSError(5, "I/O")])
def test_a_checker_that_raises_accepts_nobody(
    clock: Clock, logs: Sequence[LogEvent], error: Exception
) -> None:
    step = told(clock, [Checker(error)])
    assert isinstance(step, NotAuthenticated)
    assert step.send == REFUSED
    assert [event["text"] for event in logs] == [
        "a credentials checker failed, which accepts nobody"
    ]


def test_a_checker_that_raises_does_not_keep_the_next_from_accepting(clock: Clock) -> None:
    step = told(clock, [Checker(RuntimeError("boom")), Checker(b"second")])
    assert step.identity.name == "second"


def test_a_checker_that_was_cancelled_by_somebody_else_has_not_accepted(clock: Clock) -> None:
    cancelled: Deferred[bytes] = Deferred()
    cancelled.cancel()
    step = told(clock, [Checker(cancelled), Checker(b"second")])
    assert isinstance(step, Authenticated)
    assert step.identity.name == "second"


def test_a_slow_checker_is_waited_for(clock: Clock) -> None:
    pending: Deferred[bytes] = Deferred()
    said = heard(begin(clock, Checker(pending)).receive(GOOD))
    clock.advance(SECONDS - 0.001)
    assert said == []
    pending.callback(b"alice")
    assert said == [Authenticated(Identity("alice", "password"), ACCEPTED)]
    assert clock.getDelayedCalls() == []


def test_a_checker_that_hangs_accepts_nobody(clock: Clock, logs: Sequence[LogEvent]) -> None:
    cancelled: list[object] = []
    pending: Deferred[bytes] = Deferred(cancelled.append)
    said = heard(begin(clock, Checker(pending)).receive(GOOD))
    clock.advance(SECONDS)
    assert isinstance(said[0], NotAuthenticated)
    assert said[0].send == REFUSED
    assert cancelled == [pending]
    assert len(logs) == 1


def test_an_acceptance_that_comes_too_late_lets_nobody_in(clock: Clock) -> None:
    pending: Deferred[bytes] = Deferred(lambda deferred: deferred.callback(b"alice"))
    said = heard(begin(clock, Checker(pending)).receive(GOOD))
    clock.advance(SECONDS)
    assert len(said) == 1
    assert isinstance(said[0], NotAuthenticated)


def test_after_a_checker_that_hangs_the_next_is_asked(clock: Clock) -> None:
    said = heard(begin(clock, Checker(Deferred()), Checker(b"second")).receive(GOOD))
    clock.advance(SECONDS)
    assert said[0].identity.name == "second"


def test_the_checkers_share_their_time(clock: Clock) -> None:
    slow: Deferred[bytes] = Deferred()
    said = heard(begin(clock, Checker(Deferred()), Checker(slow)).receive(GOOD))
    clock.advance(SECONDS / 2)
    clock.advance(SECONDS / 2 - 0.001)
    slow.callback(b"slow")
    assert said[0].identity.name == "slow"


def test_a_client_that_leaves_cancels_a_checker_that_has_not_begun(
    clock: Clock, logs: Sequence[LogEvent]
) -> None:
    @implementer(ICredentialsChecker)
    class Busy(Checker):
        def requestAvatarId(self, credentials: Any) -> Any:
            current_login().wait()
            return super().requestAvatarId(credentials)

    cancelled: list[object] = []
    pending: Deferred[bytes] = Deferred(cancelled.append)
    second = Checker(b"second")
    step = begin(clock, Busy(pending), second).receive(GOOD)
    said = heard(step)
    assert isinstance(step, Deferred)
    step.cancel()
    assert cancelled == [pending]
    assert isinstance(said[0], Failure)
    assert said[0].check(CancelledError)
    assert second.asked == []
    assert (clock.getDelayedCalls(), logs) == ([], [])


# Secrecy.


def test_a_password_is_in_no_repr_and_no_log(clock: Clock, logs: Sequence[LogEvent]) -> None:
    checker = Checker(RuntimeError("boom"))
    negotiation = begin(clock, checker)
    negotiation.receive(GOOD[:-1])
    shown = [repr(negotiation), str(negotiation)]
    step = heard(negotiation.receive(GOOD[-1:]))
    shown += [repr(step), repr(checker.asked[0]), str(checker.asked[0])]
    shown += [repr(event) + str(event.get("log_failure")) for event in logs]
    shown += [event["log_failure"].getTraceback(detail="default") for event in logs]
    assert len(logs) == 1
    assert [text for text in shown if SECRET.decode() in text] == []
    assert "alice" in repr(checker.asked[0])


def test_credentials_are_what_a_checker_expects() -> None:
    assert verifyObject(IUsernamePassword, UsernamePassword(b"alice", SECRET))


def test_hostile_names_do_not_break_out_of_a_repr() -> None:
    assert repr(UsernamePassword(b"a\n\x1b[2J", SECRET)) == r"<UsernamePassword a\n\x1b[2J>"


def test_passwords_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[object, object]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    offered = UsernamePassword(b"alice", SECRET)
    assert offered.checkPassword(SECRET)
    assert not offered.checkPassword(b"wrong")
    assert not offered.checkPassword(b"")
    assert compared == [(SECRET, SECRET), (SECRET, b"wrong"), (SECRET, b"")]


@implementer(ICredentialsChecker)
class Counting:
    """
    Accepts one password, at once.

    @ivar checked: how many times it was asked.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.password = SECRET
        self.failure: Exception | None = None
        self.checked = 0

    def requestAvatarId(self, credentials: Any) -> Any:
        self.checked += 1
        if self.failure is not None:
            raise self.failure
        if not credentials.checkPassword(self.password):
            raise UnauthorizedLogin
        return credentials.username


def logs_in(
    authenticator: PasswordAuthenticator, data: bytes = GOOD, who: str = "192.0.2.1"
) -> Any:
    """What a client is told, at once or not at all."""
    said = heard(authenticator.negotiate(Client(ip_address(who), 40000)).receive(data))
    return said[0] if said else None


def guarded(clock: Clock, free: int, *checkers: ICredentialsChecker) -> PasswordAuthenticator:
    guessing = Guessing(clock, Limits(failures=free), SECONDS)
    return PasswordAuthenticator(checkers, clock, SECONDS, guessing=guessing)


def test_too_many_failures_are_not_checked(clock: Clock) -> None:
    checker = Counting()
    authenticator = guarded(clock, 3, checker)
    for _ in range(3):
        assert logs_in(authenticator, WRONG).reason == "wrong username or password"
    assert logs_in(authenticator, WRONG) is None
    clock.advance(1)
    assert checker.checked == 4
    # The next pause is longer than anybody waits.
    said = heard(authenticator.negotiate(Client(ip_address("192.0.2.1"), 1)).receive(WRONG))
    assert said == []
    clock.advance(SECONDS / 8)
    (refused,) = said
    assert refused.reason == "too many failures from this client, not checked"
    assert (refused.send, refused.claimed) == (REFUSED, "alice")
    assert checker.checked == 4


def test_who_was_let_in_before_does_not_wait_for_those_who_guess(clock: Clock) -> None:
    checker = Counting()
    authenticator = guarded(clock, 1, checker)
    assert isinstance(logs_in(authenticator), Authenticated)
    logs_in(authenticator, WRONG)
    assert logs_in(authenticator, WRONG) is None
    assert isinstance(logs_in(authenticator), Authenticated)
    assert checker.checked == 3


def test_who_guesses_hears_of_a_right_guess_no_sooner_than_of_others(clock: Clock) -> None:
    checker = Counting()
    authenticator = guarded(clock, 3, checker)
    assert isinstance(logs_in(authenticator, who="192.0.2.77"), Authenticated)
    told = []
    for password in (*(b"%d" % number for number in range(50)), SECRET):
        data = encode_credentials(Credentials(b"alice", password))
        step = authenticator.negotiate(Client(ip_address("192.0.2.1"), 1)).receive(data)
        # Who leaves while waiting has had no answer, and can try the next.
        said = heard(step)
        if not said:
            assert isinstance(step, Deferred)
            step.cancel()
        told.append(said[0])
    assert not any(isinstance(each, Authenticated) for each in told)
    assert checker.checked == 1 + 3


@pytest.mark.parametrize("cache", [0, 60])
def test_so_it_is_for_who_shares_an_address_with_whom_it_guesses(
    clock: Clock, cache: float
) -> None:
    checker = Counting()
    guessing = Guessing(clock, Limits(failures=1), SECONDS)
    authenticator = PasswordAuthenticator([checker], clock, SECONDS, guessing=guessing, cache=cache)
    assert isinstance(logs_in(authenticator), Authenticated)
    for number in range(50):
        data = encode_credentials(Credentials(b"alice", b"%d" % number))
        step = authenticator.negotiate(Client(ip_address("192.0.2.1"), 1)).receive(data)
        if not heard(step):
            assert isinstance(step, Deferred)
            step.cancel()
    assert logs_in(authenticator) is None


def test_a_cached_login_is_checked_for_another_address(clock: Clock) -> None:
    """Also of the same client, for a checker may go by addresses."""
    checker = Counting()
    authenticator = PasswordAuthenticator([checker], clock, SECONDS, cache=60)
    for who in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8::2"):
        assert isinstance(logs_in(authenticator, who=who), Authenticated)
    assert checker.checked == 4


def test_what_the_same_source_accepted_is_known_elsewhere_but_not_cached(clock: Clock) -> None:
    """As from before a reload."""
    guessing = Guessing(clock, Limits(failures=1), SECONDS)
    checkers = Counting(), Counting()
    before, after = (
        PasswordAuthenticator(
            [checker], clock, SECONDS, guessing=guessing, cache=60, source="a file"
        )
        for checker in checkers
    )
    assert isinstance(logs_in(before), Authenticated)
    logs_in(after, WRONG)
    assert logs_in(after, WRONG) is None
    assert isinstance(logs_in(after), Authenticated)
    assert checkers[1].checked == 2
    assert isinstance(logs_in(after), Authenticated)
    assert checkers[1].checked == 2


def test_what_was_right_where_others_are_asked_is_known_there_alone(clock: Clock) -> None:
    """Or it could be tried on another listener as often as anybody likes."""
    guessing = Guessing(clock, Limits(failures=1), SECONDS)
    mine, other = Counting(), Counting()
    other.password = b"another"
    here, there = (
        PasswordAuthenticator([checker], clock, SECONDS, guessing=guessing, source=checker)
        for checker in (mine, other)
    )
    assert isinstance(logs_in(here), Authenticated)
    assert isinstance(logs_in(there, GOOD), NotAuthenticated)
    assert logs_in(there, GOOD) is None
    assert other.checked == 1
    # Nor is it taken from whom it is, where it is right.
    assert isinstance(logs_in(here), Authenticated)


def test_what_fails_at_one_authenticator_counts_at_another(clock: Clock) -> None:
    guessing = Guessing(clock, Limits(failures=1), SECONDS)
    one, other = (
        PasswordAuthenticator([Counting()], clock, SECONDS, guessing=guessing) for _ in range(2)
    )
    assert isinstance(logs_in(one, WRONG), NotAuthenticated)
    assert logs_in(other, WRONG) is None


def test_a_password_that_was_right_once_is_checked_all_the_same(clock: Clock) -> None:
    checker = Counting()
    authenticator = guarded(clock, 1, checker)
    assert isinstance(logs_in(authenticator), Authenticated)
    checker.password = b"changed"
    assert isinstance(logs_in(authenticator), NotAuthenticated)
    # From now on it is like any other wrong one.
    assert isinstance(logs_in(authenticator), NotAuthenticated)
    assert logs_in(authenticator) is None


def test_a_cached_login_is_not_checked_for_its_time(clock: Clock) -> None:
    checker = Counting()
    authenticator = PasswordAuthenticator([checker], clock, SECONDS, cache=60)
    for _ in range(3):
        step = logs_in(authenticator)
        assert step.identity == Identity("alice", "password")
    assert checker.checked == 1
    checker.password = b"changed"
    clock.advance(59)
    assert isinstance(logs_in(authenticator), Authenticated)
    clock.advance(1)
    assert isinstance(logs_in(authenticator), NotAuthenticated)


def test_logins_beyond_what_can_be_checked_are_held_against_nobody(clock: Clock) -> None:
    authenticator = guarded(clock, 1, Checker(TooManyLogins()))
    for _ in range(5):
        assert logs_in(authenticator).reason == "too many logins at once, not checked"


def test_a_login_that_could_not_be_checked_is_held_against_nobody(clock: Clock) -> None:
    authenticator = guarded(clock, 1, Checker(Undecided()))
    for _ in range(5):
        assert logs_in(authenticator).reason == "could not be checked"


def test_a_login_that_could_not_be_checked_is_known_as_before(clock: Clock) -> None:
    checker = Counting()
    authenticator = guarded(clock, 1, checker, Counting())
    assert isinstance(logs_in(authenticator), Authenticated)
    logs_in(authenticator, WRONG)
    assert logs_in(authenticator, WRONG) is None
    checker.failure = Undecided()
    assert isinstance(logs_in(authenticator), Authenticated)
    checker.failure = None
    assert isinstance(logs_in(authenticator), Authenticated)


def test_a_check_that_takes_too_long_counts_as_a_guess(clock: Clock) -> None:
    # What is right has an answer sooner from a checker that has the wrong ones wait.
    authenticator = guarded(clock, 1, Checker(Deferred()))
    said = heard(authenticator.negotiate(Client(ip_address("192.0.2.1"), 1)).receive(GOOD))
    clock.advance(SECONDS)
    assert [each.reason for each in said] == ["a credentials checker took too long"]
    assert logs_in(authenticator, WRONG) is None
    assert logs_in(guarded(clock, 1, Counting()), WRONG) is not None


def test_a_login_that_nobody_began_to_check_is_held_against_nobody(
    clock: Clock, logs: Sequence[LogEvent]
) -> None:
    @implementer(ICredentialsChecker)
    class Busy(Counting):
        def requestAvatarId(self, credentials: Any) -> Any:
            current_login().wait()
            return Deferred()

    authenticator = guarded(clock, 1, Busy())
    for _ in range(3):
        said = heard(authenticator.negotiate(Client(ip_address("192.0.2.1"), 1)).receive(GOOD))
        clock.advance(SECONDS)
        assert [each.reason for each in said] == ["too many logins at once, not checked"]
    assert [event["text"] for event in logs] == [
        "logins wait for longer than they may for somebody to check them"
    ]


@implementer(ICredentialsChecker)
class Slow(Counting):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Deferred[bytes]] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.checked += 1
        self.pending.append(Deferred())
        return self.pending[-1]


def waiting(
    authenticator: PasswordAuthenticator, data: bytes = GOOD, who: str = "192.0.2.1"
) -> tuple[Deferred[Any], list[Any]]:
    """One that waits for its answer, and what it says."""
    step = authenticator.negotiate(Client(ip_address(who), 40000)).receive(data)
    assert isinstance(step, Deferred)
    return step, heard(step)


def test_the_same_login_many_times_at_once_is_checked_once(clock: Clock) -> None:
    checker = Slow()
    authenticator = guarded(clock, 1, checker)
    same = [waiting(authenticator)[1] for _ in range(20)]
    another = waiting(authenticator, who="192.0.2.2")[1]
    assert checker.checked == 1
    checker.pending[0].callback(b"alice")
    assert all(isinstance(said[0], Authenticated) for said in same)
    # From elsewhere it is somebody else's.
    assert another == []
    clock.advance(0)
    assert checker.checked == 2


def test_the_same_guess_many_times_at_once_is_one(clock: Clock) -> None:
    checker = Slow()
    authenticator = guarded(clock, 2, checker)
    same = [waiting(authenticator, WRONG)[1] for _ in range(20)]
    checker.pending[0].errback(UnauthorizedLogin())
    assert [said[0].reason for said in same] == ["wrong username or password"] * 20
    waiting(authenticator, WRONG)
    assert checker.checked == 2


def test_who_leaves_does_not_take_the_answer_from_the_others(clock: Clock) -> None:
    checker = Slow()
    authenticator = guarded(clock, 3, checker)
    first, second, third = (waiting(authenticator) for _ in range(3))
    second[0].cancel()
    first[0].cancel()
    assert checker.checked == 1
    checker.pending[0].callback(b"alice")
    assert isinstance(third[1][0], Authenticated)
    assert second[1][0].check(CancelledError)


def test_a_check_has_no_more_time_for_whoever_still_waits(clock: Clock) -> None:
    authenticator = guarded(clock, 3, Slow())
    first, second = (waiting(authenticator) for _ in range(2))
    clock.advance(SECONDS - 1)
    first[0].cancel()
    clock.advance(1)
    assert [each.reason for each in second[1]] == ["a credentials checker took too long"]


def data_of(number: int) -> bytes:
    return encode_credentials(Credentials(b"alice", b"%d" % number))


def test_of_who_leaves_before_the_answer_it_counts_what_that_is(clock: Clock) -> None:
    checker = Slow()
    authenticator = guarded(clock, 2, checker)
    for number in range(2):
        waiting(authenticator, data_of(number))[0].cancel()
    # Their turns are taken until then.
    third = waiting(authenticator, data_of(2))
    assert checker.checked == 2
    checker.pending[0].callback(b"alice")
    clock.advance(0)
    assert checker.checked == 3
    checker.pending[1].errback(UnauthorizedLogin())
    checker.pending[2].errback(UnauthorizedLogin())
    assert isinstance(third[1][0], NotAuthenticated)
    waiting(authenticator, data_of(3))
    clock.advance(0)
    assert checker.checked == 3
    # What was right is known.
    waiting(authenticator, data_of(0))
    assert checker.checked == 4


def test_who_comes_back_for_its_answer_has_it(clock: Clock) -> None:
    checker = Slow()
    authenticator = guarded(clock, 1, checker)
    for _ in range(5):
        waiting(authenticator)[0].cancel()
    said = waiting(authenticator)[1]
    checker.pending[0].callback(b"alice")
    assert isinstance(said[0], Authenticated)
    assert checker.checked == 1


def test_a_check_that_goes_on_ends_in_time(clock: Clock) -> None:
    checker = Slow()
    authenticator = guarded(clock, 1, checker)
    waiting(authenticator)[0].cancel()
    clock.advance(SECONDS)
    waiting(authenticator, WRONG)
    assert checker.checked == 1
    assert authenticator._checks._deserted == set()


def test_where_too_many_checks_go_on_who_leaves_has_failed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "DESERTED", 2)
    checker = Slow()
    authenticator = guarded(clock, 1, checker)
    for number in range(3):
        data = encode_credentials(Credentials(b"user %d" % number, b""))
        waiting(authenticator, data, who=f"192.0.2.{number}")[0].cancel()
    assert [each.called for each in checker.pending] == [False, False, True]
    for each in checker.pending[:2]:
        each.callback(b"somebody")
    # Those were right, and the third was not.
    assert waiting(authenticator, who="192.0.2.2")[1] == []
    assert checker.checked == 3
    waiting(authenticator, who="192.0.2.1")
    assert checker.checked == 4


def test_who_tries_others_hears_nothing_of_what_is_just_checked(clock: Clock) -> None:
    """Or of any number of guesses, made while their owner logs in, the right one would be told."""
    checker = Slow()
    authenticator = guarded(clock, 1, checker)
    owner = waiting(authenticator)[1]
    for number in range(MISSES):
        waiting(authenticator, data_of(number))[0].cancel()
    guess = waiting(authenticator)[1]
    checker.pending[0].callback(b"alice")
    assert isinstance(owner[0], Authenticated)
    assert guess == []
    # As is who was sent back so many times at once, when that is over.
    clock.advance(0)
    assert checker.checked == 2
    checker.pending[1].callback(b"alice")
    assert isinstance(guess[0], Authenticated)
    # So it is for an hour, for that name there.
    clock.advance(KNOWN - 1)
    same = [waiting(authenticator)[1] for _ in range(2)]
    assert checker.checked == 4
    for pending in checker.pending[2:]:
        pending.callback(b"alice")
    clock.advance(1)
    same += [waiting(authenticator)[1] for _ in range(5)]
    assert checker.checked == 5
    checker.pending[4].callback(b"alice")
    assert all(isinstance(said[0], Authenticated) for said in same)


def test_what_was_tried_is_told_apart_by_address_and_bounded(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "LOGINS", 3)
    checker = Slow()
    authenticator = guarded(clock, 99, checker)
    for number in range(20):
        waiting(authenticator, data_of(number), who="192.0.2.9")
    before = checker.checked
    same = [waiting(authenticator, who="192.0.2.10")[1] for _ in range(2)]
    assert checker.checked == before + 1
    for number in range(9):
        waiting(authenticator, who=f"192.0.3.{number}")
    assert len(authenticator._checks._tried._tried) == 3
    checker.pending[before].callback(b"alice")
    assert all(isinstance(said[0], Authenticated) for said in same)


@pytest.mark.parametrize("unseen", [lambda login: login.wait(), lambda login: login.withhold()])
def test_who_leaves_before_anybody_looked_has_not(clock: Clock, unseen: Any) -> None:
    @implementer(ICredentialsChecker)
    class Busy(Slow):
        def requestAvatarId(self, credentials: Any) -> Any:
            unseen(current_login())
            return super().requestAvatarId(credentials)

    checker = Busy()
    authenticator = guarded(clock, 1, checker)
    for _ in range(9):
        waiting(authenticator)[0].cancel()
    assert checker.checked == 9


def test_what_nobody_was_given_in_time_is_held_against_nobody(clock: Clock) -> None:
    @implementer(ICredentialsChecker)
    class Unreachable(Counting):
        def requestAvatarId(self, credentials: Any) -> Any:
            current_login().withhold()
            return Deferred()

    authenticator = guarded(clock, 1, Unreachable())
    for _ in range(3):
        said = waiting(authenticator)[1]
        clock.advance(SECONDS)
        assert [each.reason for each in said] == ["could not be checked"]


def test_what_was_asked_about_and_not_answered_counts_as_a_guess(clock: Clock) -> None:
    authenticator = guarded(clock, 1, Checker(Unanswered()))
    assert logs_in(authenticator).reason == "a credentials checker took too long"
    assert logs_in(authenticator) is None


def test_a_checker_that_fails_is_held_against_nobody(clock: Clock) -> None:
    authenticator = guarded(clock, 1, Checker(OSError()))
    for _ in range(5):
        assert logs_in(authenticator).reason == "a credentials checker failed"


def test_wrong_for_one_and_unknown_to_another_is_wrong(clock: Clock) -> None:
    authenticator = guarded(clock, 1, Checker(OSError()), Counting())
    assert logs_in(authenticator, WRONG).reason == "wrong username or password"
    assert logs_in(authenticator, WRONG) is None


def test_without_a_checker_nobody_is_let_in(clock: Clock) -> None:
    assert isinstance(logs_in(PasswordAuthenticator([], clock, SECONDS)), NotAuthenticated)


def test_what_one_checker_leaves_of_the_time_the_next_one_gets(clock: Clock) -> None:
    pending: list[Deferred[bytes]] = [Deferred(), Deferred()]
    said = heard(begin(clock, *map(Checker, pending)).receive(GOOD))
    clock.advance(1)
    pending[0].errback(UnauthorizedLogin())
    clock.advance(SECONDS - 1.001)
    assert said == []
    clock.advance(0.002)
    assert isinstance(said[0], NotAuthenticated)


def test_those_who_check_know_whose_login_it_is(clock: Clock) -> None:
    seen: list[Login] = []

    @implementer(ICredentialsChecker)
    class Looking(Counting):
        def requestAvatarId(self, credentials: Any) -> Any:
            seen.append(current_login())
            return super().requestAvatarId(credentials)

    authenticator = PasswordAuthenticator([Looking()], clock, SECONDS)
    for who in ("192.0.2.1", "192.0.2.1", "2001:db8::1"):
        assert isinstance(logs_in(authenticator, who=who), Authenticated)
    assert [(str(each.client and each.client.address), each.key, each.known) for each in seen] == [
        ("192.0.2.1", ("192.0.0.0/16", "192.0.2.1"), False),
        ("192.0.2.1", ("alice",), True),
        ("2001:db8::1", ("2001:db8::/32", "2001:db8::/48", "2001:db8::/64"), False),
    ]
    assert current_login().client is None


def test_each_checker_has_a_login_of_its_own(clock: Clock) -> None:
    """For one that began to look does not mean that the next did."""
    seen: list[Login] = []

    @implementer(ICredentialsChecker)
    class Looking(Checker):
        def requestAvatarId(self, credentials: Any) -> Any:
            seen.append(current_login())
            return super().requestAvatarId(credentials)

    assert isinstance(told(clock, [Looking(UnauthorizedLogin()), Looking(b"a")]), Authenticated)
    assert seen[0] is not seen[1]


@implementer(ICredentialsChecker)
class Whimsical(Slow):
    """Looks at once, or later, or never; answers at once, or when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.mood = "looks"

    def requestAvatarId(self, credentials: Any) -> Any:
        if self.mood == "raises":
            raise OSError
        if self.mood == "answers":
            return credentials.username
        if self.mood == "waits":
            current_login().wait()
        if self.mood == "withholds":
            current_login().withhold()
        return super().requestAvatarId(credentials)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.integers(1, 3), st.sampled_from([b"ann", b"ANN", b"bob"])),
            st.tuples(
                st.just("mood"),
                st.sampled_from(["looks", "raises", "answers", "waits", "withholds"]),
                st.integers(0, 1),
            ),
            st.tuples(st.just("leave"), st.integers(0, 15), st.just(0)),
            st.tuples(st.just("right"), st.integers(0, 5), st.just(0)),
            st.tuples(st.just("wrong"), st.integers(0, 5), st.just(0)),
            st.tuples(st.just("breaks"), st.integers(0, 5), st.just(0)),
            st.tuples(st.just("pass"), st.sampled_from([0.1, 1.0, SECONDS]), st.just(0)),
        ),
        max_size=50,
    )
)
def test_whatever_happens_everybody_hears_and_nothing_is_left(
    script: list[tuple[str, Any, Any]],
) -> None:
    clock = Clock()
    checkers = Whimsical(), Whimsical()
    guessing = Guessing(clock, Limits(failures=2), SECONDS)
    authenticator = PasswordAuthenticator(checkers, clock, SECONDS, guessing=guessing, cache=5)
    asking: list[tuple[Deferred[Any], list[Any]]] = []
    for word, value, more in script:
        pending = [each for checker in checkers for each in checker.pending if not each.called]
        if word == "ask":
            data = encode_credentials(Credentials(more, b"%d" % (len(asking) % 3)))
            asking.append(waiting(authenticator, data, f"192.0.{value}.1"))
        elif word == "mood":
            checkers[more].mood = value
        elif word == "pass":
            clock.advance(value)
        elif word == "leave" and value < len(asking):
            asking[value][0].cancel()
        elif value < len(pending):
            if word == "right":
                pending[value].callback(b"somebody")
            else:
                pending[value].errback(UnauthorizedLogin() if word == "wrong" else OSError())
    clock.pump([0.5] * round(SECONDS * 2 + 2))
    assert all(len(said) == 1 for _, said in asking)
    assert clock.getDelayedCalls() == []
    checks = authenticator._checks
    assert (checks._deserted, checks._together._asked) == (set(), {})
    for failures in (guessing._clients, guessing._names):
        assert all(known.idle() for known in failures._keys.values())
