"""What socks5d adds to Twisted: a service for twistd, and components that have names."""

from twisted.application.service import ServiceMaker

from socks5d.auth import AnyUserID, NoAuthentication, ldap
from socks5d.auth.htpasswd import make_htpasswd_checker
from socks5d.auth.pam import make_pam_checker
from socks5d.naming import NamedAuthenticator, NamedChecker, NamedRuleset
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

htpasswd = NamedChecker(
    "htpasswd",
    "PATH[:plain=yes|no]",
    """\
Names and hashes of passwords from a file, one name:hash on each line, as
Apache's htpasswd writes it:

    htpasswd -B -C 10 /etc/socks5d/htpasswd ann

Blank lines and those that begin with # are passed over. Taken are bcrypt
($2a$, $2b$, $2y$), argon2 (argon2id, argon2i, argon2d; at most 256 MiB) and,
on Linux, SHA-256-crypt and SHA-512-crypt ($5$, $6$; htpasswd -2 and -5).
MD5 and SHA-1 are refused. bcrypt looks at 72 octets: longer passwords are not
accepted with it.

plain=yes: what is no hash is the password itself, in plain text.

The file is looked at with each login and read again when it has changed; it
has to be readable to the server's user. One that is wrong or gone by then is
told in the log, and the users stay who they were. A colon in PATH is written
with a backslash before it.

bcrypt and argon2 need: pip install 'socks5d[htpasswd]'
""",
    make_htpasswd_checker,
)
pam = NamedChecker(
    "pam",
    "[SERVICE]",
    """\
Names and passwords that PAM accepts, by the rules for auth and for account in
/etc/pam.d/SERVICE, a file that has to be there; SERVICE is socks5d when none
is given. No session is opened. With Debian's own rules for passwords that
file is:

    auth     include  common-auth
    account  include  common-account

Accounts without a password, and passwords that have expired, are refused. A
refusal takes as long as modules ask for (pam_unix, pam_faildelay), at most
four seconds; without such a module its time may tell which names there are.
Modules ask as the server's user: pam_unix lets none but root ask about the
passwords of others.

It needs: pip install 'socks5d[pam]'
""",
    make_pam_checker,
)
ldap_checker = NamedChecker("ldap", ldap.ARGUMENT, ldap.HELP, ldap.ldap_checker)
