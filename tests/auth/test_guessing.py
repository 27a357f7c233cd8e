"""Guessing passwords: by one client, for one name, in many spellings, side by side."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from socks5d.auth import guessing as module
from socks5d.auth.failures import FORGET, LONGEST_PAUSE
from socks5d.auth.guessing import CALM, NAME_PAUSE, PATIENCE, Guessing, NotChecked, name_key
from socks5d.model import Client
from socks5d.parameters import Limits

FREE, SECONDS = 3, 8.0


def client(address: str | None) -> Client:
    return Client(None if address is None else ip_address(address), 40000)


class Trial:
    """
    An attempt that goes on until it is ended.

    @ivar began: whether it is made.
    @ivar outcome: what became of it.
    """

    def __init__(
        self, guessing: Guessing, who: Client, name: bytes = b"ann", seconds: float = SECONDS
    ) -> None:
        self.began = False
        self.outcome: object = None
        self._answer: Deferred[bool] = Deferred()
        self._all = Deferred.fromCoroutine(self._run(guessing, who, name, seconds))
        self._all.addBoth(self._over)

    async def _run(self, guessing: Guessing, who: Client, name: bytes, seconds: float) -> str:
        async with guessing.attempt(who, name, seconds) as attempt:
            self.began = True
            attempt.failed = await self._answer
            attempt.right = not attempt.failed
        return "wrong" if attempt.failed else "right"

    def _over(self, outcome: object) -> None:
        self.outcome = outcome

    def end(self, *, failed: bool) -> None:
        self._answer.callback(failed)

    def leave(self) -> None:
        self._all.cancel()

    def refused(self) -> str:
        """Why it was not made."""
        assert not self.began
        error = getattr(self.outcome, "value", None)
        assert isinstance(error, NotChecked)
        return str(error)


@pytest.fixture
def guessing() -> Guessing:
    return Guessing(Clock(), Limits(failures=FREE), SECONDS)


def guess(guessing: Guessing, address: str, name: bytes, times: int) -> None:
    for _ in range(times):
        trial = Trial(guessing, client(address), name)
        assert trial.began
        trial.end(failed=True)
        assert trial.outcome == "wrong"


def guess_later(clock: Clock, guessing: Guessing, address: str | None, name: bytes) -> None:
    """Fail, when the name's turn comes."""
    trial = Trial(guessing, client(address), name)
    clock.advance(NAME_PAUSE)
    assert trial.began
    trial.end(failed=True)


def waits(guessing: Guessing, address: str, name: bytes) -> bool:
    trial = Trial(guessing, client(address), name)
    trial.leave()
    return not trial.began


def test_a_client_that_fails_has_to_wait_whatever_the_name(guessing: Guessing) -> None:
    for name in (b"a", b"b", b"c"):
        guess(guessing, "192.0.2.1", name, 1)
    assert waits(guessing, "192.0.2.1", b"d")
    assert not waits(guessing, "192.0.2.2", b"d")


def test_a_name_that_fails_has_to_wait_wherever_it_is_tried(guessing: Guessing) -> None:
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        guess(guessing, address, b"ann", 1)
    assert waits(guessing, "192.0.2.9", b"ann")
    assert not waits(guessing, "192.0.2.9", b"bob")


def test_one_client_is_all_of_a_64(guessing: Guessing) -> None:
    for number in range(FREE):
        guess(guessing, f"2001:db8::{number}", str(number).encode(), 1)
    assert waits(guessing, "2001:db8::ffff:1", b"d")
    assert not waits(guessing, "2001:db8:0:1::1", b"d")


@pytest.mark.parametrize(
    "spelling",
    [
        b"ANN lee",
        b" ann  lee ",
        "ANN\u00a0LEE".encode(),
        b"Ann Lee\t",
        "\uff21\uff4e\uff4e lee".encode(),
        "ann \u2113ee".encode(),
        "a\u00adn\u200bn\ufe0f\u034f \u2060lee\x00".encode(),
    ],
)
def test_spellings_of_a_name_are_one_name(guessing: Guessing, spelling: bytes) -> None:
    for number in range(FREE):
        guess(guessing, f"192.0.2.{number}", b"ann lee", 1)
    assert waits(guessing, "192.0.2.9", spelling)


def test_letters_with_and_without_marks_are_the_same() -> None:
    """As to Active Directory."""
    assert name_key("\u00e1lice".encode()) == name_key("al\u012b\u0301ce".encode())
    assert name_key(b"alice") == name_key("\u00e1li\u0327ce".encode())
    assert name_key("\u30a2\u30ea\u30b9".encode()) == name_key("\u3042\u308a\u3059".encode())
    assert name_key("\uff71".encode()) == name_key("\u3042".encode())


def test_letters_with_and_without_their_marks_apart_are_the_same() -> None:
    assert name_key("J\u00d6RG".encode()) == name_key("jo\u0308rg".encode())
    assert name_key("\u1e9e".encode()) == name_key(b"SS")


def test_octets_that_are_no_text_are_a_name_too() -> None:
    assert name_key(b"\xff\x00a") != name_key(b"\xfe\x00a")


def test_many_at_once_gain_nothing(guessing: Guessing) -> None:
    trials = [Trial(guessing, client("192.0.2.1"), str(n).encode()) for n in range(10)]
    assert [each.began for each in trials] == [True] * FREE + [False] * 7


def test_who_leaves_while_it_waits_has_tried_nothing(guessing: Guessing) -> None:
    running = [Trial(guessing, client("192.0.2.1"), str(n).encode()) for n in range(FREE)]
    Trial(guessing, client("192.0.2.1")).leave()
    for each in running:
        each.end(failed=False)
    guess(guessing, "192.0.2.1", b"ann", FREE)
    assert waits(guessing, "192.0.2.1", b"ann")


def test_who_leaves_while_it_waits_for_the_names_turn_has_tried_nothing(
    guessing: Guessing,
) -> None:
    running = [Trial(guessing, client(f"192.0.2.{n}"), b"ann") for n in range(1, FREE + 1)]
    for _ in range(FREE):
        waiting = Trial(guessing, client("192.0.2.9"), b"ann")
        assert not waiting.began
        waiting.leave()
    assert not waits(guessing, "192.0.2.9", b"bob")
    for each in running:
        each.end(failed=False)


def test_what_would_wait_for_too_long_is_not_checked() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=1), SECONDS)
    guess(guessing, "192.0.2.1", b"ann", 1)
    trial = Trial(guessing, client("192.0.2.1"), b"bob")
    clock.advance(1)
    trial.end(failed=True)
    # The pause is two seconds now, and patience one for each turn.
    in_vain = Trial(guessing, client("192.0.2.1"), b"eve")
    clock.advance(SECONDS * PATIENCE)
    assert in_vain.refused() == "too many failures from this client, not checked"
    # For a name somebody else is just trying.
    guess(guessing, "192.0.2.3", b"carl", 1)
    second = Trial(guessing, client("192.0.2.4"), b"carl")
    clock.advance(NAME_PAUSE)
    assert second.began
    in_vain = Trial(guessing, client("192.0.2.5"), b"carl")
    clock.advance(SECONDS * PATIENCE)
    assert in_vain.refused() == "too many failures for this name, not checked"


def test_what_is_not_checked_is_held_against_nobody() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=1), SECONDS)
    guess(guessing, "192.0.2.1", b"ann", 1)
    busy = Trial(guessing, client("192.0.2.2"), b"ann")
    clock.advance(NAME_PAUSE)
    assert busy.began
    in_vain = Trial(guessing, client("192.0.2.3"), b"ann")
    clock.advance(SECONDS * PATIENCE)
    assert in_vain.refused()
    # Its client may try another name at once.
    assert not waits(guessing, "192.0.2.3", b"bob")


@pytest.mark.parametrize("seconds", [0.4, 8.0, 240.0])
def test_nobody_is_kept_out_by_those_who_guess_their_name(seconds: float) -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=FREE), seconds)
    for number in range(100):
        trial = Trial(guessing, client(f"192.0.2.{number}"), b"ann")
        clock.pump([0.01] * 120)
        trial.end(failed=True)
    began = clock.seconds()
    owner = Trial(guessing, client("198.51.100.1"), b"ann")
    assert not owner.began
    while not owner.began:
        clock.advance(0.01)
    assert clock.seconds() - began <= min(NAME_PAUSE, seconds * PATIENCE) + 0.01
    # And together those who guess have one attempt for each of these pauses.
    guesses = [Trial(guessing, client(f"203.0.113.{number}"), b"ann") for number in range(9)]
    owner.end(failed=False)
    clock.advance(0)
    assert sum(each.began for each in guesses) == 1


def wins(clock: Clock, guessing: Guessing, times: int, owner: str | None, *others: str) -> int:
    """
    How often the owner has the name's next turn, while others want it.

    @param others: their addresses; C{{}} stands for the number of the round.
    """
    won = 0
    clock.advance(LONGEST_PAUSE)
    for number in range(times):
        somebody = Trial(guessing, client(f"203.0.{number % 256}.{number // 256}"), seconds=240.0)
        clock.advance(NAME_PAUSE)
        assert somebody.began
        somebody.end(failed=True)
        trials = [Trial(guessing, client(each.format(number)), seconds=240.0) for each in others]
        mine = Trial(guessing, client(owner), seconds=240.0)
        assert not mine.began
        clock.advance(NAME_PAUSE)
        assert [each.began for each in (mine, *trials)].count(True) == 1
        won += mine.began
        for each in trials:
            each.leave()
        if mine.began:
            mine.end(failed=False)
        mine.leave()
    return won


def test_who_has_failed_often_for_a_name_has_a_worse_chance_than_its_owner() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=1), 240.0)
    others = [f"192.{number}.2.1" for number in range(3)]
    for address in others * 2:
        guess_later(clock, guessing, address, b"ann")
    # Not one of four, but four of seven, and soon more.
    assert wins(clock, guessing, 150, "198.51.100.1", *others) > 55


def test_once_is_held_against_nobody_and_then_each_time_leaves_a_quarter() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=9), SECONDS)
    pair = "192.0.2.1", name_key(b"ann")
    weights = []
    for _ in range(7):
        weights.append(guessing._weight(pair))
        guess(guessing, "192.0.2.1", b"ann", 1)
    assert weights == [1, 1, 1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 256]
    clock.advance(FORGET)
    assert guessing._weight(pair) == 1


def test_who_was_let_in_has_the_same_chance_as_others_again() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=1), 240.0)
    pair = "198.51.100.1", name_key(b"ann")
    for _ in range(2):
        guess_later(clock, guessing, "198.51.100.1", b"ann")
        clock.advance(LONGEST_PAUSE)
    assert guessing._weight(pair) == 1 / 4
    assert wins(clock, guessing, 1, "198.51.100.1") == 1
    assert guessing._weight(pair) == 1


def test_a_network_in_which_many_guess_has_the_chance_of_one() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=1), 240.0)
    guess(guessing, "2001:db8:ffff::1", b"ann", 1)
    others = [f"2001:db8:{number}::1" for number in range(30)]
    others += [f"192.0.{number}.1" for number in range(30)]
    # One of three.
    assert wins(clock, guessing, 90, "198.51.100.1", *others) > 8


def test_who_leaves_with_its_turn_has_a_worse_chance_too() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=9), SECONDS)
    pair = "192.0.2.1", name_key(b"ann")
    for weight in (1, 1 / 4):
        trial = Trial(guessing, client("192.0.2.1"))
        assert trial.began
        trial.leave()
        assert guessing._weight(pair) == weight
    assert not waits(guessing, "192.0.2.1", b"bob")


def test_to_leave_again_and_again_forgives_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS", 8)
    guessing = Guessing(Clock(), Limits(failures=9), SECONDS)
    guess(guessing, "192.0.2.1", b"ann", 5)
    for number in range(20):
        Trial(guessing, client("192.0.2.1"), b"%d" % number).leave()
    assert guessing._weight(("192.0.2.1", name_key(b"ann"))) == 1 / 256


def test_where_nobody_failed_it_is_not_said_and_waited_for_longer() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=1), SECONDS)
    running = Trial(guessing, client("192.0.2.1"), b"ann")
    assert running.began
    for who, what in (("192.0.2.1", "from this client"), ("192.0.2.2", "for this name")):
        trial = Trial(guessing, client(who), b"ann")
        clock.advance(SECONDS * PATIENCE)
        assert trial.outcome is None
        clock.advance(SECONDS * (CALM - PATIENCE))
        assert trial.refused() == f"too many logins at once {what}, not checked"


def test_clients_are_told_apart_as_is_said() -> None:
    guessing = Guessing(Clock(), Limits(failures=FREE, client_ipv4=24, client_ipv6=48), SECONDS)
    for number in range(FREE):
        guess(guessing, f"192.0.2.{number}", str(number).encode(), 1)
        guess(guessing, f"2001:db8:0:{number}::1", str(number).encode(), 1)
    assert waits(guessing, "192.0.2.200", b"d")
    assert waits(guessing, "2001:db8:0:ffff::1", b"d")
    assert not waits(guessing, "192.0.3.1", b"d")
    assert not waits(guessing, "2001:db8:1::1", b"d")
    guessing.limit(Limits(failures=FREE), SECONDS)
    assert not waits(guessing, "192.0.2.200", b"d")


@given(st.binary(max_size=255))
def test_of_a_name_no_more_is_kept_than_a_digest(name: bytes) -> None:
    assert len(name_key(name)) == 16
    assert name_key(name) == name_key(b" " + name + b" ")


def test_a_client_without_an_address_takes_its_names_turns(guessing: Guessing) -> None:
    for _ in range(FREE):
        trial = Trial(guessing, Client(None))
        trial.end(failed=True)
    assert not Trial(guessing, Client(None)).began
    assert Trial(guessing, Client(None), b"bob").began


def test_of_those_without_an_address_nobody_is_taken_for_another_who_failed() -> None:
    clock = Clock()
    guessing = Guessing(clock, Limits(failures=1), 240.0)
    for _ in range(3):
        guess_later(clock, guessing, None, b"ann")
    # One of two.
    assert wins(clock, guessing, 250, None, "198.{}.100.1") > 85
