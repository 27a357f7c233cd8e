"""Addresses as the kernel has them, zones included (RFC 4007)."""

import errno
import os
import socket
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import Any, Final, Literal

from twisted.internet.address import IPv4Address as TwistedIPv4
from twisted.internet.address import IPv6Address as TwistedIPv6

from socks5d.wire.address import Address, IPAddress, address_text
from socks5d.wire.names import canonical

#: Whether a socket can be bound to a network device.
CAN_CHOOSE_DEVICES: Final = hasattr(socket, "SO_BINDTODEVICE")


def bind_to_device(to_bind: socket.SocketType, device: str) -> None:
    """
    Let a socket's packets go out, and come in, by a network device alone.

    @param device: its name.
    @raise OSError: when there is no such device, or no right to it; and where devices
        cannot be chosen at all, which only Linux lets.
    """
    if not CAN_CHOOSE_DEVICES:
        raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
    to_bind.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())


def sockaddr(address: IPAddress, port: int) -> Any:
    """
    @return: what C{bind}, C{connect} and C{sendto} take.
    @raise OSError: for a zone that this host does not have.
    """
    if isinstance(address, IPv4Address):
        return address_text(address), port
    zone = address.scope_id
    if zone is None:
        return str(address), port, 0, 0
    number = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    return socket.inet_ntop(socket.AF_INET6, address.packed), port, 0, number


def host_of(name: Any) -> str:
    """
    @param name: what C{getsockname}, C{accept} and their like give.
    @return: the address as text, with its zone where it has one.
    """
    host: str = name[0]
    if len(name) == 4 and name[3] and "%" not in host:
        try:
            return f"{host}%{socket.if_indextoname(name[3])}"
        except OSError:
            return f"{host}%{name[3]}"
    return host


def endpoint_address(kind: Literal["TCP", "UDP"], name: Any) -> TwistedIPv4 | TwistedIPv6:
    """
    @param kind: "TCP" or "UDP".
    @param name: what C{getsockname}, C{accept} and their like give.
    """
    if len(name) == 2:
        return TwistedIPv4(kind, *name)
    return TwistedIPv6(kind, host_of(name), name[1])


def address_of(name: Any) -> Address:
    """
    @param name: what C{getsockname}, C{accept} and their like give.
    @return: the same, an IPv4-mapped address as IPv4.
    """
    host = parsed(name[0] if len(name) == 2 else host_of(name))
    assert host is not None
    return Address(host, name[1])


def socket_address(address: object) -> Address | None:
    """
    @return: what a transport's C{getHost} or C{getPeer} says, an IPv4-mapped address
        as IPv4; None for what has no IP address.
    """
    if not isinstance(address, (TwistedIPv4, TwistedIPv6)):
        return None
    host = parsed(address.host)
    if host is None or not 0 <= address.port <= 65535:
        return None
    return Address(host, address.port)


@lru_cache(4096)
def parsed(text: str) -> IPAddress | None:
    """
    @return: an address, an IPv4-mapped one as IPv4; None where the text is none.
    """
    try:
        host = canonical(ip_address(text))
    except ValueError:
        # What a PROXY header says is anybody's guess.
        return None
    return None if isinstance(host, str) else host
