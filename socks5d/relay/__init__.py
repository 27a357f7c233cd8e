"""
Relaying between two transports.

- L{relay_between}: a stream, both ways: by L{Relay}, or L{FastRelay} where it can
- L{Association}: datagrams, between a client and any number of destinations
- L{Origin}: the protocol of the connection to a destination
- L{Encapsulated}: a transport that wraps what is written to it
"""

from socks5d.relay.association import Association
from socks5d.relay.fast import FastRelay
from socks5d.relay.origin import Origin, relay_between
from socks5d.relay.stream import Relay
from socks5d.relay.transports import Encapsulated, StreamTransport

__all__ = [
    "Association",
    "Encapsulated",
    "FastRelay",
    "Origin",
    "Relay",
    "StreamTransport",
    "relay_between",
]
