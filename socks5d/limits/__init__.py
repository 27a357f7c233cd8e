"""
How much clients and identities may have: sessions, octets a second, octets a day.

- L{Limiter<socks5d.limits.limiter.Limiter>}: what sessions ask, in one place
- L{socks5d.limits.flow}: how fast octets may flow, and who has the next turn
- L{socks5d.limits.lease}: octets that are counted in one place for several
- L{QuotaBook<socks5d.limits.quota.QuotaBook>}: how many each identity may relay in a period

Nothing here knows a protocol or a socket.  What holds for several processes is counted
behind the same interfaces, and its answers come later.
"""
