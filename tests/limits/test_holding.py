"""What is taken is given back once."""

from collections import Counter
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from socks5d.limits.holding import Holding
from socks5d.limits.lease import ILessor
from socks5d.limits.shares import IShares


class Counted:
    """Counts elsewhere: a test answers."""

    def __init__(self, answer: bool | None = None) -> None:
        self.answer = answer
        self.asked: list[Deferred[bool]] = []
        self.back: Counter[str] = Counter()

    def take(self, key: str) -> bool | Deferred[bool]:
        if self.answer is not None:
            return self.answer
        self.asked.append(Deferred())
        return self.asked[-1]

    def give_back(self, key: str) -> None:
        self.back[key] += 1

    # And as a whole place where things are counted.

    def shares(self, kind: str) -> IShares:
        return self

    def lessor(self, kind: str) -> ILessor:
        raise AssertionError("nobody asks for leases here")


def test_what_was_granted_is_given_back_and_nothing_else() -> None:
    holding = Holding()
    yes, no = Counted(True), Counted(False)
    assert holding.take(yes, "ann") is True
    assert holding.take(no, "ann") is False
    assert yes.back == {}
    holding.give_back()
    holding.give_back()
    assert (yes.back, no.back) == ({"ann": 1}, {})


def test_what_is_granted_later_is_given_back_too() -> None:
    holding, shares = Holding(), Counted()
    taking = holding.take(shares, "ann")
    assert isinstance(taking, Deferred)
    shares.asked[0].callback(True)
    holding.give_back()
    assert shares.back == {"ann": 1}


def test_what_is_granted_when_it_is_over_is_given_back_at_once() -> None:
    holding, shares = Holding(), Counted()
    for key in ("ann", "bob"):
        holding.take(shares, key)
    holding.give_back()
    shares.asked[0].callback(True)
    shares.asked[1].callback(False)
    assert shares.back == {"ann": 1}


def test_one_that_cannot_be_given_back_harms_no_other(logs: Sequence[LogEvent]) -> None:
    holding, shares = Holding(), Counted(True)

    def fail() -> None:
        raise RuntimeError("of somebody's")

    holding.keep(fail)
    holding.take(shares, "ann")
    holding.give_back()
    assert shares.back == {"ann": 1}
    assert [each["log_failure"].type for each in logs] == [RuntimeError]


def test_what_is_to_be_kept_when_it_is_over_is_given_back_at_once() -> None:
    holding = Holding()
    back: list[str] = []
    holding.give_back()
    holding.keep(lambda: back.append("now"))
    assert back == ["now"]
