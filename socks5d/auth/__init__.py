"""
Implementations of L{IAuthenticator<socks5d.interfaces.IAuthenticator>}.

- L{NoAuthentication}: SOCKS 5 method 0
- L{PasswordAuthenticator}: SOCKS 5 method 2, over C{twisted.cred} checkers
- L{AnyUserID} and L{UserIDList}: SOCKS 4's USERID

Checkers of credentials for any application that uses C{twisted.cred}:

- L{HtpasswdChecker<socks5d.auth.htpasswd.HtpasswdChecker>}: a file of names and hashes
- L{PAMChecker<socks5d.auth.pam.PAMChecker>}: the system's PAM
"""

from socks5d.auth.none import NoAuthentication
from socks5d.auth.password import PasswordAuthenticator
from socks5d.auth.userid import AnyUserID, UserIDList

__all__ = ["AnyUserID", "NoAuthentication", "PasswordAuthenticator", "UserIDList"]
