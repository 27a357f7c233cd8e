"""
Settings: what the options and the file say, as one validated value.

The two are read into the same keys.  Where a key is a list, what the command line
gives is added to what the file gives; where it is one value, the command line's
counts.

- L{definition<socks5d.config.definition>}: every key that there is, what it holds and what
  it is for; L{lists<socks5d.config.lists>} and L{rules<socks5d.config.rules>} have those of
  their tables
- L{kinds<socks5d.config.kinds>}, L{numbers<socks5d.config.numbers>} and
  L{tables<socks5d.config.tables>}: what keys can hold, and what reads it
- L{reading<socks5d.config.reading>}: from a file to values, with their
  L{lines<socks5d.config.lines>}
- L{making<socks5d.config.making>}: from values to L{Settings}
- L{schema<socks5d.config.schema>}: the same, as a JSON Schema
"""

from socks5d.config.definition import KEYS
from socks5d.config.making import make_settings
from socks5d.config.reading import read_file
from socks5d.config.settings import DEFAULT_LISTEN, Listener, Serving, Settings

__all__ = [
    "DEFAULT_LISTEN",
    "KEYS",
    "Listener",
    "Serving",
    "Settings",
    "make_settings",
    "read_file",
]
