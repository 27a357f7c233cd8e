"""What socks5d will not start with, and how it says so: one line on stderr, and status 1."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program.certificates import make_certificate
from tests.program.launching import (
    ON_LOOPBACK,
    REACH_LOOPBACK,
    inheriting,
    one_line,
    run_twistd,
    serves,
    twistd_in,
)
from tests.support.running import PATIENCE
from tests.support.twistd import twistd

OPEN = [
    "tcp:0",
    "tcp:0:interface=0.0.0.0",
    "tcp:0:interface=0",
    "tcp:0:interface=",
    r"tcp:0:interface=\:\:",
    r"tcp:0:interface=\:\:ffff\:0.0.0.0",
    "tcp6:0",
    r"tcp6:0:interface=\:\:",
    "haproxy:tcp:0",
    "haproxy:tcp:0:interface=0.0.0.0",
    "haproxy:tcp6:0",
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate in one file."""
    return make_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


def refused(*arguments: str) -> str:
    """It does not start; gives the line that says why."""
    return one_line(run_twistd(*arguments))


# An open proxy.


def names_the_ways_out(line: str) -> None:
    assert "open proxy" in line
    assert "--auth" in line
    assert "--allow-from" in line


@pytest.mark.parametrize("listen", OPEN)
def test_nobody_runs_an_open_proxy_by_accident(listen: str) -> None:
    names_the_ways_out(refused("--listen", listen))


@pytest.mark.parametrize("listen", ["ssl:0", "ssl:0:interface=0.0.0.0", "haproxy:ssl:0"])
def test_nobody_runs_an_open_proxy_over_tls_by_accident(listen: str, certificate: Path) -> None:
    key = f"privateKey={certificate}:certKey={certificate}"
    names_the_ways_out(refused("--listen", f"{listen}:{key}"))


@pytest.mark.parametrize("listen", ["tcp:0", "tcp6:0", "haproxy:tcp:0:interface=0.0.0.0"])
def test_nobody_runs_an_open_proxy_in_the_background_by_accident(
    listen: str, tmp_path: Path
) -> None:
    done = run_twistd("--listen", listen, own=(), cwd=tmp_path)
    names_the_ways_out(one_line(done))
    assert list(tmp_path.iterdir()) == []


def test_one_open_listener_among_others_is_refused() -> None:
    names_the_ways_out(refused(*ON_LOOPBACK, "--listen", "tcp:0", *ON_LOOPBACK))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--deny-from", "192.0.2.0/24"),
        ("--userid", "alice"),
        ("--ruleset", "permit"),
        ("--allow", "192.0.2.1"),
        ("--deny", "*"),
        ("--authenticator", "none"),
        ("--auth", "memory:user:pass", "--authenticator", "none"),
        ("--authenticator", "any-userid"),
    ],
    ids=" ".join,
)
def test_what_does_not_say_who_or_from_where_leaves_it_an_open_proxy(
    arguments: tuple[str, ...],
) -> None:
    names_the_ways_out(refused("--listen", "tcp:0", *arguments))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_socket_from_systemd_that_everybody_reaches_is_refused(host: str, tmp_path: Path) -> None:
    listen = "systemd:domain=INET6:index=0" if ":" in host else "systemd:domain=INET:index=0"
    with twistd_in(tmp_path, "--listen", listen, prefix=inheriting(host)) as server:
        line = server.wait_for(r"socks5d: .*open proxy.*")[0]
        assert server.process.wait(PATIENCE) == 1
    names_the_ways_out(line)
    assert "Traceback" not in server.output()


@pytest.mark.parametrize(
    "arguments",
    [("--auth", "memory:user:pass"), ("--allow-from", "127.0.0.0/8")],
    ids=" ".join,
)
@pytest.mark.parametrize("listen", ["tcp:0", r"tcp:0:interface=\:\:", "haproxy:tcp:0"])
def test_it_listens_everywhere_once_it_is_told_who_or_from_where(
    listen: str, arguments: tuple[str, ...]
) -> None:
    with twistd(*arguments, listen=listen) as server:
        host, _ = server.address()
        assert host == ("::" if r"\:\:" in listen else "0.0.0.0")


def test_a_proxy_that_listens_everywhere_serves_those_it_is_told_to() -> None:
    arguments = ("--allow-from", "127.0.0.0/8", "--allow", "127.0.0.1")
    with twistd(*arguments, listen="tcp:0") as server:
        serves(("127.0.0.1", server.address()[1]))


@pytest.mark.parametrize("interface", ["127.0.0.1", "127.1.2.3", r"\:\:1", "localhost"])
def test_listening_on_loopback_needs_neither(interface: str) -> None:
    with twistd(*REACH_LOOPBACK, listen=f"tcp:0:interface={interface}") as server:
        serves(server.address())


# Listeners.


@pytest.mark.parametrize(
    ("listen", "mentions"),
    [
        ("", "empty"),
        ("nonsense:0", "nonsense"),
        ("tcp", "tcp"),
        ("tcp:port", "port"),
        ("tcp:0:interface=127.0.0.1:surplus", "surplus"),
        ("tcp:0:colour=red", "colour"),
        ("ssl:0:interface=127.0.0.1:privateKey=/nowhere/key.pem", "/nowhere/key.pem"),
        ("haproxy:nonsense:0", "nonsense"),
        ("1080", "1080"),
    ],
)
def test_a_listener_that_is_no_endpoint_is_refused(listen: str, mentions: str) -> None:
    line = refused("--listen", listen)
    assert "listen" in line.removeprefix(f"listen {listen!r}")
    assert mentions in line


@pytest.mark.parametrize(
    ("listen", "mentions"),
    [
        ("tcp:0:interface=192.0.2.77", "192.0.2.77"),
        ("tcp:65536:interface=127.0.0.1", "0-65535"),
        ("tcp:0:interface=no-such-host.invalid", "no-such-host.invalid"),
        ("unix:/nowhere/socket", "/nowhere/socket"),
        ("systemd:domain=INET:index=0", "systemd"),
    ],
)
def test_a_listener_that_cannot_listen_is_refused(listen: str, mentions: str) -> None:
    line = refused("--allow-from", "127.0.0.0/8", "--listen", listen)
    assert mentions in line


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_a_port_in_use_is_refused(taken_port: int) -> None:
    line = refused("--listen", f"tcp:{taken_port}:interface=127.0.0.1")
    assert f"127.0.0.1:{taken_port}" in line
    assert "in use" in line


def test_a_port_in_use_is_refused_in_the_background(taken_port: int, tmp_path: Path) -> None:
    listen = f"tcp:{taken_port}:interface=127.0.0.1"
    done = run_twistd("--listen", listen, own=(), cwd=tmp_path)
    assert done.returncode == 1
    assert f"listen '{listen}'" in done.stderr
    log = (tmp_path / "twistd.log").read_text()
    assert "in use" in log
    assert "Traceback" not in done.stdout + done.stderr + log
    assert not (tmp_path / "twistd.pid").exists()


def test_listeners_that_could_listen_do_not_when_one_cannot(taken_port: int) -> None:
    done = run_twistd(*ON_LOOPBACK, "--listen", f"tcp:{taken_port}:interface=127.0.0.1")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr


# Options.


def test_a_password_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    # A folder, for root may read every file.
    assert str(tmp_path) in refused(*ON_LOOPBACK, "--auth", f"file:{tmp_path}")


@pytest.mark.parametrize("path", ["/nowhere/access.log", "/", ""])
def test_an_access_log_that_cannot_be_written_is_refused(path: str) -> None:
    line = refused(*ON_LOOPBACK, "--access-log", path)
    assert path in line
    assert "access" in line


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (("surplus",), "surplus"),
        (("--nonsense\nline",), "--nonsense"),
        (("--listen", "nonsense\nline:0"), "nonsense"),
        (("--access-log", "/nowhere\nline/access.log"), "/nowhere"),
        (("--auth", "nonsense:hunter2"), "nonsense"),
        (("--allow", "192.0.2.1/24"), "'192.0.2.0/24'"),
        (("--ruleset", "nonsense"), "permit"),
        (("--authenticator", "none", "--authenticator", "none"), "authenticator"),
    ],
    ids=ascii,
)
def test_what_is_wrong_with_an_option_is_said_in_a_line(
    arguments: tuple[str, ...], mentions: str
) -> None:
    line = refused(*ON_LOOPBACK, *arguments)
    assert mentions in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("content", "mentions"),
    [
        ("listen = ", "TOML"),
        ("colour = 'red'", "colour"),
        ("listen = ['nonsense:0']", "nonsense"),
        ("listen = ['tcp:0']", "open proxy"),
        ("access_log = '/nowhere/access.log'", "/nowhere/access.log"),
        ("[timeouts]\nconnect = 'long'", "timeouts.connect"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_line(
    content: str, mentions: str, tmp_path: Path
) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_text(content)
    assert mentions in refused("--config", str(path))
