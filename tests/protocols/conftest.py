"""Everything here goes over both kinds of TCP transport."""

from tests.support.lanes import lane

__all__ = ["lane"]
