"""One client's session: what is known of it, its deadline, and its record at the end."""

from collections.abc import Callable
from itertools import count
from time import time

from twisted.internet.interfaces import IAddress

from socks5d.deadlines import Deadline
from socks5d.escape import printable
from socks5d.model import (
    ANONYMOUS,
    Client,
    Command,
    Ident,
    Identity,
    Opened,
    Outcome,
    Record,
    Request,
)
from socks5d.net.addresses import socket_address
from socks5d.protocols.server import Server
from socks5d.wire.address import Address, Host, IPAddress

_ids = count(1)


def count_from(first: int) -> None:
    """
    @param first: the id of the next session of this process.
    """
    global _ids
    _ids = count(first)


class Session:
    """
    @ivar server: whose session it is.
    @ivar name: the canonical name asked for, once there is one.
    @ivar outcome: how the request ended; None while it has not.
    """

    __slots__ = (
        "_client",
        "_deadline",
        "_epoch",
        "_far",
        "_near",
        "_started",
        "address",
        "asked",
        "claimed",
        "command",
        "dropped",
        "end",
        "handshake",
        "id",
        "ident",
        "identity",
        "method",
        "name",
        "outcome",
        "port",
        "received",
        "refused",
        "rule",
        "sent",
        "server",
        "userid",
        "version",
    )

    def __init__(self, server: Server, peer: IAddress | None) -> None:
        """
        @param server: whose session it is.
        @param peer: the far end of the connection, as far as is known.
        """
        self.server = server
        self.id = next(_ids)
        self._epoch = time()
        self._started = server.clock.seconds()
        self._deadline: Deadline | None = None
        self._client: Client | None = None
        self._far = peer
        self._near: IAddress | None = None
        self.version = ""
        self.method: int | None = None
        self.identity: Identity = ANONYMOUS
        self.ident: Ident | None = None
        self.userid: str | None = None
        self.claimed: str | None = None
        self.command: Command | None = None
        self.asked: Host | None = None
        self.port = 0
        self.name: str | None = None
        self.address: IPAddress | None = None
        self.outcome: Outcome | None = None
        self.rule = ""
        self.end = ""
        self.handshake = 0
        self.received = 0
        self.sent = 0
        self.dropped = 0
        self.refused = ""

    def deadline(self, seconds: float, late: Callable[[], None]) -> None:
        """
        Set the session's deadline, in the place of the one before.

        @param seconds: from now.
        @param late: called when it passes.
        """
        self.no_deadline()
        self._deadline = self.server.deadlines.after(seconds, late)

    def no_deadline(self) -> None:
        """Take the deadline back."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def age(self) -> float:
        """Seconds since the client connected."""
        return self.server.clock.seconds() - self._started

    def identify(self, peer: IAddress | None, host: IAddress | None) -> None:
        """
        @param peer: the far end of the client's connection.
        @param host: its near end.
        """
        self._far, self._near, self._client = peer, host, None

    @property
    def client(self) -> Client:
        """
        Who connected; for certain from the first octet on, for a PROXY header may come
        before it.
        """
        client = self._client
        if client is None:
            far = socket_address(self._far)
            address = far.host if far is not None and not isinstance(far.host, bytes) else None
            port = far.port if far is not None else 0
            near = socket_address(self._near)
            self._client = client = Client(address, port, near, self.server.listener)
            self._far = self._near = None
        return client

    def request(
        self,
        address: IPAddress | None = None,
        peer: Address | None = None,
        *,
        name: str | None = None,
        port: int | None = None,
    ) -> Request:
        """
        All that is known, for a ruleset.

        @param address: the address to judge; None when only the client, or the name,
            is known.
        @param peer: who has connected, for BIND.
        @param name: in the place of the session's.
        @param port: in the place of the session's.
        """
        return Request(
            self.client,
            self.version,
            self.method,
            self.identity,
            self.userid,
            self.command,
            name if name is not None else self.name,
            address,
            port if port is not None else self.port,
            peer,
            self.ident,
        )

    def opened(self, bound: Address | None) -> None:
        """
        The relay begins.

        @param bound: the near end of the outgoing connection.
        """
        self.outcome = Outcome.GRANTED
        self.server.opened(lambda: Opened(self.id, self.request(self.address), bound))

    def closed(self) -> None:
        """The session is over: nothing of it is left."""
        self.no_deadline()
        self.server.ended(self._record)

    def _record(self) -> Record:
        return Record(
            id=self.id,
            started=self._epoch,
            seconds=self.age(),
            client=self.client,
            version=self.version,
            method=self.method,
            identity=self.identity,
            ident=self.ident,
            claimed=printable(self.claimed) if self.claimed else None,
            command=self.command,
            asked=None if self.asked is None else _shown(self.asked),
            port=self.port,
            address=self.address,
            outcome=self.outcome if self.outcome is not None else Outcome.CLIENT_LEFT,
            rule=self.rule,
            end=self.end,
            received=self.received,
            sent=self.sent,
            handshake=self.handshake,
            dropped=self.dropped,
            refused=self.refused,
        )


def _shown(asked: Host) -> str:
    return printable(asked) if isinstance(asked, bytes) else str(asked)
