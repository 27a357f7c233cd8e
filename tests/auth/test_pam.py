"""PAM: what it is asked, what it answers, and what waits for it; tests/program has a real one."""

import ctypes
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from zope.interface.verify import verifyObject

from socks5d.auth import pam
from socks5d.auth.arguments import ArgumentError
from socks5d.auth.blocking import Login, checking
from socks5d.auth.pam import Answer, PAMChecker, PAMService, make_pam_checker
from socks5d.auth.pamfiles import what_is_missing
from socks5d.auth.undecided import Undecided
from socks5d.model import Client
from tests.support.running import in_reactor

ANN = UsernamePassword(b"ann", b"secret")
DISALLOW_NULL_AUTHTOK, SILENT = 1, 0x8000
AUTH_ERR, SYSTEM_ERR = 7, 4
RHOST = 4


class Authenticator:
    """
    Stands for python-pam's: asks its two functions as that does.

    @ivar asked: what it was asked, in order.
    """

    def __init__(self, authenticates: int, manages: int, delay: int, asked: list[Any]) -> None:
        self.asked = asked
        self.code, self.reason = 0, "Something\nis amiss"
        self._delay = delay
        self._function: Any = None
        self.pam_authenticate: Callable[[Any, int], int] = self._answer("auth", authenticates)
        self.pam_acct_mgmt: Callable[[Any, int], int] = self._answer("account", manages)

    def _answer(self, what: str, status: int) -> Callable[[Any, int], int]:
        def answer(handle: Any, flags: int) -> int:
            self.asked.append((what, flags))
            if what == "auth":
                self._function(status, self._delay, None)
            return status

        return answer

    def pam_set_item(self, handle: Any, item: int, value: ctypes.c_void_p) -> int:
        if item == RHOST:
            self.asked.append(("from", ctypes.cast(value, ctypes.c_char_p).value))
            return 0
        assert item == 10
        kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
        self._function = ctypes.cast(value, kind)
        return 0

    def authenticate(self, name: bytes, password: bytes, service: bytes, **options: Any) -> bool:
        self.asked.append((name, password, service, options))
        handle = SimpleNamespace(handle=None)
        self.code = self.pam_authenticate(handle, 0)
        if self.code == 0:
            self.code = self.pam_acct_mgmt(handle, 0)
        return self.code == 0


class Answers:
    """A service whose authenticators answer like this."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.asked: list[Any] = []
        self.authenticates = self.manages = self.delay = 0
        package = SimpleNamespace(PamAuthenticator=self._make)
        monkeypatch.setitem(sys.modules, "pam", package)
        folders = (folder / "none", folder)
        monkeypatch.setattr(pam, "what_is_missing", partial(what_is_missing, folders=folders))
        (folder / "socks5d").write_text("auth required pam_deny.so\naccount required pam_deny.so\n")
        self.service = PAMService("socks5d")

    def _make(self) -> Authenticator:
        return Authenticator(self.authenticates, self.manages, self.delay, self.asked)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answers:
    return Answers(monkeypatch, tmp_path)


def test_a_login_is_authentication_and_account_management(answers: Answers) -> None:
    strict = DISALLOW_NULL_AUTHTOK | SILENT
    assert answers.service.login(b"ann", b"secret") == Answer(b"ann")
    options = {"encoding": "latin-1", "resetcreds": False}
    assert answers.asked == [
        (b"ann", b"secret", b"socks5d", options),
        ("auth", strict),
        ("account", strict),
    ]


def test_modules_are_told_from_where(answers: Answers) -> None:
    assert answers.service.login(b"ann", b"secret", b"2001:db8::1") == Answer(b"ann")
    assert answers.asked[1] == ("from", b"2001:db8::1")


@pytest.mark.parametrize("code", [AUTH_ERR, 6, 10, 11, 12, 13])
@pytest.mark.parametrize("by", ["authenticates", "manages"])
def test_a_refusal_by_either_is_one(by: str, code: int, answers: Answers) -> None:
    setattr(answers, by, code)
    assert answers.service.login(b"ann", b"wrong") == Answer(None)
    assert len(answers.asked) == (2 if by == "authenticates" else 3)


@pytest.mark.parametrize("code", [1, SYSTEM_ERR, 9, 19, 25, 26, 28])
def test_what_is_no_answer_refuses_and_is_told(code: int, answers: Answers) -> None:
    answers.authenticates = code
    fault = r"service socks5d: Something\nis amiss"
    # A module may say so of a wrong password; unless it could not know any.
    assert answers.service.login(b"ann", b"secret") == Answer(None, 0.0, fault, code == 9)


@pytest.mark.parametrize("by", ["authenticates", "manages"])
def test_a_refusal_by_either_takes_as_long_as_modules_ask_for(by: str, answers: Answers) -> None:
    answers.delay = 1_500_000
    assert answers.service.login(b"ann", b"secret") == Answer(b"ann")
    setattr(answers, by, AUTH_ERR)
    assert answers.service.login(b"ann", b"wrong") == Answer(None, 1.5)
    answers.delay = 4_000_000_000
    assert answers.service.login(b"ann", b"wrong") == Answer(None, pam.LONGEST_DELAY)


@pytest.mark.parametrize(
    "name", ["Socks5d", "a/b", "../etc/shadow", "", " ", "-x", ".", "socks5d\n", "\u00e9"]
)
def test_what_is_no_name_of_a_service_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="is no name of a service") as caught:
        PAMService(name)
    assert "\n" not in str(caught.value)


def test_a_service_needs_a_file_of_its_own(answers: Answers, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"'nowhere': it has no file; write {tmp_path}/no"):
        make_pam_checker("nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArgumentError, match="'folder': it has no file"):
        make_pam_checker("folder")
    assert isinstance(make_pam_checker(""), PAMChecker)
    assert isinstance(make_pam_checker("socks5d"), PAMChecker)
    with pytest.raises(ArgumentError, match="'account' is not known here"):
        make_pam_checker("socks5d:account=no")


def test_without_the_package_it_is_named(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pam", None)
    with pytest.raises(ArgumentError, match=r"pip install 'socks5d\[pam\]'"):
        make_pam_checker("socks5d")


def test_without_the_systems_library_it_is_said(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise AttributeError("undefined symbol: pam_start")

    monkeypatch.setitem(sys.modules, "pam", SimpleNamespace(PamAuthenticator=missing))
    with pytest.raises(ArgumentError, match="this system has no PAM"):
        make_pam_checker("socks5d")


# The checker.


class Threads(Clock):
    """
    A clock, and threads whose jobs run when a test says so.

    @ivar asked: what PAM was asked.
    @ivar takes: how long it takes to answer, in seconds.
    """

    def __init__(self, answer: Answer | Exception) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes]] = []
        self.takes = 0.0
        self.jobs: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self._answer = answer

    def ask(self, name: bytes, password: bytes, host: bytes | None) -> Answer:
        self.asked.append((name, password))
        self.advance(self.takes)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def in_thread(self, job: Callable[[], Any], reactor: Any) -> Deferred[Any]:
        assert reactor is self
        deferred: Deferred[Any] = Deferred()
        self.jobs.append((job, deferred))
        return deferred

    def run(self) -> None:
        while self.jobs:
            job, deferred = self.jobs.pop(0)
            try:
                answer = job()
            except Exception as error:  # noqa: BLE001 (the test's own)
                deferred.errback(error)
            else:
                deferred.callback(answer)


def logging_in(
    monkeypatch: pytest.MonkeyPatch, threads: Threads, *credentials: Any
) -> list[list[Any]]:
    """What becomes of each login, as it becomes."""
    monkeypatch.setattr(pam, "in_login_thread", threads.in_thread)
    checker = PAMChecker(threads.ask, threads)
    assert verifyObject(ICredentialsChecker, checker)
    said: list[list[Any]] = []
    for each in credentials:
        outcome: list[Any] = []
        checker.requestAvatarId(each).addBoth(outcome.append)
        said.append(outcome)
    return said


def test_whom_pam_accepts_has_the_name_that_pam_has(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(Answer(b"ann@example.org"))
    text: Any = UsernamePassword("l\u00f6sung", "\u00e9t\u00e9")  # type: ignore[arg-type]
    said = logging_in(monkeypatch, threads, ANN, text)
    assert said == [[], []]
    assert threads.asked == []
    threads.run()
    assert said == [[b"ann@example.org"], [b"ann@example.org"]]
    assert threads.asked == [
        (b"ann", b"secret"),
        ("l\u00f6sung".encode(), "\u00e9t\u00e9".encode()),
    ]


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (b"", b"secret"),
        (b"ann", b""),
        (b"", b""),
        (b"ann\0", b"secret"),
        (b"ann", b"sec\0ret"),
        (b"\xff", b"secret"),
        (b"ann", b"\xff"),
        (b"ann\nroot", b"secret"),
        (b"ann\x1b[2J", b"secret"),
        (b".", b"secret"),
        (b"..", b"secret"),
        (b"a" * 256, b"secret"),
        (b"ann", b"s" * 512),
    ],
)
def test_what_pam_cannot_take_it_is_not_asked(
    name: bytes, password: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(Answer(b"ann"))
    said = logging_in(monkeypatch, threads, UsernamePassword(name, password))
    assert said[0][0].check(UnauthorizedLogin)
    assert threads.jobs == []


def test_the_longest_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(Answer(b"ann"))
    said = logging_in(monkeypatch, threads, UsernamePassword(b"a" * 255, b"s" * 511))
    threads.run()
    assert said == [[b"ann"]]


@pytest.mark.parametrize("queued", [0.0, 3.0])
@pytest.mark.parametrize("takes", [0.0, 0.5, 1.9])
def test_a_refusal_comes_when_it_is_time_and_holds_no_thread_meanwhile(
    takes: float, queued: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(Answer(None, 2.0))
    threads.takes = takes
    said = logging_in(monkeypatch, threads, ANN)
    # Or when threads are busy, who is asked sooner about a name that nobody has answers sooner.
    threads.advance(queued)
    threads.run()
    threads.advance(1.95 - takes)
    assert said == [[]]
    threads.advance(0.1)
    assert said[0][0].check(UnauthorizedLogin)


def test_a_refusal_that_took_longer_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(Answer(None, 2.0))
    threads.takes = 3.0
    said = logging_in(monkeypatch, threads, ANN)
    threads.run()
    threads.advance(0)
    assert said[0][0].check(UnauthorizedLogin)


def test_a_refusal_that_nobody_waits_for_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(Answer(None, 2.0))
    monkeypatch.setattr(pam, "in_login_thread", threads.in_thread)
    waiting = PAMChecker(threads.ask, threads).requestAvatarId(ANN)
    outcome: list[Any] = []
    waiting.addErrback(outcome.append)
    threads.run()
    waiting.cancel()
    assert outcome[0].check(CancelledError)
    assert threads.getDelayedCalls() == []


@pytest.mark.parametrize("undecided", [False, True])
def test_a_fault_is_said_once_a_while(
    undecided: bool, monkeypatch: pytest.MonkeyPatch, logs: Sequence[LogEvent]
) -> None:
    threads = Threads(Answer(None, 0.0, "service socks5d: Module is unknown", undecided))
    said = logging_in(monkeypatch, threads, ANN, ANN, ANN)
    threads.run()
    threads.advance(0)
    # Where nobody looked at it, it was no guess.
    assert all(each[0].check(UnauthorizedLogin) for each in said)
    assert all(bool(each[0].check(Undecided)) is undecided for each in said)
    texts = [event["text"] for event in logs if "PAM" in event.get("text", "")]
    assert texts == ["PAM answered a login with an error: service socks5d: Module is unknown"]


def test_what_pams_library_raises_accepts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(RuntimeError("out of order"))
    said = logging_in(monkeypatch, threads, ANN)
    threads.run()
    assert said[0][0].check(RuntimeError)


def test_it_is_asked_in_a_thread_for_logins() -> None:
    threads: list[str] = []

    def ask(name: bytes, password: bytes, host: bytes | None) -> Answer:
        threads.append(threading.current_thread().name)
        assert host is None
        return Answer(name)

    assert in_reactor(PAMChecker(ask).requestAvatarId, ANN) == b"ann"
    assert "socks5d-try" in threads[0]


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", None])
def test_pam_is_told_where_a_client_is(address: str | None) -> None:
    client = Client(None if address is None else ip_address(address), 40000)

    def ask(name: bytes, password: bytes, host: bytes | None) -> Answer:
        return Answer(name + b"@" + (host or b"nowhere"))

    def log_in() -> Deferred[Any]:
        with checking(Login(client)):
            return PAMChecker(ask).requestAvatarId(ANN)

    assert in_reactor(log_in) == f"ann@{address or 'nowhere'}".encode()
