"""How a credentials checker says that it did not find out about somebody's credentials."""

from twisted.cred.error import UnauthorizedLogin


class Undecided(UnauthorizedLogin):
    """
    Nobody can tell whether credentials are right: a directory does not answer, say.  They
    are not accepted; but they do not count as a wrong guess.

    To an application of C{twisted.cred} that does not know of it, a login was refused.
    """


class TooManyLogins(Undecided):
    """As many logins wait to be checked as may."""


class Unanswered(UnauthorizedLogin):
    """
    Whoever knows was given the credentials and did not say in time whether they are right.
    They count as a wrong guess: of right ones it may say so at once.
    """
