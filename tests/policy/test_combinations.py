"""
Every combination of method, version, command and kind of rule, in earnest, and as C{explain} has
it: no origin hears of what it denies, and nothing is denied that it permits.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen
from twisted.internet.defer import Deferred

from socks5d.answers.explaining import Explainer
from socks5d.answers.question import ask
from socks5d.config import Settings, make_settings, read_file
from socks5d.model import Command
from socks5d.service import SOCKSService
from socks5d.wire import socks4, socks5
from socks5d.wire.address import UNSPECIFIED, Address
from tests.support import client
from tests.support.datagrams import Associated, echoing
from tests.support.origins import echo, origin, receive_all
from tests.support.running import PATIENCE, in_reactor, reactor
from tests.support.running import Address as SocketAddress

CONNECT5 = {Command.CONNECT: socks5.CONNECT, Command.BIND: socks5.BIND}
CONNECT4 = {Command.CONNECT: socks4.CONNECT, Command.BIND: socks4.BIND}
#: For how long an answer is waited for that is not to come, in seconds.
SILENCE: Final = 0.03
#: Two destinations on this host, of which rules name one.
HOSTS: Final = ("127.0.0.1", "127.0.2.1")
#: Two addresses that clients come from.
CLIENTS: Final = ("127.0.0.1", "127.0.1.1")

COMMON = """
[[listener]]
name = "open"
endpoint = "tcp:0:interface=127.0.0.1"
[[listener]]
name = "closed"
endpoint = "tcp:0:interface=127.0.0.2"
auth = "memory:ann:secret:bob:secret"
[list.staff]
users = ["ann"]
[list.near]
addresses = ["127.0.2.0/24"]
[[rule]]
action = "{action}"
{rule}
[[rule]]
action = "{other}"
to = "127.0.0.0/8"
"""
#: A condition of each kind there is.
RULES: Final = (
    'to = "127.0.2.1"',
    'to = "127.0.2.0/24"',
    'to = "@near"',
    'from = "127.0.1.0/24"\nto = "127.0.0.0/8"',
    'listener = "open"\nto = "127.0.0.0/8"',
    'version = "5"\nto = "127.0.0.0/8"',
    'version = "4a"\nto = "127.0.0.0/8"',
    'method = "password"\nto = "127.0.0.0/8"',
    'method = "none"\nto = "127.0.0.0/8"',
    'user = "ann"\nto = "127.0.0.0/8"',
    'group = "staff"\nto = "127.0.0.0/8"',
    'userid = "ann"\nto = "127.0.0.0/8"',
    'command = "connect"\nto = "127.0.0.0/8"',
    'command = "bind"\nto = "127.0.0.0/8"',
    'command = "udp"\nto = "127.0.0.0/8"',
    'ports = "1-1"\nto = "127.0.0.0/8"',
    'ports = "1024-65535"\nto = "127.0.2.1"',
)


@frozen
class Caller:
    """
    @ivar version: "4", "4a" or "5".
    @ivar listener: the name of the listener.
    @ivar name: the user's, or the USERID.
    """

    version: str
    listener: str
    name: str = ""


CALLERS: Final = (
    Caller("4", "open"),
    Caller("4", "open", "ann"),
    Caller("5", "open"),
    Caller("5", "closed", "ann"),
    Caller("5", "closed", "bob"),
)


def settings_of(folder: Path, rule: str, action: str) -> Settings:
    other = {"permit": "deny", "deny": "permit"}[action]
    path = folder / "socks5d.toml"
    path.write_text(COMMON.format(action=action, other=other, rule=rule))
    return make_settings(read_file(path))


@contextmanager
def serving(settings: Settings) -> Iterator[dict[str, SocketAddress]]:
    """Gives where each listener listens, by its name."""

    def begin() -> SOCKSService:
        service = SOCKSService(settings, reactor)
        service.startService()
        return service

    service = in_reactor(begin)
    try:
        hosts = [port.getHost() for port in service.ports]
        names = [each.name for each in settings.listeners]
        yield {name: (host.host, host.port) for name, host in zip(names, hosts, strict=True)}
    finally:
        in_reactor(service.stopService)


def explained(settings: Settings, caller: Caller, source: str, command: Command, to: str) -> bool:
    """What C{explain} says."""
    option = {
        Command.CONNECT: "connect",
        Command.BIND: "bind",
        Command.UDP_ASSOCIATE: "udp",
    }[command]
    given: dict[str, str | None] = dict.fromkeys(
        ("connect", "bind", "udp", "user", "method", "claimed", "identd", "address", "at")
    )
    given |= {"from": source, "via": caller.listener, "socks": caller.version, option: to}
    if caller.version != "5":
        given["claimed"] = caller.name
    elif caller.name:
        given["user"] = caller.name
    answers: list[bool] = []
    explainer = Explainer(settings, ask(settings, given), reactor, lambda _: None)
    in_reactor(lambda: Deferred.fromCoroutine(explainer.explain()).addCallback(answers.append))
    (answer,) = answers
    return answer


def enter(server: SocketAddress, caller: Caller, source: str) -> socket.socket | None:
    """A connection for a request; None where the client is not let in."""
    connection = client.dial(server, source)
    if caller.version != "5":
        return connection
    method = socks5.USERNAME_PASSWORD if caller.name else socks5.NO_AUTHENTICATION
    if client.greet(connection, bytes([method])) != method:
        connection.close()
        return None
    if caller.name:
        assert client.log_in(connection, caller.name.encode(), b"secret") == 0
    return connection


def happens(
    server: SocketAddress,
    caller: Caller,
    source: str,
    command: Command,
    to: SocketAddress,
    *,
    expected: bool,
) -> bool:
    """
    Whether a client gets what it asks for.

    @param expected: whether it is to, which is for how long an answer is waited for.
    """
    connection = enter(server, caller, source)
    if connection is None:
        return False
    with connection:
        if command is Command.UDP_ASSOCIATE:
            return _answered(connection, source, to, PATIENCE if expected else SILENCE)
        where = client.destination(*to)
        granted: bool
        if caller.version == "5":
            code = client.request5(connection, where, CONNECT5[command]).code
            granted = code == socks5.SUCCEEDED
            assert granted or code == socks5.NOT_ALLOWED
        else:
            userid = caller.name.encode()
            granted = (
                client.request4(connection, where, userid, CONNECT4[command]).code == socks4.GRANTED
            )
        if granted and command is Command.CONNECT:
            connection.sendall(b"!")
            assert connection.recv(1) == b"!"
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b""
        return granted


def _answered(control: socket.socket, source: str, to: SocketAddress, seconds: float) -> bool:
    reply = client.request5(control, Address(UNSPECIFIED, 0), socks5.UDP_ASSOCIATE)
    if reply.code != socks5.SUCCEEDED:
        assert reply.code == socks5.NOT_ALLOWED
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((source, 0))
        made = Associated.__new__(Associated)
        made.control, made.socket = control, datagrams
        made.relay = (str(reply.bound.host), reply.bound.port)
        made.send(*to, b"!")
        datagrams.settimeout(seconds)
        try:
            return bool(made.receive())
        except TimeoutError:
            return False


@pytest.mark.parametrize("action", ["permit", "deny"])
@pytest.mark.parametrize("rule", RULES)
def test_what_happens_is_what_is_explained(rule: str, action: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, rule, action)
    seen: set[bool] = set()
    with ExitStack() as stack:
        servers = stack.enter_context(serving(settings))
        tcp = {host: stack.enter_context(origin(echo, host)) for host in HOSTS}
        udp = {host: stack.enter_context(echoing(host)) for host in HOSTS}
        for caller, source, command, host in product(CALLERS, CLIENTS, Command, HOSTS):
            if command is Command.UDP_ASSOCIATE and caller.version != "5":
                continue
            to = (udp if command is Command.UDP_ASSOCIATE else tcp)[host]
            expected = explained(settings, caller, source, command, f"{host}:{to[1]}")
            what = (caller, source, command, host)
            server = servers[caller.listener]
            happened = happens(server, caller, source, command, to, expected=expected)
            assert happened == expected, what
            seen.add(expected)
    assert seen, "nothing was asked"


def test_an_ipv4_client_of_an_ipv6_listener_is_judged_by_ipv4_rules(tmp_path: Path) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_text('listen = "tcp6:0"\nallow_from = ["127.0.1.0/24"]\nallow = ["127.0.0.0/8"]\n')
    settings = make_settings(read_file(path))
    with serving(settings) as servers, origin(echo) as to:
        ((_, port),) = (address[:2] for address in servers.values())
        caller = Caller("5", "tcp6:0")
        server = ("127.0.0.1", port)
        assert happens(server, caller, "127.0.1.1", Command.CONNECT, to, expected=True)
        assert not happens(server, caller, "127.0.0.1", Command.CONNECT, to, expected=False)
