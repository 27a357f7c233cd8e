"""
Implementations of L{IRuleset<socks5d.interfaces.IRuleset>}, and what they are made of.

- L{Chain}: rulesets one after another
- L{ClientRules}: by the client's network
- L{DestinationRules}: by the destination's address, name and port
- L{RequireIdent}: by what identd says of the client
- L{PermitUnprotected}: everything that is not protected
- L{Protection} and L{Gate}: what stands behind every ruleset, whoever wrote it
"""

from socks5d.rules.chain import Chain, PermitUnprotected
from socks5d.rules.clients import ClientRules
from socks5d.rules.destinations import Destination, DestinationRules, parse_destination
from socks5d.rules.gate import Gate
from socks5d.rules.ident import RequireIdent
from socks5d.rules.prefixes import parse_network
from socks5d.rules.protection import Protection

__all__ = [
    "Chain",
    "ClientRules",
    "Destination",
    "DestinationRules",
    "Gate",
    "PermitUnprotected",
    "Protection",
    "RequireIdent",
    "parse_destination",
    "parse_network",
]
