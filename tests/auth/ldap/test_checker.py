"""The checker: deadlines, what is refused before it is asked, what is logged."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent
from zope.interface.verify import verifyObject

from socks5d.auth.blocking import Login, checking
from socks5d.auth.ldap import checker as module
from socks5d.auth.ldap.checker import DirectoryFailed, LDAPChecker
from socks5d.auth.ldap.failures import DirectoryError
from socks5d.auth.ldap.settings import Search, Server, Settings, Template
from socks5d.auth.ldap.ways import Wrong
from socks5d.auth.undecided import TooManyLogins, Unanswered, Undecided
from tests.auth.ldap.directory import PASSWORD, ROOT, Directory

SERVER = Server("localhost", 389, tls=False, ask=False)
SECRET = b"the searcher's own"
ANN = f"uid=ann,{ROOT}"
BY_TEMPLATE = Template(f"uid=%s,{ROOT}")
BY_SEARCH = Search(ROOT, bind=f"cn=searcher,{ROOT}", secret=SECRET)


@pytest.fixture
def directory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Directory:
    directory = Directory(clock)
    directory.add(ANN, uid=[b"ann"])
    directory.add(f"cn=searcher,{ROOT}", SECRET)
    monkeypatch.setattr(module, "connecting", lambda *_: directory.connect)
    return directory


def make(directory: Directory, way: Search | Template = BY_TEMPLATE, **changes: Any) -> LDAPChecker:
    return LDAPChecker(Settings(SERVER, way, **changes), directory.clock)


def begin(
    checker: LDAPChecker, name: Any = b"ann", password: Any = PASSWORD
) -> tuple[Deferred[Any], list[Any]]:
    said: list[Any] = []
    deferred = checker.requestAvatarId(UsernamePassword(name, password))
    deferred.addCallbacks(said.append, lambda failure: said.append(failure.type))
    return deferred, said


def told(directory: Directory, checker: LDAPChecker, *credentials: Any) -> Any:
    _, said = begin(checker, *credentials)
    directory.turn()
    assert len(said) == 1
    return said[0]


def lines(logs: Sequence[LogEvent]) -> list[str]:
    assert all("log_failure" not in each for each in logs)
    return [formatEvent(each) for each in logs]


def test_it_is_a_checker(directory: Directory) -> None:
    assert verifyObject(ICredentialsChecker, make(directory))


@pytest.mark.parametrize("way", [BY_TEMPLATE, BY_SEARCH])
def test_the_name_is_octets_or_text_as_it_was_given(
    directory: Directory, way: Search | Template
) -> None:
    checker = make(directory, way)
    assert told(directory, checker, b"Ann", PASSWORD) == b"ann"
    assert told(directory, checker, "Ann", PASSWORD.decode()) == "ann"
    assert told(directory, checker, "Ann", "wrong") is Wrong
    assert told(directory, checker, b"nobody", b"wrong") is Wrong


@pytest.mark.parametrize("way", [BY_TEMPLATE, BY_SEARCH])
@pytest.mark.parametrize(
    ("name", "password"),
    [
        (b"ann", b""),
        ("ann", ""),
        (b"", PASSWORD),
        (b"", b""),
        (b"ann", b"\0"),
        (b"ann", PASSWORD + b"\0"),
        (b"ann\0", PASSWORD),
        (b"\xff", PASSWORD),
        ("\udcff", PASSWORD),
        ("\ud800", PASSWORD),
        (b"x" * 256, PASSWORD),
        (b"ann", b"x" * 1025),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    directory: Directory, way: Search | Template, name: Any, password: Any
) -> None:
    checker = make(directory, way)
    assert begin(checker, name, password)[1] == [Wrong]
    assert told(directory, checker) == b"ann"
    directory.asked.clear()
    # With connections that are there too.
    assert begin(checker, name, password)[1] == [Wrong]
    directory.turn()
    assert directory.asked == []
    assert len(directory.wires) <= 2


@pytest.mark.parametrize(("way", "why"), [(BY_TEMPLATE, Unanswered), (BY_SEARCH, DirectoryFailed)])
def test_a_silent_directory_is_waited_for_so_long(
    directory: Directory,
    way: Search | Template,
    why: type[Exception],
    clock: Clock,
    logs: Sequence[LogEvent],
) -> None:
    checker = make(directory, way, timeout=5.0)
    # The one is asked for a bind first, which it could answer sooner if it were right.
    directory.mute = True
    _, said = begin(checker)
    directory.turn()
    clock.advance(4.99)
    assert said == []
    clock.advance(0.02)
    assert said == [why]
    directory.turn()
    assert not any(wire.open for wire in directory.wires)
    assert lines(logs) == [
        "the directory localhost:389 fails, which accepts nobody: no answer in 5 seconds"
    ]
    directory.mute = False
    assert told(directory, checker) == b"ann"


def test_the_deadline_holds_for_those_who_wait_too(directory: Directory, clock: Clock) -> None:
    checker = make(directory, connections=2, waiting=1)
    directory.mute = True
    begun = [begin(checker)[1] for _ in range(4)]
    assert begun == [[], [], [], [TooManyLogins]]
    directory.turn(5.0)
    # The third had its turn when it was too late.
    assert begun == [[Unanswered]] * 2 + [[DirectoryFailed], [TooManyLogins]]
    assert issubclass(TooManyLogins, UnauthorizedLogin)
    assert issubclass(Unanswered, UnauthorizedLogin)
    assert not issubclass(Unanswered, Undecided)


def test_who_has_not_had_a_turn_in_time_was_one_too_many(
    directory: Directory, clock: Clock
) -> None:
    checker = make(directory, connections=1, waiting=9)
    directory.mute = True
    begun = []
    for key in "aaab":
        with checking(Login(key=key)):
            begun.append(begin(checker)[1])
        clock.advance(0.1)
    # When the first gives up its line it is the second's turn, then the fourth's.
    clock.advance(4.61)
    assert begun[0] == [Unanswered]
    for _ in range(4):
        clock.advance(0.1)
    assert begun[2] == [TooManyLogins]
    assert begun[1] == [Unanswered]


@pytest.mark.parametrize("name", [b"ann", b"nobody"])
@pytest.mark.parametrize("ends", [False, True])
def test_a_bind_without_an_answer_may_have_been_a_guess_whoever_there_is(
    directory: Directory, name: bytes, ends: bool
) -> None:
    checker = make(directory, BY_SEARCH)
    assert told(directory, checker) == b"ann"
    directory.silent_about.add("LDAPBindRequest")
    _, said = begin(checker, name, b"wrong")
    directory.turn()
    assert said == []
    if ends:
        # A connection that was kept is replaced once.
        for _ in range(2):
            directory.wires[-1].lose()
            directory.turn()
    else:
        directory.turn(5.0)
    assert said == [Unanswered]


@pytest.mark.parametrize("code", [51, 52, 80])
def test_a_bind_that_was_answered_without_a_verdict_was_none(
    directory: Directory, code: int
) -> None:
    checker = make(directory, BY_TEMPLATE)
    directory.codes["LDAPBindRequest"] = code
    assert told(directory, checker, b"ann", b"wrong") is DirectoryFailed


def test_connections_are_counted_for_searches_too(directory: Directory) -> None:
    for way, at_once in ((BY_TEMPLATE, 3), (BY_SEARCH, 2)):
        checker = make(directory, way, connections=4, waiting=100)
        begun = [begin(checker)[1] for _ in range(20)]
        most = 0
        for _ in range(500):
            directory.clock.advance(0)
            most = max(most, sum(wire.open for wire in directory.wires))
        assert begun == [[b"ann"]] * 20
        assert most <= 4
        assert len(directory.wires) == (at_once if way is BY_TEMPLATE else 4)
        checker.close()
        directory.turn()
        directory.wires.clear()


@pytest.mark.parametrize("way", [BY_TEMPLATE, BY_SEARCH])
@pytest.mark.parametrize("turns", range(6))
def test_who_leaves_leaves_nothing_behind(
    directory: Directory,
    way: Search | Template,
    turns: int,
    clock: Clock,
    logs: Sequence[LogEvent],
) -> None:
    checker = make(directory, way, connections=2, waiting=1)
    deferred, said = begin(checker)
    directory.turn(times=turns)
    if said:
        return
    deferred.cancel()
    assert said == [CancelledError]
    directory.turn()
    assert told(directory, checker) == b"ann"
    checker.close()
    directory.turn()
    assert not any(wire.open for wire in directory.wires)
    assert clock.getDelayedCalls() == []
    assert lines(logs) == []


def test_a_directory_that_fails_is_told_once_a_minute(
    directory: Directory, clock: Clock, logs: Sequence[LogEvent]
) -> None:
    checker = make(directory)
    directory.refusing = DirectoryError("it refuses connections")
    for _ in range(5):
        assert told(directory, checker) is DirectoryFailed
    line = "the directory localhost:389 fails, which accepts nobody: it refuses connections"
    assert lines(logs) == [line]
    clock.advance(61)
    assert told(directory, checker) is DirectoryFailed
    assert lines(logs) == [line, f"{line} (and 4 times since the last line about it)"]
    assert issubclass(DirectoryFailed, UnauthorizedLogin)
    directory.refusing = None
    assert told(directory, checker) == b"ann"


def test_no_secret_is_logged_or_shown(directory: Directory, logs: Sequence[LogEvent]) -> None:
    way = Search(ROOT, bind=f"cn=searcher,{ROOT}", secret=b"not the right one")
    checker = make(directory, way)
    assert told(directory, checker) is DirectoryFailed
    (line,) = lines(logs)
    assert line.endswith("it refuses the account that searches (invalidCredentials)")
    everything = f"{line}{logs!r}{vars(checker)!r}"
    assert "not the right one" not in everything
    assert PASSWORD.decode() not in everything


def test_unused_connections_are_closed(directory: Directory, clock: Clock) -> None:
    checker = make(directory, BY_SEARCH, idle=30.0)
    assert told(directory, checker) == b"ann"
    assert [wire.open for wire in directory.wires] == [True, True]
    directory.turn(30)
    assert [wire.open for wire in directory.wires] == [False, False]
    assert clock.getDelayedCalls() == []
    assert told(directory, checker) == b"ann"
    assert len(directory.wires) == 4
