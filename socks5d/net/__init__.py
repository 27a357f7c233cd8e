"""
Sockets on a reactor, where Twisted's own do not do.

- L{DatagramSocket}: UDP
- L{StreamServerEndpoint}, L{StreamClientEndpoint}: TCP, on a L{Poller}, which the
  platform has or has not (L{available})
"""

from socks5d.net.connecting import StreamClientEndpoint, connect_stream
from socks5d.net.datagram import DatagramSocket
from socks5d.net.listening import StreamServerEndpoint, faster
from socks5d.net.ours import is_ours
from socks5d.net.poller import available

__all__ = [
    "DatagramSocket",
    "StreamClientEndpoint",
    "StreamServerEndpoint",
    "available",
    "connect_stream",
    "faster",
    "is_ours",
]
