"""One client's session: what is known of it, its deadline, and its record at the end."""

from collections.abc import Callable
from itertools import count
from time import time

from twisted.internet.defer import Deferred

from socks5d.deadlines import Deadline
from socks5d.escape import printable
from socks5d.limits.holding import Holding
from socks5d.limits.pace import Paces
from socks5d.model import (
    ANONYMOUS,
    NO_TERMS,
    Client,
    Command,
    Ident,
    Identity,
    Opened,
    Outcome,
    Record,
    Request,
)
from socks5d.protocols.server import Server
from socks5d.wire.address import Address, Host, IPAddress, address_text

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
    @ivar client: who connected.
    @ivar name: the canonical name asked for, once there is one.
    @ivar outcome: how the request ended; None while it has not.
    @ivar terms: on what terms it is permitted, as far as is known.
    @ivar excess: the limit of its client that it is over, "" for none; a Deferred of it while
        somebody else counts.
    @ivar holding: what it has of what is counted, if anything.
    """

    __slots__ = (
        "_deadline",
        "_epoch",
        "_started",
        "address",
        "asked",
        "claimed",
        "client",
        "command",
        "dropped",
        "end",
        "excess",
        "handshake",
        "holding",
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
        "terms",
        "userid",
        "version",
    )

    def __init__(self, server: Server) -> None:
        """
        @param server: whose session it is.
        """
        self.server = server
        self.id = next(_ids)
        self._epoch = time()
        self._started = server.clock.seconds()
        self._deadline: Deadline | None = None
        self.client = Client(None)
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
        self.terms = NO_TERMS
        self.excess: str | Deferred[str] = ""
        self.holding: Holding | None = None

    def deadline(self, seconds: float, late: Callable[[], object]) -> None:
        """
        Set the session's deadline, in the place of the one before.

        @param seconds: from now.
        @param late: called when it passes.
        """
        self.no_deadline()
        self._deadline = self.server.deadlines.after(seconds, late)

    def postpone(self, seconds: float) -> None:
        """
        Move the deadline that stands, if one does.

        @param seconds: by how much; negative for an earlier one.
        """
        standing = self._deadline
        if standing is not None:
            left = standing.when + seconds - self.server.clock.seconds()
            self.deadline(max(left, 0.0), standing.late)

    def no_deadline(self) -> None:
        """Take the deadline back."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def budget(self) -> int:
        """Octets that the client may send before its request is complete."""
        return self.server.budget(self.method)

    def age(self) -> float:
        """Seconds since the client connected."""
        return self.server.clock.seconds() - self._started

    def identify(self, far: Address | None, near: Address | None) -> None:
        """
        Say who has connected; for certain from the first octet on, for a PROXY header may
        come before it.

        @param far: the far end of the client's connection.
        @param near: its near end.
        """
        if far is None or isinstance(far.host, bytes):
            self.client = Client(None, 0, near, self.server.listener)
        else:
            self.client = Client(far.host, far.port, near, self.server.listener)

    def enter(self) -> None:
        """Count it as its client's, now that it is known who that is."""
        self.excess = self.server.limiter.admit_client(self.client, self._hold())

    def admit_identity(self) -> str | Deferred[str]:
        """
        Count it as its identity's, now that it is known who that is.

        @return: the limit that is in the way, "" for none.
        """
        return self.server.limiter.admit_identity(self.identity, self._hold())

    @property
    def rate(self) -> int:
        """Octets a second that it may relay, each way; 0 for as many as can be."""
        rate = self.terms.rate
        return self.server.limits.rate if rate is None else rate

    def paces(self) -> Paces | None:
        """
        @return: how fast it may go, from the client and to it; None for as fast as can be.
        """
        return self.server.limiter.paces(self.rate, self.identity, self._hold())

    def _hold(self) -> Holding:
        if self.holding is None:
            self.holding = Holding()
        return self.holding

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
        if self.holding is not None:
            self.holding.give_back()
        self.server.ended(self._record)

    def _record(self) -> Record:
        asked = self.asked
        return Record(
            self.id,
            self._epoch,
            self.age(),
            self.client,
            self.version,
            self.method,
            self.identity,
            self.ident,
            printable(self.claimed) if self.claimed else None,
            self.command,
            None if asked is None else _shown(asked),
            self.port,
            self.address,
            self.outcome if self.outcome is not None else Outcome.CLIENT_LEFT,
            self.rule,
            self.end,
            self.received,
            self.sent,
            self.handshake,
            self.dropped,
            self.refused,
            self.terms.log,
        )


def _shown(asked: Host) -> str:
    return printable(asked) if isinstance(asked, bytes) else address_text(asked)
