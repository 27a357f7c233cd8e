"""
How the server reaches out: resolving, connecting, and what failures mean.

- L{DirectEgress}: the default L{IEgress<socks5d.interfaces.IEgress>}
- L{outcome}: what an error means to a SOCKS client
- L{is_own}: whether an address is this host's
"""

from socks5d.egress.direct import DirectEgress
from socks5d.egress.failures import outcome
from socks5d.egress.own import is_own
from socks5d.egress.resolve import FixedResolver, SystemResolver

__all__ = ["DirectEgress", "FixedResolver", "SystemResolver", "is_own", "outcome"]
