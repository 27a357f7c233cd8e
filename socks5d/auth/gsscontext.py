"""
The GSS-API as the C{gssapi} package has it (RFC 2743, RFC 2744): the acceptor's
credentials, and a security context with one client.

Nothing else of socks5d knows that package, which is an extra and loaded when it is needed.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

from socks5d.escape import one_line

#: Characters of a reason, which libraries make up.
LONGEST_REASON = 200


class NoCredentials(Exception):
    """There is nothing to accept clients with.  The text says why, on one line."""


class NotEstablished(Exception):
    """A context cannot be established.  The text says why, on one line, and holds no secret."""


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
        except gssapi.exceptions.GSSError as error:
            raise NoCredentials(_reason(error)) from None

    def context(self) -> "Context":
        """
        @return: one for a client who begins.
        """
        return Context(self._gssapi, self._credentials)


class Context:
    """
    A security context with one client.

    @ivar complete: whether it is established.
    """

    def __init__(self, gssapi: ModuleType, credentials: Any) -> None:
        self._gssapi = gssapi
        self._context = gssapi.SecurityContext(creds=credentials, usage="accept")
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
            self.complete = self._context.complete
        except self._gssapi.exceptions.GSSError as error:
            raise NotEstablished(_reason(error)) from None
        return answer or b""

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
        @return: what it holds, and whether it was encrypted.
        @raise Exception: for a token that is not the client's, comes twice or out of turn.
        """
        data, encrypted, _ = self._context.unwrap(token)
        return data, encrypted

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


def _reason(error: Any) -> str:
    """What the mechanism says, or where it says nothing, the GSS-API."""
    words = error.get_all_statuses(error.min_code, False) if error.min_code else []
    words = words or error.get_all_statuses(error.maj_code, True)
    return one_line("; ".join(words))[:LONGEST_REASON]
