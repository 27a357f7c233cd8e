"""
What no client may do, whatever the rules are: over real sockets, by every method, version and
command, and held against what C{socks5d explain} says of the same settings.
"""
