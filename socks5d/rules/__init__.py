"""
Implementations of L{IRuleset<socks5d.interfaces.IRuleset>}, and what they are made of.

- L{Chain}: rulesets one after another
- L{ClientRules}: by the client's network
- L{DestinationRules}: by the destination's address, name and port
- L{RequireIdent}: by what identd says of the client
- L{RuleTable}: the first rule that matches; says why, too
- L{Rule}: what a C{[[rule]]} says; with L{Times}, L{HostList} and L{UserList}
- L{PermitUnprotected}: everything that is not protected
- L{Protection} and L{Gate}: what stands behind every ruleset, whoever wrote it
"""

from socks5d.rules.chain import Chain, PermitUnprotected
from socks5d.rules.clients import ClientRules
from socks5d.rules.destinations import Destination, DestinationRules, parse_destination
from socks5d.rules.explain import Considered, Match
from socks5d.rules.gate import Gate
from socks5d.rules.ident import RequireIdent
from socks5d.rules.lists import HostList, ListError, UserList, read_lines
from socks5d.rules.prefixes import parse_network
from socks5d.rules.protection import Protection
from socks5d.rules.rule import Action, Rule, parse_method
from socks5d.rules.table import Explanation, RuleTable
from socks5d.rules.times import Times, parse_day, parse_hours, parse_zone

__all__ = [
    "Action",
    "Chain",
    "ClientRules",
    "Considered",
    "Destination",
    "DestinationRules",
    "Explanation",
    "Gate",
    "HostList",
    "ListError",
    "Match",
    "PermitUnprotected",
    "Protection",
    "RequireIdent",
    "Rule",
    "RuleTable",
    "Times",
    "UserList",
    "parse_day",
    "parse_destination",
    "parse_hours",
    "parse_method",
    "parse_network",
    "parse_zone",
    "read_lines",
]
