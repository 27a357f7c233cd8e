"""
Passing datagrams on between a client and any number of destinations (RFC 1928 section 7).

The client's side is one socket; whoever else sends to it than the client is dropped
without effect.  The other side is at most two sockets, one of each family, opened when
the first destination of that family is sent to.  A datagram that cannot be passed on,
whatever the reason, is dropped, and costs no other one.

The association lasts as long as its control connection, what is sent on which means
nothing.
"""

import errno
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, ip_address
from socket import AF_INET6, inet_ntop
from typing import Final

from twisted.internet.address import IPv4Address as IPv4SocketAddress
from twisted.internet.address import IPv6Address as IPv6SocketAddress
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ConnectionDone, MessageLengthError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.interfaces import IDatagramEncapsulation
from socks5d.limits.pace import Pace, Paces
from socks5d.net import DatagramSocket, is_ours
from socks5d.net.datagram import ITurns
from socks5d.parameters import Filtering
from socks5d.relay.idle import IdleTimer
from socks5d.relay.stream import CLIENT_RESET, FINISHED, IDLE
from socks5d.relay.together import Together
from socks5d.relay.transports import StreamTransport
from socks5d.relay.verdicts import Verdicts
from socks5d.wire.address import DOMAINNAME, Address, IPAddress, parse_address
from socks5d.wire.fragments import Reassembly
from socks5d.wire.names import unmapped
from socks5d.wire.parsed import WireError
from socks5d.wire.udp import END_OF_SEQUENCE, Header, encode_header, header_end

_log = Logger()

SocketAddress = tuple[str, int]
#: Permitted addresses, in the order to try them.
Reached = Sequence[Address] | Deferred[Sequence[Address]]
#: Where a destination's datagrams go: by which socket, to which address.
Way = tuple[IUDPTransport, SocketAddress]

#: Addresses that are being judged at once, and names that are being resolved, for one client.
DECISIONS = 32
LOOKUPS = 8

#: Errors of a destination, not of a datagram.
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

#: Where ATYP stands in a header, and where FRAG does.
_ATYP: Final = 3
_FRAG: Final = 2


@implementer(ITurns)
class Side(DatagramProtocol):
    """Hands on what comes to one socket."""

    noisy = False

    def __init__(
        self, received: Callable[[bytes, SocketAddress], None], together: Together
    ) -> None:
        """
        @param received: is given each datagram and where it came from.
        @param together: sends what comes of those of one turn.
        """
        self.datagramReceived = received  # type: ignore[method-assign,assignment]
        self.turn_began = together.begin
        self.turn_ended = together.end


class Association:
    """
    One client's.

    @ivar received: octets of the client's that were passed on, without headers.
    @ivar sent: octets that were passed on to the client, without headers.
    @ivar dropped: datagrams that were not passed on.
    @ivar end: how it ended; "" while it has not.
    """

    def __init__(
        self,
        *,
        control: StreamTransport,
        clock: IReactorTime,
        client: IPAddress,
        port: int,
        local: bool,
        filtering: Filtering,
        reassembly: float | None,
        idle: float,
        closing: float,
        destinations: int,
        reach: Callable[[Address], Reached],
        welcome: Callable[[Address], Reached],
        open_client_side: Callable[[DatagramProtocol], IUDPTransport],
        open_socket: Callable[[IPAddress, DatagramProtocol], Deferred[IUDPTransport]],
        broken: Callable[[Failure], None],
        ended: Callable[[], None],
        encapsulation: IDatagramEncapsulation | None = None,
        paces: Paces | None = None,
    ) -> None:
        """
        @param control: the control connection.
        @param client: the address that the client's datagrams come from.
        @param port: the port they come from; 0 for that of the first.
        @param local: whether the client is on this host.
        @param filtering: whose datagrams are passed on to the client.
        @param reassembly: for how long fragments wait for the rest, in seconds; None to
            drop them.
        @param idle: seconds after which an association without a datagram is ended.
        @param closing: seconds that its control connection then gets to close.
        @param destinations: destinations that are remembered.
        @param reach: what a destination is, as the client named it: addresses that are
            permitted, in the order to try them.  Whatever it fails with refuses.
        @param welcome: whether a stranger may send to the client; asked where
            C{filtering} is L{Filtering.NONE}.  Whatever it fails with refuses.
        @param open_client_side: opens the socket that the client sends to.
        @param open_socket: opens a socket towards an address.
        @param broken: is told of a socket that fails as no network does.
        @param ended: called once, when the control connection and this are gone.
        @param encapsulation: wraps what is sent to the client, and unwraps what comes from it.
        @param paces: of what comes from the client, and of what goes to it: datagrams beyond
            are dropped; None for as fast as can be.
        @raise OSError: when the client's side cannot be opened.
        """
        self._outward = Together(self._send_one, self._send_many)
        self._inward = Together(self._answer_one, self._answer_many)
        self._client_side = open_client_side(Side(self.from_client, self._outward))
        self._control = control
        self._encapsulation = encapsulation
        self._up: Pace | None = None
        self._down: Pace | None = None
        if paces is not None:
            self._up, self._down = paces
            for pace in paces:
                pace.exhausted = self.abort
        self._clock = clock
        self._client = client
        self._port = port
        self._local = local
        self._source: SocketAddress | None = None
        self._filtering = filtering
        self._patience = reassembly
        self._fragments = Reassembly()
        self._began = 0.0
        self._destinations = destinations
        self._reach = reach
        self._welcome = welcome
        self._open_socket = open_socket
        self._broken = broken
        self._ended = ended
        self._closing = closing
        self._closed = False
        self._stopping: IDelayedCall | None = None
        self._idle = IdleTimer(clock, idle, partial(self._finish, IDLE))
        self._touch = self._idle.touch
        # Apart from each other, so that names that do not resolve hold up no addresses.
        self._addresses, self._names = (
            Verdicts(clock, destinations, pending, self._find_ways, self._outward.add, self._drop)
            for pending in (DECISIONS, LOOKUPS)
        )
        self._callers = Verdicts(
            clock, destinations, DECISIONS, self._admit, self._pass_on, self._drop
        )
        #: Whom the client has sent to, as the filtering tells them apart.
        self._peers: dict[SocketAddress | str, None] = {}
        #: The headers of answers, by where they come from.
        self._headers: dict[SocketAddress, bytes] = {}
        self._sockets: dict[int, IUDPTransport] = {}
        self._opening = {4: DeferredLock(), 6: DeferredLock()}
        self.received = 0
        self.sent = 0
        self.dropped = 0
        self.end = ""

    # From the client.

    def from_client(self, datagram: bytes, source: SocketAddress) -> None:
        """
        @param datagram: what came to the client's side.
        @param source: from where.
        """
        if self._closed or (source != self._source and not self._may_be(source)):
            self._drop()
            return
        try:
            if self._encapsulation is not None:
                datagram = _converted(self._encapsulation.decapsulate_datagram, datagram)
            end = header_end(datagram)
        except WireError:
            self._drop()
            return
        if self._source is None:
            self._pin(source)
        self._touch()
        destination, data = datagram[_ATYP:end], datagram[end:]
        if self._up is not None and not self._up.admits(len(data)):
            self._drop()
            return
        if datagram[_FRAG]:
            whole = self._reassemble(datagram[_FRAG], destination, data)
            if whole is None:
                return
            data = whole
        elif len(self._fragments):
            # Lower than the highest FRAG so far, by which the RFC gives up the sequence.
            self._abandon_fragments()
        named = destination[0] == DOMAINNAME
        (self._names if named else self._addresses).give(destination, data)

    def _may_be(self, source: SocketAddress) -> bool:
        """Whether a source that is not known to be the client's may yet be."""
        if self._source is not None or self._port not in (0, source[1]):
            return False
        if self._local and is_ours(source[1]):
            # What another client sends by way of this server comes from this host too.
            return False
        return unmapped(ip_address(source[0])) == self._client

    def _pin(self, source: SocketAddress) -> None:
        self._source = source
        try:
            # From here on the kernel drops strangers, before they fill its queue.
            self._client_side.connect(*source)
        except OSError:
            _log.debug("the client's side stays unconnected; strangers are told apart here")

    def _reassemble(self, frag: int, destination: bytes, data: bytes) -> bytes | None:
        if self._patience is None:
            self._drop()
            return None
        now = self._clock.seconds()
        if frag & ~END_OF_SEQUENCE == 1:
            self._began = now
        elif now - self._began > self._patience:
            self._abandon_fragments()
        parsed = parse_address(destination, 0)
        assert parsed is not None
        held = len(self._fragments)
        whole = self._fragments.add(Header(frag, parsed.value), data)
        if whole is None:
            self.dropped += held + 1 - len(self._fragments)
        return whole

    def _abandon_fragments(self) -> None:
        self.dropped += len(self._fragments)
        self._fragments.abandon()

    def _find_ways(
        self, destination: bytes, before: list[Way] | None
    ) -> list[Way] | Deferred[list[Way]]:
        parsed = parse_address(destination, 0)
        assert parsed is not None
        reached = self._reach(parsed.value)
        if not isinstance(reached, Deferred) and len(reached) == 1:
            host, port = reached[0]
            assert not isinstance(host, bytes)
            there = self._sockets.get(host.version)
            if there is not None:
                return [(there, (_text(host), port))]
        return Deferred.fromCoroutine(self._ways_to(reached, before))

    async def _ways_to(self, reached: Reached, before: list[Way] | None) -> list[Way]:
        found: list[Way] = []
        problem: OSError | None = None
        for host, port in await reached if isinstance(reached, Deferred) else reached:
            assert not isinstance(host, bytes)
            try:
                found.append((await self._socket(host), (_text(host), port)))
            except OSError as error:
                problem = error
        if not found:
            raise problem if problem is not None else LookupError("no address to send to")
        if before and before[0] in found:
            # A flow stays with its address while the name has it.
            found.sort(key=before[0].__ne__)
        return found

    async def _socket(self, towards: IPAddress) -> IUDPTransport:
        there = self._sockets.get(towards.version)
        if there is not None:
            return there
        opening = self._opening[towards.version]
        await opening.acquire()
        try:
            if self._closed:
                raise LookupError("the association has ended")
            there = self._sockets.get(towards.version)
            if there is None:
                there = await self._open_socket(towards, Side(self.from_destination, self._inward))
                self._sockets[towards.version] = there
            return there
        finally:
            opening.release()

    def _send_many(self, ways: list[Way], datagrams: Sequence[bytes]) -> None:
        transport, target = ways[0]
        self._remember(target)
        size = len(datagrams[0])
        if isinstance(transport, DatagramSocket) and transport.write_together(
            datagrams, size, target
        ):
            self.received += size * len(datagrams)
        else:
            for data in datagrams:
                self._send_one(ways, data)

    def _send_one(self, ways: list[Way], data: bytes) -> None:
        while True:
            transport, target = ways[0]
            self._remember(target)
            try:
                transport.write(data, target)
            except Exception as error:  # noqa: BLE001 (the transport may be a stranger's)
                if not isinstance(error, (OSError, MessageLengthError)):
                    self._broken(Failure())
                if len(ways) == 1 or getattr(error, "errno", None) not in _NO_WAY:
                    self._drop()
                    return
                # The name's next address serves from now on.
                del ways[0]
            else:
                self.received += len(data)
                return

    def _remember(self, target: SocketAddress) -> None:
        key = target[0] if self._filtering is Filtering.ADDRESS else target
        if key not in self._peers:
            if len(self._peers) >= self._destinations:
                del self._peers[next(iter(self._peers))]
            self._peers[key] = None

    # To the client.

    def from_destination(self, data: bytes, source: SocketAddress) -> None:
        """
        @param data: what came to the other side.
        @param source: from where.
        """
        if self._closed:
            return
        if (source[0] if self._filtering is Filtering.ADDRESS else source) in self._peers:
            self._pass_on(source, data)
        elif self._filtering is Filtering.NONE:
            self._callers.give(source, data)
        else:
            self._drop()

    def _admit(
        self, source: SocketAddress, before: SocketAddress | None
    ) -> SocketAddress | Deferred[SocketAddress]:
        welcome = self._welcome(Address(ip_address(source[0]), source[1]))
        if isinstance(welcome, Deferred):
            return welcome.addCallback(lambda _: source)
        return source

    def _pass_on(self, source: SocketAddress, data: bytes) -> None:
        if self._down is not None and not self._down.admits(len(data)):
            self._drop()
            return
        header = self._headers.get(source)
        if header is None:
            header = encode_header(Header(0, Address(ip_address(source[0]), source[1])))
            if len(self._headers) >= self._destinations:
                del self._headers[next(iter(self._headers))]
            self._headers[source] = header
        self._touch()
        self._inward.add(header, data)

    def _answer_many(self, header: bytes, datagrams: Sequence[bytes]) -> None:
        client_side = self._client_side
        if self._encapsulation is None and isinstance(client_side, DatagramSocket):
            size = len(datagrams[0])
            pieces = [piece for data in datagrams for piece in (header, data)]
            if client_side.write_together(pieces, len(header) + size, self._source):
                self.sent += size * len(datagrams)
                return
        for data in datagrams:
            self._answer_one(header, data)

    def _answer_one(self, header: bytes, data: bytes) -> None:
        datagram = header + data
        try:
            if self._encapsulation is not None:
                datagram = _converted(self._encapsulation.encapsulate_datagram, datagram)
            self._client_side.write(datagram, self._source)
        except (OSError, WireError):
            self._drop()
        else:
            self.sent += len(data)

    def _drop(self) -> None:
        self.dropped += 1

    def host(self) -> IPv4SocketAddress | IPv6SocketAddress:
        """
        @return: where the client is to send to.
        """
        host = self._client_side.getHost()
        assert isinstance(host, (IPv4SocketAddress, IPv6SocketAddress))
        return host

    # The control connection, and the end.

    def forget_verdicts(self) -> None:
        """
        Ask anew about every destination, and everybody who sends: other rules hold now.  Whom
        the client has sent to may answer again once it has sent there under those.
        """
        for verdicts in (self._addresses, self._names, self._callers):
            verdicts.close()
        self._peers.clear()

    def client_data(self, data: bytes) -> None:
        """What comes on the control connection means nothing."""

    def client_eof(self) -> None:
        """The client will send no more on the control connection, and so ends it."""
        self._finish(FINISHED)

    def client_told(self) -> None:
        """Nobody waits for this: the control connection is closed whole."""

    def client_lost(self, reason: Failure) -> None:
        """
        @param reason: as the control connection's protocol was told.
        """
        if not self.end:
            self.end = FINISHED if reason.check(ConnectionDone) else CLIENT_RESET
        self._close()
        self._keep_control()
        self._ended()

    def abort(self, end: str) -> None:
        """
        End it, and the control connection with a reset.

        @param end: why, for the log.
        """
        if not self.end:
            self.end = end
        self._close()
        # In the next turn: Twisted may have the connection's end scheduled already.
        self._stop_control(0)

    def _finish(self, end: str) -> None:
        if not self.end:
            self.end = end
            self._close()
            self._control.loseConnection()
            self._stop_control(self._closing)

    def _stop_control(self, seconds: float) -> None:
        self._keep_control()
        self._stopping = self._clock.callLater(seconds, self._control.abortConnection)

    def _keep_control(self) -> None:
        if self._stopping is not None and self._stopping.active():
            self._stopping.cancel()

    def _close(self) -> None:
        """Close the sockets, whatever becomes of the control connection."""
        if self._closed:
            return
        self._closed = True
        self._idle.cancel()
        for pace in (self._up, self._down):
            if pace is not None:
                pace.stop()
        self.forget_verdicts()
        self._abandon_fragments()
        self.dropped += self._outward.forget() + self._inward.forget()
        for transport in (self._client_side, *self._sockets.values()):
            try:
                transport.stopListening()
            except Exception:  # noqa: BLE001 (the transport may be a stranger's)
                _log.failure("a socket for datagrams could not be closed")


def _converted(convert: Callable[[bytes], bytes], datagram: bytes) -> bytes:
    """
    @param convert: one way of an encapsulation.
    @raise WireError: when it fails.
    """
    try:
        converted = convert(datagram)
    except Exception:  # noqa: BLE001 (a stranger's code, and a stranger's octets)
        raise WireError("an encapsulation cannot convert the datagram") from None
    if not isinstance(converted, bytes):
        raise WireError("an encapsulation gave something that is no bytes")
    return converted


def _text(host: IPAddress) -> str:
    """An address as the kernel writes it, so that the two can be compared."""
    if isinstance(host, IPv4Address):
        return str(host)
    zone = f"%{host.scope_id}" if host.scope_id is not None else ""
    return inet_ntop(AF_INET6, host.packed) + zone
