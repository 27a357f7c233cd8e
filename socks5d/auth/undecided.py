"""How a credentials checker says that it has not looked at somebody's credentials."""

from twisted.cred.error import UnauthorizedLogin


class Undecided(UnauthorizedLogin):
    """
    Nobody can tell whether credentials are right: a directory does not answer, say.  They
    are not accepted; but they do not count as a wrong guess.

    To an application of C{twisted.cred} that does not know of it, a login was refused.
    """


class TooManyLogins(Undecided):
    """As many logins wait to be checked as may."""
