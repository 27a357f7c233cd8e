"""
LDAP's messages as the package C{ldaptor} has them (RFC 4511): octets to values and back.

Nothing else of socks5d knows that package, which is an extra and loaded when it is needed.
Its client is not used: octets that come before TLS would be taken for answers that come
after it, and what it reads has no bound.

A message's frame is taken apart here: ldaptor prints what it does not know, and a frame may
hold controls, which mean nothing to us.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from attrs import field, frozen

from socks5d.auth.arguments import ArgumentError

#: Octets of a message that is taken.
LONGEST_MESSAGE: Final = 1 << 16

SUCCESS: Final = 0
SIZE_LIMIT_EXCEEDED: Final = 4

_SEQUENCE, _INTEGER = 0x30, 0x02
_ONE_OCTET_OF_LENGTH = 0x80


class Garbled(Exception):
    """What came is no message, or none that belongs here."""


@frozen
class Result:
    """
    The end of an operation.

    @ivar kind: C{bind}, C{search} or C{extended}.
    @ivar code: its resultCode.
    """

    kind: str
    code: int


@frozen
class Entry:
    """
    What a search found.

    @ivar attributes: by their names in lower case.
    """

    dn: bytes
    attributes: Mapping[bytes, tuple[bytes, ...]] = field(factory=dict)


@frozen
class Reference:
    """Where else a search might find something; nobody goes there."""


Answer = Result | Entry | Reference


class Frame(NamedTuple):
    """
    @ivar start: where the content begins.
    @ivar end: where the next thing begins.
    """

    start: int
    end: int


def frame(octets: bytes | bytearray, tag: int, at: int = 0) -> Frame | None:
    """
    The header of a BER element (X.690 section 8.1) of definite length.

    @param tag: its identifier octet, which must be there; -1 for any.
    @return: None while it is not whole.
    @raise Garbled: when it is something else, or longer than L{LONGEST_MESSAGE}.
    """
    if len(octets) <= at:
        return None
    if tag not in (-1, octets[at]):
        raise Garbled("no LDAP message")
    if len(octets) < at + 2:
        return None
    length, start = octets[at + 1], at + 2
    if length >= _ONE_OCTET_OF_LENGTH:
        count = length - _ONE_OCTET_OF_LENGTH
        if not 1 <= count <= 4:
            raise Garbled("a length of no use")
        if len(octets) < start + count:
            return None
        length = int.from_bytes(octets[start : start + count])
        start += count
    if length > LONGEST_MESSAGE:
        raise Garbled("a message too long")
    return Frame(start, start + length) if len(octets) >= start + length else None


class Codec:
    """Requests to octets, octets to answers."""

    def __init__(self) -> None:
        """
        @raise ArgumentError: when the package is not there.
        """
        try:
            from ldaptor.protocols import pureber, pureldap
            from ldaptor.protocols.ldap import ldaperrors
        except ImportError as error:
            raise ArgumentError(
                f"the package ldaptor cannot be loaded ({error}): pip install 'socks5d[ldap]'"
            ) from None
        self._ldap, self._errors = pureldap, ldaperrors
        # What has no meaning is octets: ldaptor would print it.
        ber = pureber.BERDecoderContext()
        ber.Identities = defaultdict(lambda: pureber.BEROctetString, ber.Identities)
        within = pureldap.LDAPBERDecoderContext(fallback=ber)
        self._context = pureldap.LDAPBERDecoderContext_LDAPMessage(fallback=within, inherit=within)
        self._decode = pureber.berDecodeObject

    def bind(self, number: int, dn: str | bytes, password: bytes) -> bytes:
        """
        A simple bind (RFC 4511 section 4.2).

        @param number: the message's ID.
        """
        return self._message(number, self._ldap.LDAPBindRequest(dn=dn, auth=password))

    def search(
        self, number: int, base: str, wanted: Any, attribute: str, most: int, seconds: int
    ) -> bytes:
        """
        Search a subtree (RFC 4511 section 4.5), without following aliases.

        @param wanted: a filter, of L{Filter}.
        @param attribute: what of each entry is told.
        @param most: entries.
        """
        request = self._ldap.LDAPSearchRequest(
            baseObject=base,
            filter=wanted,
            attributes=[attribute],
            sizeLimit=most,
            timeLimit=seconds,
        )
        return self._message(number, request)

    def start_tls(self, number: int) -> bytes:
        """StartTLS (RFC 4511 section 4.14)."""
        return self._message(number, self._ldap.LDAPStartTLSRequest())

    def unbind(self, number: int) -> bytes:
        """The end (RFC 4511 section 4.3), which has no answer."""
        return self._message(number, self._ldap.LDAPUnbindRequest())

    def entry(self, number: int, dn: str, attribute: str, *values: bytes) -> bytes:
        """What a server says of somebody it has found (RFC 4511 section 4.5.2)."""
        found = self._ldap.LDAPSearchResultEntry(dn, [(attribute, values)])
        return self._message(number, found)

    def _message(self, number: int, operation: Any) -> bytes:
        octets: bytes = self._ldap.LDAPMessage(operation, id=number).toWire()
        return octets

    def decode(self, message: bytes) -> tuple[int, Answer]:
        """
        @param message: a whole message, and nothing behind it.
        @return: its ID, and what it says.
        @raise Garbled: when it is none, or none that a server may send.
        """
        try:
            whole = frame(message, _SEQUENCE)
            number = whole and frame(message, _INTEGER, whole.start)
            operation = number and frame(message, -1, number.end)
            if whole is None or number is None or operation is None:
                raise Garbled("half a message")
            value, _ = self._decode(self._context, message[number.end : operation.end])
            return int.from_bytes(message[number.start : number.end]), self._answer(value)
        except Garbled:
            raise
        except Exception:  # noqa: BLE001 (ldaptor asserts, and fails in any way)
            raise Garbled("no LDAP message") from None

    def _answer(self, value: Any) -> Answer:
        ldap = self._ldap
        match value:
            case ldap.LDAPBindResponse():
                return Result("bind", _integer(value.resultCode))
            case ldap.LDAPSearchResultDone():
                return Result("search", _integer(value.resultCode))
            case ldap.LDAPExtendedResponse():
                return Result("extended", _integer(value.resultCode))
            case ldap.LDAPSearchResultReference():
                return Reference()
            case ldap.LDAPSearchResultEntry():
                return Entry(
                    _octets(value.objectName),
                    {
                        _octets(kind).lower(): tuple(_octets(each) for each in values)
                        for kind, values in value.attributes
                    },
                )
        raise Garbled("not an answer")

    def name_of(self, code: int) -> str:
        """
        @return: what a resultCode is called (RFC 4511 section 4.1.9).
        """
        known = self._errors.LDAPExceptionCollection.collection.get(code)
        return f"result {code}" if known is None else known.name.decode("ascii")


def _integer(value: object) -> int:
    if type(value) is not int:
        raise Garbled("a result without a code")
    return value


def _octets(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise Garbled("not octets")
    return value
