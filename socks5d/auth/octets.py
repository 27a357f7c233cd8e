"""What C{twisted.cred} hands a checker, as octets."""

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin


def octets_of(credentials: IUsernamePassword) -> tuple[bytes, bytes]:
    """
    @param credentials: socks5d's have octets; those of other applications may have text,
        which is taken for UTF-8.
    @return: the name and the password.
    @raise UnauthorizedLogin: for text that no octets stand for.
    """
    return _octets(credentials.username), _octets(credentials.password)


def _octets(value: bytes | str) -> bytes:
    if not isinstance(value, str):
        return bytes(value)
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UnauthorizedLogin("a name or a password is no text") from None
