"""
DNs and filters with a place for a name.

A name is put into a filter as the value that it is, not as text to be parsed: the characters
that mean something in a filter's text (RFC 4515 section 3) mean nothing in a value.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.ldap.names import escaped
from socks5d.auth.ldap.settings import MARK

_MARK: Final = MARK.encode()
_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+")
# ldaptor takes each octet that is written so for a character.
_BEYOND_ASCII: Final = re.compile(r"\\[89A-Fa-f][0-9A-Fa-f]")


def check_dn(text: str, key: str) -> None:
    """
    @param key: what is complained about.
    @raise ArgumentError: when it is no DN (RFC 4514), or L{MARK} is where no value is.
    """
    from ldaptor.protocols.ldap.distinguishedname import DistinguishedName

    try:
        names = [rdn.split() for rdn in DistinguishedName(text).split()]
    except Exception:  # noqa: BLE001 (ldaptor fails in any way)
        names = []
    pairs = [pair for name in names for pair in name]
    if not all(names) or not pairs or not all(map(_has_attribute, pairs)):
        raise ArgumentError(f"{key!r} is no DN, as uid=ann,ou=people,dc=example,dc=org")
    # What begins with # is a value in hexadecimal digits.
    if any(MARK in pair.value and pair.value.startswith("#") for pair in pairs):
        raise ArgumentError(f"{key!r} has %s where no name can be")


def _has_attribute(pair: Any) -> bool:
    return _ATTRIBUTE.fullmatch(pair.attributeType) is not None


def check_attribute(text: str, key: str) -> None:
    """
    @raise ArgumentError: when it is no attribute's name.
    """
    if not _ATTRIBUTE.fullmatch(text):
        raise ArgumentError(f"{key!r} is no attribute, as uid")


def dn_of(template: str, name: bytes) -> str:
    """
    @return: the DN of a name.
    """
    return template.replace(MARK, escaped(name))


class Filter:
    """
    A filter with places for a name.

    @ivar attributes: those that are compared with a name, in their order.
    """

    def __init__(self, text: str) -> None:
        """
        @param text: RFC 4515; holds L{MARK} as a value or a part of one.
        @raise ArgumentError: when it is no filter, or L{MARK} is elsewhere.
        """
        from ldaptor.ldapfilter import parseFilter
        from ldaptor.protocols import pureldap

        self._ldap = pureldap
        if _BEYOND_ASCII.search(text):
            raise ArgumentError("'filter': write what is beyond ASCII as itself, not escaped")
        try:
            self._tree = parseFilter(text)
        except Exception:  # noqa: BLE001 (ldaptor fails in any way)
            raise ArgumentError("'filter' is none, as (&(objectClass=person)(uid=%s))") from None
        self.attributes = tuple(self._compared(self._tree))
        if not self.attributes or text.count(MARK) != self._marks(self._tree):
            raise ArgumentError("'filter' must hold %s as what an attribute is equal to")

    def of(self, name: bytes) -> Any:
        """
        @return: the filter that finds a name, as L{Codec.search} takes it.
        """
        return self._filled(self._tree, name)

    def _compared(self, node: Any) -> Iterator[str]:
        ldap = self._ldap
        match node:
            case ldap.LDAPFilter_and() | ldap.LDAPFilter_or():
                for each in node:
                    yield from self._compared(each)
            case ldap.LDAPFilter_equalityMatch() if MARK in node.assertionValue.value:
                yield node.attributeDesc.value
            case ldap.LDAPFilter_extensibleMatch() if MARK in node.matchValue.value:
                yield node.type.value if node.type else ""

    def _marks(self, node: Any) -> int:
        ldap = self._ldap
        match node:
            case ldap.LDAPFilter_and() | ldap.LDAPFilter_or():
                return sum(map(self._marks, node))
            case ldap.LDAPFilter_equalityMatch():
                return int(node.assertionValue.value.count(MARK))
            case ldap.LDAPFilter_extensibleMatch():
                return int(node.matchValue.value.count(MARK))
        return 0

    def _filled(self, node: Any, name: bytes) -> Any:
        ldap = self._ldap
        match node:
            case ldap.LDAPFilter_and() | ldap.LDAPFilter_or():
                return type(node)([self._filled(each, name) for each in node])
            case ldap.LDAPFilter_equalityMatch():
                value = ldap.LDAPAssertionValue(_put(node.assertionValue.value, name))
                return type(node)(node.attributeDesc, value)
            case ldap.LDAPFilter_extensibleMatch():
                return type(node)(
                    node.matchingRule,
                    node.type,
                    _put(node.matchValue.value, name),
                    node.dnAttributes,
                )
        return node


def _put(template: str, name: bytes) -> bytes:
    return template.encode("utf-8", "surrogateescape").replace(_MARK, name)
