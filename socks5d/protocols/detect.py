"""Every SOCKS version on one port: the first octet says which it is."""

from socks5d.model import Outcome
from socks5d.protocols.base import SOCKSProtocol
from socks5d.protocols.factory import SOCKSBaseFactory
from socks5d.protocols.socks4 import SOCKSv4
from socks5d.protocols.socks5 import SOCKSv5
from socks5d.wire import socks4, socks5
from socks5d.wire.parsed import Parsed

_NO_METHOD = socks5.encode_selection(socks5.NO_ACCEPTABLE_METHODS)
_REFUSED_4 = socks4.encode_reply(socks4.REJECTED)
#: Made once, for every first octet that there is.
_VERSIONS = [Parsed(version, 0) for version in range(256)]


def parse_version(data: bytes) -> Parsed[int] | None:
    """
    Look at the first octet, and leave it for the version's own parser.

    @return: the version number.
    """
    return _VERSIONS[data[0]] if data else None


class SOCKS(SOCKSProtocol):
    """Waits for the first octet, and is from then on what that says."""

    factory: "SOCKSFactory"

    def first(self) -> None:
        """See L{SOCKSProtocol}."""
        self.expect(parse_version, self._told)

    def refused(self, outcome: Outcome) -> bytes:
        """See L{SOCKSProtocol}.  Nobody knows yet what a reply would look like."""
        return b""

    def _told(self, version: int) -> None:
        speaker = self.factory.versions.get(version)
        if speaker is None:
            reply = _REFUSED_4 if version == socks4.VERSION else _NO_METHOD
            self.close(reply, Outcome.MALFORMED, "no SOCKS version that is served")
            return
        # All that a session is so far is the same in every version, and goes on.
        self.__class__ = speaker  # type: ignore[assignment]
        self.speak()


class SOCKSFactory(SOCKSBaseFactory):
    """
    Serves clients of every SOCKS version.

    @ivar versions: the protocol for each version number, which keeps no state of its own
        until it speaks; without one of them, its clients are not served.
    """

    protocol = SOCKS
    versions: dict[int, type[SOCKSProtocol]] = {
        socks4.VERSION: SOCKSv4,
        socks5.VERSION: SOCKSv5,
    }
