"""From keys and values to settings: what goes together, and what one listener has of another."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, fields

from socks5d.config.definition import KEYS, SERVING
from socks5d.config.lists import Lists
from socks5d.config.rules import COMMANDS, make_rules
from socks5d.config.settings import Listener, Serving, Settings, serving
from socks5d.config.tables import Given, read_keys, suggestion
from socks5d.model import Command
from socks5d.parameters import (
    GSSAPIParameters,
    IdentMode,
    Limits,
    LocalAddresses,
    MessageProtection,
    QuotaParameters,
    UDPParameters,
)
from socks5d.patterns import NamePatterns, Renaming
from socks5d.rules.chain import PermitUnprotected
from socks5d.rules.rule import method_word
from socks5d.values import Item, Problems
from socks5d.wire import socks5

#: Keys whose attribute has another name.
_ATTRIBUTES = {
    "auth": "checkers",
    "authenticator": "authenticators",
    "ruleset": "rulesets",
    "userid": "userids",
}
#: What a listener says of these is added to what holds for all: a deny is final.
_ADDED = ("deny", "deny_from")
#: Keys that make an attribute together with others.
_TOGETHER = ("bind", "udp", "rule")
#: Keys that are attributes of L{Settings} as they are.
_PLAIN = (
    "protect",
    "bind_ports",
    "ident_port",
    "access_log",
    "log_granted",
    "workers",
    "reload_ends_denied",
)
#: Keys by which clients come to have names.
_IDENTIFYING = frozenset({"auth", "authenticator", "gssapi", "userid", "ident"})
_UDP = tuple(each.name for each in fields(UDPParameters))


def make_settings(items: Sequence[tuple[str, Item]]) -> Settings:
    """
    Validate.

    @param items: keys and values; of a key that is one value, the last counts.
    @raise ConfigError: with everything that is wrong.
    """
    problems = Problems()
    given = Given(Item("settings", {}), read_keys(items, KEYS, problems), dict(items))
    values = given.values
    lists = Lists(values.get("list", {}), problems)
    common = _serving(given, lists, problems, Serving())
    tables: Sequence[Given] = values.get("listener", ())
    own = [_listener(each, lists, problems, common) for each in tables]
    of_server: dict[str, Any] = {key: values[key] for key in _PLAIN if key in values}
    for key in ("source", "bind_address"):
        of_server[key] = _one_of_each(given, key, problems)
    of_server["udp"] = _udp(given, problems)
    of_server["strangers"] = {
        version: values[f"socks{version}_strangers"]
        for version in ("4", "5")
        if f"socks{version}_strangers" in values
    }
    if "limits" in values:
        of_server["limits"] = Limits(**values["limits"].values)
    if "quota" in values:
        of_server["quota"] = QuotaParameters(**values["quota"].values)
    if values.get("listen") or tables:
        of_server["listen"] = values.get("listen", ())
    settings = Settings(
        own=tuple(each for each in own if each is not None), **serving(common), **of_server
    )
    _check_rules(settings, given, tables, problems)
    # One that is wrong may be the one that would give names.
    if not (len(problems) and any(_IDENTIFYING & each.places.keys() for each in (given, *tables))):
        _check_identities(settings, given, problems)
    if not problems:
        _check_names(settings, given, tables, problems)
    problems.complain()
    return settings


def _listener(given: Given, lists: Lists, problems: Problems, common: Serving) -> Listener | None:
    endpoint = given.values.get("endpoint", "")
    name = given.values.get("name", endpoint)
    made = _serving(given, lists, problems, common, name)
    return Listener(endpoint=endpoint, name=name, **serving(made)) if endpoint else None


def _serving(
    given: Given, lists: Lists, problems: Problems, base: Serving, listener: str = ""
) -> Serving:
    """
    @param base: what holds where nothing is given.
    @param listener: the name of the listener that it is for; "" for all.
    """
    values = given.values
    changes: dict[str, Any] = {}
    for key in SERVING:
        attribute = _ATTRIBUTES.get(key, key)
        # Of all, an empty list is as good as none; a listener's leaves it without.
        if key in _TOGETHER or key not in values or not (listener or values[key] != ()):
            continue
        changes[attribute] = values[key]
        if key in _ADDED:
            changes[attribute] = (*getattr(base, attribute), *values[key])
    changes["commands"] = _commands(values, base.commands)
    changes["gssapi"] = _gssapi(given, problems, base.gssapi)
    if "timeouts" in values:
        changes["timeouts"] = evolve(base.timeouts, **values["timeouts"].values)
    own_rules = make_rules(values.get("rule", ()), lists, problems, listener)
    changes["rules"] = (*own_rules, *base.rules)
    made = evolve(base, **changes)
    if not (made.socks4 or made.socks5):
        key = "socks5" if "socks5" in values else "socks4"
        problem = "socks4 and socks5 are both off, which leaves nothing to serve"
        problems.keep(given.wrong(key, problem))
    _check_together(made, given, problems)
    return made


def _check_together(made: Serving, given: Given, problems: Problems) -> None:
    """Nothing may stand there that would never be asked, or asked when nobody expects it."""
    if not made.rules or not given.places.keys() & {"rule", "allow", "ruleset"}:
        return
    if made.allow:
        key = "allow" if "allow" in given.places else "rule"
        problem = (
            "allow and rules do not go together; write a rule with action = 'permit' and "
            f"to = {made.allow[0].text!r} in its place"
        )
        problems.keep(given.wrong(key, problem))
    if any(isinstance(each, PermitUnprotected) for each in made.rulesets):
        key = "ruleset" if "ruleset" in given.places else "rule"
        problem = "ruleset permit leaves the rules nothing to say; leave one of them out"
        problems.keep(given.wrong(key, problem))


def _check_rules(
    settings: Settings, given: Given, tables: Sequence[Given], problems: Problems
) -> None:
    """A condition that nothing can ever meet is a mistake."""
    # One that is wrong may be the one that is meant.
    names_are_known = len(settings.own) == len(tables)
    asking = any(each.ident is not IdentMode.OFF for each in settings.listeners)
    for table in (given, *tables):
        asks = asking if table is given else _asks_ident(settings, table)
        own = table.values.get("name", table.values.get("endpoint", ""))
        names = [each.name for each in settings.listeners] if table is given else [own]
        for rule in table.values.get("rule", ()):
            if "ident" in rule.values and not asks:
                problem = "nobody asks identd; set ident = 'log' or 'require'"
                problems.keep(rule.wrong("ident", problem))
            for pattern in rule.values.get("listener", ()) if names_are_known else ():
                if not any(NamePatterns([pattern]).match(name) for name in names):
                    what = "no listener" if table is given else "not the listener that it is for"
                    problem = f"{pattern!r} is {what}; {suggestion(pattern, names)}"
                    problems.keep(rule.wrong("listener", problem))


def _check_names(
    settings: Settings, given: Given, tables: Sequence[Given], problems: Problems
) -> None:
    """Nobody has a name, or a method, where there is no way to it."""
    of_each = [[each] for each in settings.own]
    for table, listeners in zip((given, *tables), (settings.listeners, *of_each), strict=True):
        methods = frozenset().union(*(each.methods for each in listeners))
        proven = any(each.proves for each in listeners)
        for rule in table.values.get("rule", ()):
            for key in ("user", "group"):
                if key in rule.values and not proven:
                    problems.keep(rule.wrong(key, "nobody proves a name; set auth or gssapi"))
            if "principal" in rule.values and socks5.GSSAPI not in methods:
                problem = "nobody authenticates by the GSS-API; set gssapi"
                problems.keep(rule.wrong("principal", problem))
            for method in rule.values.get("method", ()):
                if method not in methods:
                    problem = f"nobody is let in by {method_word(method)}"
                    problems.keep(rule.wrong("method", problem))


def _check_identities(settings: Settings, given: Given, problems: Problems) -> None:
    """A limit of identities is a mistake where there are none."""
    if any(each.identifies for each in settings.listeners):
        return
    for table, keys in (("limits", ("identity_sessions", "identity_rate")), ("quota", ("octets",))):
        if table not in given.values:
            continue
        for key in keys:
            if given.values[table].values.get(key):
                problem = (
                    "limits nobody, as nobody authenticates; set auth, gssapi, userid or "
                    "ident = 'require', or leave it out"
                )
                problems.keep(given.values[table].wrong(key, problem))


def _asks_ident(settings: Settings, table: Given) -> bool:
    return table.values.get("ident", settings.ident) is not IdentMode.OFF


def _commands(values: Mapping[str, Any], base: frozenset[Command]) -> frozenset[Command]:
    told = {COMMANDS[key]: values[key] for key in ("bind", "udp") if key in values}
    return frozenset(each for each in Command if told.get(each, each in base))


def _gssapi(
    given: Given, problems: Problems, base: GSSAPIParameters | None
) -> GSSAPIParameters | None:
    table = given.values.get("gssapi")
    if table is None:
        return base
    if table is False:
        return None
    parameters = evolve(base or GSSAPIParameters(), **table.values)
    try:
        Renaming(parameters.names)
    except ValueError as error:
        problems.keep(table.item.wrong(error))
    words = list(MessageProtection)
    if words.index(parameters.least) > words.index(parameters.most):
        problems.keep(table.item.wrong("least must not be more than most"))
    return parameters


def _udp(given: Given, problems: Problems) -> UDPParameters:
    values = {key: given.values[f"udp_{key}"] for key in _UDP if f"udp_{key}" in given.values}
    for key in ("address", "advertise"):
        values[key] = _one_of_each(given, f"udp_{key}", problems)
    return UDPParameters(**values)


def _one_of_each(given: Given, key: str, problems: Problems) -> LocalAddresses:
    try:
        return LocalAddresses.of(given.values.get(key, ()))
    except ValueError as error:
        problems.keep(given.wrong(key, error))
        return LocalAddresses()
