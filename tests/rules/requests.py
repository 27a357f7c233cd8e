"""Requests as the stages of a session make them, and rulesets that say what they are told."""

from ipaddress import ip_address

from twisted.internet.defer import Deferred
from zope.interface import implementer

from socks5d.interfaces import IRuleset
from socks5d.model import Client, Command, Decision, Request, Verdict

CLIENT = Client(ip_address("192.0.2.10"), 50000)

PERMIT = Decision(Verdict.PERMIT, "test permits")
PERMIT_BY_ADDRESS = Decision(Verdict.PERMIT, "test permits", by_address=True)
DENY = Decision(Verdict.DENY, "test denies")


def for_client(address: str | None = "192.0.2.10") -> Request:
    """The stage at which the client alone is known."""
    return Request(Client(None if address is None else ip_address(address)), "5")


def for_name(name: str, port: int = 443) -> Request:
    """The stage at which a name was asked for and has not been resolved."""
    return Request(CLIENT, "5", command=Command.CONNECT, name=name, port=port)


def for_address(address: str, port: int = 443, name: str | None = None) -> Request:
    """The stage at which there is an address, be it that of a name."""
    return Request(
        CLIENT, "5", command=Command.CONNECT, name=name, address=ip_address(address), port=port
    )


@implementer(IRuleset)
class Says:
    """
    A ruleset with one answer.

    @ivar asked: what it was asked.
    """

    def __init__(self, answer: Decision | Deferred[Decision] | Exception) -> None:
        self._answer = answer
        self.asked: list[Request] = []

    def decide(self, request: Request) -> Decision | Deferred[Decision]:
        self.asked.append(request)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer
