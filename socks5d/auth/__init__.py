"""
Implementations of L{IAuthenticator<socks5d.interfaces.IAuthenticator>}.

- L{NoAuthentication}: SOCKS 5 method 0
- L{PasswordAuthenticator}: SOCKS 5 method 2, over C{twisted.cred} checkers
- L{AnyUserID} and L{UserIDList}: SOCKS 4's USERID
"""

from socks5d.auth.none import NoAuthentication
from socks5d.auth.password import PasswordAuthenticator
from socks5d.auth.userid import AnyUserID, UserIDList

__all__ = ["AnyUserID", "NoAuthentication", "PasswordAuthenticator", "UserIDList"]
