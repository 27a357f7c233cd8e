"""The reply that an error implies: from its number and its kind, never from its text."""

import errno
import os
import socket

import pytest
from twisted.internet import error

from socks5d.bounded import DeadlinePassed
from socks5d.egress import outcome
from socks5d.egress.failures import NETWORK_ERRORS, farthest
from socks5d.model import Outcome, Refusal

BY_ERRNO = (
    (errno.ECONNREFUSED, Outcome.REFUSED),
    (errno.ENETUNREACH, Outcome.NETWORK_UNREACHABLE),
    (errno.ENETDOWN, Outcome.NETWORK_UNREACHABLE),
    (errno.EHOSTUNREACH, Outcome.HOST_UNREACHABLE),
    (errno.EHOSTDOWN, Outcome.HOST_UNREACHABLE),
    (errno.ETIMEDOUT, Outcome.TIMED_OUT),
    (errno.ECONNRESET, Outcome.FAILED),
    (errno.EACCES, Outcome.FAILED),
    (errno.EPERM, Outcome.FAILED),
    (errno.EINVAL, Outcome.FAILED),
    (errno.EADDRNOTAVAIL, Outcome.FAILED),
    (errno.EAFNOSUPPORT, Outcome.FAILED),
    (errno.EMFILE, Outcome.FAILED),
)


@pytest.mark.parametrize(("number", "wanted"), BY_ERRNO)
def test_what_twisted_makes_of_an_errno_has_its_reply(number: int, wanted: Outcome) -> None:
    assert outcome(error.getConnectError((number, os.strerror(number)))) is wanted
    assert outcome(error.getConnectError(OSError(number, "whatever it says"))) is wanted


@pytest.mark.parametrize(("number", "wanted"), BY_ERRNO)
def test_what_the_kernel_says_has_the_same_reply(number: int, wanted: Outcome) -> None:
    assert outcome(OSError(number, "whatever it says")) is wanted


@pytest.mark.parametrize(
    ("problem", "wanted"),
    [
        (error.TimeoutError(), Outcome.TIMED_OUT),
        (error.TCPTimedOutError(errno.ETIMEDOUT), Outcome.TIMED_OUT),
        (TimeoutError(), Outcome.TIMED_OUT),
        (DeadlinePassed(), Outcome.TIMED_OUT),
        (error.ConnectBindError(errno.EADDRINUSE), Outcome.FAILED),
        (error.ConnectError(), Outcome.FAILED),
        (OSError(), Outcome.FAILED),
        (RuntimeError(), Outcome.FAILED),
        (Refusal(Outcome.DENIED), Outcome.DENIED),
        (Refusal(Outcome.HOST_UNREACHABLE, "rule"), Outcome.HOST_UNREACHABLE),
        # A name that does not resolve, as an egress of somebody else's may tell it.
        (error.DNSLookupError(), Outcome.HOST_UNREACHABLE),
        (socket.gaierror(socket.EAI_NONAME, "not known"), Outcome.HOST_UNREACHABLE),
    ],
    ids=repr,
)
def test_every_kind_of_error_has_its_reply(problem: BaseException, wanted: Outcome) -> None:
    assert outcome(problem) is wanted


@pytest.mark.parametrize("text", ["refused", "Connection refused", "timed out", "unreachable"])
def test_the_text_of_an_error_implies_nothing(text: str) -> None:
    assert outcome(error.ConnectError(None, text)) is Outcome.FAILED
    assert outcome(error.ConnectError(text)) is Outcome.FAILED
    assert outcome(OSError(text)) is Outcome.FAILED


@pytest.mark.parametrize(
    "problem",
    [
        *(error.getConnectError((number, "")) for number, _ in BY_ERRNO),
        error.TimeoutError(),
        OSError(errno.EMFILE, ""),
        DeadlinePassed(),
        Refusal(Outcome.FAILED),
    ],
    ids=repr,
)
def test_what_the_network_does_is_no_error_of_ours(problem: BaseException) -> None:
    assert isinstance(problem, NETWORK_ERRORS)


@pytest.mark.parametrize("problem", [RuntimeError(), TypeError(), KeyError()], ids=repr)
def test_what_is_an_error_of_ours_is_not_taken_for_the_networks(problem: BaseException) -> None:
    assert not isinstance(problem, NETWORK_ERRORS)


REFUSED, TIMED_OUT, NO_HOST, NO_NETWORK, OTHER = (
    OSError(number, "")
    for number in (
        errno.ECONNREFUSED,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EACCES,
    )
)


@pytest.mark.parametrize(
    ("problems", "told"),
    [
        ([OTHER], OTHER),
        ([NO_NETWORK, OTHER], NO_NETWORK),
        ([NO_NETWORK, NO_HOST], NO_HOST),
        ([NO_HOST, TIMED_OUT, NO_NETWORK], TIMED_OUT),
        ([TIMED_OUT, REFUSED, NO_HOST], REFUSED),
        ([REFUSED, OTHER], REFUSED),
    ],
)
def test_of_several_the_one_that_got_farthest_is_told(
    problems: list[BaseException], told: BaseException
) -> None:
    assert farthest(problems) is told
    assert farthest(problems[::-1]) is told
