"""
The Identification Protocol's lines (RFC 1413): a query, and its response.

Ports are named as the RFC does, from the point of view of the machine that is asked:
"port-on-server" is on it, which for us is the SOCKS client's port.
"""

import re
from typing import NamedTuple

from socks5d.wire.parsed import Parsed, WireError

#: Where identd listens (section 2).
PORT = 113
#: Octets of a response, its line end included (section 4 bounds it so).
MAX_LINE = 1000

_RESPONSE = re.compile(
    rb"[ \t]*([0-9]{1,5})[ \t]*,[ \t]*([0-9]{1,5})[ \t]*:[ \t]*(USERID|ERROR)[ \t]*:(.*)",
    re.DOTALL,
)
_ERRORS = (b"INVALID-PORT", b"NO-USER", b"HIDDEN-USER", b"UNKNOWN-ERROR")


class UserID(NamedTuple):
    """
    @ivar ports: port-on-server and port-on-client.
    @ivar system: the operating system, as OTHER or UNIX; without a character set.
    @ivar userid: the user-id, 1 to 512 octets.
    """

    ports: tuple[int, int]
    system: bytes
    userid: bytes


class Error(NamedTuple):
    """
    @ivar ports: port-on-server and port-on-client.
    @ivar error: INVALID-PORT, NO-USER, HIDDEN-USER or UNKNOWN-ERROR; what begins with
        X, and what is none of them, is UNKNOWN-ERROR.
    """

    ports: tuple[int, int]
    error: bytes


def encode_query(port_on_server: int, port_on_client: int) -> bytes:
    """
    @param port_on_server: the port on the machine that is asked.
    @param port_on_client: the port on the machine that asks.
    """
    return b"%d , %d\r\n" % (port_on_server, port_on_client)


def parse_response(data: bytes) -> Parsed[UserID | Error] | None:
    """
    Read one line.  It ends with CR LF; a bare LF is taken as well.

    @raise WireError: for a line that is too long, or is no response.
    """
    newline = data.find(b"\n", 0, MAX_LINE)
    if newline < 0:
        if len(data) >= MAX_LINE:
            raise WireError(f"the response is longer than {MAX_LINE} octets")
        return None
    line = data[:newline].removesuffix(b"\r")
    match = _RESPONSE.fullmatch(line)
    if match is None:
        raise WireError("the line is no response")
    ports = int(match[1]), int(match[2])
    if not all(1 <= port <= 65535 for port in ports):
        raise WireError("a port is out of range")
    if match[3] == b"ERROR":
        error = match[4].strip(b" \t")
        known = error if error in _ERRORS else b"UNKNOWN-ERROR"
        return Parsed(Error(ports, known), newline + 1)
    system, colon, userid = match[4].partition(b":")
    # The RFC counts blanks before a user-id as part of it; no server in use means that.
    userid = userid.strip(b" \t")
    if not colon or not 1 <= len(userid) <= 512 or b"\0" in userid:
        raise WireError("the response has no user-id")
    return Parsed(UserID(ports, system.partition(b",")[0].strip(b" \t"), userid), newline + 1)


def encode_response(response: UserID | Error) -> bytes:
    """The identd's side."""
    ports = b"%d , %d" % response.ports
    if isinstance(response, Error):
        return ports + b" : ERROR : " + response.error + b"\r\n"
    return ports + b" : USERID : " + response.system + b" : " + response.userid + b"\r\n"


def parse_query(data: bytes) -> Parsed[tuple[int, int]] | None:
    """
    The identd's side: read port-on-server and port-on-client.

    @raise WireError: for a line that is too long, or is no query.
    """
    newline = data.find(b"\n", 0, MAX_LINE)
    if newline < 0:
        if len(data) >= MAX_LINE:
            raise WireError(f"the query is longer than {MAX_LINE} octets")
        return None
    match = re.fullmatch(rb"[ \t]*([0-9]{1,5})[ \t]*,[ \t]*([0-9]{1,5})[ \t]*\r?", data[:newline])
    if match is None:
        raise WireError("the line is no query")
    ports = int(match[1]), int(match[2])
    if not all(1 <= port <= 65535 for port in ports):
        raise WireError("a port is out of range")
    return Parsed(ports, newline + 1)
