"""
Relaying between two transports.

- L{Relay}: a stream, both ways
- L{Origin}: the protocol of the connection to a destination
- L{Encapsulated}: a transport that wraps what is written to it
"""

from socks5d.relay.origin import Origin
from socks5d.relay.stream import Relay
from socks5d.relay.transports import Encapsulated, StreamTransport

__all__ = ["Encapsulated", "Origin", "Relay", "StreamTransport"]
