"""How many of something each client address may have, and who waits for more."""

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred

from socks5d.limits.keys import Prefixes
from socks5d.limits.shares import Shares as KeyedShares
from socks5d.wire.address import IPAddress

ONE, TWO = ip_address("192.0.2.1"), ip_address("192.0.2.2")
NET, SAME_NET = ip_address("2001:db8:0:1::1"), ip_address("2001:db8:0:1:ffff:ffff:ffff:ffff")
OTHER_NET = ip_address("2001:db8:0:2::1")


class Shares(KeyedShares):
    """Those of clients, by their addresses."""

    def take(self, address: str | IPAddress) -> bool:
        return super().take(_key(address))

    def wait(self, address: str | IPAddress) -> Deferred[None]:
        return super().wait(_key(address))

    def give_back(self, address: str | IPAddress) -> None:
        super().give_back(_key(address))


def _key(address: str | IPAddress) -> str:
    return address if isinstance(address, str) else Prefixes().key(address)


class Waiter:
    """
    Somebody who waits.

    @ivar said: what the Deferred said; empty while it has not.
    """

    def __init__(self, shares: Shares, address: IPAddress) -> None:
        self.said: list[Any] = []
        self.turn: Deferred[None] = shares.wait(address)
        self.turn.addBoth(self.said.append)

    @property
    def served(self) -> bool:
        return self.said == [None]

    @property
    def cancelled(self) -> bool:
        (failure,) = self.said
        return failure.check(CancelledError) is not None


# Taking.


@pytest.mark.parametrize("limit", [1, 2, 64])
@pytest.mark.parametrize("address", [ONE, NET], ids=str)
def test_each_address_has_as_many_as_the_limit(limit: int, address: IPAddress) -> None:
    shares = Shares(limit)
    assert [shares.take(address) for _ in range(limit + 2)] == [True] * limit + [False] * 2
    shares.give_back(address)
    assert shares.take(address)
    assert not shares.take(address)


@pytest.mark.parametrize("other", [TWO, OTHER_NET, IPv6Address(int(ONE) << 64)], ids=str)
def test_another_address_has_its_own(other: IPAddress) -> None:
    shares = Shares(1)
    assert shares.take(ONE)
    assert shares.take(other)
    assert not shares.take(ONE)
    assert len(shares) == 2


def test_ipv6_addresses_of_one_64_share() -> None:
    shares = Shares(2)
    assert shares.take(NET)
    assert shares.take(SAME_NET)
    assert not shares.take(NET)
    assert len(shares) == 1
    # Which of them is given back is the same.
    shares.give_back(NET)
    shares.give_back(NET)
    assert len(shares) == 0


def test_the_next_64_does_not() -> None:
    shares = Shares(1)
    assert shares.take(NET)
    assert shares.take(OTHER_NET)
    assert shares.take(ip_address("2001:db8::ffff:ffff:ffff:ffff"))


def test_a_zone_is_no_address_of_its_own() -> None:
    shares = Shares(1)
    assert shares.take(IPv6Address("fe80::1%eth0"))
    assert not shares.take(IPv6Address("fe80::2"))


@pytest.mark.parametrize("count", [1, 3])
def test_an_address_that_has_none_any_more_is_forgotten(count: int) -> None:
    shares = Shares(3)
    for _ in range(count):
        shares.take(ONE)
    assert len(shares) == 1
    for _ in range(count):
        shares.give_back(ONE)
    assert len(shares) == 0


# Waiting.


def test_where_there_is_one_nobody_waits() -> None:
    shares = Shares(2)
    assert Waiter(shares, ONE).served
    assert Waiter(shares, ONE).served
    assert not shares.take(ONE)


def test_who_waits_is_served_in_order_one_at_a_time() -> None:
    shares = Shares(1)
    shares.take(ONE)
    queue = [Waiter(shares, ONE) for _ in range(4)]
    for number in range(4):
        assert [each.served for each in queue] == [True] * number + [False] * (4 - number)
        shares.give_back(ONE)
    assert all(each.served for each in queue)
    assert len(shares) == 1
    shares.give_back(ONE)
    assert len(shares) == 0


def test_who_waits_comes_before_who_takes() -> None:
    shares = Shares(1)
    shares.take(ONE)
    waiter = Waiter(shares, ONE)
    shares.give_back(ONE)
    assert waiter.served
    assert not shares.take(ONE)


def test_who_waits_for_one_address_is_not_served_by_another() -> None:
    shares = Shares(1)
    shares.take(ONE)
    shares.take(TWO)
    waiter = Waiter(shares, ONE)
    shares.give_back(TWO)
    assert waiter.said == []
    shares.give_back(ONE)
    assert waiter.served


def test_addresses_of_one_64_wait_for_each_other() -> None:
    shares = Shares(1)
    shares.take(NET)
    waiter = Waiter(shares, SAME_NET)
    shares.give_back(NET)
    assert waiter.served


@pytest.mark.parametrize("place", [0, 1, 2])
def test_who_leaves_the_queue_is_passed_over(place: int) -> None:
    shares = Shares(1)
    shares.take(ONE)
    queue = [Waiter(shares, ONE) for _ in range(3)]
    gone = queue.pop(place)
    gone.turn.cancel()
    assert gone.cancelled
    for waiter in queue:
        assert waiter.said == []
        shares.give_back(ONE)
        assert waiter.served
    shares.give_back(ONE)
    assert len(shares) == 0


def test_when_all_leave_the_queue_none_is_lost() -> None:
    shares = Shares(1)
    shares.take(ONE)
    queue = [Waiter(shares, ONE) for _ in range(3)]
    for waiter in queue:
        waiter.turn.cancel()
    shares.give_back(ONE)
    assert len(shares) == 0
    assert shares.take(ONE)


def test_to_cancel_what_was_served_takes_nothing_away() -> None:
    shares = Shares(1)
    first, second = Waiter(shares, ONE), Waiter(shares, ONE)
    first.turn.cancel()
    assert first.served
    assert second.said == []
    shares.give_back(ONE)
    assert second.served


def test_who_is_served_may_give_back_at_once() -> None:
    shares = Shares(1)
    shares.take(ONE)
    order: list[int] = []

    def done(_: None, number: int) -> None:
        order.append(number)
        shares.give_back(ONE)

    for number in range(5):
        shares.wait(ONE).addCallback(done, number)
    shares.give_back(ONE)
    assert order == [0, 1, 2, 3, 4]
    assert len(shares) == 0


def test_who_is_served_may_wait_again_behind_the_others() -> None:
    shares = Shares(1)
    shares.take(ONE)
    again: list[Waiter] = []
    shares.wait(ONE).addCallback(lambda _: again.append(Waiter(shares, ONE)))
    other = Waiter(shares, ONE)
    shares.give_back(ONE)
    assert (other.said, again[0].said) == ([], [])
    shares.give_back(ONE)
    assert (other.served, again[0].said) == (True, [])
    shares.give_back(ONE)
    assert again[0].served


# Any order of all that.

LIMIT = 2
ADDRESSES = [ONE, TWO, NET, SAME_NET, OTHER_NET, IPv6Address("::ffff:192.0.2.1")]


def owner(address: IPAddress) -> object:
    """Whom an address belongs to, said another way than the source does."""
    if isinstance(address, IPv4Address):
        return str(address)
    return address.exploded[:19]


class SharesMachine(RuleBasedStateMachine):
    """Beside the model: how many each owner has, and who waits in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.shares = Shares(LIMIT)
        self.used: Counter[object] = Counter()
        self.queues: dict[object, list[Waiter]] = {}
        self.served: list[Waiter] = []

    def waiting(self) -> list[tuple[object, Waiter]]:
        return [(whose, each) for whose, queue in self.queues.items() for each in queue]

    @rule(address=st.sampled_from(ADDRESSES))
    def take(self, address: IPAddress) -> None:
        free = self.used[owner(address)] < LIMIT
        assert self.shares.take(address) is free
        self.used[owner(address)] += free

    @rule(address=st.sampled_from(ADDRESSES))
    def wait(self, address: IPAddress) -> None:
        whose = owner(address)
        waiter = Waiter(self.shares, address)
        if self.used[whose] < LIMIT:
            self.used[whose] += 1
            self.served.append(waiter)
        else:
            self.queues.setdefault(whose, []).append(waiter)

    def having(self) -> list[IPAddress]:
        return [each for each in ADDRESSES if self.used[owner(each)]]

    @precondition(lambda self: self.having())
    @rule(data=st.data())
    def give_back(self, data: Any) -> None:
        self.end_one(data.draw(st.sampled_from(self.having())))

    def end_one(self, address: IPAddress) -> None:
        self.shares.give_back(address)
        queue = self.queues.get(owner(address))
        if queue:
            self.served.append(queue.pop(0))
        else:
            self.used[owner(address)] -= 1

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        whose, waiter = data.draw(st.sampled_from(self.waiting()))
        waiter.turn.cancel()
        assert waiter.cancelled
        self.queues[whose].remove(waiter)

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def cancel_too_late(self, data: Any) -> None:
        data.draw(st.sampled_from(self.served)).turn.cancel()

    @invariant()
    def those_are_served_whose_turn_it_was(self) -> None:
        assert all(each.served for each in self.served)
        assert all(each.said == [] for _, each in self.waiting())

    @invariant()
    def those_are_known_that_have_any(self) -> None:
        assert len(self.shares) == sum(1 for count in self.used.values() if count)

    def teardown(self) -> None:
        while addresses := self.having():
            self.end_one(addresses[0])
        self.those_are_served_whose_turn_it_was()
        assert self.waiting() == []
        assert len(self.shares) == 0


def test_in_any_order_nobody_gets_more_and_nobody_waits_in_vain() -> None:
    # Its TestCase cannot have this folder's fixtures.
    run_state_machine_as_test(SharesMachine)


def test_a_higher_limit_serves_those_who_wait_and_a_lower_one_takes_nothing_away() -> None:
    shares = KeyedShares(1)
    shares.take("a")
    first, second = shares.wait("a"), shares.wait("a")
    shares.limit(2)
    assert (first.called, second.called) == (True, False)
    shares.limit(1)
    shares.give_back("a")
    assert not second.called
    shares.give_back("a")
    assert second.called
    assert not shares.take("a")
    shares.give_back("a")
    assert len(shares) == 0


def test_many_who_give_back_at_once_do_not_do_so_within_each_other() -> None:
    shares = KeyedShares(1)
    shares.take("a")
    turns = [shares.wait("a") for _ in range(5000)]
    for turn in turns:
        turn.addCallback(lambda _: shares.give_back("a"))
    shares.give_back("a")
    assert [turn.result for turn in turns] == [None] * 5000
    assert len(shares) == 0
