"""
SOCKS messages: octets to values, and values to octets.

Standard library only; nothing here does input or output, knows Twisted or asks
the time.  Each parser is a function over the octets received so far::

    parse_request(data) -> Parsed(value, end)    a whole message; data[end:] is what follows it
                        -> None                  need more
                        raises WireError         what to send before closing is in .reply

A parser keeps nothing between calls: it is called with the same octets and more
of them until it answers.  Each refuses as soon as a message passes its bound, so
the octets a caller must keep are bounded too.  An encoder raises ValueError when
the message cannot be said in the protocol.

- L{socks5d.wire.address}: ATYP, address and port (RFC 1928 section 5)
- L{socks5d.wire.names}: what a host asked for really is, through every disguise
- L{socks5d.wire.socks4}: SOCKS 4 and 4a
- L{socks5d.wire.socks5}: SOCKS 5 (RFC 1928)
- L{socks5d.wire.userpass}: username and password (RFC 1929)
- L{socks5d.wire.udp}: the UDP request header (RFC 1928 section 7)
- L{socks5d.wire.fragments}: putting fragmented datagrams together (section 7)
- L{socks5d.wire.identline}: the Identification Protocol's lines (RFC 1413)
"""
