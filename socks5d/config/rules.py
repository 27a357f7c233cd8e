"""The table C{[[rule]]}: its keys, and the L{Rule} that one makes."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from attrs import fields

from socks5d.config.kinds import LINE, PORT_RANGE, TEXT, One, Schema, Several, one_of, texts, words
from socks5d.config.lists import MARK, REFERENCES, Lists, Reference, entries
from socks5d.config.numbers import documented, number_kind
from socks5d.config.tables import Given, Key, Tables, keys
from socks5d.model import Command, Logged, Terms
from socks5d.parameters import LocalAddresses
from socks5d.rules.destinations import Destination, parse_destination
from socks5d.rules.lists import UserList
from socks5d.rules.prefixes import parse_network
from socks5d.rules.rule import METHODS, VERSIONS, Action, Rule, parse_method
from socks5d.rules.times import ALL_DAY, Times, parse_day, parse_hours, parse_zone
from socks5d.values import ConfigError, Item, Problems

T = TypeVar("T")

#: Words for commands.
COMMANDS: Final[Mapping[str, Command]] = {
    "connect": Command.CONNECT,
    "bind": Command.BIND,
    "udp": Command.UDP_ASSOCIATE,
}
#: In the place of a list that there is not.
_NOTHING: Final = UserList("", ())
#: The ways out that there are.
UPSTREAMS: Final = ("direct",)


def _word(among: Mapping[str, T]) -> Callable[[str], T]:
    def make(text: str) -> T:
        if text not in among:
            raise ValueError(f"{text!r} must be {one_of(list(among))}")
        return among[text]

    return make


def _words(among: Mapping[str, T]) -> Several[T]:
    return texts(_word(among), {"enum": list(among)})


def _days(text: str) -> tuple[int, ...]:
    first, dash, last = text.partition("-")
    if not dash:
        return (parse_day(text),)
    begin, end = parse_day(first), parse_day(last)
    return tuple((begin + each) % 7 for each in range((end - begin) % 7 + 1))


def _pattern(text: str) -> str:
    if text.startswith(MARK):
        raise ValueError(f"{text!r}: a list of users goes under group, as {text[1:]!r}")
    return text


def _zone(item: Item) -> ZoneInfo:
    name = TEXT.one(item)
    try:
        return parse_zone(name)
    except (ValueError, LookupError):
        close = get_close_matches(name, available_timezones(), 1)
        remedy = f"did you mean {close[0]!r}?" if close else "there are such as 'Europe/Vienna'"
        problem = f"{name!r} is no time zone that the system knows; {remedy}"
        raise item.wrong(problem) from None


def _destination(text: str) -> Destination:
    found = parse_destination(text)
    if found.ports is not None:
        host = text.rpartition(":")[0]
        raise ValueError(f"{text!r} has a port; write to = {host!r}, and ports beside it")
    return found


def _device(item: Item) -> str:
    try:
        return str(Terms(device=TEXT.one(item)).device)
    except ConfigError:
        raise
    except ValueError:
        raise item.wrong("must be the name of a network device, of 1 to 15 characters") from None


def _upstream(item: Item) -> str:
    if item.value not in UPSTREAMS:
        raise item.wrong(f"there is no upstream {item.value!r}; there is {one_of(UPSTREAMS)} alone")
    return str(item.value)


_METHOD: Schema = {
    "anyOf": [{"enum": list(METHODS)}, {"type": "integer", "minimum": 0, "maximum": 254}]
}
_TERMS = documented(Terms)


def _term(name: str) -> Key:
    return Key(name, number_kind(Terms, name), _TERMS.get(name, ""))


#: Keys that say when a rule matches: each a field of L{Rule}, by another name or the same.
CONDITIONS: Final[Mapping[str, str]] = {
    "from": "client",
    "listener": "listener",
    "version": "version",
    "method": "method",
    "user": "user",
    "group": "group",
    "ident": "ident",
    "userid": "userid",
    "principal": "principal",
    "command": "command",
    "to": "destination",
    "ports": "ports",
}
TERMS: Final = tuple(each.name for each in fields(Terms))

KEYS = keys(
    Key("name", LINE, "What logs call it; by default its number."),
    Key("action", words(Action), "What it says: permit or deny."),
    Key("reason", LINE, "Why, for the log."),
    Key("from", entries(parse_network), "Clients' networks, and @lists of addresses."),
    Key("listener", texts(_pattern), "Names of listeners; '*' stands for any text."),
    Key("version", _words({each: each for each in VERSIONS}), "SOCKS versions."),
    Key(
        "method",
        Several(lambda item: parse_method(item.value), _METHOD, plain=False),
        "How the client authenticated: a word, or the SOCKS 5 METHOD's number.",
    ),
    Key("user", texts(_pattern), "Names that clients have proven; '*' stands for any text."),
    Key("group", REFERENCES, "Lists of such names."),
    Key("ident", texts(_pattern), "What identd says; '*' stands for any text."),
    Key("userid", texts(_pattern), "SOCKS 4's USERID, which nobody has proven."),
    Key("principal", texts(_pattern), "Names of the GSS-API; '*' stands for any text."),
    Key("command", _words(COMMANDS), "Commands."),
    Key("to", entries(_destination), "Destinations without ports, and @lists."),
    Key("ports", Several(PORT_RANGE.one, PORT_RANGE.schema, plain=False), "Ports and ranges."),
    Key("days", texts(_days), "Days, as 'mon' or 'mon-fri'; all, when not given."),
    Key("hours", texts(parse_hours), "Hours, as '08:00-18:00'; all, when not given."),
    Key("zone", One(_zone, TEXT.schema), "The time zone of days and hours, as Europe/Vienna."),
    _term("idle"),
    _term("udp_idle"),
    _term("connect"),
    _term("bind"),
    _term("rate"),
    Key("log", words(Logged), _TERMS.get("log", "")),
    Key("source", texts(ip_address), _TERMS.get("source", "")),
    Key("device", One(_device, {**TEXT.schema, "maxLength": 15}), _TERMS.get("device", "")),
    Key("upstream", One(_upstream, {"enum": list(UPSTREAMS)}), _TERMS.get("upstream", "")),
)
RULES = Tables(KEYS, needed=("action",))


def make_rules(
    given: Sequence[Given], lists: Lists, problems: Problems, listener: str = ""
) -> tuple[Rule, ...]:
    """
    @param given: tables, in order.
    @param lists: what they may refer to.
    @param problems: is given everything that is wrong.
    @param listener: the name of the listener that they are of; "" for all.
    @return: the rules; not all, when there are problems.
    """
    made = [_make(each, lists, problems, number, listener) for number, each in enumerate(given, 1)]
    return tuple(each for each in made if each is not None)


def _make(
    given: Given, lists: Lists, problems: Problems, number: int, listener: str
) -> Rule | None:
    before = len(problems)
    values = given.values
    conditions: dict[str, Any] = {}
    for key, attribute in CONDITIONS.items():
        if key in values:
            find = lists.users if key == "group" else lists.hosts
            value: Any = _resolve(values[key], find, problems)
            if key in ("version", "method", "command"):
                value = frozenset(value)
            conditions[attribute] = value
    times = problems.within(_times, given)
    terms = problems.within(_terms, given)
    right = given.right and len(problems) == before and "action" in values
    name = values.get("name", "")
    if listener and not name:
        # Its number alone would be taken for one of the rules for all.
        name = f"{listener} {number}"
    try:
        rule = Rule(
            number=number,
            action=values.get("action", Action.PERMIT),
            name=name,
            reason=values.get("reason", ""),
            times=times,
            terms=terms or Terms(),
            **conditions,
        )
    except ValueError as error:
        _blame(given, conditions, problems, error)
        return None
    return rule if right else None


def _blame(
    given: Given, conditions: Mapping[str, Any], problems: Problems, error: ValueError
) -> None:
    """Say which of its conditions make a rule impossible."""
    blamed = False
    for key, attribute in CONDITIONS.items():
        try:
            condition: dict[str, Any] = {attribute: conditions.get(attribute)}
            Rule(number=1, action=Action.DENY, **condition)
        except ValueError as reason:
            blamed = True
            if conditions[attribute] or given.right:  # or what stands there was told to be wrong
                problems.keep(given.wrong(key, str(reason).replace(repr(attribute), repr(key))))
    if not blamed:
        problems.keep(given.item.wrong(error))


def _resolve(
    entries: Sequence[Any], find: Callable[[Reference], Any], problems: Problems
) -> tuple[Any, ...]:
    return tuple(
        problems.within(find, each) or _NOTHING if isinstance(each, Reference) else each
        for each in entries
    )


def _times(given: Given) -> Times | None:
    values = given.values
    if not given.places.keys() & {"days", "hours"}:
        if "zone" in values:
            raise given.wrong("zone", "says nothing without days or hours")
        return None
    if "zone" not in given.places:
        key = "days" if "days" in given.places else "hours"
        raise given.wrong(key, "needs a zone beside it, as zone = 'Europe/Vienna'")
    for key in ("days", "hours"):
        if key in values and not values[key]:
            raise given.wrong(key, "is empty, which nothing matches; leave it out")
    days = frozenset(day for some in values.get("days", (range(7),)) for day in some)
    if "zone" not in values:
        return None  # it is wrong, which was told
    return Times(zone=values["zone"], days=days, hours=values.get("hours", (ALL_DAY,)))


def _terms(given: Given) -> Terms:
    values = {name: given.values[name] for name in TERMS if name in given.values}
    if values and given.values.get("action") is Action.DENY:
        problems = Problems()
        for name in values:
            problems.keep(given.wrong(name, "has no sense in a rule that denies; leave it out"))
        problems.complain()
    if "source" in values:
        try:
            values["source"] = LocalAddresses.of(values["source"])
        except ValueError as error:
            raise given.wrong("source", error) from None
    return Terms(**values)
