"""Method 0: nobody is asked anything."""

import pytest
from zope.interface.verify import verifyObject

from socks5d.auth import NoAuthentication
from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.model import ANONYMOUS, Authenticated, Client


def test_it_is_an_authenticator_and_its_own_negotiation() -> None:
    authenticator = NoAuthentication()
    assert verifyObject(IAuthenticator, authenticator)
    assert verifyObject(INegotiation, authenticator.negotiate(Client(None)))


def test_its_method_is_0_and_it_refuses_with_nothing() -> None:
    assert (NoAuthentication().method, NoAuthentication().refusal) == (0, b"")


@pytest.mark.parametrize("data", [b"", b"\x05", b"\x05\x01\x00\x01\x7f\0\0\1\0\x50early"])
def test_everybody_is_let_in_and_what_came_is_kept(data: bytes) -> None:
    step = NoAuthentication().negotiate(Client(None)).receive(data)
    assert step == Authenticated(ANONYMOUS, send=b"", rest=data)
