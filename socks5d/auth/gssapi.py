"""
GSS-API authentication: method 1 of SOCKS 5 (RFC 1961).

Context tokens go back and forth until the context is established; then the client says
how messages are to be protected, and is told how they will be.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from zope.interface import implementer

from socks5d.auth.blocking import Login, checking, in_login_thread
from socks5d.auth.gsscontext import NotEstablished
from socks5d.auth.gssencapsulation import GSSEncapsulation, Wrapping
from socks5d.auth.undecided import TooManyLogins
from socks5d.interfaces import IBudgetedAuthenticator, INegotiation
from socks5d.limits.keys import USUAL, Prefixes
from socks5d.model import Authenticated, Client, Identity, More, NotAuthenticated, Step
from socks5d.patterns import NamePatterns, Renaming
from socks5d.wire import gssframe, socks5
from socks5d.wire.gssframe import (
    ABORT_MESSAGE,
    CONFIDENTIALITY,
    CONTEXT,
    INTEGRITY,
    NOTHING,
    PER_MESSAGE,
    PROTECTION,
    encode_message,
    parse_message,
)
from socks5d.wire.parsed import WireError

#: Tokens of the largest size that one negotiation may take.
_TOKENS = 3


class EstablishedContext(Wrapping, Shape):
    """What is asked of L{Context<socks5d.auth.gsscontext.Context>}, which see."""

    complete: bool

    def step(self, token: bytes) -> bytes: ...

    @property
    def principal(self) -> str | None: ...

    @property
    def integrity(self) -> bool: ...

    @property
    def confidentiality(self) -> bool: ...


@implementer(IBudgetedAuthenticator)
class GSSAPIAuthenticator:
    """Method 1.  The identity is the client's principal, or what that is mapped to."""

    method = socks5.GSSAPI
    refusal = ABORT_MESSAGE
    octets = _TOKENS * (gssframe.HEADER + gssframe.MAX_TOKEN)

    def __init__(
        self,
        context: Callable[[], EstablishedContext],
        reactor: Any,
        *,
        clients: Prefixes = USUAL,
        least: int = NOTHING,
        most: int = CONFIDENTIALITY,
        nec: bool = False,
        principals: Iterable[str] = ("*",),
        names: Sequence[tuple[str, str]] = (),
    ) -> None:
        """
        @param context: makes one for a client; L{Acceptor.context
            <socks5d.auth.gsscontext.Acceptor>}.
        @param reactor: in whose threads tokens are looked at, each client's in its turn.
        @param clients: how much of an address tells clients apart.
        @param least: the least protection level that is taken: 0 (none), 1 (integrity) or
            2 (confidentiality).
        @param most: the most that is given, whatever a client asks for.
        @param nec: whether a level that is not wrapped is taken, and answered in the same
            way, as NEC's implementation had it.
        @param principals: patterns of those that are let in.
        @param names: what principals are called: patterns, each with a name; the first
            that matches counts, and whom none does keeps its principal's name.
        @raise ValueError: for a level or a name that makes no sense.
        """
        if not NOTHING <= least <= most <= CONFIDENTIALITY:
            raise ValueError(f"no protection levels: from {least} to {most}")
        self._principals = NamePatterns(principals)
        self._names = Renaming(names)
        self.context = context
        self.reactor = reactor
        self.clients = clients
        self.least = least
        self.most = most
        self.nec = nec

    def negotiate(self, client: Client) -> INegotiation:
        """See L{IAuthenticator<socks5d.interfaces.IAuthenticator>}."""
        return _Negotiation(self, client, self.context())

    def identity(self, principal: str) -> Identity | None:
        """
        @return: who it is, or None for one that is not let in.
        """
        if self._principals.match(principal) is None:
            return None
        return Identity(self._names.of(principal), "gssapi")


class _Refused(Exception):
    """Why a client is not let in."""

    def __init__(self, reason: str, claimed: str | None = None) -> None:
        super().__init__(reason)
        self.claimed = claimed


@implementer(INegotiation)
class _Negotiation:
    def __init__(
        self, authenticator: GSSAPIAuthenticator, client: Client, context: EstablishedContext
    ) -> None:
        self._authenticator = authenticator
        self._client = client
        self._context = context
        self._buffer = bytearray()
        self._identity: Identity | None = None

    def receive(self, data: bytes) -> Step | Deferred[Step]:
        """See L{INegotiation}."""
        self._buffer += data
        try:
            message = self._next()
        except WireError as error:
            return NotAuthenticated(error.reply, error.reason)
        if message is None:
            return More()
        return Deferred.fromCoroutine(self._take(message))

    def _next(self) -> gssframe.Message | None:
        parsed = parse_message(self._buffer)
        if parsed is None:
            return None
        del self._buffer[: parsed.end]
        return parsed.value

    async def _take(self, message: gssframe.Message) -> Step:
        send = b""
        following: gssframe.Message | None = message
        try:
            while following is not None:
                mtyp, token = following
                if mtyp == gssframe.ABORT:
                    return NotAuthenticated(b"", "the client gave the context up")
                if mtyp == CONTEXT and not self._context.complete:
                    send += await self._establish(token)
                elif mtyp == PROTECTION and self._identity is not None:
                    return self._protect(token, self._identity, send)
                else:
                    raise _Refused(f"a message of type {mtyp} out of its turn")
                following = self._next()
        except WireError as error:
            return NotAuthenticated(send + error.reply, error.reason)
        except (_Refused, NotEstablished, TooManyLogins) as error:
            claimed = error.claimed if isinstance(error, _Refused) else None
            return NotAuthenticated(send + ABORT_MESSAGE, str(error), claimed)
        return More(send)

    async def _establish(self, token: bytes) -> bytes:
        context = self._context
        authenticator = self._authenticator
        # Who it is nobody knows before; turns are by client.
        with checking(Login(self._client, authenticator.clients.of(self._client))):
            answered = in_login_thread(partial(context.step, token), authenticator.reactor)
        answer = await answered
        if context.complete:
            principal = context.principal
            if principal is None:
                raise _Refused("the client is anonymous")
            self._identity = authenticator.identity(principal)
            if self._identity is None:
                raise _Refused("the principal is not let in", principal)
        elif not answer:
            raise _Refused("the context stands still")
        return encode_message(CONTEXT, answer) if answer else b""

    def _protect(self, token: bytes, identity: Identity, send: bytes) -> Step:
        bare = len(token) == 1
        if bare and not self._authenticator.nec:
            raise _Refused("the protection level is not wrapped, which --gssapi-nec lets in")
        level = self._agree(token[0] if bare else self._asked(token))
        octet = bytes((level,))
        answer = octet if bare else self._context.wrap(octet, False)
        return Authenticated(
            identity,
            send + encode_message(PROTECTION, answer),
            bytes(self._buffer),
            None if level == NOTHING else GSSEncapsulation(self._context, level),
        )

    def _asked(self, token: bytes) -> int:
        try:
            octets, _ = self._context.unwrap(token)
        except Exception:  # noqa: BLE001 (whatever the mechanism says of a stranger's octets)
            raise _Refused("the protection level cannot be unwrapped") from None
        if len(octets) != 1:
            raise _Refused("the protection level is not one octet")
        return octets[0]

    def _agree(self, asked: int) -> int:
        """
        The level to take: what was asked for, within what is accepted; a client closes
        when it does not like it (section 4.4).
        """
        if asked > PER_MESSAGE:
            raise _Refused(f"no protection level: {asked}")
        context = self._context
        least, most = self._authenticator.least, self._authenticator.most
        if asked == PER_MESSAGE and least < CONFIDENTIALITY == most:
            level = PER_MESSAGE
        else:
            level = min(max(asked, least), most)
        if level >= CONFIDENTIALITY and not context.confidentiality:
            # What both can do, which the client may still think too little.
            level = INTEGRITY
        if level < least or (level >= INTEGRITY and not context.integrity):
            raise _Refused("the mechanism cannot protect messages as is asked for")
        return level
