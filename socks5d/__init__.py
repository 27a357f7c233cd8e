"""
A SOCKS 4, 4a and 5 proxy for Twisted.

As a program: C{twistd socks5d}.  As a library: put a L{SOCKSFactory} on an endpoint
of your own::

    factory = SOCKSFactory(ruleset=MyRules(), authenticators=[NoAuthentication()])
    serverFromString(reactor, "tcp:1080:interface=127.0.0.1").listen(factory)

The floors, from the ground up; imports only go down:

- L{socks5d.wire}: octets and values
- L{socks5d.model}: the nouns
- L{socks5d.interfaces}: the seams
- L{socks5d.auth}, L{socks5d.rules}, L{socks5d.egress}, L{socks5d.relay}: who is let
  in, what is allowed, reaching out, passing on
- L{socks5d.protocols}: the SOCKS versions, and their factories
- L{socks5d.config}, L{socks5d.service}, L{socks5d.tap}: the program
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["SOCKSFactory", "SOCKSv4Factory", "SOCKSv5Factory", "__version__"]

if TYPE_CHECKING:
    from socks5d.protocols import SOCKSFactory, SOCKSv4Factory, SOCKSv5Factory


def __getattr__(name: str) -> object:
    # Late, so that reading the version, or listing twistd's plugins, does not load it all.
    if name in ("SOCKSFactory", "SOCKSv4Factory", "SOCKSv5Factory"):
        from socks5d import protocols

        return getattr(protocols, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
