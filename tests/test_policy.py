"""What settings come to: who is let in, and how much there may be."""

import sys
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from socks5d.auth import AnyUserID, NoAuthentication
from socks5d.config import Listener, Settings
from socks5d.interfaces import USERID
from socks5d.limits.sqlite import SQLiteStore
from socks5d.limits.store import MemoryStore
from socks5d.model import Decision, Verdict
from socks5d.naming import make_checker
from socks5d.parameters import Limits, QuotaParameters, QuotaStore, Timeouts
from socks5d.policy import (
    authenticates,
    make_authenticators,
    make_guessing,
    make_observers,
    make_quotas,
    make_ruleset,
    make_rulesets,
    open_to_strangers,
    share_out,
    shortest_login,
    within_descriptors,
)
from socks5d.rules import (
    Action,
    ClientRules,
    DestinationRules,
    PermitUnprotected,
    Rule,
    RuleTable,
    Times,
    parse_destination,
    parse_network,
)
from socks5d.sessionlog import AccessLog, SessionLog
from socks5d.values import ConfigError
from socks5d.wire.address import Address
from tests.protocols.test_seams import Answering, Chap
from tests.rules.requests import for_address

PASSWORD = (make_checker("memory:ann:secret"),)


@pytest.mark.parametrize(
    ("settings", "does"),
    [
        (Settings(), False),
        (Settings(checkers=PASSWORD), True),
        (Settings(checkers=PASSWORD, userids=("ann",)), False),
        (Settings(checkers=PASSWORD, userids=("ann",), socks4=False), True),
        (Settings(userids=("ann",)), False),
        (Settings(authenticators=(Chap(),)), True),
        (Settings(authenticators=(Chap(), NoAuthentication())), False),
        (Settings(authenticators=(Answering(lambda: None, method=0),)), False),
        (Settings(authenticators=(AnyUserID(),)), False),
        (Settings(authenticators=(AnyUserID(),), checkers=PASSWORD), False),
    ],
)
def test_only_what_everybody_must_show_authenticates(settings: Settings, does: bool) -> None:
    assert authenticates(settings) is does


@pytest.mark.parametrize(
    ("settings", "methods"),
    [
        (Settings(), {0, USERID}),
        (Settings(userids=("ann",)), {0, USERID}),
        (Settings(checkers=PASSWORD), {2}),
        (Settings(checkers=PASSWORD, userids=("ann",)), {2, USERID}),
        (Settings(checkers=PASSWORD, authenticators=(Chap(),)), {2, 3}),
        (Settings(authenticators=(Chap(),)), {3}),
    ],
)
def test_a_way_to_authenticate_shuts_the_ways_without(
    settings: Settings, methods: set[int]
) -> None:
    clock = MemoryReactorClock()
    made = make_authenticators(settings, clock, make_guessing(settings, clock), settings.limits)
    assert {authenticator.method for authenticator in made} == methods
    assert settings.methods == methods


def test_turns_go_by_the_listener_on_which_a_login_may_take_the_least() -> None:
    def listener(name: str, decision: float, *checkers: ICredentialsChecker) -> Listener:
        return Listener(
            endpoint=name, name=name, checkers=checkers, timeouts=Timeouts(decision=decision)
        )

    own = (listener("a", 8, *PASSWORD), listener("b", 4, *PASSWORD), listener("c", 1))
    settings = Settings(checkers=PASSWORD, timeouts=Timeouts(decision=20))
    assert shortest_login(settings) == pytest.approx(19)
    assert shortest_login(evolve(settings, own=own)) == pytest.approx(3.8)
    assert shortest_login(Settings(listen=(), own=own[2:])) < 30


@pytest.mark.parametrize("descriptors", [1, 24, 64, 128, 1024, 20_000])
@pytest.mark.parametrize("sessions", [0, 10, 1_000_000])
def test_what_there_may_be_fits_into_the_descriptors(descriptors: int, sessions: int) -> None:
    limits = within_descriptors(Limits(sessions=sessions), descriptors)
    taken = 2 * (limits.sessions + limits.pipes) + limits.threads + limits.attempts
    assert limits.sessions >= 1
    assert limits.threads >= 1
    assert taken <= max(descriptors - 24, 3)
    if descriptors == 20_000:
        assert limits.sessions == (sessions if sessions == 10 else 9876)


def rule(action: Action, **conditions: Any) -> Rule:
    return Rule(number=1, action=action, **conditions)


PERMIT, DENY = Action.PERMIT, Action.DENY
CLIENTS = (parse_network("192.0.2.0/24"),)


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        (Settings(rules=(rule(PERMIT),)), True),
        (Settings(rules=(rule(PERMIT, client=CLIENTS),)), False),
        (Settings(rules=(rule(PERMIT, client=CLIENTS), rule(PERMIT))), True),
        (Settings(rules=(rule(DENY), rule(PERMIT, client=CLIENTS))), False),
        (Settings(rules=(rule(DENY, client=CLIENTS), rule(PERMIT))), True),
        (Settings(rules=(rule(PERMIT, user=("ann",)),)), True),
        (Settings(rules=(rule(DENY),)), False),
        (Settings(rules=(rule(PERMIT, client=CLIENTS),), rulesets=(PermitUnprotected(),)), True),
    ],
)
def test_rules_say_from_where_when_each_that_permits_does(
    settings: Settings, is_open: bool
) -> None:
    host = Address(ip_address("192.0.2.1"), 1080)
    assert (open_to_strangers(settings, host) is not None) is is_open


def test_what_decides_is_asked_in_order() -> None:
    everything = Settings(
        allow_from=CLIENTS,
        deny=(parse_destination("10.0.0.0/8"),),
        rulesets=(PermitUnprotected(),),
        rules=(rule(PERMIT),),
    )
    kinds = [type(each) for each in make_rulesets(everything)]
    assert kinds == [ClientRules, DestinationRules, PermitUnprotected, RuleTable]
    assert [type(each) for each in make_rulesets(Settings(rules=(rule(PERMIT),)))] == [RuleTable]
    assert [type(each) for each in make_rulesets(Settings())] == [DestinationRules]


def test_rules_hold_by_the_clock_that_is_given() -> None:
    times = Times(zone=ZoneInfo("UTC"), hours=((0, 60),))
    settings = Settings(rules=(rule(PERMIT, times=times),))
    for seconds, verdict in ((0.0, Verdict.PERMIT), (3600.0, Verdict.DENY)):
        decision = make_ruleset(settings, partial(float, seconds)).decide(for_address("192.0.2.1"))
        assert isinstance(decision, Decision)
        assert decision.verdict is verdict


def test_rules_and_allow_do_not_go_together() -> None:
    both = Settings(rules=(rule(PERMIT),), allow=(parse_destination("*:443"),))
    with pytest.raises(ConfigError, match="write a rule in its place"):
        make_ruleset(both)


def test_permit_and_allow_do_not_go_together() -> None:
    both = Settings(rulesets=(PermitUnprotected(),), allow=(parse_destination("*:443"),))
    with pytest.raises(ConfigError, match="leave one of them out"):
        make_ruleset(both)


@pytest.mark.parametrize(
    ("sessions", "workers", "each"), [(0, 4, 0), (1, 4, 1), (4, 4, 1), (5, 4, 2), (1000, 3, 334)]
)
def test_a_limit_of_sessions_is_shared_out_among_workers(
    sessions: int, workers: int, each: int
) -> None:
    limits = share_out(Limits(sessions=sessions, associations=7), workers)
    assert (limits.sessions, limits.associations) == (each, 7)


@pytest.mark.parametrize(
    ("setting", "access_log", "granted"),
    [
        (None, False, True),
        (None, True, False),
        (True, True, True),
        (True, False, True),
        (False, True, False),
        (False, False, False),
    ],
)
def test_granted_sessions_are_in_the_log_unless_there_is_another(
    setting: bool | None, access_log: bool, granted: bool, tmp_path: Path
) -> None:
    log = AccessLog(tmp_path / "log", Clock()) if access_log else None
    first, *others = make_observers(Settings(log_granted=setting), log)
    assert isinstance(first, SessionLog)
    assert first._granted is granted
    assert others == ([] if log is None else [log])


# Quotas.


def test_without_a_quota_nothing_is_kept() -> None:
    assert make_quotas(QuotaParameters(), MemoryReactorClock()) is None


@pytest.mark.parametrize("store", QuotaStore)
def test_a_quota_is_kept_where_it_is_set_to_be(tmp_path: Path, store: QuotaStore) -> None:
    parameters = QuotaParameters(octets=5, store=store, file=tmp_path / "quota")
    book = make_quotas(parameters, MemoryReactorClock())
    assert book is not None
    assert isinstance(book._store, SQLiteStore if store is QuotaStore.SQLITE else MemoryStore)
    # Nothing is made yet: whoever it is made by may not be whoever writes it.
    assert list(tmp_path.iterdir()) == []


def test_a_folder_for_it_has_to_be_there(tmp_path: Path) -> None:
    parameters = QuotaParameters(octets=5, file=tmp_path / "nowhere" / "quota")
    with pytest.raises(ConfigError, match=r"quota\.file: .*nowhere/quota: there is no such folder"):
        make_quotas(parameters, MemoryReactorClock())


def test_without_sqlite_there_is_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socks5d.limits.sqlite", None)
    parameters = QuotaParameters(octets=5, file=tmp_path / "quota")
    with pytest.raises(ConfigError, match="this Python has no SQLite; use store = 'memory'"):
        make_quotas(parameters, MemoryReactorClock())
