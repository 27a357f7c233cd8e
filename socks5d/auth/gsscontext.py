"""
The GSS-API as the C{gssapi} package has it (RFC 2743, RFC 2744): the acceptor's
credentials, and a security context with one client.

Nothing else of socks5d knows that package, which is an extra and loaded when it is needed.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from socks5d.auth.gssorder import Order, sequence_number
from socks5d.auth.gssunwrap import GAP, REMARKS, GSSFailure, Library, Receiver, Unwrapped
from socks5d.escape import one_line

#: Characters of a reason, which libraries make up.
LONGEST_REASON = 200

#: What is said of a minor status that says nothing.
_NO_WORDS = ("Success", "Unknown error", "Unknown code")

#: What a client asks for that has its messages watched by the mechanism.
_WATCHED = ("replay_detection", "out_of_sequence_detection")


class NoCredentials(Exception):
    """There is nothing to accept clients with.  The text says why, on one line."""


class NotEstablished(Exception):
    """A context cannot be established.  The text says why, on one line, and holds no secret."""


class OutOfOrder(Exception):
    """A message came before, is too old, or is not the next where it has to be."""


class Acceptor:
    """The service that clients authenticate to."""

    def __init__(self, service: str, keytab: Path | None = None) -> None:
        """
        @param service: a host-based service, C{rcmd} (of any host whose key there is) or
            C{rcmd@host.example.org}; or a principal, C{rcmd/host.example.org@EXAMPLE.ORG}.
        @param keytab: the file with its keys; by default the environment's or the system's.
        @raise NoCredentials: when the package is not there, or no key of that name.
        """
        self._gssapi = gssapi = _load()
        kind = gssapi.NameType
        name_type = kind.kerberos_principal if "/" in service else kind.hostbased_service
        store = {} if keytab is None else {"keytab": str(keytab)}
        try:
            self._credentials = gssapi.Credentials(
                name=gssapi.Name(service, name_type), usage="accept", store=store or None
            )
            # The very library that the package uses.
            self._library = Library(gssapi.raw.message.__file__)
        except gssapi.exceptions.GSSError as error:
            raise NoCredentials(f"{_reason(error)}; {_remedy(keytab)}") from None
        except (OSError, AttributeError) as error:
            reason = one_line(str(error))[:LONGEST_REASON]
            raise NoCredentials(f"the GSS-API's library cannot be used: {reason}") from None

    def context(self) -> "Context":
        """
        @return: one for a client who begins.
        """
        return Context(self._gssapi, self._credentials, self._library)


class Context:
    """
    A security context with one client.

    Messages are taken once each, and in their order, or as datagrams in any order that is
    about theirs.  Their numbers say so (RFC 4121), whether the client asked for
    GSS_C_REPLAY_FLAG and GSS_C_SEQUENCE_FLAG or not; the first that comes is the first.
    Where the numbers cannot be seen (RFC 1964), a client that did not ask for both can send
    one message, and no more.

    @ivar complete: whether it is established.
    """

    def __init__(self, gssapi: ModuleType, credentials: Any, library: Library) -> None:
        self._gssapi = gssapi
        self._library = library
        self._context = gssapi.SecurityContext(creds=credentials, usage="accept")
        self._receiver: Receiver | None = None
        self._order = Order()
        self._unwrapped = 0
        self.complete = False

    def step(self, token: bytes) -> bytes:
        """
        Take a context token.  It may read and write files and ask servers, so it blocks.

        @param token: the client's.
        @return: the token to send to the client; may be empty.
        @raise NotEstablished: when the client is not let in.
        """
        try:
            answer = self._context.step(token)
            # A step that failed says so when it is asked for the next thing.
            if self._context.complete:
                self._establish(self._context.export())
        except self._gssapi.exceptions.GSSError as error:
            raise NotEstablished(_reason(error)) from None
        except GSSFailure as error:
            raise NotEstablished(f"the context cannot be used: {error}") from None
        return answer or b""

    def _establish(self, exported: bytes) -> None:
        """One to send with, and one to receive with: they share nothing but the keys."""
        self._context = self._gssapi.SecurityContext(token=exported)
        self._receiver = self._library.receiver(exported)
        self.complete = True

    @property
    def principal(self) -> str | None:
        """
        The client's name in its printable form; None for a client that has none.

        @raise NotEstablished: when it cannot be told.
        """
        try:
            name = self._context.initiator_name
            anonymous = self._has("anonymity")
            if name is None or anonymous or name.name_type == self._gssapi.NameType.anonymous:
                return None
            return bytes(name).decode("utf-8", "surrogateescape")
        except self._gssapi.exceptions.GSSError as error:
            raise NotEstablished(_reason(error)) from None

    @property
    def integrity(self) -> bool:
        """Whether messages can be protected at all (GSS_C_INTEG_FLAG)."""
        return self._has("integrity")

    @property
    def confidentiality(self) -> bool:
        """Whether messages can be encrypted (GSS_C_CONF_FLAG)."""
        return self._has("confidentiality")

    def _has(self, flag: str) -> bool:
        return self._gssapi.RequirementFlag[flag] in self._context.actual_flags

    def wrap(self, data: bytes, confidential: bool) -> bytes:
        """
        @param confidential: whether to encrypt (conf_req_flag).
        @return: a token.
        @raise Exception: when it cannot be done as asked.
        """
        wrapped = self._context.wrap(data, confidential)
        if confidential and not wrapped.encrypted:
            raise ValueError("the mechanism did not encrypt")
        token: bytes = wrapped.message
        return token

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        """
        @param token: the client's next message.
        @return: what it holds, and whether it was encrypted.
        @raise Exception: for a token that is not the client's, comes twice or out of turn.
        """
        number = sequence_number(token)
        if not (self._watched if number is None else self._order.is_next(number)):
            raise OutOfOrder
        return self._take(token, number, 0)

    def unwrap_datagram(self, token: bytes) -> tuple[bytes, bool]:
        """
        @param token: a message before which others may have been lost, or which others
            may have overtaken.
        @return: what it holds, and whether it was encrypted.
        @raise Exception: for a token that is not the client's or comes twice, and one
            that L{WINDOW<socks5d.auth.gssorder.WINDOW>} newer ones have overtaken.
        """
        number = sequence_number(token)
        if number is None:
            # Of those that were overtaken nobody says by how many.
            if not self._watched:
                raise OutOfOrder
            return self._take(token, None, GAP)
        if not self._order.is_new(number):
            raise OutOfOrder
        # Its number has the last word: behind a long gap MIT's takes new ones for old, and
        # where order was asked for too it does not tell late from too late.
        return self._take(token, number, REMARKS)

    @property
    def _watched(self) -> bool:
        # Before the first there is nothing that it could repeat.
        return not self._unwrapped or all(map(self._has, _WATCHED))

    def _take(self, token: bytes, number: int | None, excused: int) -> tuple[bytes, bool]:
        assert self._receiver is not None
        found: Unwrapped = self._receiver.unwrap(token)
        if found.remarks & ~excused:
            raise OutOfOrder
        # Not before: now it is the client's.
        self._unwrapped += 1
        if number is not None:
            self._order.take(number)
        return found.data, found.encrypted

    def room(self, token: int, confidential: bool) -> int:
        """
        @param token: octets that a token may have.
        @return: octets that can go into it.
        """
        size: int = self._context.get_wrap_size_limit(token, confidential)
        return size


def _load() -> ModuleType:
    try:
        import gssapi
    except ImportError as error:
        raise NoCredentials(
            f"the package gssapi cannot be loaded ({error}): pip install 'socks5d[gssapi]'"
        ) from None
    module: ModuleType = gssapi
    return module


def _remedy(keytab: Path | None) -> str:
    """Where keys were looked for, and how to say where else."""
    named = os.environ.get("KRB5_KTNAME")
    if keytab is not None:
        tried = f"'keytab' under [gssapi] in the file names {keytab}"
    elif named:
        tried = f"KRB5_KTNAME names {named}"
    else:
        tried = "it is the system's keytab, mostly /etc/krb5.keytab"
    return one_line(
        f"{tried}: put the service's key there (kadmin's ktadd), readable to whom the server runs "
        "as, or name another keytab, by 'keytab' under [gssapi] in the file or by KRB5_KTNAME"
    )


def _reason(error: Any) -> str:
    """What the mechanism says, or where it says nothing, the GSS-API."""
    words = error.get_all_statuses(error.min_code, False) if error.min_code else []
    if any(each.startswith(_NO_WORDS) for each in words):
        words = []
    words = words or error.get_all_statuses(error.maj_code, True)
    return one_line("; ".join(words))[:LONGEST_REASON]
