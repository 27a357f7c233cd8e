"""What socks5d adds to Twisted: a service for twistd, and components that have names."""

from twisted.application.service import ServiceMaker

from socks5d.auth import AnyUserID, NoAuthentication
from socks5d.naming import NamedAuthenticator, NamedRuleset
from socks5d.rules import PermitUnprotected


def _plain(make):
    def made(argument):
        if argument:
            raise ValueError("nothing goes after its name")
        return make()

    return made


socks5d = ServiceMaker("socks5d", "socks5d.tap", "A SOCKS 4, 4a and 5 proxy server", "socks5d")

no_authentication = NamedAuthenticator(
    "none", "SOCKS 5 without authentication, beside methods with one", _plain(NoAuthentication)
)
any_userid = NamedAuthenticator(
    "any-userid", "SOCKS 4 with whatever USERID a client gives", _plain(AnyUserID)
)
permit_unprotected = NamedRuleset(
    "permit", "permits every destination that does not trust this host", _plain(PermitUnprotected)
)
