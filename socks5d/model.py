"""
The nouns: what the parts of socks5d say to each other.

All frozen.  Times are in seconds, sizes in octets.
"""

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, gt, le, lt

from socks5d.wire.address import Address, IPAddress

if TYPE_CHECKING:
    from socks5d.interfaces import IEncapsulation


class Outcome(Enum):
    """
    How a request ended; each SOCKS version has its own code for it.

    The value is the word that logs use.
    """

    GRANTED = "granted"
    FAILED = "general failure"
    DENIED = "denied"
    NETWORK_UNREACHABLE = "network unreachable"
    HOST_UNREACHABLE = "host unreachable"
    REFUSED = "connection refused"
    TIMED_OUT = "timed out"
    COMMAND_NOT_SUPPORTED = "command not supported"
    ADDRESS_TYPE_NOT_SUPPORTED = "address type not supported"
    # These end a session before there is a request to answer.
    NO_ACCEPTABLE_METHOD = "no acceptable method"
    NOT_AUTHENTICATED = "not authenticated"
    MALFORMED = "malformed"
    HANDSHAKE_TIMED_OUT = "handshake timed out"
    OVER_BUDGET = "handshake over its octets"
    CLIENT_LEFT = "client left"
    SHUTDOWN = "shutdown"


class Refusal(Exception):
    """
    A request will not be carried out.

    @ivar outcome: why, as the client is told.
    @ivar rule: why, as the log tells: the rule that said so, or what failed.
    """

    def __init__(self, outcome: Outcome, rule: str = "") -> None:
        super().__init__(outcome.value, rule)
        self.outcome = outcome
        self.rule = rule


class Command(Enum):
    """What a client asks for (RFC 1928 section 4).  The value is the name logs use."""

    CONNECT = "CONNECT"
    BIND = "BIND"
    UDP_ASSOCIATE = "UDP ASSOCIATE"


@frozen(slots=True)
class Client:
    """
    Who is at the other end of the control connection.

    @ivar address: the client's address, an IPv4-mapped one as IPv4; None when it
        has none (a UNIX socket).  Behind a proxy that speaks the PROXY protocol,
        the address its header gives.
    @ivar port: the client's port; 0 where there is none.
    @ivar local: the address and port that the client connected to, or None.
    @ivar listener: the listener it came by, as the operator wrote it.
    """

    address: IPAddress | None
    port: int = 0
    local: Address | None = None
    listener: str = ""


@frozen(slots=True)
class Identity:
    """
    Whom an authenticator found the client to be.

    @ivar name: the name, or None for nobody in particular.
    @ivar source: how it is known: "none", "password", "userid" (SOCKS 4's USERID,
        which nobody proved), or another authenticator's word.
    """

    name: str | None = None
    source: str = "none"


ANONYMOUS = Identity()


@frozen(slots=True)
class Request:
    """
    All that is known when a ruleset is asked.

    A session is judged as it becomes known: the client alone (C{command} is None,
    before a client may show credentials), the name asked for (C{address} is None,
    before it resolves), and each address that would be connected to.

    @ivar client: who asks.
    @ivar version: "4", "4a" or "5".
    @ivar method: the SOCKS 5 METHOD number; None for SOCKS 4.
    @ivar identity: what the authenticator found.
    @ivar userid: SOCKS 4's USERID as sent; None for SOCKS 5.
    @ivar command: what is asked for.
    @ivar name: the name asked for, lower case, without a trailing dot; None when
        an address was asked for, in whatever disguise.
    @ivar address: the address to decide about; never an IPv4-mapped one.
    @ivar port: the destination's port.
    @ivar peer: for BIND the address and port of the peer that has connected, whose
        address is the one to decide about; C{port} is still the one asked for.
    """

    client: Client
    version: str
    method: int | None = None
    identity: Identity = ANONYMOUS
    userid: str | None = None
    command: Command | None = None
    name: str | None = None
    address: IPAddress | None = None
    port: int = 0
    peer: Address | None = None


class Strangers(Enum):
    """
    What becomes of a BIND to which somebody connects who is not expected.

    The value is the word that settings use.
    """

    IGNORE = "ignore"
    REFUSE = "refuse"


class Verdict(Enum):
    """What a ruleset thinks of a request."""

    PERMIT = "permit"
    DENY = "deny"
    NO_OPINION = "no opinion"


@frozen(slots=True)
class Decision:
    """
    A ruleset's answer.

    @ivar verdict: permit, deny or no opinion.
    @ivar rule: the rule that made it, as the operator would recognise it.
    @ivar by_address: whether a permit named the destination's address.  Only such a
        permit reaches the addresses that are protected by default.
    """

    verdict: Verdict
    rule: str = ""
    by_address: bool = False


NO_OPINION = Decision(Verdict.NO_OPINION)


# What one step of a sub-negotiation gives.


@frozen(slots=True)
class More:
    """
    The sub-negotiation needs more from the client.

    @ivar send: octets to send now.
    """

    send: bytes = b""


@frozen(slots=True)
class Authenticated:
    """
    The sub-negotiation is over and the client is let in.

    @ivar identity: who the client is.
    @ivar send: octets to send now.
    @ivar rest: octets received that are not part of the sub-negotiation.
    @ivar encapsulation: what wraps everything that follows (RFC 1928 section 3),
        C{rest} included; None for nothing.
    """

    identity: Identity
    send: bytes = b""
    rest: bytes = b""
    encapsulation: "IEncapsulation | None" = None


@frozen(slots=True)
class NotAuthenticated:
    """
    The sub-negotiation is over and the client is not let in.

    @ivar send: octets to send before the connection closes.
    @ivar reason: why, for the log; no secret, no raw octets of the client's.
    @ivar claimed: the name the client gave, as it gave it, or None.
    """

    send: bytes = b""
    reason: str = ""
    claimed: str | None = None


Step = More | Authenticated | NotAuthenticated


@frozen(slots=True)
class Opened:
    """
    A session begins to relay.

    @ivar id: a number that no other session of this process has.
    @ivar request: what was permitted.
    @ivar bound: the local address and port of the outgoing socket.
    """

    id: int
    request: Request
    bound: Address | None


@frozen(slots=True)
class Record:
    """
    What is to be known of a session that ended.

    @ivar id: a number that no other session of this process has.
    @ivar started: when the client connected, in seconds since the epoch.
    @ivar seconds: how long it lasted.
    @ivar client: who it was.
    @ivar version: "4", "4a", "5", or "" when it never showed.
    @ivar method: the SOCKS 5 METHOD that was used, or None.
    @ivar identity: whom the authenticator found.
    @ivar claimed: a name the client gave without proof: USERID, or a user name that
        was not accepted; escaped.  None for none.
    @ivar command: the command, or None when no request came.
    @ivar asked: the host asked for as the client wrote it, escaped; None for none.
    @ivar port: the port asked for.
    @ivar address: the address connected to, or None.
    @ivar outcome: the answer.
    @ivar rule: the rule that decided, or what went wrong.
    @ivar end: how a granted session ended: "finished", "client reset", "origin
        reset", "idle", "shutdown".  "" for one that was not granted.
    @ivar received: octets that the client sent to the destination.
    @ivar sent: octets that the destination sent to the client.
    @ivar handshake: octets that the client sent before there was a request.
    """

    id: int
    started: float
    seconds: float
    client: Client
    version: str
    method: int | None
    identity: Identity
    claimed: str | None
    command: Command | None
    asked: str | None
    port: int
    address: IPAddress | None
    outcome: Outcome
    rule: str
    end: str
    received: int
    sent: int
    handshake: int


@frozen(slots=True, kw_only=True)
class Timeouts:
    """
    How long things may take, in seconds.  A value out of range raises ValueError.

    @ivar handshake: from accepting to a whole request, authentication included.
    @ivar connect: from the request to the destination's connection: rules,
        resolving and connecting together.  The SOCKS 4 note ends it at two minutes.
    @ivar bind: for the peer of a BIND to connect.
    @ivar decision: one call of a ruleset, an authenticator or a checker.
    @ivar idle: a relay without an octet either way.  RFC 5382 (REQ-5) asks of what
        stands between that it be at least 2 hours and 4 minutes.
    @ivar closing: from a failure reply to the end of its connection; RFC 1928
        section 6 wants less than 10.
    @ivar shutdown: what running sessions get to finish when the server stops.
    @ivar attempt: until the next address is tried beside the one that does not
        answer (RFC 8305's Connection Attempt Delay).
    """

    handshake: float = field(default=30.0, validator=gt(0))
    connect: float = field(default=30.0, validator=[gt(0), le(120)])
    bind: float = field(default=120.0, validator=gt(0))
    decision: float = field(default=10.0, validator=gt(0))
    idle: float = field(default=7440.0, validator=gt(0))
    closing: float = field(default=5.0, validator=[gt(0), lt(10)])
    shutdown: float = field(default=10.0, validator=ge(0))
    attempt: float = field(default=0.25, validator=ge(0.01))


@frozen(slots=True, kw_only=True)
class Limits:
    """
    How much there may be.  A value out of range raises ValueError.

    @ivar sessions: sessions at once; 0 for as many as file descriptors allow.
    @ivar handshake: octets that a client may send before its request is complete; at
        least what the longest handshake with a password takes.
    @ivar early: octets behind a request that are kept before the destination's
        connection stands; the rest waits in the kernel.
    @ivar addresses: addresses of one name that are judged and tried.
    @ivar lookups: names being resolved, or waiting for it, at once.
    @ivar threads: names being resolved at once.
    @ivar attempts: second and further attempts to connect, each beside the first of
        its session, at once.
    """

    sessions: int = field(default=0, validator=ge(0))
    handshake: int = field(default=8192, validator=ge(1100))
    early: int = field(default=65536, validator=ge(0))
    addresses: int = field(default=16, validator=ge(1))
    lookups: int = field(default=1024, validator=ge(1))
    threads: int = field(default=32, validator=[ge(1), le(1024)])
    attempts: int = field(default=64, validator=ge(0))


@frozen(slots=True)
class SourceAddresses:
    """
    The local addresses that outgoing connections are made from, or that a BIND listens on.

    @ivar ipv4: for IPv4 destinations, or None for the kernel's choice.
    @ivar ipv6: for IPv6 destinations, or None for the kernel's choice.
    """

    ipv4: IPAddress | None = field(default=None)
    ipv6: IPAddress | None = field(default=None)

    @classmethod
    def of(cls, addresses: Sequence[IPAddress]) -> "SourceAddresses":
        """
        @param addresses: at most one of each family.
        @raise ValueError: for two of one family.
        """
        families = {address.version: address for address in addresses}
        if len(families) != len(addresses):
            raise ValueError("at most one source address of each family")
        return cls(families.get(4), families.get(6))
