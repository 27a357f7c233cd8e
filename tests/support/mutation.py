"""Handshakes gone wrong: made from a seed, and played against a server many at a time."""

import selectors
import socket
import struct
from collections.abc import Iterator
from random import Random

from socks5d.wire import socks4, socks5, userpass
from socks5d.wire.address import Address
from socks5d.wire.userpass import Credentials
from tests.support.client import destination
from tests.support.running import PATIENCE
from tests.support.running import Address as SocketAddress

RST_ON_CLOSE = struct.pack("ii", 1, 0)


def openings(port: int) -> list[bytes]:
    """Handshakes that are in order; C{port} is that of an origin."""
    here = destination("127.0.0.1", port)
    protected = destination("127.0.0.2", port)
    named = Address(b"localhost", port)
    unknown = Address(b"no such name", 80)
    six = destination("::1", 9)
    login = userpass.encode_credentials(Credentials(b"ann", b"secret"))
    greeting = socks5.encode_greeting(b"\x00\x02")
    password = socks5.encode_greeting(b"\x02")
    fives = [
        start + socks5.encode_request(socks5.Request(command, to))
        for start in (greeting, password + login)
        for to in (here, protected, unknown, six)
        for command in (1, 2, 3)
    ]
    fours = [
        socks4.encode_request(socks4.Request(command, to, userid))
        for to in (here, protected, unknown)
        for command in (1, 2)
        for userid in (b"", b"ann", b"x" * 255)
    ]
    return [*fives, *fours, greeting + socks5.encode_request(socks5.Request(1, named))]


def mutated(random: Random, seeds: list[bytes]) -> bytes:
    """One of the openings, with something wrong with it, most of the time."""
    octets = bytearray(random.choice(seeds))
    for _ in range(random.choice((0, 1, 1, 1, 2, 3, 8))):
        place = random.randrange(len(octets) + 1)
        match random.randrange(7):
            case 0 if place < len(octets):
                octets[place] ^= 1 << random.randrange(8)
            case 1 if place < len(octets):
                octets[place] = random.randrange(256)
            case 2:
                del octets[place:]
            case 3:
                octets[place:place] = random.randbytes(random.choice((1, 2, 300)))
            case 4 if place < len(octets):
                del octets[place]
            case 5:
                octets += random.choice(seeds)
            case _ if place < len(octets):
                octets[place] = random.choice((0, 1, 2, 3, 4, 5, 127, 128, 254, 255))
    return bytes(octets)


class _Player:
    """One connection: sends its octets in pieces, and ends in one of three ways."""

    def __init__(self, random: Random, octets: bytes, server: SocketAddress) -> None:
        cuts = sorted(random.randrange(len(octets) + 1) for _ in range(random.choice((0, 0, 1, 2))))
        self.pieces = [
            octets[start:end]
            for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)
            if start < end
        ]
        self.ending = random.choice(("fin", "fin", "fin", "reset", "close"))
        self.received = 0
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Another source address each time, or the ports would run out in TIME-WAIT.
        source = (
            f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        )
        self.socket.bind((source, 0))
        self.socket.connect_ex(server)

    def writable(self) -> bool:
        """Send a piece; gives whether there is anything left to be told."""
        if self.pieces:
            piece = self.pieces.pop(0)
            sent = self.socket.send(piece)
            if sent < len(piece):
                self.pieces.insert(0, piece[sent:])
            return True
        if self.ending == "fin":
            self.socket.shutdown(socket.SHUT_WR)
        return False

    def readable(self) -> bool:
        """Read; gives whether there may be more."""
        octets = self.socket.recv(4096)
        self.received += len(octets)
        return bool(octets)

    def end(self) -> None:
        if self.ending != "close":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        self.socket.close()


def play(
    server: SocketAddress, handshakes: Iterator[bytes], random: Random, at_once: int = 48
) -> tuple[int, int]:
    """
    Play handshakes against a server.

    @return: how many were played, and how many octets the server said.
    """
    selector = selectors.EpollSelector()
    played = octets = 0
    running = 0
    more = True
    while more or running:
        while more and running < at_once:
            handshake = next(handshakes, None)
            if handshake is None:
                more = False
                break
            player = _Player(random, handshake, server)
            selector.register(player.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, player)
            running += 1
        events = selector.select(PATIENCE)
        assert events or not running, "the server left clients waiting"
        for key, mask in events:
            player = key.data
            going_on = True
            try:
                if mask & selectors.EVENT_READ:
                    going_on = player.readable()
                if going_on and mask & selectors.EVENT_WRITE and not player.writable():
                    if player.ending == "fin":
                        selector.modify(player.socket, selectors.EVENT_READ, player)
                    else:
                        going_on = False
            except OSError:
                going_on = False
            if not going_on:
                selector.unregister(player.socket)
                player.end()
                running -= 1
                played += 1
                octets += player.received
    selector.close()
    return played, octets
