"""Names and passwords of users: those that may be asked about, and a name in a DN."""

from typing import Final

#: Octets: what RFC 1929 can carry; and for a password, from whatever application.
LONGEST_NAME: Final = 255
LONGEST_PASSWORD: Final = 1024

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-")


def may_be_name(name: bytes) -> bool:
    """
    @return: whether it is UTF-8 without control characters, not empty, not too long.
    """
    if not 0 < len(name) <= LONGEST_NAME:
        return False
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return False
    return not any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in text)


def may_be_password(password: bytes) -> bool:
    """
    @return: False for an empty one, with which many servers let anybody bind (RFC 4513
        section 5.1.2); for one with a NUL, where some servers' passwords end; and for one
        that is too long.
    """
    return 0 < len(password) <= LONGEST_PASSWORD and b"\0" not in password


def canonical(name: bytes) -> bytes | None:
    """
    The one way to write a name that a directory cannot be asked for.

    Directories compare names without regard to case, and to spaces at either end or in a
    row; beyond ASCII each has its own idea of what is equal (RFC 4518).

    @return: in lower case; None where not every directory takes it for the same, so that
        a user could have several names.
    """
    if not name.isascii() or not may_be_name(name):
        return None
    if name != name.strip(b" ") or b"  " in name:
        return None
    return name.lower()


def escaped(name: bytes) -> str:
    """
    @return: the name as a value in a DN (RFC 4514 section 2.4); each octet that is no letter
        or digit is a pair of hexadecimal digits.
    """
    return "".join(chr(octet) if octet in _PLAIN else f"\\{octet:02x}" for octet in name)
