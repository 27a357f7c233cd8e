"""What an error of the network means to a SOCKS client: from the error itself, never its text."""

import errno
import socket

from twisted.internet import error

from socks5d.bounded import DeadlinePassed
from socks5d.model import Outcome, Refusal

_BY_ERRNO = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ENETUNREACH: Outcome.NETWORK_UNREACHABLE,
    errno.ENETDOWN: Outcome.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Outcome.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Outcome.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Outcome.TIMED_OUT,
}

#: Which of several attempts' failures tells most: the one that got farthest.
_FARTHEST = (
    Outcome.REFUSED,
    Outcome.TIMED_OUT,
    Outcome.HOST_UNREACHABLE,
    Outcome.NETWORK_UNREACHABLE,
)


#: What a connection attempt, or a lookup, fails with when nothing is wrong with us.
NETWORK_ERRORS = (
    error.ConnectError,
    error.TimeoutError,
    error.DNSLookupError,
    OSError,
    DeadlinePassed,
    Refusal,
)


def outcome(problem: BaseException) -> Outcome:
    """
    @param problem: what a connection attempt failed with.
    @return: the outcome it implies; C{FAILED} for what says nothing more.
    """
    if isinstance(problem, Refusal):
        return problem.outcome
    if isinstance(problem, (error.DNSLookupError, socket.gaierror)):
        return Outcome.HOST_UNREACHABLE
    if isinstance(problem, (error.TimeoutError, DeadlinePassed, TimeoutError)):
        return Outcome.TIMED_OUT
    if isinstance(problem, error.CannotListenError):
        problem = problem.socketError
    if isinstance(problem, error.ConnectError):
        number = problem.osError
    else:
        number = problem.errno if isinstance(problem, OSError) else None
    return _BY_ERRNO.get(number, Outcome.FAILED) if isinstance(number, int) else Outcome.FAILED


def farthest(problems: list[BaseException]) -> BaseException:
    """
    @param problems: at least one.
    @return: the one that says most of why a name could not be reached.
    """
    for wanted in _FARTHEST:
        for problem in problems:
            if outcome(problem) is wanted:
                return problem
    return problems[-1]
