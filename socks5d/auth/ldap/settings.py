"""
What stands behind C{ldap:}: which server, how it is reached, and how names become entries.

    ldap:SERVER:dn=uid=%s,ou=people,dc=example,dc=org
    ldap:SERVER:base=ou=people,dc=example,dc=org:bind=DN:secret=FILE
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen

from socks5d.auth.arguments import ArgumentError, number, parse_arguments, switch

#: Stands for the user's name in a template.
MARK: Final = "%s"

#: What there may be, and what it is where it is left out.
KEYS: Final = {
    "dn": "",
    "base": "",
    "filter": "",
    "name": "",
    "bind": "",
    "secret": "",
    "decoy": "",
    "starttls": "",
    "ca": "",
    "timeout": "5",
    "connections": "16",
    "waiting": "64",
    "idle": "60",
}

_FILTER = "(uid=%s)"
_OF_SEARCHES = ("filter", "name", "bind", "secret", "decoy")
_PORTS = {"ldap": 389, "ldaps": 636}
_LONGEST_SECRET = 4096


@frozen
class Server:
    """
    Where a directory is.

    @ivar tls: whether TLS protects what is said.
    @ivar ask: whether the server is asked for it (StartTLS, RFC 4511 section 4.14), rather
        than speaking TLS from the first octet.
    @ivar ca: the PEM of the CAs to trust; None for the system's.
    """

    host: str
    port: int
    tls: bool
    ask: bool
    ca: str | None = field(default=None, repr=False)


@frozen
class Template:
    """
    Users bind as a DN that is made of their name.

    @ivar dn: holds L{MARK}.
    """

    dn: str


@frozen
class Search:
    """
    Users are searched for, and bind as what is found.

    @ivar base: the DN under which they are.
    @ivar filter: RFC 4515, holds L{MARK}.
    @ivar name: the attribute that holds the name by which rules know a user; "" where the
        filter says it.
    @ivar bind: the DN of the account that searches; "" to search as nobody.
    @ivar secret: that account's password.
    @ivar decoy: the DN to bind as where nobody is found; "" to make one up.
    """

    base: str
    filter: str = _FILTER
    name: str = ""
    bind: str = ""
    secret: bytes = field(default=b"", repr=False)
    decoy: str = ""


@frozen
class Settings:
    """
    @ivar timeout: what a login may take, in seconds.
    @ivar connections: to the server, at most.
    @ivar waiting: logins that wait for one of them, at most.
    @ivar idle: after how many unused seconds a connection is closed.
    """

    server: Server
    way: Template | Search
    timeout: float = 5.0
    connections: int = 16
    waiting: int = 64
    idle: float = 60.0


def parse_settings(argument: str) -> Settings:
    """
    @param argument: what stood behind the checker's name and its colon.
    @raise ArgumentError: when it makes no sense.
    """
    given = parse_arguments(argument, "server", KEYS)
    server, way = _server(given), _way(given)
    return Settings(
        server,
        way,
        timeout=number(given, "timeout", 0.1, 60),
        connections=_whole(given, "connections", 2, 1000),
        waiting=_whole(given, "waiting", 0, 100_000),
        idle=number(given, "idle", 1, 3600),
    )


def _whole(given: dict[str, str], key: str, low: int, high: int) -> int:
    value = number(given, key, low, high)
    if value != int(value):
        raise ArgumentError(f"{key!r} must be a whole number")
    return int(value)


def _server(given: dict[str, str]) -> Server:
    scheme, host, port = _url(given["server"])
    if scheme == "ldaps":
        if given["starttls"]:
            raise ArgumentError("'starttls' is for ldap://; ldaps:// is TLS from the start")
        tls = True
    elif given["starttls"]:
        tls = switch(given, "starttls")
    else:
        # A password crosses a network in the clear only where that was asked for.
        tls = not _is_loopback(host)
    if given["ca"] and not tls:
        raise ArgumentError("'ca' is for TLS, and there is none; write starttls=yes too")
    ca = _read(given["ca"], "ca") if given["ca"] else None
    return Server(host, port, tls, tls and scheme == "ldap", ca)


def _url(text: str) -> tuple[str, str, int]:
    if not text:
        raise ArgumentError("give the server first: its name, or a URL with its colons escaped")
    url = text if "://" in text else f"ldap://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ArgumentError(f"{text!r} is no server's URL") from None
    if not parts.hostname or parts.scheme not in _PORTS or _has_more(parts) or port == 0:
        raise ArgumentError(
            f"{text!r} is no server; write HOST, ldap\\://HOST\\:PORT or ldaps\\://HOST\\:PORT"
        )
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme]


def _has_more(parts: SplitResult) -> bool:
    return bool(parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _way(given: dict[str, str]) -> Template | Search:
    if bool(given["dn"]) == bool(given["base"]):
        raise ArgumentError("give either 'dn', to bind as it, or 'base', to search under it")
    if given["dn"]:
        for key in _OF_SEARCHES:
            if given[key]:
                raise ArgumentError(f"{key!r} goes with 'base', not with 'dn'")
        if MARK not in given["dn"]:
            raise ArgumentError("'dn' must hold %s, for the user's name")
        return Template(given["dn"])
    if bool(given["bind"]) != bool(given["secret"]):
        raise ArgumentError("'bind' and 'secret', the file with its password, go together")
    return Search(
        base=given["base"],
        filter=given["filter"] or _FILTER,
        name=given["name"],
        bind=given["bind"],
        secret=_secret(given["secret"]) if given["secret"] else b"",
        decoy=given["decoy"],
    )


def _secret(path: str) -> bytes:
    text = _read(path, "secret")
    first, _, rest = text.partition("\n")
    secret = first.rstrip("\r").encode("utf-8", "surrogateescape")
    # RFC 4513 section 5.1.2: a bind with an empty password is one as nobody.
    if not secret or rest.strip() or b"\0" in secret or len(secret) > _LONGEST_SECRET:
        raise ArgumentError(f"'secret': {path!r} must hold a password, and nothing else")
    return secret


def _read(path: str, key: str) -> str:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no such name can be"
        raise ArgumentError(f"{key!r}: {path!r} cannot be read: {why}") from None
