"""What settings come to: who is let in, what is allowed, how much there may be."""

import os
from collections.abc import Callable
from time import time
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from socks5d.auth import AnyUserID, NoAuthentication, PasswordAuthenticator, UserIDList
from socks5d.auth.gssapi import GSSAPIAuthenticator
from socks5d.auth.gsscontext import Acceptor, NoCredentials
from socks5d.auth.guessing import Guessing
from socks5d.config import Serving, Settings
from socks5d.interfaces import USERID, IAuthenticator, IQuotaStore, IRuleset, ISessionObserver
from socks5d.limits.excess import Excesses
from socks5d.limits.keys import Prefixes, prefixes
from socks5d.limits.quota import QuotaBook
from socks5d.limits.store import MemoryStore
from socks5d.naming import checker_source
from socks5d.parameters import (
    GSSAPIParameters,
    Limits,
    MessageProtection,
    QuotaParameters,
    QuotaStore,
)
from socks5d.rules import Chain, ClientRules, DestinationRules, PermitUnprotected
from socks5d.rules.chain import PERMIT_UNPROTECTED
from socks5d.rules.rule import Action
from socks5d.rules.table import RuleTable
from socks5d.sessionlog import AccessLog, SessionLog, host_port
from socks5d.values import ConfigError
from socks5d.wire import gssframe, socks5
from socks5d.wire.address import Address

#: File descriptors for what always is: the log, the poller, listeners, a few to spare.
RESERVED_DESCRIPTORS = 24
#: What a session takes: the client's and the destination's.
DESCRIPTORS_PER_SESSION = 2
DESCRIPTORS_PER_PIPE = 2
#: How much of the time for a decision an authenticator takes at most, so that it is the one
#: who says what was late.
_OF_DECISION = 0.95

_log = Logger()

LEVELS = {
    MessageProtection.NONE: gssframe.NOTHING,
    MessageProtection.INTEGRITY: gssframe.INTEGRITY,
    MessageProtection.CONFIDENTIALITY: gssframe.CONFIDENTIALITY,
}


def within_descriptors(limits: Limits, descriptors: int) -> Limits:
    """
    Share out file descriptors: a part at most for lookups, for attempts beside the first
    and for pipes, the rest for sessions.

    @param limits: what was set; C{sessions} 0 for as many as possible.
    @param descriptors: what the process may have open.
    @return: what can be held.
    """
    free = max(descriptors - RESERVED_DESCRIPTORS, 0)
    threads = max(min(limits.threads, free // 8), 1)
    attempts = min(limits.attempts, free // 8)
    pipes = min(limits.pipes, free // 16)
    taken = threads + attempts + pipes * DESCRIPTORS_PER_PIPE
    possible = max((free - taken) // DESCRIPTORS_PER_SESSION, 1)
    sessions = min(limits.sessions, possible) if limits.sessions else possible
    return evolve(limits, sessions=sessions, threads=threads, attempts=attempts, pipes=pipes)


def share_out(limits: Limits, workers: int) -> Limits:
    """
    @param limits: what was set for all workers together.
    @return: what one of them may have; a limit of sessions that is set is shared out.
    """
    return evolve(limits, sessions=-(-limits.sessions // workers))


def make_rulesets(serving: Serving, clock: Callable[[], float] = time) -> list[IRuleset]:
    """
    The rules that settings say, in the order in which they are asked: every deny first,
    then rulesets by plugins, then rules, or what is allowed.

    @param clock: says how many seconds have passed since the epoch.
    @raise ConfigError: for rules that would never be asked.
    """
    made: list[IRuleset] = []
    if serving.allow_from or serving.deny_from:
        made.append(ClientRules(serving.allow_from, serving.deny_from))
    if not (serving.rulesets or serving.rules):
        return [*made, DestinationRules(serving.allow, serving.deny, PERMIT_UNPROTECTED)]
    if serving.rules and serving.allow:
        raise ConfigError("rules leave allow nothing to say; write a rule in its place")
    if serving.allow and any(isinstance(each, PermitUnprotected) for each in serving.rulesets):
        raise ConfigError("--ruleset permit leaves --allow nothing to say; leave one of them out")
    if serving.deny or not serving.rules:
        made.append(DestinationRules(deny=serving.deny))
    made += serving.rulesets
    if serving.rules:
        return [*made, RuleTable(serving.rules, clock)]
    return [*made, DestinationRules(allow=serving.allow)]


def make_ruleset(serving: Serving, clock: Callable[[], float] = time) -> IRuleset:
    """
    @param clock: says how many seconds have passed since the epoch.
    @return: what L{make_rulesets} gives, as one.
    @raise ConfigError: for rules that would never be asked.
    """
    made = make_rulesets(serving, clock)
    return made[0] if len(made) == 1 else Chain(made)


def shortest_login(settings: Settings) -> float:
    """
    @return: how long a login may take where it may take the least, in seconds.
    """
    times = [each.timeouts.decision for each in settings.listeners if each.checkers]
    return min(times, default=settings.timeouts.decision) * _OF_DECISION


def make_guessing(settings: Settings, reactor: Any) -> Guessing:
    """
    @return: what all password authenticators share.
    """
    return Guessing(reactor, settings.limits, shortest_login(settings))


def make_authenticators(
    serving: Serving, reactor: Any, guessing: Guessing, limits: Limits
) -> list[IAuthenticator]:
    """
    Who is let in.  A way to authenticate shuts the ways without: with passwords or
    a plugin's method set up, SOCKS 5 without authentication, and SOCKS 4 unless
    user-ids are listed, are not served.

    @param guessing: what L{make_guessing} gives.
    @param limits: those that hold from when they serve; say what tells clients apart.
    @raise ConfigError: when what is set up cannot be had here.
    """
    made = list(serving.authenticators)
    if serving.checkers:
        made.append(
            PasswordAuthenticator(
                serving.checkers,
                reactor,
                serving.timeouts.decision * _OF_DECISION,
                guessing=guessing,
                cache=serving.timeouts.login_cache,
                source=tuple(checker_source(each) for each in serving.checkers),
            )
        )
    if serving.gssapi is not None:
        # Behind passwords: clients offer them when they have one, and the GSS-API (as curl
        # does) whether they have a ticket or not.
        made.append(make_gssapi(serving.gssapi, reactor, prefixes(limits)))
    anonymous = not made
    if anonymous:
        made.append(NoAuthentication())
    if serving.userids:
        made.append(UserIDList(serving.userids))
    elif anonymous:
        made.append(AnyUserID())
    return made


def make_gssapi(parameters: GSSAPIParameters, reactor: Any, clients: Prefixes) -> IAuthenticator:
    """
    @param clients: what tells them apart.
    @raise ConfigError: without the package, or a key of the service.
    """
    try:
        acceptor = Acceptor(parameters.service, parameters.keytab)
    except NoCredentials as error:
        raise ConfigError(f"gssapi: service {parameters.service!r}: {error}") from None
    return GSSAPIAuthenticator(
        acceptor.context,
        reactor,
        clients=clients,
        least=LEVELS[parameters.least],
        most=LEVELS[parameters.most],
        nec=parameters.nec,
        principals=parameters.principals,
        names=parameters.names,
    )


def authenticates(serving: Serving) -> bool:
    """Whether nobody gets in without having shown who they are.  A USERID shows nothing."""
    methods = {authenticator.method for authenticator in serving.authenticators}
    if serving.socks4 and (serving.userids or USERID in methods):
        return False
    if socks5.NO_AUTHENTICATION in methods:
        return False
    return bool(serving.checkers or serving.gssapi or methods - {USERID})


def open_to_strangers(serving: Serving, host: Address | None) -> str | None:
    """
    Whether anybody who reaches a listener could use it.

    @param host: where it listens; None for what has no address (a UNIX socket).
    @return: what the operator should do about it, or None.
    """
    if host is None or isinstance(host.host, bytes) or host.host.is_loopback:
        return None
    if serving.allow_from or authenticates(serving) or _by_rules(serving):
        return None
    if serving.userids and authenticates(evolve(serving, userids=())):
        remedy = "leave out --userid, which proves nothing and needs no password"
    else:
        remedy = "give --auth (who may use it)"
    return (
        f"{host_port(*host)} would be an open proxy: {remedy}, or --allow-from (from where), "
        "or listen on 127.0.0.1"
    )


def _by_rules(serving: Serving) -> bool:
    """Whether all that is ever permitted is so by rules that name where clients are."""
    if serving.rulesets or not serving.rules:
        return False
    return all(each.client for each in serving.rules if each.action is Action.PERMIT)


def make_quotas(quota: QuotaParameters, reactor: Any) -> QuotaBook | None:
    """
    @return: what says how much each identity may relay; None for as much as it likes.
    @raise ConfigError: for a file that cannot be.
    """
    if not quota.octets:
        return None
    store: IQuotaStore
    if quota.store is QuotaStore.MEMORY:
        store = MemoryStore()
    else:
        # Not "is_dir()", which raises where this user may not look.
        if not os.path.isdir(quota.file.absolute().parent):  # noqa: PTH112
            raise ConfigError(f"quota.file: {quota.file}: there is no such folder")
        try:
            # Some Pythons are made without it.
            from socks5d.limits.sqlite import SQLiteStore
        except ImportError:
            raise ConfigError("quota: this Python has no SQLite; use store = 'memory'") from None
        store = SQLiteStore(reactor, quota.file)
    return QuotaBook(reactor, quota, store, Excesses(reactor, _log).tell)


def make_observers(settings: Settings, access_log: AccessLog | None) -> list[ISessionObserver]:
    """
    @param access_log: the one that settings name, if they do.
    @return: who is told of every session.
    """
    granted = settings.log_granted
    if granted is None:
        granted = access_log is None
    observers: list[ISessionObserver] = [SessionLog(granted=granted)]
    if access_log is not None:
        observers.append(access_log)
    return observers
