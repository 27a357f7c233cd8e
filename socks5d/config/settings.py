"""Settings: what the options and the file say, as one validated value."""

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from attrs import field, fields, frozen
from twisted.cred.checkers import ICredentialsChecker

from socks5d.auth import AnyUserID, NoAuthentication
from socks5d.interfaces import USERID, IAuthenticator, IRuleset
from socks5d.model import Command
from socks5d.parameters import (
    GSSAPIParameters,
    IdentMode,
    Limits,
    LocalAddresses,
    QuotaParameters,
    Strangers,
    Timeouts,
    UDPParameters,
)
from socks5d.rules import Destination
from socks5d.rules.destinations import Ports
from socks5d.rules.prefixes import IPNetwork
from socks5d.rules.rule import Rule
from socks5d.wire import identline, socks5

DEFAULT_LISTEN = ("tcp:1080:interface=127.0.0.1",)

#: Who is let in by one of these is nobody in particular.
_OF_NOBODY = (NoAuthentication, AnyUserID)

#: Whose PROXY headers are believed where nothing is set.
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))


@frozen(slots=True, kw_only=True)
class Serving:
    """
    How the clients of a listener are served.

    @ivar checkers: credentials checkers; with one, SOCKS 5 clients need a password.
    @ivar authenticators: authenticators named by their plugins.
    @ivar gssapi: how clients authenticate by the GSS-API; None for not at all.
    @ivar rulesets: rulesets named by their plugins, asked after every deny.
    @ivar rules: judged in order, after those; with one, what none permits is denied.
    @ivar allow: destinations that are let through; without any, all that are not
        protected are, unless there are rulesets or rules.
    @ivar deny: destinations that are not.
    @ivar allow_from: networks whose clients are served; without any, all are.
    @ivar deny_from: networks whose clients are not.
    @ivar userids: SOCKS 4 user-ids that are let in.
    @ivar proxy_from: networks whose PROXY headers are believed.
    @ivar ident: what is done about RFC 1413.
    @ivar commands: what is served.
    @ivar socks4: whether SOCKS 4 and 4a are served.
    @ivar socks5: whether SOCKS 5 is served.
    @ivar timeouts: how long things may take.
    """

    checkers: tuple[ICredentialsChecker, ...] = ()
    authenticators: tuple[IAuthenticator, ...] = ()
    gssapi: GSSAPIParameters | None = None
    rulesets: tuple[IRuleset, ...] = ()
    rules: tuple[Rule, ...] = ()
    allow: tuple[Destination, ...] = ()
    deny: tuple[Destination, ...] = ()
    allow_from: tuple[IPNetwork, ...] = ()
    deny_from: tuple[IPNetwork, ...] = ()
    userids: tuple[str, ...] = ()
    proxy_from: tuple[IPNetwork, ...] = LOOPBACK
    ident: IdentMode = IdentMode.OFF
    commands: frozenset[Command] = frozenset(Command)
    socks4: bool = True
    socks5: bool = True
    timeouts: Timeouts = field(factory=Timeouts)

    @property
    def identifies(self) -> bool:
        """Whether anybody may come to be known by a name, proven or not."""
        return self.proves or bool(self.userids) or self.ident is IdentMode.REQUIRE

    @property
    def proves(self) -> bool:
        """Whether anybody may prove a name."""
        return bool(self.checkers or self.gssapi) or not all(
            isinstance(each, _OF_NOBODY) for each in self.authenticators
        )

    @property
    def methods(self) -> frozenset[int]:
        """
        The methods of those who are let in: a way to authenticate shuts the ways without.
        """
        methods = {each.method for each in self.authenticators}
        if self.checkers:
            methods.add(socks5.USERNAME_PASSWORD)
        if self.gssapi is not None:
            methods.add(socks5.GSSAPI)
        if not methods:
            methods |= {socks5.NO_AUTHENTICATION, USERID}
        elif self.userids:
            methods.add(USERID)
        return frozenset(
            each for each in methods if (self.socks4 if each == USERID else self.socks5)
        )


@frozen(slots=True, kw_only=True)
class Listener(Serving):
    """
    A listener, and how its clients are served.

    @ivar endpoint: its endpoint description.
    @ivar name: what rules and logs call it.
    """

    endpoint: str
    name: str


@frozen(slots=True, kw_only=True)
class Settings(Serving):
    """
    Everything that can be set.  How clients are served is how those are whose listener has
    nothing of its own.

    @ivar listen: endpoint descriptions of listeners that have nothing of their own.
    @ivar own: listeners that have.
    @ivar protect: networks that are protected besides those that always are.
    @ivar source: local addresses of outgoing connections.
    @ivar bind_address: local addresses that a BIND listens on.
    @ivar bind_ports: lowest and highest port that a BIND listens on; None for any.
    @ivar strangers: what becomes of a BIND when a stranger connects, by version.
    @ivar ident_port: where identd listens on clients' hosts.
    @ivar udp: how UDP associations are served.
    @ivar access_log: where JSON lines go, or None.
    @ivar log_granted: whether twistd's log tells of sessions that were granted, too; None
        for only where there is no access log.
    @ivar workers: processes that serve; with 1 there is no other.
    @ivar reload_ends_denied: whether a reload ends sessions that the new rules deny.
    @ivar limits: how much there may be.
    @ivar quota: how much each identity may relay in a period.
    """

    listen: tuple[str, ...] = DEFAULT_LISTEN
    own: tuple[Listener, ...] = ()
    protect: tuple[IPNetwork, ...] = ()
    source: LocalAddresses = field(factory=LocalAddresses)
    bind_address: LocalAddresses = field(factory=LocalAddresses)
    bind_ports: Ports | None = None
    strangers: Mapping[str, Strangers] = field(factory=dict)
    ident_port: int = identline.PORT
    udp: UDPParameters = field(factory=UDPParameters)
    access_log: Path | None = None
    log_granted: bool | None = None
    workers: int = 1
    reload_ends_denied: bool = False
    limits: Limits = field(factory=Limits)
    quota: QuotaParameters = field(factory=QuotaParameters)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """All listeners, those first that have nothing of their own."""
        common = serving(self)
        plain = (Listener(endpoint=each, name=each, **common) for each in self.listen)
        return (*plain, *self.own)


def serving(settings: Serving) -> dict[str, Any]:
    """
    @return: how clients are served, by the names of L{Serving}'s attributes.
    """
    return {each.name: getattr(settings, each.name) for each in fields(Serving)}
