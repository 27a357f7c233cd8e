"""Listeners with ways of their own, rules and lists, by the real twistd."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks5d.wire import socks5
from tests.program.launching import address_of, echoes, run_twistd, twistd_in
from tests.support.client import connect5, destination, dial, greet, log_in, request5
from tests.support.origins import echo, origin
from tests.support.twistd import Twistd

FILE = """
workers = {workers}
access_log = "{folder}/access.json"
auth = "memory:ops:secret"

[timeouts]
handshake = 30

[list.here]
addresses_file = "{folder}/here"

[[rule]]
action = "deny"
name = "not by name"
to = "localhost"

[[rule]]
action = "permit"
to = "@here"

[[listener]]
name = "staff"
endpoint = "tcp:0:interface=127.0.0.1"

[[listener]]
name = "guests"
endpoint = "tcp:0:interface=127.0.0.2"
auth = []
socks4 = false
[listener.timeouts]
handshake = 0.2
[[listener.rule]]
action = "deny"
reason = "not for guests"
ports = {closed}
"""


@pytest.fixture(params=[1, 2])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Twistd]:
    with origin(echo) as (_, closed):
        (tmp_path / "here").write_text("# this host\n127.0.0.0/8\n")
        text = FILE.format(workers=request.param, folder=tmp_path, closed=closed)
        (tmp_path / "socks5d.toml").write_text(text)
        with twistd_in(tmp_path, "--config", "socks5d.toml") as running:
            # What a list's file says later says it to nobody.
            for name in ("staff", "guests"):
                address_of(running, name)
            (tmp_path / "here").write_text("nonsense/8\n")
            yield running


def test_each_listener_serves_in_its_own_way(server: Twistd, tmp_path: Path) -> None:
    staff, guests = address_of(server, "staff"), address_of(server, "guests")
    with origin(echo) as (host, port):
        with dial(staff) as connection:
            assert greet(connection) == socks5.NO_ACCEPTABLE_METHODS
        with dial(staff) as connection:
            assert greet(connection, b"\x02") == socks5.USERNAME_PASSWORD
            assert log_in(connection, b"ops", b"secret") == 0
            assert request5(connection, destination(host, port)).code == socks5.SUCCEEDED
            echoes(connection)
        connection, reply = connect5(guests, host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            echoes(connection)
        connection, reply = connect5(guests, b"localhost", port)
        connection.close()
        assert reply.code == socks5.NOT_ALLOWED
    with dial(guests) as connection:
        # In less time than all have.
        assert connection.recv(1) == b""
    assert server.stop() == 0
    records = [json.loads(each) for each in (tmp_path / "access.json").read_text().splitlines()]
    told = {(each["listener"], each["result"], each["rule"]) for each in records}
    assert ("staff", "granted", "rule 2") in told
    assert ("guests", "granted", "rule 2") in told
    assert ("guests", "denied", 'rule "not by name"') in told
    assert ("guests", "handshake timed out", None) in told
    assert "Traceback" not in server.output()


def test_what_one_listener_denies_another_need_not(server: Twistd, tmp_path: Path) -> None:
    closed = int((tmp_path / "socks5d.toml").read_text().rpartition("ports = ")[2])
    connection, reply = connect5(address_of(server, "guests"), "127.0.0.1", closed)
    connection.close()
    assert reply.code == socks5.NOT_ALLOWED
    with dial(address_of(server, "staff")) as connection:
        assert greet(connection, b"\x02") == socks5.USERNAME_PASSWORD
        assert log_in(connection, b"ops", b"secret") == 0
        assert request5(connection, destination("127.0.0.1", closed)).code == socks5.SUCCEEDED
    assert server.stop() == 0
    log = (tmp_path / "access.json").read_text()
    assert 'rule \\"guests 1\\": not for guests' in log


OPEN = """
[[listener]]
endpoint = "tcp:0:interface=127.0.0.1"
[[listener]]
name = "abroad"
endpoint = "tcp:0"
"""


def test_whether_it_is_an_open_proxy_is_asked_of_each_listener(tmp_path: Path) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_text(OPEN)
    done = run_twistd("--config", str(path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("socks5d: listen 'tcp:0': 0.0.0.0:0 would be an open proxy: ")
    path.write_text(f"auth = 'memory:a:b'\n{OPEN}auth = []\n")
    assert "open proxy" in run_twistd("--config", str(path)).stderr


@pytest.mark.parametrize(
    "own",
    [
        'auth = "memory:a:b"',
        'allow_from = "127.0.0.0/8"',
        '[[listener.rule]]\naction = "permit"\nfrom = "127.0.0.0/8"',
    ],
)
def test_a_listener_that_says_who_or_from_where_is_none(own: str, tmp_path: Path) -> None:
    (tmp_path / "socks5d.toml").write_text(f"{OPEN}{own}\n")
    with twistd_in(tmp_path, "--config", "socks5d.toml") as server:
        assert address_of(server, "abroad")[0] == "0.0.0.0"
        assert server.stop() == 0


def test_all_that_is_wrong_is_told_each_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_text("timeout = 5\nsocks4 = 1\n[[rule]]\naction = 'permitt'\n")
    done = run_twistd("--config", str(path), "--allow", "a..b")
    assert done.returncode == 1
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
        f"{path}:1: timeout: unknown key; did you mean 'timeouts'?",
        f"{path}:2: socks4: must be true or false",
        f"{path}:4: rule[1].action: must be 'permit' or 'deny'",
        "--allow: 'a..b' is no address and no name: no domain name: a label is malformed",
    ]
