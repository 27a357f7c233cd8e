"""Finding out what is to be done with datagrams: once for all alike, and within bounds."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock

from socks5d.model import Outcome, Refusal
from socks5d.relay.verdicts import LIFETIME, REFUSED_LIFETIME, WAITING, WAITING_OCTETS, Verdicts

SIZE, PENDING = 100, 10
#: A little more than nothing.
MOMENT = 0.001


class Scene:
    """
    Verdicts on letters.

    @ivar asked: the letters that were to be found out, in order.
    @ivar before: what each had been before, as far as that was known.
    @ivar finding: those that are being found out.
    @ivar cancelled: those that were given up.
    @ivar carried: what was carried out, each with its verdict.
    @ivar dropped: how many datagrams were not.
    """

    def __init__(self, size: int = SIZE, pending: int = PENDING) -> None:
        self.clock = Clock()
        self.asked: list[str] = []
        self.before: list[str | None] = []
        self.finding: dict[str, Deferred[str]] = {}
        self.cancelled: list[str] = []
        self.carried: list[tuple[str, bytes]] = []
        self.dropped = 0
        self.find: Callable[[str], str | Deferred[str]] = self._later
        self.verdicts = Verdicts[str, str](
            self.clock,
            size,
            pending,
            self._find,
            lambda value, datagram: self.carried.append((value, datagram)),
            self._drop,
        )

    def give(self, key: str, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.verdicts.give(key, datagram)

    def found(self, key: str) -> None:
        """A verdict is found: the letter in upper case."""
        self.finding.pop(key).callback(key.upper())

    def refused(self, key: str, problem: BaseException | None = None) -> None:
        self.finding.pop(key).errback(problem or LookupError("no such letter"))

    def _find(self, key: str, before: str | None) -> str | Deferred[str]:
        self.asked.append(key)
        self.before.append(before)
        return self.find(key)

    def _later(self, key: str) -> Deferred[str]:
        self.finding[key] = Deferred(lambda _: self._given_up(key))
        return self.finding[key]

    def _given_up(self, key: str) -> None:
        del self.finding[key]
        self.cancelled.append(key)

    def _drop(self) -> None:
        self.dropped += 1


def _refuse(key: str) -> str:
    raise Refusal(Outcome.DENIED, f"deny {key}")


#: What finds a verdict at once, and what refuses at once.
AT_ONCE: list[Callable[[str], str | Deferred[str]]] = [
    lambda key: key.upper(),
    lambda key: succeed(key.upper()),
]
REFUSED_AT_ONCE: list[Callable[[str], str | Deferred[str]]] = [
    _refuse,
    lambda key: fail(LookupError()),
]
at_once = pytest.mark.parametrize("find", AT_ONCE, ids=["said", "fired"])
refused_at_once = pytest.mark.parametrize("find", REFUSED_AT_ONCE, ids=["raised", "failed"])


def test_a_verdict_is_found_once_for_all_that_are_alike() -> None:
    scene = Scene()
    scene.give("a", b"1", b"2")
    scene.give("b", b"3")
    assert scene.asked == ["a", "b"]
    scene.found("a")
    scene.give("a", b"4")
    assert scene.asked == ["a", "b"]
    assert scene.carried == [("A", b"1"), ("A", b"2"), ("A", b"4")]


def test_datagrams_wait_for_their_verdict_in_their_order() -> None:
    scene = Scene()
    for number in range(6):
        scene.give("ab"[number % 2], bytes((number,)))
    assert scene.carried == []
    scene.found("b")
    assert scene.carried == [("B", b"\1"), ("B", b"\3"), ("B", b"\5")]
    scene.found("a")
    assert scene.carried[3:] == [("A", b"\0"), ("A", b"\2"), ("A", b"\4")]
    assert scene.dropped == 0


@at_once
def test_what_is_known_at_once_is_carried_out_at_once(
    find: Callable[[str], str | Deferred[str]],
) -> None:
    scene = Scene()
    scene.find = find
    scene.give("a", b"1", b"2")
    assert scene.carried == [("A", b"1"), ("A", b"2")]
    assert scene.asked == ["a"]


@refused_at_once
def test_what_is_refused_at_once_is_dropped_at_once(
    find: Callable[[str], str | Deferred[str]],
) -> None:
    scene = Scene()
    scene.find = find
    scene.give("a", b"1", b"2")
    assert (scene.carried, scene.dropped, scene.asked) == ([], 2, ["a"])


@pytest.mark.parametrize(
    ("find", "lifetime"),
    [
        *[(find, LIFETIME) for find in AT_ONCE],
        *[(find, REFUSED_LIFETIME) for find in REFUSED_AT_ONCE],
    ],
)
def test_what_is_found_at_once_holds_for_as_long(
    find: Callable[[str], str | Deferred[str]], lifetime: float
) -> None:
    scene = Scene()
    scene.find = find
    scene.give("a", b"1")
    scene.clock.advance(lifetime)
    scene.give("a", b"2")
    assert scene.asked == ["a"]
    scene.clock.advance(MOMENT)
    scene.give("a", b"3")
    assert scene.asked == ["a", "a"]


def test_what_is_found_at_once_is_not_among_those_that_are_being_found_out() -> None:
    scene = Scene(pending=1)
    for find in (*AT_ONCE, *REFUSED_AT_ONCE):
        scene.find = find
        for number in range(3):
            scene.give(f"{len(scene.asked)}", bytes((number,)))
    assert len(scene.asked) == 12
    assert (len(scene.carried), scene.dropped) == (6, 6)
    scene.find = scene._later
    scene.give("a", b"1")
    scene.found("a")
    assert scene.carried[6:] == [("A", b"1")]


def test_who_finds_a_verdict_anew_is_told_what_it_was() -> None:
    scene = Scene()
    scene.give("a", b"1")
    scene.found("a")
    scene.clock.advance(LIFETIME + MOMENT)
    scene.give("a", b"2")
    assert scene.before == [None, "A"]
    scene.refused("a")
    scene.clock.advance(REFUSED_LIFETIME + MOMENT)
    scene.give("a", b"3")
    # It was refused, and what it was before that is forgotten.
    assert scene.before == [None, "A", None]
    scene.give("b", b"4")
    assert scene.before == [None, "A", None, None]


def test_an_empty_datagram_is_one() -> None:
    scene = Scene()
    scene.give("a", b"")
    scene.found("a")
    scene.give("a", b"")
    assert scene.carried == [("A", b"")] * 2


# Refusals.


@pytest.mark.parametrize(
    "problem",
    [
        LookupError("no such letter"),
        OSError(101, "Network is unreachable"),
        Refusal(Outcome.DENIED, "deny a"),
        CancelledError(),
        KeyboardInterrupt(),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_a_failure_of_any_kind_refuses(problem: BaseException) -> None:
    scene = Scene()
    scene.give("a", b"1", b"2")
    scene.refused("a", problem)
    assert (scene.carried, scene.dropped) == ([], 2)
    scene.give("a", b"3")
    assert (scene.carried, scene.dropped, scene.asked) == ([], 3, ["a"])


def test_a_refusal_is_of_those_alone_that_are_alike() -> None:
    scene = Scene()
    scene.give("a", b"1")
    scene.give("b", b"2")
    scene.refused("a")
    scene.found("b")
    assert (scene.carried, scene.dropped) == ([("B", b"2")], 1)


# Lifetimes.


def test_a_verdict_holds_for_its_lifetime_however_often_it_is_used() -> None:
    scene = Scene()
    scene.give("a", b"1")
    # It counts from when it was found.
    scene.clock.advance(2 * LIFETIME)
    scene.found("a")
    for _ in range(4):
        scene.clock.advance(LIFETIME / 4)
        scene.give("a", b"2")
    assert scene.asked == ["a"]
    assert len(scene.carried) == 5
    scene.clock.advance(MOMENT)
    scene.give("a", b"3")
    assert scene.asked == ["a", "a"]
    # What was found before does not serve any more.
    assert len(scene.carried) == 5
    scene.found("a")
    assert scene.carried[5:] == [("A", b"3")]


def test_a_refusal_is_forgotten_sooner() -> None:
    scene = Scene()
    scene.give("a", b"1")
    scene.refused("a")
    scene.clock.advance(REFUSED_LIFETIME)
    scene.give("a", b"2")
    assert (scene.asked, scene.dropped) == (["a"], 2)
    scene.clock.advance(MOMENT)
    scene.give("a", b"3")
    assert (scene.asked, scene.dropped) == (["a", "a"], 2)
    scene.found("a")
    assert scene.carried == [("A", b"3")]
    assert REFUSED_LIFETIME < LIFETIME


def test_it_has_no_timers() -> None:
    scene = Scene()
    scene.give("a", b"1")
    scene.found("a")
    assert scene.clock.getDelayedCalls() == []


# Bounds.


def test_what_would_need_one_more_finding_is_dropped() -> None:
    scene = Scene(pending=2)
    scene.give("a", b"1")
    scene.give("b", b"2")
    scene.give("c", b"3")
    assert (scene.asked, scene.dropped) == (["a", "b"], 1)
    # Those that are alike still wait, and nothing is remembered of the one dropped.
    scene.give("a", b"4")
    scene.found("a")
    scene.give("c", b"5")
    assert (scene.asked, scene.dropped) == (["a", "b", "c"], 1)


@pytest.mark.parametrize("ends", [Scene.found, Scene.refused])
def test_a_verdict_that_has_expired_is_found_out_anew_when_there_is_room(
    ends: Callable[[Scene, str], None],
) -> None:
    scene = Scene(pending=1)
    scene.give("a", b"1")
    ends(scene, "a")
    dropped = scene.dropped
    scene.clock.advance(LIFETIME + MOMENT)
    scene.give("b", b"2")
    scene.give("a", b"3")
    assert (scene.asked, scene.dropped) == (["a", "b"], dropped + 1)
    scene.found("b")
    scene.give("a", b"4")
    scene.found("a")
    assert scene.asked == ["a", "b", "a"]
    assert scene.carried[-2:] == [("B", b"2"), ("A", b"4")]


def test_a_bounded_number_of_datagrams_wait() -> None:
    scene = Scene()
    for number in range(WAITING + 5):
        scene.give("ab"[number % 2], bytes((number,)))
    assert scene.dropped == 5
    scene.found("a")
    scene.found("b")
    # The first ones: those that came when there was no room are lost.
    assert sorted(data for _, data in scene.carried) == [bytes((n,)) for n in range(WAITING)]
    # There is room again.
    scene.give("c", *[b"x"] * WAITING)
    assert scene.dropped == 5


def _full_of_datagrams(scene: Scene) -> None:
    scene.give("a", *[b"x"] * WAITING)


def _full_of_octets(scene: Scene) -> None:
    scene.give("a", bytes(WAITING_OCTETS))


@pytest.mark.parametrize("fill", [_full_of_datagrams, _full_of_octets])
def test_what_does_not_have_to_wait_needs_no_room_to_wait_in(
    fill: Callable[[Scene], None],
) -> None:
    scene = Scene()
    fill(scene)
    scene.give("c", b"no room")
    assert (scene.dropped, scene.carried) == (1, [])
    scene.find = lambda key: succeed(key.upper())
    # The first of its kind too, whose verdict is yet to be found.
    scene.give("b", b"1", b"2")
    assert scene.carried == [("B", b"1"), ("B", b"2")]
    assert scene.dropped == 1
    scene.find = lambda key: fail(LookupError())
    scene.give("d", b"3")
    assert scene.dropped == 2
    # And it has taken none from those that wait.
    scene.found("a")
    assert {value for value, _ in scene.carried[2:]} == {"A"}
    assert sum(len(data) for _, data in scene.carried[2:]) in (WAITING, WAITING_OCTETS)


def test_a_bounded_number_of_octets_wait() -> None:
    scene = Scene()
    half = bytes(WAITING_OCTETS // 2)
    scene.give("a", half)
    scene.give("b", half)
    assert scene.dropped == 0
    scene.give("a", b"x")
    assert scene.dropped == 1
    # What has no octets takes no room.
    scene.give("a", b"")
    assert scene.dropped == 1
    scene.found("a")
    assert scene.carried == [("A", half), ("A", b"")]
    scene.give("c", half)
    assert scene.dropped == 1


def test_a_refusal_makes_room_too() -> None:
    scene = Scene()
    scene.give("a", *[b"x"] * WAITING)
    scene.refused("a")
    assert scene.dropped == WAITING
    scene.give("b", *[b"x"] * WAITING)
    assert scene.dropped == WAITING
    scene.found("b")
    assert len(scene.carried) == WAITING


def test_one_verdict_too_many_makes_it_forget_the_oldest() -> None:
    scene = Scene(size=2)
    scene.find = lambda key: succeed(key.upper())
    for key in "abc":
        scene.give(key, b"1")
    scene.give("b", b"2")
    scene.give("c", b"2")
    assert scene.asked == ["a", "b", "c"]
    scene.give("a", b"2")
    assert scene.asked == ["a", "b", "c", "a"]
    assert scene.dropped == 0


def test_the_oldest_is_given_up_when_it_is_not_yet_found() -> None:
    scene = Scene(size=2)
    scene.give("a", b"1", b"2")
    scene.give("b", b"3")
    scene.give("c", b"4")
    assert (scene.cancelled, scene.dropped) == (["a"], 2)
    scene.found("b")
    scene.found("c")
    assert scene.carried == [("B", b"3"), ("C", b"4")]


def one_to_find_anew(size: int, refused: str) -> Scene:
    """Of a and b one was found, and one refused so long ago that it is to be found anew."""
    scene = Scene(size)
    for key in "ab":
        scene.give(key, b"1")
    scene.refused(refused)
    scene.found("b" if refused == "a" else "a")
    scene.clock.advance(REFUSED_LIFETIME + MOMENT)
    scene.find = lambda key: succeed(key.upper())
    return scene


@pytest.mark.parametrize(("refused", "other"), [("a", "b"), ("b", "a")])
def test_one_that_is_found_anew_takes_its_own_place(refused: str, other: str) -> None:
    scene = one_to_find_anew(2, refused)
    scene.give(refused, b"2")
    # The other one did not have to make room for it.
    scene.give(other, b"2")
    assert scene.asked == ["a", "b", refused]


def test_one_that_is_found_anew_is_the_newest() -> None:
    scene = one_to_find_anew(3, "a")
    for key in "acd":
        scene.give(key, b"2")
    # Of b, a, c the first made room for d.
    scene.give("a", b"3")
    assert scene.asked == [*"ab", *"acd"]
    scene.give("b", b"3")
    assert scene.asked[5:] == ["b"]


# The end.


def test_the_end_gives_up_whatever_is_being_found_out() -> None:
    scene = Scene()
    scene.give("a", b"1")
    scene.give("b", b"2", b"3")
    scene.give("c", b"4")
    scene.found("c")
    scene.verdicts.close()
    assert scene.cancelled == ["a", "b"]
    assert (scene.carried, scene.dropped) == ([("C", b"4")], 3)
    scene.verdicts.close()
    assert (scene.cancelled, scene.dropped) == (["a", "b"], 3)


def test_an_answer_after_it_was_given_up_carries_nothing_out() -> None:
    scene = Scene()
    late: Deferred[str] = Deferred()
    scene.find = lambda key: late
    scene.give("a", b"1")
    scene.verdicts.close()
    late.callback("A")
    assert (scene.carried, scene.dropped) == ([], 1)


def test_what_raises_instead_of_failing_does_not_use_up_the_findings() -> None:
    scene = Scene(pending=1)

    def raises(key: str) -> Deferred[str]:
        raise RuntimeError("as a ruleset of somebody else's may")

    later, scene.find = scene.find, raises
    with pytest.raises(RuntimeError):
        scene.give("a", b"1")
    scene.find = later
    scene.give("b", b"2")
    scene.found("b")
    assert scene.carried == [("B", b"2")]


# Anything in any order.

KEYS = st.sampled_from("abcdefgh")


class Machine(RuleBasedStateMachine):
    """
    Gives datagrams, each of its own number, and ends findings in any order.

    Every datagram that was given is carried out, dropped or waiting, and only one of it.
    """

    def __init__(self) -> None:
        super().__init__()
        #: The key of each datagram, by its number.
        self.keys: list[str] = []

    @initialize(size=st.integers(1, 6), pending=st.integers(1, 4))
    def begin(self, size: int, pending: int) -> None:
        self.size, self.pending = size, pending
        self.scene = Scene(size, pending)

    @rule(
        key=KEYS,
        length=st.sampled_from([0, 1, 1200, 65507]),
        count=st.sampled_from([1, 2, 20]),
        how=st.sampled_from([None, None, *AT_ONCE, *REFUSED_AT_ONCE]),
    )
    def give(
        self,
        key: str,
        length: int,
        count: int,
        how: Callable[[str], str | Deferred[str]] | None,
    ) -> None:
        self.scene.find = how if how is not None else self.scene._later
        for _ in range(count):
            self.scene.give(key, b"%06d" % len(self.keys) + bytes(length))
            self.keys.append(key)

    @precondition(lambda self: self.scene.finding)
    @rule(data=st.data())
    def find(self, data: st.DataObject) -> None:
        self.scene.found(data.draw(st.sampled_from(sorted(self.scene.finding))))

    @precondition(lambda self: self.scene.finding)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        self.scene.refused(data.draw(st.sampled_from(sorted(self.scene.finding))))

    @rule(seconds=st.sampled_from([MOMENT, REFUSED_LIFETIME, LIFETIME]))
    def wait(self, seconds: float) -> None:
        self.scene.clock.advance(seconds)

    @rule()
    def close(self) -> None:
        self.scene.verdicts.close()
        assert self.scene.finding == {}

    @invariant()
    def every_datagram_is_one_of_three_things(self) -> None:
        scene = self.scene
        waiting = [
            datagram
            for verdict in scene.verdicts._verdicts.values()
            for datagram in verdict.waiting
        ]
        held = {int(datagram[:6]) for datagram in waiting}
        carried = [int(datagram[:6]) for _, datagram in scene.carried]
        assert len(held) == len(waiting)
        assert len(set(carried)) == len(carried)
        assert held.isdisjoint(carried)
        assert len(carried) + scene.dropped + len(waiting) == len(self.keys)
        # What the bounds go by is what there is.
        assert scene.verdicts._waiting == len(waiting) <= WAITING
        assert scene.verdicts._octets == sum(map(len, waiting)) <= WAITING_OCTETS

    @invariant()
    def findings_and_verdicts_are_bounded(self) -> None:
        scene = self.scene
        assert scene.verdicts._pending == len(scene.finding) <= self.pending
        assert len(scene.verdicts._verdicts) <= self.size
        assert scene.finding.keys() <= scene.verdicts._verdicts.keys()

    @invariant()
    def each_is_carried_out_by_the_verdict_on_its_kind_and_in_order(self) -> None:
        latest: dict[str, int] = {}
        for value, datagram in self.scene.carried:
            number = int(datagram[:6])
            assert value == self.keys[number].upper()
            assert latest.get(value, -1) < number
            latest[value] = number

    def teardown(self) -> None:
        if hasattr(self, "scene"):
            self.scene.verdicts.close()
            assert self.scene.finding == {}
            assert len(self.scene.carried) + self.scene.dropped == len(self.keys)


TestAnythingInAnyOrder = Machine.TestCase
