"""Ways: which egress serves on which terms."""

from typing import Any

import pytest
from zope.interface import implementer

from socks5d.interfaces import IEgress, IEgressOnTerms
from socks5d.model import NO_TERMS, Logged, Outcome, Refusal, Terms
from socks5d.parameters import LocalAddresses
from socks5d.protocols import ways
from socks5d.protocols.ways import Ways, way_of

SOURCE = LocalAddresses()


@implementer(IEgress)
class Plain:
    def resolve(self, name: str) -> Any: ...
    def connect(self, addresses: Any, port: int, protocol: Any) -> Any: ...
    def listen(self, towards: Any, factory: Any) -> Any: ...
    def open_datagram(self, towards: Any, protocol: Any) -> Any: ...


@implementer(IEgressOnTerms)
class Willing(Plain):
    """
    One that goes out on any terms.

    @ivar asked: on which.
    """

    def __init__(self) -> None:
        self.asked: list[Terms] = []

    def on_terms(self, terms: Terms) -> IEgress:
        self.asked.append(terms)
        return Plain()


def test_without_terms_it_is_the_egress() -> None:
    egress = Willing()
    made = Ways(egress, {})
    for terms in (NO_TERMS, Terms(), Terms(idle=5, log=Logged.NONE, rate=9, bind=1, udp_idle=2)):
        assert made.out(terms) is egress
    assert egress.asked == []


def test_equal_terms_have_the_same_egress() -> None:
    egress, far = Willing(), Willing()
    made = Ways(egress, {"far": far})
    one = made.out(Terms(source=SOURCE, idle=5))
    assert made.out(Terms(source=SOURCE, idle=6)) is one
    assert made.out(Terms(source=SOURCE, connect=6)) is not one
    assert made.out(Terms(source=SOURCE, upstream="far")) is not one
    assert made.out(Terms(upstream="far")) is far
    assert [len(each.asked) for each in (egress, far)] == [2, 1]


def test_no_more_are_remembered_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "REMEMBERED", 3)
    made = Ways(Willing(), {})
    for seconds in range(1, 20):
        made.out(Terms(connect=seconds))
        assert len(made._made) <= 3


@pytest.mark.parametrize("terms", [Terms(source=SOURCE), Terms(device="lo"), Terms(upstream="x")])
def test_what_an_egress_cannot_do_is_refused(terms: Terms) -> None:
    with pytest.raises(Refusal) as caught:
        Ways(Plain(), {"y": Plain()}).out(terms)
    assert caught.value.outcome is Outcome.DENIED


def test_what_the_ways_of_terms_are() -> None:
    assert way_of(Terms(idle=5, connect=5, rate=1)) == way_of(NO_TERMS)
    others = [Terms(source=SOURCE), Terms(device="lo"), Terms(upstream="x")]
    assert len({*map(way_of, others), way_of(NO_TERMS)}) == 4
