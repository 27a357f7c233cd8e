"""Username and password over credentials checkers: those that accept, refuse, fail and hang."""

import hmac
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.cred.checkers import (
    ANONYMOUS,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.auth import PasswordAuthenticator
from socks5d.auth.blocking import Login, current_login
from socks5d.auth.guessing import Guessing
from socks5d.auth.password import UsernamePassword
from socks5d.auth.undecided import TooManyLogins, Unanswered, Undecided
from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.model import Authenticated, Client, Identity, More, NotAuthenticated
from socks5d.parameters import Limits
from socks5d.wire.userpass import Credentials, encode_credentials

SECONDS = 10.0
ACCEPTED, REFUSED = b"\x01\x00", b"\x01\x01"
SECRET = b"open-sesame"
GOOD = encode_credentials(Credentials(b"alice", SECRET))
WRONG = encode_credentials(Credentials(b"alice", b"wrong"))


@implementer(ICredentialsChecker)
class Checker:
    """
    Does as it is told.

    @ivar asked: the credentials it was given.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[UsernamePassword] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials)
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


def database(**users: str) -> ICredentialsChecker:
    """Twisted's own checker."""
    checker: ICredentialsChecker = InMemoryUsernamePasswordDatabaseDontUse(
        **{name: password.encode() for name, password in users.items()}
    )
    return checker


def begin(clock: Clock, *checkers: ICredentialsChecker) -> INegotiation:
    return PasswordAuthenticator(checkers, clock, SECONDS).negotiate(Client(None))


def heard(answer: Any) -> list[Any]:
    """What a step's Deferred says, now or later."""
    assert isinstance(answer, Deferred)
    said: list[Any] = []
    answer.addBoth(said.append)
    return said


def told(clock: Clock, checkers: Sequence[Any], data: bytes = GOOD) -> Any:
    """What a client is told at once."""
    said = heard(begin(clock, *checkers).receive(data))
    assert len(said) == 1
    return said[0]


def test_it_is_an_authenticator(clock: Clock) -> None:
    authenticator = PasswordAuthenticator([database()], clock, SECONDS)
    assert verifyObject(IAuthenticator, authenticator)
    assert verifyObject(INegotiation, authenticator.negotiate(Client(None)))
    assert (authenticator.method, authenticator.refusal) == (2, REFUSED)


def test_each_client_has_a_negotiation_of_its_own(clock: Clock) -> None:
    authenticator = PasswordAuthenticator([database(alice=SECRET.decode())], clock, SECONDS)
    one, other = authenticator.negotiate(Client(None)), authenticator.negotiate(Client(None))
    one.receive(GOOD[:5])
    other.receive(WRONG[:3])
    assert isinstance(heard(one.receive(GOOD[5:]))[0], Authenticated)
    assert isinstance(heard(other.receive(WRONG[3:]))[0], NotAuthenticated)


def test_credentials_are_what_a_checker_expects() -> None:
    assert verifyObject(IUsernamePassword, UsernamePassword(b"alice", SECRET))


# Accepting and refusing.


def test_the_right_password_lets_in(clock: Clock) -> None:
    step = told(clock, [database(alice=SECRET.decode())])
    assert step == Authenticated(Identity("alice", "password"), ACCEPTED)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (b"alice", b"wrong"),
        (b"alice", b""),
        (b"", SECRET),
        (b"", b""),
        (b"Alice", SECRET),
        (b"alice\0", SECRET),
        (b"mallory", SECRET),
        (b"alice", SECRET + b" "),
        (b"\xff", b"\xff"),
    ],
)
def test_anything_else_is_an_ordinary_failure(
    clock: Clock, logs: Sequence[LogEvent], username: bytes, password: bytes
) -> None:
    data = encode_credentials(Credentials(username, password))
    step = told(clock, [database(alice=SECRET.decode())], data)
    assert isinstance(step, NotAuthenticated)
    assert (step.send, step.reason) == (REFUSED, "wrong username or password")
    assert logs == []


def test_an_empty_name_is_nobodys(clock: Clock) -> None:
    step = told(clock, [database(**{"": ""})], encode_credentials(Credentials(b"", b"")))
    assert (step.send, step.reason) == (REFUSED, "a credentials checker failed")


def test_an_empty_password_can_be_right(clock: Clock) -> None:
    step = told(clock, [database(ann="")], encode_credentials(Credentials(b"ann", b"")))
    assert step == Authenticated(Identity("ann", "password"), ACCEPTED)


def test_a_checker_is_given_the_octets_as_they_came(clock: Clock) -> None:
    checker = Checker(b"somebody")
    told(clock, [checker], encode_credentials(Credentials(b"\xff\0 a", b"\xfe\0 p")))
    assert (checker.asked[0].username, checker.asked[0].password) == (b"\xff\0 a", b"\xfe\0 p")


@pytest.mark.parametrize(
    ("avatar", "name"),
    [
        (b"alice@example.com", "alice@example.com"),
        ("alice@example.com", "alice@example.com"),
        ("j\u00f6rg".encode(), "j\u00f6rg"),
        (b"\xff", "\udcff"),
    ],
)
def test_the_checker_gives_the_name(clock: Clock, avatar: object, name: str) -> None:
    step = told(clock, [Checker(avatar)])
    assert step == Authenticated(Identity(name, "password"), ACCEPTED)


@pytest.mark.parametrize("avatar", [b"", "", ANONYMOUS, None, 42])
def test_who_is_nobody_in_particular_is_not_who_the_client_says(
    clock: Clock, avatar: object
) -> None:
    step = told(clock, [Checker(avatar)])
    assert (step.send, step.reason) == (REFUSED, "a credentials checker failed")


def test_what_a_refused_client_claims_is_told_as_it_came(clock: Clock) -> None:
    data = encode_credentials(Credentials(b"x\nsession=1 \xff", b"secret"))
    step = told(clock, [database()], data)
    assert step.claimed == "x\nsession=1 \udcff"


# However it is cut up.


def test_fed_octet_by_octet_it_wants_more_until_the_last(clock: Clock) -> None:
    checker = Checker(b"alice")
    negotiation = begin(clock, checker)
    assert negotiation.receive(b"") == More()
    for octet in GOOD[:-1]:
        assert negotiation.receive(bytes((octet,))) == More()
    assert checker.asked == []
    step = heard(negotiation.receive(GOOD[-1:]))
    assert step == [Authenticated(Identity("alice", "password"), ACCEPTED)]


@pytest.mark.parametrize("cut", range(len(GOOD) + 1))
def test_what_follows_the_password_is_kept(clock: Clock, cut: int) -> None:
    data = GOOD + b"\x05\x01\x00"
    negotiation = begin(clock, Checker(b"alice"))
    first = negotiation.receive(data[:cut])
    step = heard(first if isinstance(first, Deferred) else negotiation.receive(data[cut:]))[0]
    assert isinstance(step, Authenticated)
    assert step.rest == (data[cut:] if cut < len(GOOD) else b"")[len(GOOD) - cut :]


@pytest.mark.parametrize("ver", [0, 2, 5, 71])
def test_another_version_is_refused_at_once(clock: Clock, ver: int) -> None:
    checker = Checker(b"alice")
    step = begin(clock, checker).receive(bytes((ver,)))
    assert isinstance(step, NotAuthenticated)
    assert step.send == REFUSED
    assert checker.asked == []


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


def test_a_client_that_leaves_cancels_the_checker(clock: Clock, logs: Sequence[LogEvent]) -> None:
    cancelled: list[object] = []
    pending: Deferred[bytes] = Deferred(cancelled.append)
    second = Checker(b"second")
    step = begin(clock, Checker(pending), second).receive(GOOD)
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
    guessing = Guessing(clock, Limits(failures=free), SECONDS / 4)
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
    guessing = Guessing(clock, Limits(failures=1), SECONDS / 4)
    authenticator = PasswordAuthenticator([checker], clock, SECONDS, guessing=guessing, cache=cache)
    assert isinstance(logs_in(authenticator), Authenticated)
    for number in range(50):
        data = encode_credentials(Credentials(b"alice", b"%d" % number))
        step = authenticator.negotiate(Client(ip_address("192.0.2.1"), 1)).receive(data)
        if not heard(step):
            assert isinstance(step, Deferred)
            step.cancel()
    assert logs_in(authenticator) is None


def test_a_cached_login_is_checked_for_another_client(clock: Clock) -> None:
    checker = Counting()
    authenticator = PasswordAuthenticator([checker], clock, SECONDS, cache=60)
    for who in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        assert isinstance(logs_in(authenticator, who=who), Authenticated)
    assert checker.checked == 2


def test_what_another_authenticator_accepted_is_known_but_not_cached(clock: Clock) -> None:
    """As of a listener with other checkers, or from before a reload."""
    guessing = Guessing(clock, Limits(failures=1), SECONDS / 4)
    checkers = Counting(), Counting()
    before, after = (
        PasswordAuthenticator([checker], clock, SECONDS, guessing=guessing, cache=60)
        for checker in checkers
    )
    assert isinstance(logs_in(before), Authenticated)
    logs_in(after, WRONG)
    assert logs_in(after, WRONG) is None
    assert isinstance(logs_in(after), Authenticated)
    assert checkers[1].checked == 2
    assert isinstance(logs_in(after), Authenticated)
    assert checkers[1].checked == 2


def test_what_fails_at_one_authenticator_counts_at_another(clock: Clock) -> None:
    guessing = Guessing(clock, Limits(failures=1), SECONDS / 4)
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
    assert checker.checked == 2
    checker.pending[1].callback(b"alice")
    assert isinstance(third[1][0], Authenticated)
    assert second[1][0].check(CancelledError)


def test_who_asks_in_anothers_place_has_no_more_time_than_there_was(clock: Clock) -> None:
    authenticator = guarded(clock, 3, Slow())
    first, second = (waiting(authenticator) for _ in range(2))
    clock.advance(SECONDS - 1)
    first[0].cancel()
    clock.advance(1)
    assert [each.reason for each in second[1]] == ["a credentials checker took too long"]


def test_who_leaves_before_the_answer_has_failed(clock: Clock) -> None:
    checker = Slow()
    authenticator = guarded(clock, 3, checker)
    for _ in range(3):
        waiting(authenticator)[0].cancel()
    waiting(authenticator)
    assert checker.checked == 3


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
        ("192.0.2.1", "192.0.2.1", False),
        ("192.0.2.1", b"alice", True),
        ("2001:db8::1", "2001:db8::/64", False),
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
