"""From the options of C{socks5d explain} to what the server would know of such a client."""

from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from attrs import field, frozen

from socks5d.config import Listener, Settings
from socks5d.config.rules import COMMANDS
from socks5d.config.tables import suggestion
from socks5d.interfaces import USERID
from socks5d.model import ANONYMOUS, Client, Command, Ident, Identity, Request
from socks5d.parameters import IdentMode
from socks5d.rules import Destination, parse_destination, parse_method
from socks5d.rules.rule import METHODS
from socks5d.values import ConfigError
from socks5d.wire.address import IPAddress
from socks5d.wire.names import unmapped


@frozen
class Question:
    """
    What is asked about.

    @ivar listener: the listener that the client came by.
    @ivar request: all that is known of it, but for the destination's address.
    @ivar address: the destination's, or None where it is to be looked up.
    @ivar seconds: when, since the epoch; None for now.
    """

    listener: Listener
    request: Request
    address: IPAddress | None = field(default=None)
    seconds: float | None = field(default=None)


def ask(settings: Settings, given: dict[str, Any]) -> Question:
    """
    @param given: what options said, by their names without dashes.
    @raise ConfigError: for what makes no sense, or is missing.
    """
    listener = _listener(settings, given["via"])
    command, destination = _command(given)
    version = given["socks"]
    if version not in ("4", "4a", "5"):
        raise ConfigError(f"--socks: {version!r} must be '4', '4a' or '5'")
    client = Client(_address("--from", given["from"]), 0, None, listener.name)
    method, identity, userid = _identity(given, version)
    ident = None
    if given["identd"] is not None:
        if listener.ident is IdentMode.OFF:
            raise ConfigError(f"--identd: listener {listener.name!r} does not ask identd")
        ident = Ident(given["identd"])
    elif listener.ident is not IdentMode.OFF:
        ident = Ident(None, "--identd is not given")
    asked_for = destination.network
    address = None if asked_for is None else asked_for.network_address
    if given["address"] is not None:
        if address is not None:
            raise ConfigError("--address: the destination is an address already")
        address = _address("--address", given["address"])
    name = destination.name
    port, _ = destination.ports or (0, 0)
    request = Request(
        client, version, method, identity, userid, command, name, None, port, None, ident
    )
    return Question(listener, request, address, _seconds(given["at"]))


def _listener(settings: Settings, name: str | None) -> Listener:
    listeners = settings.listeners
    names = list(dict.fromkeys(each.name for each in listeners))
    if name is None:
        if len(names) > 1:
            raise ConfigError(f"--via: say by which listener: {', '.join(names)}")
        return listeners[0]
    for each in listeners:
        if each.name == name:
            return each
    raise ConfigError(f"--via: there is no listener {name!r}; {suggestion(name, names)}")


def _command(given: dict[str, Any]) -> tuple[Command, Destination]:
    said = [(key, given[key]) for key in COMMANDS if given[key] is not None]
    if len(said) != 1:
        raise ConfigError("give one of --connect, --bind and --udp, as --connect example.com:443")
    ((key, text),) = said
    try:
        found = parse_destination(text)
    except ValueError as error:
        raise ConfigError(f"--{key}: {error}") from None
    network, ports = found.network, found.ports
    one_host = found.name is not None or (network is not None and network.num_addresses == 1)
    if not one_host or ports is None or ports[0] != ports[1]:
        raise ConfigError(f"--{key}: {text!r} must be a host and a port, as example.com:443")
    return COMMANDS[key], found


def _identity(given: dict[str, Any], version: str) -> tuple[int | None, Identity, str | None]:
    """Method, identity and USERID."""
    user, claimed, word = given["user"], given["claimed"], given["method"]
    if version != "5":
        if user is not None or word is not None:
            option = "--user" if user is not None else "--method"
            raise ConfigError(f"{option}: SOCKS 4 has no methods; give --claimed, its USERID")
        userid = claimed or ""
        return None, Identity(userid, "userid") if userid else ANONYMOUS, userid
    if claimed is not None:
        raise ConfigError("--claimed: SOCKS 5 has no USERID; give --user, or --socks 4")
    if word is None:
        word = "none" if user is None else "password"
    try:
        method = parse_method(int(word) if word.isascii() and word.isdigit() else word)
    except ValueError as error:
        raise ConfigError(f"--method: {error}") from None
    if method == USERID:
        raise ConfigError("--method: userid is of SOCKS 4; give --socks 4")
    if user is None:
        if method in (METHODS["password"], METHODS["gssapi"]):
            raise ConfigError(f"--method: {word} needs --user")
        return method, ANONYMOUS, None
    if method == METHODS["none"]:
        raise ConfigError("--user: without authentication nobody has a name")
    return method, Identity(user, word), None


def _address(option: str, text: str | None) -> IPAddress | None:
    if text is None:
        return None
    try:
        return unmapped(ip_address(text))
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is no IP address") from None


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        problem = f"--at: {text!r} is no time, as 2026-02-03T18:00 (of here) or 2026-02-03T18:00Z"
        raise ConfigError(problem) from None


def stages(question: Question, addresses: Sequence[IPAddress]) -> list[tuple[str, Request]]:
    """
    @param addresses: the destination's.
    @return: what the server asks its rules about, in order, as far as the addresses; each
        with what to call it.
    """
    request = question.request
    found = [("the client", request._replace(command=None, name=None, port=0))]
    if request.command is Command.UDP_ASSOCIATE:
        found.append(("the association", request._replace(name=None, port=0)))
    if request.name is not None:
        found.append((f"the name {request.name}", request))
    found += [(f"the address {each}", request._replace(address=each)) for each in addresses]
    return found
