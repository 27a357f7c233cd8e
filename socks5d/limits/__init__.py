"""
How much clients and identities may have: sessions, octets a second, octets a day.

Nothing here knows a protocol or a socket.  What holds for several processes is counted
behind the same interfaces, and its answers come later.
"""
