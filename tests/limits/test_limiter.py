"""What is asked in one place."""

from collections.abc import Sequence
from ipaddress import ip_address

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from socks5d.limits.flow import BURST
from socks5d.limits.holding import Holding
from socks5d.limits.lease import Lease
from socks5d.limits.limiter import UNCOUNTED, Limiter
from socks5d.model import ANONYMOUS, Client, Identity
from socks5d.parameters import Limits
from tests.limits.test_flow import Mover, turn
from tests.limits.test_holding import Counted
from tests.limits.test_lease import Asked, Fixed

CLIENT = Client(ip_address("192.0.2.7"), 1234)
ANN = Identity("ann", "password")


def limiter(**limits: int) -> Limiter:
    return Limiter(Limits(**limits), Clock())


def test_without_limits_there_is_nothing_to_ask_and_no_pace() -> None:
    made = limiter()
    assert not (made.limits_clients or made.limits_identities or made.paces_identities)
    assert made.paces(0, ANN, Holding()) is None


def test_a_client_has_so_many_sessions_and_the_line_says_whose(logs: Sequence[LogEvent]) -> None:
    made, holding = limiter(client_sessions=2), Holding()
    said = [made.admit_client(CLIENT, each) for each in (holding, Holding(), Holding(), Holding())]
    over = "limit: 2 sessions of 192.0.2.7"
    assert said == ["", "", over, over]
    assert [formatEvent(each) for each in logs] == [f"{over}: over it"]
    assert made.admit_client(Client(ip_address("192.0.2.8")), Holding()) == ""
    holding.give_back()
    assert made.admit_client(CLIENT, Holding()) == ""


def test_a_client_without_an_address_is_not_counted() -> None:
    made = limiter(client_sessions=1, session_rate=1, session_burst=1)
    assert [made.admit_client(Client(None), Holding()) for _ in range(3)] == [""] * 3


def test_a_client_begins_so_many_in_a_second() -> None:
    made = limiter(session_rate=3, session_burst=1)
    said = [made.admit_client(CLIENT, Holding()) for _ in range(2)]
    assert said == ["", "limit: 3 new sessions per second of 192.0.2.7"]


def test_prefixes_say_who_is_one_client() -> None:
    made = limiter(client_sessions=1, client_ipv4=24)
    assert made.admit_client(CLIENT, Holding()) == ""
    other = Client(ip_address("192.0.2.200"))
    assert made.admit_client(other, Holding()) == "limit: 1 sessions of 192.0.2.0/24"


def test_an_identity_has_so_many_sessions_and_nobody_has_any_number() -> None:
    made = limiter(identity_sessions=1)
    assert made.admit_identity(ANN, Holding()) == ""
    assert made.admit_identity(ANN, Holding()) == "limit: 1 sessions of password:ann"
    assert [made.admit_identity(ANONYMOUS, Holding()) for _ in range(3)] == [""] * 3
    # Somebody who only says that she is ann has a share of his own.
    assert made.admit_identity(Identity("ann", "userid"), Holding()) == ""


def elsewhere(*counted: str) -> tuple[Limiter, Counted]:
    shares = Counted()
    limits = Limits(client_sessions=1, session_rate=1, identity_sessions=1)
    return Limiter(limits, Clock(), shares), shares


def test_an_answer_from_elsewhere_comes_later_one_after_the_other() -> None:
    made, shares = elsewhere()
    holding = Holding()
    said: list[str] = []
    asking = made.admit_client(CLIENT, holding)
    assert isinstance(asking, Deferred)
    asking.addCallback(said.append)
    shares.asked[0].callback(True)
    assert said == []
    shares.asked[1].callback(True)
    assert said == [""]
    holding.give_back()
    assert shares.back == {"192.0.2.7": 2}


def test_who_is_over_a_limit_elsewhere_is_told_of_there(logs: Sequence[LogEvent]) -> None:
    made, shares = elsewhere()
    asking = made.admit_identity(ANN, Holding())
    assert isinstance(asking, Deferred)
    said: list[str] = []
    asking.addCallback(said.append)
    shares.asked[0].callback(False)
    assert said == ["limit: 1 sessions of password:ann"]
    assert list(logs) == []


def test_what_cannot_be_counted_refuses(logs: Sequence[LogEvent]) -> None:
    made, shares = elsewhere()
    asking = made.admit_client(CLIENT, Holding())
    assert isinstance(asking, Deferred)
    said: list[str] = []
    asking.addCallback(said.append)
    shares.asked[0].errback(ConnectionError("nobody there"))
    assert said == [UNCOUNTED]
    assert [each["log_failure"].type for each in logs] == [ConnectionError]


def test_who_gives_up_asking_gets_nothing() -> None:
    made, shares = elsewhere()
    asking = made.admit_client(CLIENT, Holding())
    assert isinstance(asking, Deferred)
    failures: list[object] = []
    asking.addErrback(lambda failure: failures.append(failure.type))
    asking.cancel()
    assert failures == [CancelledError]
    assert shares.back == {}


def test_sessions_of_one_identity_share_its_rate() -> None:
    clock = Clock()
    made = Limiter(Limits(identity_rate=100_000), clock)
    holdings = [Holding(), Holding()]
    movers = []
    for holding in holdings:
        paces = made.paces(0, ANN, holding)
        assert paces is not None
        mover = Mover([])
        mover.pace = paces[1]
        mover.pace.resume = mover.move
        movers.append(mover)
        mover.move()
    assert made.paces(0, ANONYMOUS, Holding()) is None
    turn(clock, 10)
    assert 950_000 < sum(each.moved for each in movers) < 1_050_000
    for mover, holding in zip(movers, holdings, strict=True):
        mover.pace.stop()
        holding.give_back()
    clock.advance(1)
    assert clock.getDelayedCalls() == []
    assert made._of_identities == {}


def test_who_comes_again_and_again_has_no_more_than_who_stays() -> None:
    clock = Clock()
    made = Limiter(Limits(identity_rate=100_000), clock)
    moved = 0
    for _ in range(1000):
        holding = Holding()
        paces = made.paces(0, ANN, holding)
        assert paces is not None
        allowed = paces[0].allowed(1 << 20)
        paces[0].spend(allowed)
        moved += allowed
        paces[0].stop()
        holding.give_back()
        clock.advance(0.01)
    assert moved <= (10 + BURST) * 100_000


# Quotas.


def test_an_identity_over_its_quota_is_refused_and_nobody_in_particular_is_not() -> None:
    lessor = Fixed(1000)
    made = Limiter(Limits(), Clock(), quota=lessor)
    assert (made.limits_identities, made.paces_identities) == (True, True)
    holding = Holding()
    assert made.admit_identity(ANN, holding) == ""
    paces = made.paces(0, ANN, holding)
    assert paces is not None
    # Both ways together.
    assert paces[0].allowed(600) == 600
    paces[0].spend(600)
    assert paces[1].allowed(600) == 400
    paces[1].spend(400)
    assert made.admit_identity(ANN, Holding()) == "all gone"
    assert made.admit_identity(ANONYMOUS, Holding()) == ""
    assert made.paces(0, ANONYMOUS, Holding()) is None


def test_what_is_left_of_a_lease_is_given_back_with_the_last_session() -> None:
    lessor = Fixed(1000)
    made = Limiter(Limits(), Clock(), quota=lessor)
    holdings = [Holding(), Holding()]
    for holding in holdings:
        assert made.admit_identity(ANN, holding) == ""
        paces = made.paces(0, ANN, holding)
        assert paces is not None
        paces[0].spend(paces[0].allowed(100))
        paces[0].stop()
        paces[1].stop()
    holdings[0].give_back()
    assert lessor.octets == 0
    holdings[1].give_back()
    assert lessor.octets == 800


def test_a_lease_is_given_back_however_slow_the_rate() -> None:
    lessor, clock = Fixed(1000), Clock()
    made = Limiter(Limits(identity_rate=100), clock, quota=lessor)
    for left in (900, 800):
        holding = Holding()
        assert made.admit_identity(ANN, holding) == ""
        paces = made.paces(0, ANN, holding)
        assert paces is not None
        paces[0].spend(100)
        for each in paces:
            each.stop()
        holding.give_back()
        # What tells how fast she may go is kept for as long as it matters.
        assert made._of_identities
        assert lessor.octets == left


def test_a_quota_that_is_not_known_refuses(logs: Sequence[LogEvent]) -> None:
    lessor = Asked()
    made = Limiter(Limits(identity_sessions=1), Clock(), quota=lessor)
    asking = made.admit_identity(ANN, Holding())
    assert isinstance(asking, Deferred)
    said: list[str] = []
    asking.addCallback(said.append)
    lessor.answers[0].errback(ConnectionError("nobody there"))
    assert said == [UNCOUNTED]
    assert [each["log_failure"].type for each in logs] == [ConnectionError]


def test_who_has_too_many_sessions_is_not_asked_about_a_quota() -> None:
    lessor = Asked()
    made = Limiter(Limits(identity_sessions=1), Clock(), quota=lessor)
    for _ in range(2):
        answer = made.admit_identity(ANN, Holding())
    assert answer == "limit: 1 sessions of password:ann"
    assert len(lessor.answers) == 1


def test_sessions_counted_elsewhere_come_before_a_quota() -> None:
    shares, lessor = Counted(), Asked()
    made = Limiter(Limits(identity_sessions=1), Clock(), shares, lessor)
    said: list[str] = []
    for number, granted in enumerate([True, False]):
        asking = made.admit_identity(ANN, Holding())
        assert isinstance(asking, Deferred)
        asking.addCallback(said.append)
        shares.asked[number].callback(granted)
    assert said == ["limit: 1 sessions of password:ann"]
    lessor.answers[0].callback(Lease(10))
    assert said[1:] == [""]


# Other limits.


def test_what_was_counted_goes_on_under_other_limits() -> None:
    before = limiter(client_sessions=2, session_rate=1, session_burst=1, identity_rate=1000)
    after = limiter(client_sessions=1, session_rate=1, session_burst=1, identity_rate=1000)
    assert before.admit_client(CLIENT, Holding()) == ""
    spent = before.paces(0, ANN, Holding())
    assert spent is not None
    spent[0].spend(5000)
    after.take_over(before)
    over = "limit: 1 new sessions per second of 192.0.2.7"
    assert after.admit_client(CLIENT, Holding()) == over
    paces = after.paces(0, ANN, Holding())
    assert paces is not None
    assert paces[0].allowed(1) == 0


def test_other_rates_begin_anew() -> None:
    before = limiter(session_rate=1, session_burst=1, identity_rate=1000)
    after = limiter(session_rate=1, session_burst=2, identity_rate=2000)
    assert before.admit_client(CLIENT, Holding()) == ""
    spent = before.paces(0, ANN, Holding())
    assert spent is not None
    spent[0].spend(5000)
    after.take_over(before)
    assert [after.admit_client(CLIENT, Holding()) for _ in range(2)] == ["", ""]
    paces = after.paces(0, ANN, Holding())
    assert paces is not None
    assert paces[0].allowed(1) == 1
