"""
Credential checkers by the real twistd: files as Apache's htpasswd writes them, and the
system's PAM.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from socks5d.wire import socks5
from tests.interop.programs import require, running
from tests.program.launching import ON_LOOPBACK, REACH_LOOPBACK, echoes, one_line, run_twistd
from tests.support.client import destination, dial, greet, log_in, request5
from tests.support.origins import echo, origin, receive_all
from tests.support.pamservice import PAMUsers, pam_service
from tests.support.running import PATIENCE
from tests.support.running import Address as SocketAddress
from tests.support.twistd import Twistd, twistd

LONG = "x" * 255
#: Who there is, each with a password.
USERS = {
    "ann": "open sesame: 1 & 2",
    "l\u00f6sung": "\u00e9t\u00e9 \U0001f5dd",
    "seventytwo": "y" * 72,
    "n" * 190: "short",
}
#: Who there is not, and what is not their password.
WRONG = [
    pytest.param("ann", "open sesame", id="wrong"),
    pytest.param("ann", "open sesame: 1 & 2 ", id="wrong at its end"),
    pytest.param("Ann", "open sesame: 1 & 2", id="name in another case"),
    pytest.param("nobody", "open sesame: 1 & 2", id="unknown"),
    pytest.param("ann", "short", id="somebody else's"),
    pytest.param("", "", id="empty"),
    pytest.param("ann", "", id="empty password"),
    pytest.param("", "open sesame: 1 & 2", id="empty name"),
    pytest.param(LONG, LONG, id="over-long"),
    pytest.param("ann", LONG, id="over-long password"),
    pytest.param("seventytwo", "y" * 73, id="longer than bcrypt looks at"),
    pytest.param("lo\u0308sung", "\u00e9t\u00e9 \U0001f5dd", id="name in another form"),
    pytest.param("\udcf6", "\udce9t\udce9", id="no UTF-8"),
    pytest.param("ann", "open sesame: 1 & 2\0", id="NUL"),
    pytest.param("ann\0", "open sesame: 1 & 2", id="NUL in the name"),
    pytest.param("ann\nann", "open sesame: 1 & 2", id="two lines"),
]


def htpasswd(path: Path, name: str, password: str, *options: str) -> None:
    """Add a user, as an operator does."""
    program = require("htpasswd", "apache2-utils")
    kind = options or ("-B", "-C", "4")
    made = [] if path.exists() else ["-c"]
    subprocess.run(
        [program, "-i", *kind, *made, str(path), name],
        input=password.encode(),
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )


def status(server: SocketAddress, name: str, password: str) -> int:
    """What a client is told; one that is refused is told no more."""
    octets = (each.encode("utf-8", "surrogateescape") for each in (name, password))
    with origin(echo) as there, dial(server) as connection:
        assert greet(connection, b"\x00\x02") == socks5.USERNAME_PASSWORD
        answer = log_in(connection, *octets)
        if answer:
            assert receive_all(connection) == b""
        else:
            assert request5(connection, destination(*there)).code == socks5.SUCCEEDED
            echoes(connection)
    return answer


def curl(server: SocketAddress, user: str, expected: int = 0) -> bytes:
    """A page by curl; gives what it says."""
    page = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\npage\n"

    def serve(connection: socket.socket) -> None:
        assert connection.recv(1 << 16).startswith(b"GET ")
        connection.sendall(page)

    with origin(serve) as (host, port):
        command = [require("curl", "curl"), "-q", "-sS", "--noproxy", ""]
        command += ["--socks5-hostname", f"{server[0]}:{server[1]}", "--proxy-user", user]
        with running([*command, f"http://{host}:{port}/"], status=expected) as process:
            return process.stdout.read()


@contextmanager
def serving(checker: str, *arguments: str) -> Iterator[Twistd]:
    """twistd with a checker, which ends in order and shows no password."""
    with twistd("--auth", checker, *REACH_LOOPBACK, *arguments) as server:
        yield server
        assert server.stop() == 0, server.output()
        assert "Traceback" not in server.output()
        for word in ("sesame", "\u00e9t\u00e9", "$2y$", "yyyy"):
            assert word not in server.output()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkers") / "htpasswd"
    for name, password in USERS.items():
        htpasswd(path, name, password)
    return path


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What lets many tests fail to log in at the same server, in whatever order they come."""
    path = tmp_path_factory.mktemp("patient") / "socks5d.toml"
    path.write_text("limits.failures = 1000\n")
    return "--config", str(path)


@pytest.fixture(scope="module")
def by_file(file: Path, patient: tuple[str, str]) -> Iterator[SocketAddress]:
    with serving(f"htpasswd:{file}", *patient) as server:
        yield server.address()


@pytest.fixture(scope="module")
def pam() -> Iterator[PAMUsers]:
    users = {**USERS, "gone": "once", "slow": "steady"}
    with pam_service(users, expired="gone") as service:
        yield service


@pytest.fixture(scope="module")
def by_pam(pam: PAMUsers, patient: tuple[str, str]) -> Iterator[SocketAddress]:
    with serving(f"pam:{pam.service}", *patient) as server:
        yield server.address()


@pytest.fixture(params=["by_file", "by_pam"])
def server(request: pytest.FixtureRequest) -> SocketAddress:
    """A server with one checker or the other."""
    address: SocketAddress = request.getfixturevalue(request.param)
    return address


@pytest.mark.parametrize(("name", "password"), USERS.items(), ids=ascii)
def test_who_gives_their_password_is_let_in(
    name: str, password: str, server: SocketAddress
) -> None:
    assert status(server, name, password) == 0


@pytest.mark.parametrize(("name", "password"), WRONG)
def test_nobody_else_is(name: str, password: str, server: SocketAddress) -> None:
    assert status(server, name, password) != 0


def test_curl_is_let_in_with_a_password_and_not_with_another(server: SocketAddress) -> None:
    assert curl(server, "ann:open sesame: 1 & 2") == b"page\n"
    assert curl(server, "l\u00f6sung:\u00e9t\u00e9 \U0001f5dd") == b"page\n"
    for user in ("ann:wrong", "nobody:open sesame: 1 & 2", "ann:", f"{LONG}:{LONG}"):
        assert curl(server, user, expected=97) == b""


# Files.


@pytest.mark.parametrize("kind", ["-2", "-5"])
def test_files_with_sha_crypt(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    htpasswd(path, "ann", "open sesame", kind)
    with serving(f"htpasswd:{path}") as server:
        assert status(server.address(), "ann", "open sesame") == 0
        assert status(server.address(), "ann", "open") != 0
        assert status(server.address(), "nobody", "open sesame") != 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_that_changes_while_it_serves(workers: str, tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    htpasswd(path, "ann", "open sesame")
    settings = tmp_path / "socks5d.toml"
    settings.write_text("limits.failures = 100\n")
    arguments = ("--workers", workers, "--config", str(settings))
    with serving(f"htpasswd:{path}", *arguments) as server:
        # So many that each worker has some.
        def let_in(name: str, password: str = "open sesame") -> set[bool]:
            return {status(server.address(), name, password) == 0 for _ in range(6)}

        assert let_in("ann") == {True}
        assert let_in("bob") == {False}
        htpasswd(path, "bob", "open sesame")
        assert let_in("bob") == {True}
        htpasswd(path, "ann", "another sesame")
        assert let_in("ann") == {False}
        assert let_in("ann", "another sesame") == {True}
        htpasswd(path, "bob", "", "-D")
        assert let_in("bob") == {False}
        with path.open("a") as file:
            file.write("carol:hunter2\n")
        assert let_in("ann", "another sesame") == {True}
        assert let_in("carol", "hunter2") == {False}
        server.wait_for(r"htpasswd: '.*htpasswd' line 2: it has no hash that is known here")
        path.unlink()
        assert let_in("ann", "another sesame") == {True}
        server.wait_for(r"htpasswd: '.*htpasswd': No such file")
        htpasswd(path, "dave", "open sesame")
        assert let_in("ann", "another sesame") == {False}
        assert let_in("dave") == {True}
        server.wait_for(r"htpasswd: '.*htpasswd' is right again")
        assert "hunter2" not in server.output()
    said = [line for line in server.output().splitlines() if "No such file" in line]
    # Each worker says it once, if it has a login meanwhile.
    assert 1 <= len(said) <= int(workers)


@pytest.mark.parametrize(
    ("options", "line", "why"),
    [
        (("-m",), 1, r"MD5 \($apr1$\) is too weak; make a better one with: htpasswd -B FILE NAME"),
        (("-s",), 1, "SHA-1 ({SHA}) is too weak; make a better one with: htpasswd -B FILE NAME"),
        (
            ("-d",),
            1,
            "it has no hash that is known here, or a password in plain text, which takes plain=yes",
        ),
        (
            ("-p",),
            1,
            "it has no hash that is known here, or a password in plain text, which takes plain=yes",
        ),
    ],
)
def test_a_wrong_line_at_the_start_is_told(
    options: tuple[str, ...], line: int, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "htpasswd"
    htpasswd(path, "ann", "hunter2", *options)
    said = one_line(run_twistd(*ON_LOOPBACK, "--auth", f"htpasswd:{path}"))
    assert said.startswith(f"socks5d: --auth: 'htpasswd': '{path}' line {line}: ")
    assert why.replace("\\", "") in said
    hashed = path.read_text().strip().partition(":")[2]
    assert hashed not in said
    assert "hunter2" not in said


def test_a_wrong_line_is_told_where_the_file_of_settings_names_it(tmp_path: Path) -> None:
    path, settings = tmp_path / "htpasswd", tmp_path / "socks5d.toml"
    htpasswd(path, "ann", "open sesame")
    path.write_text(path.read_text() + "# more\n\nbob\n")
    settings.write_text(f"auth = 'htpasswd:{path}'\n")
    said = one_line(run_twistd(*ON_LOOPBACK, "--config", str(settings)))
    assert f"{settings}" in said
    assert f"'{path}' line 4: it has no colon; it should be name:hash" in said


def test_plain_text_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    htpasswd(path, "ann", "open sesame", "-p")
    htpasswd(path, "bob", "open sesame")
    with serving(f"htpasswd:{path}:plain=yes") as server:
        assert status(server.address(), "ann", "open sesame") == 0
        assert status(server.address(), "bob", "open sesame") == 0
        assert status(server.address(), "ann", "open") != 0
        assert status(server.address(), "nobody", "open sesame") != 0


def test_one_checker_that_accepts_is_enough(tmp_path: Path, pam: PAMUsers) -> None:
    path = tmp_path / "htpasswd"
    htpasswd(path, "bob", "open sesame")
    with serving(f"pam:{pam.service}", "--auth", f"htpasswd:{path}") as server:
        assert status(server.address(), "bob", "open sesame") == 0
        assert status(server.address(), "ann", USERS["ann"]) == 0
        assert status(server.address(), "nobody", "open sesame") != 0


# PAM.


def test_an_account_that_is_over_is_not_let_in(by_pam: SocketAddress) -> None:
    assert status(by_pam, "gone", "once") != 0


def test_a_module_that_hangs_holds_up_one_thread(tmp_path: Path, pam: PAMUsers) -> None:
    settings = tmp_path / "socks5d.toml"
    settings.write_text("[timeouts]\ndecision = 1\n")
    checker = f"pam:{pam.service}"
    with twistd("--auth", checker, *REACH_LOOPBACK, "--config", str(settings)) as server:
        with dial(server.address()) as slow:
            assert greet(slow, b"\x02") == socks5.USERNAME_PASSWORD
            # Its deadline passes while PAM has not answered.
            assert log_in(slow, b"slow", b"steady") != 0
            assert receive_all(slow) == b""
        server.wait_for(r"DeadlinePassed: no answer in [01]\S* seconds")
        pam.wait_for_slow()
        assert status(server.address(), "ann", USERS["ann"]) == 0
        assert status(server.address(), "ann", "wrong") != 0
        pam.end_slow()
        assert status(server.address(), "ann", USERS["ann"]) == 0
        assert server.stop() == 0, server.output()


@pytest.mark.parametrize("service", ["nowhere", ""])
def test_a_service_that_is_not_there_is_told_at_the_start(service: str) -> None:
    name = service or "socks5d"
    if Path("/etc/pam.d", name).exists():
        pytest.skip(f"this machine has a service {name}")
    said = one_line(run_twistd(*ON_LOOPBACK, "--auth", f"pam:{service}"))
    assert said.startswith(f"socks5d: --auth: 'pam': service '{name}': it has no file; write /etc")


@pytest.mark.parametrize(
    ("name", "mentions"),
    [
        ("htpasswd", ["PATH", "htpasswd -B", "plain=yes", "pip install 'socks5d[htpasswd]'"]),
        ("pam", ["SERVICE", "/etc/pam.d/SERVICE", "pip install 'socks5d[pam]'"]),
    ],
)
def test_the_help_tells_of_it(name: str, mentions: list[str]) -> None:
    listed = run_twistd("--help-auth")
    assert any(line.split()[:1] == [name] for line in listed.stdout.splitlines())
    done = run_twistd("--help-auth-type", name)
    assert done.returncode == 0
    for each in mentions:
        assert each in done.stdout
