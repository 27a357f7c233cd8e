"""Active FTP: the server connects to a port that the client was given by BIND."""

import hashlib
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ftplib import FTP, Error
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from socks5d.wire import socks4, socks5
from tests.interop.conftest import LOOPBACK
from tests.interop.ftpserver import FTPServer, vsftpd
from tests.interop.programs import DEADLINE, require, running, sha256, socksified
from tests.support import client
from tests.support.running import Address
from tests.support.twistd import Twistd, twistd

SIZE = 10_000_000

#: Not the address that the proxy has: who connects to a port that it gives is to be seen.
IPV4 = "127.0.0.3"
IPV6 = "::1"
NOBODY = "127.0.0.4"
ANYBODY = "0.0.0.0"


@pytest.fixture(scope="module")
def blob() -> bytes:
    """A file of noise, the same each time."""
    return random.Random(959).randbytes(SIZE)


@pytest.fixture(scope="module")
def servers(
    blob: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, FTPServer]]:
    """vsftpd on each address, with the file."""
    with ExitStack() as stack:
        found = {}
        for host in (IPV4, IPV6):
            found[host] = stack.enter_context(vsftpd(tmp_path_factory.mktemp("ftp"), host))
            (found[host].root / "blob").write_bytes(blob)
        yield found


@frozen
class Way:
    """
    How to get to an FTP server.

    @ivar proxy: the fixture that gives the proxy.
    @ivar version: of SOCKS.
    @ivar host: where the FTP server is.
    @ivar userid: SOCKS 4's.
    @ivar login: user name and password of SOCKS 5.
    """

    proxy: str
    version: int
    host: str = IPV4
    userid: bytes = b""
    login: tuple[bytes, bytes] | None = None

    def ask(self, proxy: Address, command: int, to: Address) -> tuple[socket.socket, Any]:
        """A request, and the reply to it, which grants it."""
        connection = client.dial(proxy)
        target = client.destination(*to)
        if self.version == 4:
            reply: Any = client.request4(connection, target, self.userid, command)
            assert reply.code == socks4.GRANTED
            return connection, reply
        if self.login is not None:
            assert client.greet(connection, b"\x02") == socks5.USERNAME_PASSWORD
            assert client.log_in(connection, *self.login) == 0
        else:
            assert client.greet(connection) == socks5.NO_AUTHENTICATION
        reply = client.request5(connection, target, command)
        assert reply.code == socks5.SUCCEEDED
        return connection, reply

    def second(self, connection: socket.socket) -> Any:
        """The reply that tells who has connected."""
        parser: Any = socks4.parse_reply if self.version == 4 else socks5.parse_reply
        return client.read(connection, parser)


WAYS = {
    "4": Way("open_proxy", 4),
    "4 userid": Way("userid_proxy", 4, userid=b"alice"),
    "5": Way("open_proxy", 5),
    "5 password": Way("password_proxy", 5, login=(b"user", b"pass")),
    "5 to IPv6": Way("open_proxy", 5, IPV6),
}


class _Bound(socket.socket):
    """To ftplib a socket that listens; in truth the connection of a BIND."""

    def __init__(self, ftp: "ActiveFTP", connection: socket.socket) -> None:
        super().__init__(fileno=connection.detach())
        self.settimeout(DEADLINE)
        self._ftp = ftp

    def accept(self) -> tuple[socket.socket, Address]:
        reply = self._ftp.way.second(self)
        peer = str(reply.bound.host), reply.bound.port
        self._ftp.replies.append(reply.code)
        self._ftp.peers.append(peer)
        data = socket.socket(fileno=self.detach())
        data.settimeout(DEADLINE)
        return data, peer


class ActiveFTP(FTP):
    """
    An FTP client whose every connection is made by a SOCKS server.

    @ivar expected: the host that BINDs are asked for.
    @ivar bound: the addresses and ports that BINDs gave it.
    @ivar replies: the codes of their second replies.
    @ivar peers: who connected to them, as those say.
    """

    def __init__(self, way: Way, proxy: Address, server: Address, expected: str) -> None:
        super().__init__(timeout=DEADLINE)
        self.bound: list[Address] = []
        self.replies: list[int] = []
        self.peers: list[Address] = []
        self.way = way
        self._ask = partial(way.ask, proxy)
        self.expected = expected
        self.host, self.port = server
        self.af = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.sock, _ = self._ask(socks5.CONNECT, server)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        self.set_pasv(False)
        self.login()

    def makeport(self) -> socket.socket:
        connection, reply = self._ask(socks5.BIND, (self.expected, self.port))
        host, port = str(reply.bound.host), reply.bound.port
        self.bound.append((host, port))
        if self.af == socket.AF_INET:
            self.sendport(host, port)
        else:
            self.sendeprt(host, port)
        return _Bound(self, connection)

    def fetched(self, path: str) -> str:
        """The SHA-256 of a file of the server's."""
        digest = hashlib.sha256()
        self.retrbinary(f"RETR {path}", digest.update)
        return digest.hexdigest()


@pytest.fixture(params=WAYS)
def ftp(
    request: pytest.FixtureRequest, servers: dict[str, FTPServer]
) -> Iterator[tuple[ActiveFTP, FTPServer]]:
    """An FTP session, by every way."""
    way = WAYS[request.param]
    server = servers[way.host]
    proxy: Address = request.getfixturevalue(way.proxy)
    with ActiveFTP(way, proxy, server.address, way.host) as session:
        yield session, server
        assert session.quit().startswith("221")


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_files_are_fetched_one_after_the_other(
    ftp: tuple[ActiveFTP, FTPServer], blob: bytes
) -> None:
    session, server = ftp
    (server.root / "small").write_bytes(b"a small one")
    assert session.fetched("blob") == digest_of(blob)
    assert session.fetched("small") == digest_of(b"a small one")
    assert session.fetched("blob") == digest_of(blob)
    # To three ports the server came itself, each time from another one.
    assert len(session.bound) == 3
    assert [host for host, _ in session.peers] == [server.address[0]] * 3


def test_a_file_is_sent_and_listed(ftp: tuple[ActiveFTP, FTPServer], blob: bytes) -> None:
    session, server = ftp
    session.storbinary("STOR up/first", BytesIO(blob))
    with session.transfercmd("STOR up/second") as data:
        # What the server connects to is the port that the first reply told, and where it
        # connects from is what the second told.
        assert session.peers[-1][0] == server.address[0]
        assert server.holds(session.peers[-1], session.bound[-1])
        data.sendall(blob)
    assert session.voidresp().startswith("226")
    assert sorted(session.nlst("up")) == ["up/first", "up/second"]
    for path in ((server.root / "up" / name) for name in ("first", "second")):
        with path.open("rb") as stream:
            assert sha256(stream) == digest_of(blob)
        path.unlink()


@pytest.mark.parametrize("way", ["4", "5"])
def test_all_zeros_expect_the_server_too(
    way: str, servers: dict[str, FTPServer], open_proxy: Address, blob: bytes
) -> None:
    address = servers[IPV4].address
    with ActiveFTP(WAYS[way], open_proxy, address, ANYBODY) as session:
        assert session.fetched("blob") == digest_of(blob)
        assert session.peers[0][0] == IPV4
        session.quit()


def test_a_server_that_is_not_expected_is_turned_away_and_the_session_goes_on(
    servers: dict[str, FTPServer], open_proxy: Address, blob: bytes
) -> None:
    with ActiveFTP(WAYS["4"], open_proxy, servers[IPV4].address, NOBODY) as session:
        with session.makeport() as listening:
            # While it connects, or soon after.
            with pytest.raises(Error, match=r"^42[56]"):
                session.sendcmd("RETR blob")
                session.voidresp()
            with listening.accept()[0] as data:
                assert session.replies == [socks4.REJECTED]
                assert data.recv(1) == b""
        session.expected = IPV4
        assert session.fetched("blob") == digest_of(blob)
        session.quit()


def tnftp(version: str, proxy: Address, server: Address, *commands: str) -> str:
    """Run tnftp in active mode on Dante's library; gives its output."""
    program = [require("tnftp", "tnftp"), "-A", "-a", "-v", "-N", "/dev/null"]
    command = socksified([*program, server[0], str(server[1])], proxy, version)
    with running(command) as process:
        process.stdin.write("".join(f"{line}\n" for line in (*commands, "bye")).encode())
        process.stdin.close()
        return process.stdout.read().decode()


@pytest.fixture(scope="module")
def dantes_proxy() -> Iterator[Twistd]:
    """A proxy that nobody but Dante uses."""
    with twistd(*LOOPBACK) as server:
        yield server
        assert server.stop() == 0, server.output()


@pytest.mark.parametrize("version", ["4", "5"])
def test_tnftp_moves_files_both_ways_by_dantes_bind(
    version: str,
    servers: dict[str, FTPServer],
    dantes_proxy: Twistd,
    blob: bytes,
    tmp_path: Path,
) -> None:
    server = servers[IPV4]
    fetched, sent = tmp_path / "fetched", server.root / "up" / "sent"
    said = tnftp(
        version,
        dantes_proxy.address(),
        server.address,
        f"get blob {fetched}",
        f"put {fetched} up/sent",
        "ls up",
    )
    assert said.count("226") == 3, said
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("-rw")] == ["sent"]
    for path in (fetched, sent):
        with path.open("rb") as stream:
            assert sha256(stream) == digest_of(blob)
    sent.unlink()
    # By this proxy indeed, and by BIND.
    for octets in (f"received=0 sent={SIZE}", f"received={SIZE} sent=0"):
        dantes_proxy.wait_for(f"version={version} .*command=BIND .*result=granted .*{octets} ")
