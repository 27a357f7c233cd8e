"""
Sockets on a reactor, where Twisted's own do not do.

- L{DatagramSocket}: UDP
"""

from socks5d.net.datagram import DatagramSocket

__all__ = ["DatagramSocket"]
