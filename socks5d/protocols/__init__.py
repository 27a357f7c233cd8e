"""
The SOCKS protocols and their factories.

- L{SOCKSv4Factory}, L{SOCKSv5Factory}: one version
- L{SOCKSFactory}: every version on one port
- L{Capacity}: counts sessions, for factories that share a limit
"""

from socks5d.protocols.capacity import Capacity
from socks5d.protocols.detect import SOCKS, SOCKSFactory
from socks5d.protocols.socks4 import SOCKSv4, SOCKSv4Factory
from socks5d.protocols.socks5 import SOCKSv5, SOCKSv5Factory

__all__ = [
    "SOCKS",
    "Capacity",
    "SOCKSFactory",
    "SOCKSv4",
    "SOCKSv4Factory",
    "SOCKSv5",
    "SOCKSv5Factory",
]
