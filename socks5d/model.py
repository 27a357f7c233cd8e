"""
The nouns: what the parts of socks5d say to each other.

All frozen; those that are made for every session are tuples, which are made fastest.
Times are in seconds, sizes in octets.
"""

from enum import Enum, StrEnum
from typing import TYPE_CHECKING, NamedTuple

from attrs import field, frozen
from attrs.validators import ge, gt, in_, instance_of, le, max_len, min_len, optional

from socks5d.wire.address import Address, IPAddress

if TYPE_CHECKING:
    from socks5d.interfaces import IEncapsulation
    from socks5d.parameters import LocalAddresses


class Outcome(StrEnum):
    """
    How a request ended; each SOCKS version has its own code for it.

    Each is the word that logs use.
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
    # A denial for which SOCKS 4 has a code of its own.
    IDENT_UNREACHABLE = "identd gave no name"
    IDENT_MISMATCH = "identd names another user"
    # A denial that is the client's own excess, of which logs tell once and then count.
    OVER_LIMIT = "over a limit"
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
        super().__init__(outcome, rule)
        self.outcome = outcome
        self.rule = rule


class Command(StrEnum):
    """What a client asks for (RFC 1928 section 4).  Each is the name that logs use."""

    CONNECT = "CONNECT"
    BIND = "BIND"
    UDP_ASSOCIATE = "UDP ASSOCIATE"


class Client(NamedTuple):
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


class Identity(NamedTuple):
    """
    Whom an authenticator found the client to be.

    @ivar name: the name, or None for nobody in particular.
    @ivar source: how it is known: "none", "password", "userid" (SOCKS 4's USERID,
        which nobody proved), "ident" (what identd says on the client's host), or
        another authenticator's word.
    """

    name: str | None = None
    source: str = "none"


ANONYMOUS = Identity()


class Ident(NamedTuple):
    """
    What came of asking the client's host who its user is (RFC 1413).  It is that host's
    word, and worth what the host is.

    @ivar name: the user-id as identd gave it, or None.
    @ivar problem: why there is none.
    """

    name: str | None = None
    problem: str = ""


class Request(NamedTuple):
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
    @ivar ident: what identd said of the client; None when nobody asked it, or not yet.

    For UDP ASSOCIATE there is first a request without name, address and port, and then
    one for each destination that a datagram names, as for a CONNECT.
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
    ident: Ident | None = None


class Verdict(Enum):
    """What a ruleset thinks of a request."""

    PERMIT = "permit"
    DENY = "deny"
    NO_OPINION = "no opinion"


class Logged(Enum):
    """
    Which of the sessions that a rule permits the logs tell of.  The value is the word
    that settings use.
    """

    #: All, also where granted ones are not logged otherwise.
    ALL = "all"
    #: Those that came to nothing all the same: no connection, say.
    REFUSED = "refused"
    NONE = "none"


@frozen(slots=True, kw_only=True)
class Terms:
    """
    On what terms something is permitted.  What is None is as it is set for all.  A value
    out of range raises ValueError.

    @ivar idle: seconds that the relay may be without an octet either way.
    @ivar udp_idle: seconds that an association may be without a datagram either way.
    @ivar connect: seconds from the request to the destination's connection, at most 120;
        for datagrams, for each destination.
    @ivar bind: seconds for the peer of a BIND to connect.
    @ivar rate: octets a second, each way.
    @ivar log: which sessions the logs tell of.
    @ivar source: local addresses to go out from (of a BIND: to listen on).
    @ivar device: the network device to go out by (SO_BINDTODEVICE, of Linux).
    @ivar upstream: the name of the egress to go out by.
    """

    idle: float | None = field(default=None, validator=optional(gt(0)))
    udp_idle: float | None = field(default=None, validator=optional(gt(0)))
    connect: float | None = field(default=None, validator=optional([gt(0), le(120)]))
    bind: float | None = field(default=None, validator=optional(gt(0)))
    rate: int | None = field(default=None, validator=optional(ge(1)))
    log: Logged | None = None
    source: "LocalAddresses | None" = None
    device: str | None = field(default=None, validator=optional([min_len(1), max_len(15)]))
    upstream: str | None = field(default=None, validator=optional(min_len(1)))


NO_TERMS = Terms()


@frozen(slots=True)
class Decision:
    """
    A ruleset's answer.

    @ivar verdict: permit, deny or no opinion.
    @ivar rule: the rule that made it, as the operator would recognise it.
    @ivar by_address: whether a permit named the destination's address.  Only such a
        permit reaches the addresses that are protected by default.
    @ivar outcome: for a denial, what the client is told: L{Outcome.DENIED}, or one of
        the two that are about identd, which SOCKS 4 has codes for.
    @ivar terms: for a permit, on what terms.  For no opinion, the terms of a permit that
        may follow: those of a UDP association, or of waiting for a BIND's peer, are needed
        before the destination is known.
    """

    verdict: Verdict
    rule: str = ""
    by_address: bool = False
    outcome: Outcome = field(
        default=Outcome.DENIED,
        validator=in_((Outcome.DENIED, Outcome.IDENT_UNREACHABLE, Outcome.IDENT_MISMATCH)),
    )
    terms: Terms = field(default=NO_TERMS, validator=instance_of(Terms))


NO_OPINION = Decision(Verdict.NO_OPINION)


# What one step of a sub-negotiation gives.


class More(NamedTuple):
    """
    The sub-negotiation needs more from the client.

    @ivar send: octets to send now.
    """

    send: bytes = b""


class Authenticated(NamedTuple):
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


class NotAuthenticated(NamedTuple):
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


class Opened(NamedTuple):
    """
    A session begins to relay.

    @ivar id: a number that no other session of this process has.
    @ivar request: what was permitted.
    @ivar bound: the local address and port of the outgoing socket; for UDP ASSOCIATE
        where the client was told to send to.
    """

    id: int
    request: Request
    bound: Address | None


class Record(NamedTuple):
    """
    What is to be known of a session that ended.

    @ivar id: a number that no other session of this process has.
    @ivar started: when the client connected, in seconds since the epoch.
    @ivar seconds: how long it lasted.
    @ivar client: who it was.
    @ivar version: "4", "4a", "5", or "" when it never showed.
    @ivar method: the SOCKS 5 METHOD that was used, or None.
    @ivar identity: whom the authenticator found.
    @ivar ident: what identd said, or None when nobody asked it.
    @ivar claimed: a name the client gave without proof: USERID, or a user name that
        was not accepted; escaped.  None for none.
    @ivar command: the command, or None when no request came.
    @ivar asked: the host asked for as the client wrote it, escaped; None for none.
    @ivar port: the port asked for.
    @ivar address: the address connected to, or None.
    @ivar outcome: the answer.
    @ivar rule: the rule that decided, or what went wrong.
    @ivar end: how a granted session ended: "finished", "client reset", "origin
        reset", "idle", "shutdown", "quota" (used up).  "" for one that was not granted.
    @ivar received: octets that the client sent to the destination.
    @ivar sent: octets that the destination sent to the client.
    @ivar handshake: octets that the client sent before there was a request.
    @ivar refused: why the first of a UDP association's destinations was refused, and
        which it was; "" for none.
    @ivar dropped: datagrams of a UDP association, either way, that were not passed on.
    @ivar log: which sessions the logs tell of, as the rule has it that permitted this one;
        None for what is set for all.
    """

    id: int
    started: float
    seconds: float
    client: Client
    version: str
    method: int | None
    identity: Identity
    ident: Ident | None
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
    dropped: int = 0
    refused: str = ""
    log: Logged | None = None
