"""
What can be set about how clients are served: how long, how much, from where.

All frozen.  Times are in seconds, sizes in octets.
"""

from collections.abc import Sequence
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge, gt, le, lt, min_len

from socks5d.wire.address import IPAddress


class Strangers(Enum):
    """
    What becomes of a BIND to which somebody connects who is not expected.

    The value is the word that settings use.
    """

    IGNORE = "ignore"
    REFUSE = "refuse"


class Filtering(Enum):
    """
    Whose datagrams an association passes on to its client, in RFC 4787's words
    (section 5).  The value is the word that settings use.
    """

    #: Those of an address and port that the client has sent to.
    ADDRESS_AND_PORT = "address-and-port"
    #: Those of an address that the client has sent to.
    ADDRESS = "address"
    #: Everybody's whom the rules would let the client send to.
    NONE = "none"


class IdentMode(Enum):
    """
    What is done about RFC 1413.  The value is the word that settings use.
    """

    #: Nothing is asked.
    OFF = "off"
    #: The answer is recorded, and rulesets see it.
    LOG = "log"
    #: Who is not vouched for is refused.
    REQUIRE = "require"


class MessageProtection(Enum):
    """
    How messages are protected after GSS-API authentication (RFC 1961 section 4).  The
    value is the word that settings use.
    """

    #: Not at all, which the RFC does not have, and curl asks for.
    NONE = "none"
    INTEGRITY = "integrity"
    CONFIDENTIALITY = "confidentiality"


@frozen(slots=True, kw_only=True)
class GSSAPIParameters:
    """
    How clients authenticate by the GSS-API.  A value that makes no sense raises ValueError.

    @ivar service: a host-based service, C{rcmd} (of any host whose key there is) or
        C{rcmd@host.example.org}; or a principal, C{rcmd/host.example.org@EXAMPLE.ORG}.
    @ivar keytab: the file with its keys; None for what the environment or the system
        names.
    @ivar least: the least protection of messages that is taken.
    @ivar most: the most that is given, whatever a client asks for.  libcurl, since 8.17,
        asks for confidentiality but has none: it goes on where it is answered "none".
    @ivar nec: whether a protection level that is not wrapped is taken.
    @ivar principals: patterns of those that are let in.
    @ivar names: what principals are called: patterns, each with a name.
    """

    service: str = field(default="rcmd", validator=min_len(1))
    keytab: Path | None = None
    least: MessageProtection = MessageProtection.NONE
    most: MessageProtection = MessageProtection.CONFIDENTIALITY
    nec: bool = False
    principals: Sequence[str] = ("*",)
    names: Sequence[tuple[str, str]] = ()


@frozen(slots=True, kw_only=True)
class Timeouts:
    """
    How long things may take, in seconds.  A value out of range raises ValueError.

    @ivar handshake: from accepting to a whole request, authentication included.
    @ivar connect: from the request to the destination's connection: rules,
        resolving and connecting together; and for each destination of datagrams.  The
        SOCKS 4 note ends it at two minutes.
    @ivar bind: for the peer of a BIND to connect.
    @ivar decision: one call of a ruleset, an authenticator or a checker.
    @ivar login_cache: for how long a login that was accepted is accepted again without
        being checked; 0 to check each.
    @ivar ident: for identd to answer; waiting for other questions to the same client
        counts.
    @ivar idle: a relay without an octet either way.  RFC 5382 (REQ-5) asks of what
        stands between that it be at least 2 hours and 4 minutes.
    @ivar udp_idle: an association without a datagram either way.  RFC 4787 (REQ-5) asks
        that it be at least 2 minutes, and recommends 5.
    @ivar reassembly: for the fragments of a datagram to come; RFC 1928 section 7
        wants no less than 5.
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
    login_cache: float = field(default=0.0, validator=[ge(0), le(3600)])
    ident: float = field(default=5.0, validator=gt(0))
    idle: float = field(default=7440.0, validator=gt(0))
    udp_idle: float = field(default=300.0, validator=gt(0))
    reassembly: float = field(default=10.0, validator=ge(5))
    closing: float = field(default=5.0, validator=[gt(0), lt(10)])
    shutdown: float = field(default=10.0, validator=ge(0))
    attempt: float = field(default=0.25, validator=ge(0.01))


@frozen(slots=True, kw_only=True)
class Limits:
    """
    How much there may be.  A value out of range raises ValueError.

    @ivar sessions: sessions at once, a UDP association counting for two; 0 for as many as
        file descriptors allow.
    @ivar handshake: octets that a client may send before its request is complete; at
        least what the longest handshake with a password takes.
    @ivar early: octets behind a request that are kept before the destination's
        connection stands; the rest waits in the kernel.
    @ivar addresses: addresses of one name that are judged and tried.
    @ivar lookups: names being resolved, or waiting for it, at once.
    @ivar threads: names being resolved at once.
    @ivar attempts: second and further attempts to connect, each beside the first of
        its session, at once.
    @ivar pipes: pipes that bulk goes through, at once; 0 to copy everything.  A stalled
        relay can leave its pipe full, with up to a mebibyte in the kernel.
    @ivar associations: UDP associations of one client at once.
    @ivar destinations: addresses of one association that are remembered, and as many
        names; what is sent to one more makes it forget the oldest.
    @ivar failures: logins that fail before the next from the same client address, or for
        the same name, has to wait.
    @ivar logins: logins being checked in threads, or waiting for it, at once; as many again
        of those who were let in lately.
    @ivar login_threads: logins being checked in threads at once; as many again, likewise.
    @ivar idents: questions to the identd of one client at once; more wait.
    @ivar client_sessions: sessions of one client at once; 0 for any number.  A client is an
        address, or those that begin alike: C{associations}, C{idents} and names that are
        being resolved are counted by it too.
    @ivar client_ipv4: bits of an IPv4 address that tell clients apart.
    @ivar client_ipv6: bits of an IPv6 address that do.
    @ivar identity_sessions: sessions of one identity at once, those of nobody in particular
        aside; 0 for any number.
    @ivar session_rate: new sessions of one client in a second; 0 for any number.
    @ivar session_burst: those that may begin together, after a rest.
    @ivar rate: octets a second of one session, each way; 0 for as many as can be.
    @ivar identity_rate: octets a second of all sessions of one identity together, each way;
        0 for as many as can be.
    """

    sessions: int = field(default=0, validator=ge(0))
    handshake: int = field(default=8192, validator=ge(1100))
    early: int = field(default=65536, validator=ge(0))
    addresses: int = field(default=16, validator=ge(1))
    lookups: int = field(default=1024, validator=ge(1))
    threads: int = field(default=32, validator=[ge(1), le(1024)])
    attempts: int = field(default=64, validator=ge(0))
    pipes: int = field(default=64, validator=ge(0))
    associations: int = field(default=64, validator=ge(1))
    destinations: int = field(default=256, validator=ge(1))
    failures: int = field(default=5, validator=ge(1))
    logins: int = field(default=256, validator=ge(1))
    login_threads: int = field(default=4, validator=[ge(1), le(256)])
    idents: int = field(default=4, validator=ge(1))
    client_sessions: int = field(default=0, validator=ge(0))
    client_ipv4: int = field(default=32, validator=[ge(0), le(32)])
    client_ipv6: int = field(default=64, validator=[ge(0), le(128)])
    identity_sessions: int = field(default=0, validator=ge(0))
    session_rate: int = field(default=0, validator=ge(0))
    session_burst: int = field(default=20, validator=ge(1))
    rate: int = field(default=0, validator=ge(0))
    identity_rate: int = field(default=0, validator=ge(0))


class QuotaPeriod(Enum):
    """
    For how long a quota is, by UTC.  The value is the word that settings use.
    """

    DAY = "day"
    #: From Monday on.
    WEEK = "week"
    MONTH = "month"


class QuotaStore(Enum):
    """
    Where what was used is kept.  The value is the word that settings use.
    """

    SQLITE = "sqlite"
    #: Until the program ends.
    MEMORY = "memory"


@frozen(slots=True, kw_only=True)
class QuotaParameters:
    """
    How much each identity may relay.  A value out of range raises ValueError.

    @ivar octets: of one identity in a period, both ways together; 0 for any number.
    @ivar period: after which it begins anew.
    @ivar store: where what was used is kept.
    @ivar file: the SQLite database, which is made where there is none.
    """

    octets: int = field(default=0, validator=[ge(0), le(1 << 62)])
    period: QuotaPeriod = QuotaPeriod.DAY
    store: QuotaStore = QuotaStore.SQLITE
    file: Path = Path("socks5d-quota.sqlite3")


@frozen(slots=True)
class LocalAddresses:
    """
    Addresses of this host, one of each family: that outgoing connections are made from,
    say, or that a BIND listens on.

    @ivar ipv4: for IPv4, or None where none is set.
    @ivar ipv6: for IPv6, or None where none is set.
    """

    ipv4: IPAddress | None = field(default=None)
    ipv6: IPAddress | None = field(default=None)

    @classmethod
    def of(cls, addresses: Sequence[IPAddress]) -> "LocalAddresses":
        """
        @param addresses: at most one of each family.
        @raise ValueError: for two of one family.
        """
        families = {address.version: address for address in addresses}
        if len(families) != len(addresses):
            raise ValueError("at most one address of each family")
        return cls(families.get(4), families.get(6))

    def or_else(self, others: "LocalAddresses") -> "LocalAddresses":
        """
        @return: these, and for a family where none is set the one of others.
        """
        return LocalAddresses(self.ipv4 or others.ipv4, self.ipv6 or others.ipv6)

    def towards(self, address: IPAddress) -> IPAddress | None:
        """
        @return: the one of another address's family.
        """
        return self.ipv4 if isinstance(address, IPv4Address) else self.ipv6


@frozen(slots=True, kw_only=True)
class UDPParameters:
    """
    How UDP associations are served.

    @ivar filtering: whose datagrams are passed on to the client.
    @ivar fragments: whether fragments are put together; otherwise they are dropped.
    @ivar address: where clients' datagrams are received; by default the address that
        the client connected to.
    @ivar ports: lowest and highest port to receive them on; None for any.
    @ivar advertise: what clients are told in the place of that address.
    """

    filtering: Filtering = Filtering.ADDRESS_AND_PORT
    fragments: bool = True
    address: LocalAddresses = field(factory=LocalAddresses)
    ports: tuple[int, int] | None = None
    advertise: LocalAddresses = field(factory=LocalAddresses)
