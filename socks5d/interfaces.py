"""
The seams: where other people's code meets ours.

Everything here may be implemented by a stranger.  Whatever such code does (raise,
never answer, answer after the client has gone), socks5d bounds it with
L{Timeouts.decision<socks5d.parameters.Timeouts>} and takes its failure as a refusal.

Times are in seconds, sizes in octets.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import Attribute, Interface

from socks5d.model import Client, Decision, Opened, Record, Request, Step, Terms
from socks5d.wire.address import IPAddress

#: The C{method} of an authenticator that judges SOCKS 4's USERID.
USERID: Final = -1


class IEncapsulation(Interface):
    """
    Method-dependent encapsulation (RFC 1928 section 3): wraps what both sides send
    after a sub-negotiation.  One object serves one session, both ways.
    """

    def encapsulate(data: bytes) -> bytes:
        """
        Wrap octets for the client.

        @param data: what the protocol has to send, of any length but 0.
        @return: what goes on the wire.
        @raise Exception: anything at all ends the session.
        """

    def decapsulate(data: bytes) -> bytes:
        """
        Unwrap octets from the client.

        @param data: what came off the wire, however it was cut up; what is not yet
            a whole message is kept, within a bound of the implementation's own.
        @return: the octets it gives; may be empty.
        @raise Exception: anything at all ends the session.
        """

    def finish() -> None:
        """
        The client sends no more.

        @raise Exception: when what it sent ends in the middle of a message.  Anything at
            all ends the session, with a reset: what is cut off must not look complete.
        """


class IDatagramEncapsulation(IEncapsulation):
    """
    Wraps the datagrams of an association too, each with its header (RFC 1928 section 7).
    Without it, UDP ASSOCIATE is refused after a sub-negotiation that gave an encapsulation.
    """

    def encapsulate_datagram(datagram: bytes) -> bytes:
        """
        Wrap a datagram for the client.

        @param datagram: header and data.
        @return: the datagram to send.
        @raise Exception: anything at all drops this datagram.
        """

    def decapsulate_datagram(datagram: bytes) -> bytes:
        """
        Unwrap a datagram from the client's address, or from somebody who pretends to be
        there.

        @param datagram: as it came.
        @return: header and data.
        @raise Exception: anything at all drops this datagram, without effect.
        """


class INegotiation(Interface):
    """One client's sub-negotiation."""

    def receive(data: bytes) -> Step | Deferred[Step]:
        """
        Take what the client sent.

        Called first with what is already there, possibly nothing, right after the
        method was selected; then with what comes, after each L{More<socks5d.model.More>}.
        Never called again before its Deferred has fired, nor after the end.

        @param data: octets, however they were cut up.  For L{USERID} the whole
            USERID at once, and the only call.
        @return: a step, or a Deferred of one (cancelled when the client leaves).
            A failure of it, or an exception, refuses the client.
        """


class IAuthenticator(Interface):
    """
    Owns one SOCKS 5 method (RFC 1928 section 3), or SOCKS 4's USERID.

    One object serves any number of sessions; it gives each a L{INegotiation}.
    """

    method: int = Attribute("The METHOD number, 0 to 254, or L{USERID}.")

    refusal: bytes = Attribute(
        "What to send before closing when the negotiation itself failed to answer; "
        "may be empty.  Not used for USERID, whose refusal is a SOCKS 4 reply."
    )

    def negotiate(client: Client) -> INegotiation:
        """
        Begin a sub-negotiation.

        @param client: who connected.
        """


class IBudgetedAuthenticator(IAuthenticator):
    """An authenticator whose sub-negotiation takes more than a few octets."""

    octets: int = Attribute(
        "What the client may send in a sub-negotiation, beyond C{limits.handshake}."
    )


class IAuthenticatorPlugin(Interface):
    """
    Makes an authenticator from a word on the command line or in the file.  A plugin
    also provides L{twisted.plugin.IPlugin}.
    """

    name: str = Attribute("The word before the colon.")

    description: str = Attribute("One line for --help; what stands after the colon.")

    def authenticator(argument: str) -> IAuthenticator:
        """
        @param argument: what stood after the colon, possibly nothing.
        @raise ValueError: when it makes no sense; the text is shown to the operator.
        """


class IRuleset(Interface):
    """Decides who may do what."""

    def decide(request: Request) -> Decision | Deferred[Decision]:
        """
        Judge a request as far as it is known (see L{Request<socks5d.model.Request>}).

        A deny is final.  For a client or a name, a permit and no opinion both mean
        that the rest will be asked about; for an address, no opinion is a deny.

        @return: a decision, or a Deferred of one (cancelled when the client
            leaves).  A failure of it, or an exception, denies.
        """


class IRulesetPlugin(Interface):
    """
    Makes a ruleset from a word on the command line or in the file.  A plugin also
    provides L{twisted.plugin.IPlugin}.
    """

    name: str = Attribute("The word before the colon.")

    description: str = Attribute("One line for --help; what stands after the colon.")

    def ruleset(argument: str) -> IRuleset:
        """
        @param argument: what stood after the colon, possibly nothing.
        @raise ValueError: when it makes no sense; the text is shown to the operator.
        """


class IEgress(Interface):
    """How the server reaches out."""

    def resolve(name: str) -> Deferred[Sequence[IPAddress]]:
        """
        Find the addresses of a name.

        @param name: a domain name as L{socks5d.wire.names.canonical} gives it.
        @return: fires with addresses, in the order to try them; fails with
            L{Refusal<socks5d.model.Refusal>} when there is none.  Cancelling it is
            allowed.
        """

    def connect(
        addresses: Sequence[IPAddress], port: int, protocol: Callable[[], IProtocol]
    ) -> Deferred[IProtocol]:
        """
        Connect to one of some addresses.

        @param addresses: at least one, all permitted, in the order to try them.
        @param port: 1 to 65535 for a destination that can exist.
        @param protocol: makes the protocol of a connection; may be called for more
            than one attempt.
        @return: fires with the protocol that is connected; every other attempt is
            gone by then.  Fails with what L{socks5d.egress.failures.outcome} can
            tell apart.  Cancelling it leaves no connection behind.
        """

    def listen(towards: IPAddress, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Listen for one peer.

        @param towards: the peer, or somebody reached by the same way as it.
        @param factory: makes the protocols of those who connect.
        @return: fires with the port; its C{getHost} tells an address by which the peer
            reaches it.  Cancelling it leaves no listener behind.  Fails with OSError or
            L{CannotListenError<twisted.internet.error.CannotListenError>}.
        """

    def open_datagram(towards: IPAddress, protocol: DatagramProtocol) -> Deferred[IUDPTransport]:
        """
        Open a UDP socket to send from, to any number of destinations.

        @param towards: one of them; the others are of the same family.
        @param protocol: is given the datagrams that come, from anybody.
        @return: fires with the transport, whose C{write} takes a datagram and an address,
            and may raise OSError.  Fails with OSError.  Cancelling it leaves no socket
            behind.
        """


class IEgressOnTerms(IEgress):
    """An egress that can go out on terms that a rule sets."""

    def on_terms(terms: Terms) -> IEgress:
        """
        @param terms: of which C{source}, C{device} and C{connect} are to be kept.  Those that
            are None are as ever.
        @return: an egress that goes out on these terms, and otherwise as this one.  It serves
            all that are permitted on the same.
        @raise Refusal: when that cannot be.
        """


class IQuotaStore(Interface):
    """
    Keeps how many octets identities have used, for longer than this program runs.  Each
    answer comes at once or as a Deferred's; one that fails, or does not come, refuses.
    """

    def open() -> Deferred[None] | None:
        """
        Begin.  Called once, before anything else, with the privileges that are left.

        @raise Exception: when nothing can be kept, which ends the program.
        """

    def used(period: str, identity: str) -> Deferred[int] | int:
        """
        @param period: what it is called.
        @param identity: C{source:name}, printable.
        @return: octets that were used in it; 0 for an identity that is not known.
        """

    def add(period: str, ends: float, octets: Mapping[str, int]) -> Deferred[None] | None:
        """
        Add to what was used, all of it or nothing.

        @param ends: when the period does, in seconds since the epoch.  What it holds may be
            forgotten then.
        @param octets: by identity; less than 0 to take back.
        @raise Exception: it is tried again later, with what has come since.
        """

    def close() -> Deferred[None] | None:
        """End.  Nothing is called after it."""


class ISessionObserver(Interface):
    """Is told of sessions: for logs, metrics and accounts.  It must not block."""

    def closed(record: Record) -> None:
        """
        A session ended.  Called once for every connection of a client, whatever
        became of it.

        @raise Exception: hurts nobody, and is logged, but again and again only once a
            minute.
        """


class ISessionOpeningObserver(ISessionObserver):
    """Is told when sessions begin, too."""

    def opened(event: Opened) -> None:
        """
        A request was granted and its relay begins.

        @raise Exception: hurts nobody, and is logged, but again and again only once a
            minute.
        """
