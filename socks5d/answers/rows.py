"""The policy that settings come to, as rows of a table, in the order in which they are asked."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attrs import fields

from socks5d.config import Listener, Serving
from socks5d.config.rules import COMMANDS
from socks5d.model import NO_TERMS, Terms
from socks5d.parameters import LocalAddresses
from socks5d.rules import Destination, HostList, PermitUnprotected, Rule, Times
from socks5d.rules.destinations import Ports
from socks5d.rules.prefixes import IPNetwork
from socks5d.rules.rule import METHODS
from socks5d.rules.times import ALL_DAY, DAYS

#: Values of one condition that are shown.
SHOWN = 6


class Row(NamedTuple):
    """
    @ivar title: what it is.
    @ivar action: what it says.
    @ivar when: of what.
    @ivar more: on what terms, or why.
    """

    title: str
    action: str
    when: str
    more: str = ""


def rows(serving: Serving) -> list[Row]:
    """
    @return: what decides about the clients of a listener, in order.
    """
    made: list[Row] = []
    if serving.deny_from:
        made.append(Row("deny_from", "deny", f"from {_some(map(str, serving.deny_from))}"))
    if serving.allow_from:
        others = f"from outside {_some(map(str, serving.allow_from))}"
        made.append(Row("allow_from", "deny", others))
    if serving.deny:
        made.append(Row("deny", "deny", f"to {_some(each.text for each in serving.deny)}"))
    for ruleset in serving.rulesets:
        if isinstance(ruleset, PermitUnprotected):
            made.append(Row("ruleset", "permit", "all that is not protected"))
        else:
            made.append(Row("ruleset", "asks", type(ruleset).__name__))
    made += [rule_row(rule) for rule in serving.rules]
    if serving.allow:
        made.append(Row("allow", "permit", f"to {_some(each.text for each in serving.allow)}"))
    if serving.allow or serving.rules or serving.rulesets:
        made.append(Row("otherwise", "deny", "everything"))
    else:
        made.append(Row("otherwise", "permit", "all that is not protected"))
    return made


def rule_row(rule: Rule) -> Row:
    """
    @return: a rule's row.
    """
    more = "; ".join(filter(None, (rule.reason, terms_text(rule.terms))))
    return Row(rule.title, rule.action.value, conditions_text(rule), more)


def conditions_text(rule: Rule) -> str:
    """
    @return: when a rule matches, in the words of the file.
    """
    told: list[str] = []

    def tell(word: str, values: Iterable[str] | None) -> None:
        if values is not None:
            told.append(f"{word} {_some(values)}")

    tell("from", _each(rule.client))
    tell("listener", rule.listener)
    tell("version", None if rule.version is None else sorted(rule.version))
    tell("method", None if rule.method is None else map(method_text, sorted(rule.method)))
    tell("user", rule.user)
    tell("group", None if rule.group is None else (each.name for each in rule.group))
    tell("ident", rule.ident)
    tell("userid", rule.userid)
    tell("principal", rule.principal)
    if rule.command is not None:
        tell("command", (word for word, each in COMMANDS.items() if each in rule.command))
    tell("to", _each(rule.destination))
    tell("ports", None if rule.ports is None else map(ports_text, rule.ports))
    if rule.times is not None:
        told.append(times_text(rule.times))
    return "; ".join(told) or "everything"


def terms_text(terms: Terms) -> str:
    """
    @return: terms that differ from what is set for all, in the words of the file.
    """
    told: list[str] = []
    for each in fields(Terms):
        value = getattr(terms, each.name)
        if value is None or value == getattr(NO_TERMS, each.name):
            continue
        if isinstance(value, LocalAddresses):
            value = ", ".join(str(one) for one in (value.ipv4, value.ipv6) if one is not None)
        told.append(f"{each.name} {getattr(value, 'value', value)}")
    return ", ".join(told)


def times_text(times: Times) -> str:
    """
    @return: days and hours, in the words of the file.
    """
    days = (
        "" if len(times.days) == len(DAYS) else ", ".join(DAYS[day] for day in sorted(times.days))
    )
    hours = "" if times.hours == (ALL_DAY,) else ", ".join(map(_hours_text, times.hours))
    return " ".join(filter(None, (days, hours, times.zone.key)))


def _hours_text(hours: tuple[int, int]) -> str:
    first, end = hours
    return f"{first // 60:02}:{first % 60:02}-{end // 60:02}:{end % 60:02}"


def method_text(method: int) -> str:
    """
    @return: the word for a method, or its number.
    """
    return next((word for word, number in METHODS.items() if number == method), str(method))


def ports_text(ports: Ports) -> str:
    """
    @return: a port, or a range of ports.
    """
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def _each(
    entries: Sequence[IPNetwork | Destination | HostList] | None,
) -> list[str] | None:
    if entries is None:
        return None
    return [
        f"@{each.name}"
        if isinstance(each, HostList)
        else each.text
        if isinstance(each, Destination)
        else str(each)
        for each in entries
    ]


def _some(values: Iterable[str]) -> str:
    texts = list(values)
    shown = ", ".join(texts[:SHOWN])
    return shown if len(texts) <= SHOWN else f"{shown} and {len(texts) - SHOWN} more"


def table(listeners: Sequence[Listener]) -> list[str]:
    """
    @return: lines: for each policy its listeners, and its rows.
    """
    policies: list[tuple[list[str], list[Row]]] = []
    for listener in listeners:
        made = rows(listener)
        for names, known in policies:
            if known == made:
                names.append(listener.name)
                break
        else:
            policies.append(([listener.name], made))
    lines: list[str] = []
    for names, known in policies:
        lines += [*([""] if lines else []), f"listener {', '.join(names)}"]
        title, action = (max(map(len, column)) for column in list(zip(*known, strict=True))[:2])
        for row in known:
            more = f" ({row.more})" if row.more else ""
            lines.append(f"  {row.title:{title}}  {row.action:{action}}  {row.when}{more}")
    return lines
