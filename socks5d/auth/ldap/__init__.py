"""
The checker C{ldap}: users of an LDAP directory (RFC 4511), for any application that takes
checkers of L{twisted.cred.strcred}.

- L{settings<socks5d.auth.ldap.settings>}: what stands behind C{ldap:}
- L{messages<socks5d.auth.ldap.messages>}: octets to values and back, by C{ldaptor}
- L{connection<socks5d.auth.ldap.connection>}: one connection, one question at a time
- L{lines<socks5d.auth.ldap.lines>}: connections that logins share
- L{ways<socks5d.auth.ldap.ways>}: from a name to an entry, from an entry to a yes or no
- L{checker<socks5d.auth.ldap.checker>}: all of it, with a deadline

The package C{ldaptor} is an extra, and loaded with the first checker that is made.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from socks5d.auth.ldap.checker import LDAPChecker

#: What stands behind the colon, for a reader.
ARGUMENT: Final = "SERVER:dn=TEMPLATE | SERVER:base=DN[:filter=FILTER][:bind=DN:secret=FILE]"

#: What it does.
HELP: Final = """\
Asks an LDAP directory: who can bind is let in.  Needs pip install 'socks5d[ldap]'.

SERVER is a host, or a URL with its colons escaped, as ldaps\\://ldap.example.org.
A host or ldap:// is spoken to with StartTLS, unless it is this machine's loopback;
starttls=no sends passwords in the clear, starttls=yes asks for it on loopback too.
ca=FILE has the CAs to trust, in PEM, in place of the system's.

Either bind as a DN made of the name, which stands for %s:
  ldap:ldap.example.org:dn=uid=%s,ou=people,dc=example,dc=org
Names there are ASCII, and known to rules in lower case, for directories take
Ann for ann.

Or search for the name and bind as what is found, which must be one entry:
  ldap:ldap.example.org:base=ou=people,dc=example,dc=org
      filter=FILTER      what to search for; (uid=%s) if left out
      name=ATTRIBUTE     the attribute by which rules know a user, which must have
                         one value; the filter's if left out
      bind=DN            who searches, and
      secret=FILE        the file with that account's password; nobody if left out
      decoy=DN           whom to bind as where nobody is found, so that an unknown
                         name takes as long as a wrong password; an entry with a
                         password that nobody knows, where checking one is slow

Both ways take:
      timeout=SECONDS    what a login may take (5)
      connections=N      connections to the server at most (16)
      waiting=N          logins that may wait for one (64); more are refused
      idle=SECONDS       after which an unused connection is closed (60)
"""


def ldap_checker(argument: str, reactor: Any = None) -> "LDAPChecker":
    """
    @param argument: what stands behind C{ldap:}; see L{HELP}.
    @param reactor: the global one by default.
    @raise ArgumentError: when it makes no sense, or C{ldaptor} is not there.
    """
    from socks5d.auth.ldap.checker import LDAPChecker
    from socks5d.auth.ldap.settings import parse_settings

    return LDAPChecker(parse_settings(argument), reactor)
