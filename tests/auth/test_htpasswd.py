"""Names and hashes in a file: what is read, what changes, and what a login costs."""

import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.cred.strcred import makeChecker
from twisted.logger import LogEvent
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from socks5d.auth import htpasswd
from socks5d.auth.arguments import ArgumentError
from socks5d.auth.htpasswd import HtpasswdChecker, PasswordFile, make_htpasswd_checker
from socks5d.auth.octets import octets_of
from tests.support.running import in_reactor, reactor

SALT = b"$2b$04$GYEinZISQHx6kiQgY6I4u."


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), SALT).decode()


ANN, BOB = f"ann:{hashed('secret')}\n", f"bob:{hashed('other')}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two."""
    made = tmp_path / "htpasswd"
    made.write_text(ANN + BOB)
    return made


class Watched:
    """
    A file long after it was written, unless told otherwise, and what is said about it.

    @ivar age: of what is read, in seconds.
    @ivar waits: how long it was waited for, in seconds.
    @ivar meanwhile: is called then.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self.said: list[str] = []
        self.waits: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.age = 3600.0
        self.path = path
        self.file = PasswordFile(
            path, say=self.said.append, now=self._now, wait=self._wait, **options
        )

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.meanwhile()

    def _now(self) -> float:
        return (self.path.stat().st_ctime_ns / 1e9) + self.age

    def lets_in(self, name: bytes, password: bytes = b"secret") -> bool:
        return self.file.check(name, password)


def replace(path: Path, text: str | bytes) -> None:
    """As an editor does: with a new file in its place."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(text.encode() if isinstance(text, str) else text)
    fresh.rename(path)


def test_names_and_their_passwords(path: Path) -> None:
    file = Watched(path)
    assert file.lets_in(b"ann", b"secret")
    assert file.lets_in(b"bob", b"other")
    assert file.said == []
    for name, password in (
        (b"ann", b"other"),
        (b"bob", b"secret"),
        (b"Ann", b"secret"),
        (b"ann ", b"secret"),
        (b"", b"secret"),
        (b"ann", b""),
        (b"", b""),
        (b"nobody", b"secret"),
        (b"nobody", b"other"),
        (b"\xff", b"secret"),
        (b"ann:x", b"secret"),
        (b"a" * 255, b"b" * 255),
    ):
        assert not file.lets_in(name, password)


@pytest.mark.parametrize(
    "text",
    [
        f"# users\n\n   \n\t\n{ANN}#{BOB}",
        ANN.rstrip("\n"),
        ANN.replace("\n", "\r\n"),
        f"{ANN}\n\n\n",
        "\n" + ANN,
    ],
)
def test_blank_lines_comments_and_ends_of_lines(text: str, path: Path) -> None:
    path.write_bytes(text.encode())
    file = Watched(path)
    assert file.lets_in(b"ann")
    assert not file.lets_in(b"bob", b"other")
    assert not file.lets_in(b"#bob", b"other")


def test_a_name_is_its_octets(path: Path) -> None:
    summer = hashed("\u00e9t\u00e9")
    path.write_text(f"l\u00f6sung:{summer}\nann smith:{hashed('x y')}\n", "utf-8")
    file = Watched(path)
    assert file.lets_in("l\u00f6sung".encode(), "\u00e9t\u00e9".encode())
    assert not file.lets_in("lo\u0308sung".encode(), "\u00e9t\u00e9".encode())
    assert not file.lets_in("l\u00f6sung".encode("latin-1"), "\u00e9t\u00e9".encode())
    assert file.lets_in(b"ann smith", b"x y")


def test_a_file_without_users_lets_nobody_in(path: Path) -> None:
    path.write_text("# nobody\n")
    assert not Watched(path).lets_in(b"ann")
    assert not Watched(path).lets_in(b"", b"")


def test_plain_text_only_where_it_is_asked_for(path: Path) -> None:
    path.write_text(f"carol:pa:ss word \n{ANN}")
    with pytest.raises(ArgumentError, match=r"line 1: .* plain text"):
        Watched(path)
    file = Watched(path, plain=True)
    assert file.lets_in(b"carol", b"pa:ss word ")
    assert not file.lets_in(b"carol", b"pa:ss word")
    assert file.lets_in(b"ann")
    assert not file.lets_in(b"ann", hashed("secret").encode())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hunter2", "has no colon"),
        ("carol:", "no hash after the name"),
        (f":{hashed('x')}", "name is no printable text"),
        ("carol:hunter2", "plain text"),
        ("carol:$apr1$hunter2$hunter2", "too weak"),
        ("carol:{SHA}hunter2", "too weak"),
        (ANN.strip(), "ann has a line before"),
        (BOB.strip(), "bob has a line before"),
        (f"car\x07ol:{hashed('x')}", "name is no printable text"),
        (f"\ufeffcarol:{hashed('x')}", "name is no printable text"),
        (f"{'c' * 256}:{hashed('x')}", "name is no printable text"),
        (f"{'c' * 2000}:{hashed('x')}", "more than 1024 octets"),
        ("hunter2" * 10_000, "more than 1024 octets"),
        (b"car\xffol:hunter2", "no UTF-8"),
        (b"carol:hunter2\xff", "no UTF-8"),
    ],
    ids=lambda value: ascii(value)[:20],
)
@pytest.mark.parametrize("number", [1, 3])
def test_a_wrong_line_is_told_by_its_number(
    line: str | bytes, why: str, number: int, path: Path
) -> None:
    octets = line.encode() if isinstance(line, str) else line
    before = (ANN + BOB).encode() if number == 3 else b""
    behind = b"" if number == 3 else (ANN + BOB).encode()
    if number == 1 and "before" in why:
        number = 2 if line == ANN.strip() else 3
    path.write_bytes(before + octets + b"\n" + behind)
    with pytest.raises(ArgumentError, match=why) as caught:
        Watched(path)
    said = str(caught.value)
    assert said.startswith(f"'{path}' line {number}: ")
    assert "hunter2" not in said
    assert "GYEinZ" not in said
    assert "\n" not in said
    assert len(said) < 500


def test_a_file_that_is_none_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, why in (
        (tmp_path / "nowhere", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "is no file"),
        (tmp_path / "large", "larger than 64 MiB"),
        (tmp_path / "no\nline", "No such file"),
    ):
        if path.name == "pipe":
            os.mkfifo(path)
        if path.name == "large":
            monkeypatch.setattr(htpasswd, "LARGEST", 64 << 20)
            with path.open("wb") as file:
                file.truncate((64 << 20) + 1)
        with pytest.raises(ArgumentError, match=why) as caught:
            PasswordFile(path)
        assert "\n" not in str(caught.value)


def test_what_changes_counts_with_the_next_login(path: Path) -> None:
    file = Watched(path)
    replace(path, BOB)
    assert not file.lets_in(b"ann")
    assert file.lets_in(b"bob", b"other")
    replace(path, f"ann:{hashed('fresh')}\n")
    assert file.lets_in(b"ann", b"fresh")
    assert not file.lets_in(b"bob", b"other")
    # In its place, too, as htpasswd writes.
    path.write_text("")
    assert not file.lets_in(b"ann", b"fresh")
    assert file.said == [f"'{path}' has no users any more, and nobody is let in"]


@pytest.mark.parametrize("age", [0.0, 1.9, -1.9, 2.1, -2.1, 3600.0])
def test_what_was_fresh_when_it_was_read_is_read_again(
    age: float, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of its versions look the same, as on a file system with coarse times.
    version = htpasswd._version(path.stat())
    monkeypatch.setattr(htpasswd, "_version", lambda _status: version)
    file = PasswordFile(path, now=lambda: version.changed / 1e9 + age)
    path.write_text(ANN.replace("ann", "eve") + BOB)
    assert file.check(b"eve", b"secret") is (abs(age) < 2)


def test_what_does_not_change_is_not_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Watched(path)

    def read(*_arguments: object) -> int:
        raise AssertionError("it is read again")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read)
        assert file.lets_in(b"ann")
        path.touch()
        with pytest.raises(AssertionError):
            file.lets_in(b"ann")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOB + "carol\n", "line 2: it has no colon"),
        (BOB + ANN.replace("$2b$", "$apr1$"), "line 2: MD5"),
        (ANN[:40], "line 1: its bcrypt hash is not whole"),
    ],
)
def test_a_change_that_is_wrong_changes_nothing_and_is_said_once(
    text: str, why: str, path: Path
) -> None:
    file = Watched(path)
    replace(path, text)
    for _ in range(3):
        assert file.lets_in(b"ann")
        assert not file.lets_in(b"ann", b"wrong")
    assert len(file.said) == 1
    assert file.said[0].startswith(f"'{path}' {why}")
    assert file.said[0].endswith("; its users are those that were read last")
    replace(path, "carol\n")
    assert file.lets_in(b"ann")
    assert len(file.said) == 2
    replace(path, BOB)
    assert not file.lets_in(b"ann")
    assert file.lets_in(b"bob", b"other")
    assert file.said[2:] == [f"'{path}' is right again, and its users are those in it"]


def test_a_wrong_change_that_is_fresh_is_said_once_too(path: Path) -> None:
    file = Watched(path)
    file.age = 0.0
    replace(path, "carol\n")
    assert [file.lets_in(b"ann") for _ in range(3)] == [True] * 3
    file.age = 10.0
    assert [file.lets_in(b"ann") for _ in range(3)] == [True] * 3
    assert len(file.said) == 1


def test_a_file_that_is_gone_changes_nothing_and_is_said_once(path: Path) -> None:
    file = Watched(path)
    kept = path.rename(path.with_suffix(".kept"))
    for _ in range(3):
        assert file.lets_in(b"ann")
    assert file.said == [
        f"'{path}': No such file or directory; its users are those that were read last"
    ]
    path.mkdir()
    assert file.lets_in(b"ann")
    assert "Is a directory" in file.said[1]
    path.rmdir()
    kept.rename(path)
    assert file.lets_in(b"ann")
    assert len(file.said) == 3
    assert "right again" in file.said[2]


@pytest.mark.parametrize("content", ["", ANN, ANN[:40]])
def test_one_that_becomes_smaller_is_waited_for(content: str, path: Path) -> None:
    """As htpasswd(1) writes: for a moment there is nothing, or a part."""
    file = Watched(path)
    file.age = 0.01
    path.write_text(content)
    file.meanwhile = lambda: path.write_text(ANN + BOB.replace("bob", "eve"))
    assert file.lets_in(b"eve", b"other")
    assert not file.lets_in(b"bob", b"other")
    assert (len(file.waits), file.said) == (1, [])


def test_what_has_become_smaller_is_believed_when_it_stays_so(path: Path) -> None:
    file = Watched(path)
    file.age = 0.01

    def grow_old() -> None:
        file.age += file.waits[-1]

    file.meanwhile = grow_old
    path.write_text(ANN)
    assert not file.lets_in(b"bob", b"other")
    assert file.lets_in(b"ann")
    assert len(file.waits) == 1


def test_one_that_is_written_on_and_on_changes_nothing_yet(path: Path) -> None:
    file = Watched(path)
    file.age = 0.01
    path.write_text("")
    assert file.lets_in(b"ann")
    assert len(file.waits) == 5
    file.age = 1.0
    assert not file.lets_in(b"ann")


def test_one_that_is_emptied_while_it_is_read_is_not_believed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Watched(path)
    file.age = 0.0
    replace(path, ANN + BOB + "#\n")
    look = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        path.write_text("")
        return status

    def written() -> None:
        patch.undo()
        path.write_text(ANN + BOB)

    file.meanwhile = written
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        assert file.lets_in(b"ann")
    assert (len(file.waits), file.said) == (1, [])


def test_what_becomes_larger_counts_at_once(path: Path) -> None:
    file = Watched(path)
    file.age = 0.0
    with path.open("a") as there:
        there.write(f"carol:{hashed('third')}\n")
    assert file.lets_in(b"carol", b"third")


@given(st.lists(st.sampled_from([ANN, BOB, "x\n", "#\n", "\n", ":\n"]) | st.text(), max_size=6))
def test_any_content_is_read_or_told(tmp_path_factory: Any, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any-htpasswd"
    path.write_bytes("".join(lines).encode("utf-8", "surrogatepass"))
    try:
        file = PasswordFile(path)
    except ArgumentError as error:
        assert " line " in str(error)
        assert "\n" not in str(error)
    else:
        assert not file.check(b"nobody", b"secret")


# What a login costs.


def test_a_name_that_is_not_there_costs_a_hash_of_the_files(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def checkpw(_password: bytes, text: bytes) -> bool:
        asked.append(text)
        return True

    names = [f"user{each}".encode() for each in range(20)]
    path.write_text("".join(f"{each.decode()}:{hashed(each.decode())}\n" for each in names))
    file = Watched(path)
    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    # Whatever the hash of somebody else says, nobody is let in by it.
    assert not any(file.lets_in(f"nobody{each}".encode()) for each in range(200))
    assert len(asked) == 200
    assert len(set(asked)) > 10
    # One name has one cost, as if it were there.
    asked.clear()
    assert not any(file.lets_in(b"nobody") for _ in range(10))
    assert len(set(asked)) == 1
    asked.clear()
    assert file.lets_in(b"user1")
    assert len(asked) == 1


def test_a_name_that_is_not_there_costs_the_same_hash_in_every_process(path: Path) -> None:
    names = [f"user{each}" for each in range(40)]
    lines = [f"{each}:{hashed(each)}\n" for each in names]
    path.write_text("".join(lines))
    one, other = Watched(path), Watched(path)

    def decoys(watched: Watched) -> list[bytes]:
        return [watched.file._current().decoy(f"nobody{each}".encode()) for each in range(400)]

    before = decoys(one)
    assert decoys(other) == before
    assert len(set(before)) > 20
    # Nor does it change with who comes and goes, but for what had that one's.
    gone = hashed(names[0]).encode()
    replace(path, "".join(lines[:0:-1]))
    after = decoys(one)
    assert all(old in (new, gone) for old, new in zip(before, after, strict=True))
    assert gone not in after


def measure(file: PasswordFile, logins: int) -> float:
    """The median time of a login with a known name, as a part of an unknown one's."""
    times: dict[bytes, list[int]] = {b"ann": [], b"nobody": []}
    for turn in range(logins):
        for name in sorted(times, reverse=bool(turn % 2)):
            before = time.thread_time_ns()
            assert not file.check(name, b"wrong")
            times[name].append(time.thread_time_ns() - before)
    return statistics.median(times[b"ann"]) / statistics.median(times[b"nobody"])


@pytest.mark.long
def test_the_time_does_not_tell_known_names_from_unknown_ones(path: Path) -> None:
    ratio = measure(Watched(path).file, 1000)
    assert 0.95 < ratio < 1.05, ratio


# The checker, in an application of Twisted's.


class ISeat(Interface):
    """What somebody gets who has logged in."""


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        assert interfaces == (ISeat,)
        return ISeat, avatarId, lambda: None


@pytest.fixture(params=["octets", "text"])
def log_in(request: pytest.FixtureRequest) -> Any:
    """Logs in at a portal over a checker, with credentials of one kind or the other."""

    def attempt(checker: ICredentialsChecker, name: str, password: str) -> Any:
        portal = Portal(Realm(), [checker])
        given: Any = (name, password)
        if request.param == "octets":
            given = tuple(each.encode("utf-8", "surrogateescape") for each in given)
        return in_reactor(portal.login, UsernamePassword(*given), None, ISeat)[1]

    return attempt


def test_any_application_can_have_it_by_its_name(path: Path, log_in: Any) -> None:
    checker = makeChecker(f"htpasswd:{path}")
    assert verifyObject(ICredentialsChecker, checker)
    assert checker.credentialInterfaces == (IUsernamePassword,)
    assert log_in(checker, "ann", "secret") == b"ann"
    for name, password in (
        ("ann", "wrong"),
        ("nobody", "secret"),
        ("", ""),
        ("ann", ""),
        ("\u00e4nn", "s\u00e9cret"),
        ("\udcff", "secret"),
        ("ann", "sec\0ret"),
    ):
        with pytest.raises(UnauthorizedLogin):
            log_in(checker, name, password)


def test_text_that_no_octets_stand_for_is_not_accepted(path: Path) -> None:
    given: Any = UsernamePassword("\ud800", "secret")  # type: ignore[arg-type]
    with pytest.raises(UnauthorizedLogin):
        octets_of(given)
    with pytest.raises(UnauthorizedLogin):
        in_reactor(HtpasswdChecker(path).requestAvatarId, given)


def test_hashing_and_reading_are_not_done_in_the_reactors_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    checkpw, reading = bcrypt.checkpw, os.open

    def hash_elsewhere(password: bytes, text: bytes) -> bool:
        threads.add(threading.current_thread().name)
        return checkpw(password, text)

    def read_elsewhere(name: Any, *rest: Any) -> int:
        if name == path:
            threads.add(threading.current_thread().name)
        return reading(name, *rest)

    checker = HtpasswdChecker(path, reactor=reactor)
    monkeypatch.setattr(bcrypt, "checkpw", hash_elsewhere)
    monkeypatch.setattr(os, "open", read_elsewhere)
    replace(path, ANN)
    assert in_reactor(checker.requestAvatarId, UsernamePassword(b"ann", b"secret")) == b"ann"
    assert threads
    assert all("socks5d-try" in each for each in threads)


def test_logins_at_once_get_each_their_own_answer(path: Path) -> None:
    checker = HtpasswdChecker(path)

    def begin() -> list[Any]:
        return [
            checker.requestAvatarId(UsernamePassword(name, b"secret")).addErrback(
                lambda failure: failure.trap(UnauthorizedLogin)
            )
            for name in (b"ann", b"bob", b"nobody") * 20
        ]

    waiting = in_reactor(begin)
    answers = [in_reactor(lambda each=each: each) for each in waiting]
    assert answers == [b"ann", UnauthorizedLogin, UnauthorizedLogin] * 20


def test_what_is_wrong_later_stands_in_the_log(path: Path, logs: Sequence[LogEvent]) -> None:
    checker = HtpasswdChecker(path)
    replace(path, BOB + "carol:hunter2\n")
    for _ in range(3):
        assert in_reactor(checker.requestAvatarId, UsernamePassword(b"ann", b"secret")) == b"ann"
    in_reactor(lambda: None)
    said = [event["text"] for event in logs if "htpasswd" in event.get("text", "")]
    assert len(said) == 1
    assert said[0].startswith(f"htpasswd: '{path}' line 2: it has no hash that is known here")
    assert "hunter2" not in said[0]


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("", "give the path of a file"),
        (":plain=yes", "give the path of a file"),
        ("{path}:plain=maybe", "'plain' must be yes or no"),
        ("{path}:plain", "has no value"),
        ("{path}:colour=red", "'colour' is not known here"),
        ("{path}\0", "no NUL"),
        ("/nowhere/htpasswd", "No such file"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(argument: str, why: str, path: Path) -> None:
    with pytest.raises(ArgumentError, match=why):
        make_htpasswd_checker(argument.replace("{path}", str(path)))


def test_a_path_may_be_relative_and_have_a_colon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a:b").write_text("carol:plain text\n")
    monkeypatch.chdir(tmp_path)
    checker = make_htpasswd_checker(r"a\:b:plain=yes")
    monkeypatch.chdir("/")
    given = UsernamePassword(b"carol", b"plain text")
    assert in_reactor(checker.requestAvatarId, given) == b"carol"
