"""Rules and requests of a small world, in which everything meets everything."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from socks5d.interfaces import USERID
from socks5d.model import Client, Command, Ident, Identity, Logged, Request, Terms
from socks5d.rules import (
    Action,
    HostList,
    Rule,
    Times,
    UserList,
    parse_destination,
    parse_network,
)

NETWORKS = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.1",
    "192.0.2.0/24",
    "::/0",
    "64:ff9b::/96",
]
CLIENTS = [None, "10.0.0.1", "10.0.7.1", "192.0.2.9", "2001:db8::1"]
NAMES = ["example", "a.example", "b.a.example", "other.test", "xample"]
#: The last ones lead to 10.0.0.1 and to 10.0.7.7 (NAT64, 6to4).
ADDRESSES = [
    "10.0.0.1",
    "10.0.0.2",
    "10.9.9.9",
    "192.0.2.1",
    "198.51.100.1",
    "2001:db8::1",
    "64:ff9b::a00:1",
    "2002:a00:707::1",
]
DESTINATIONS = [*NETWORKS, *NAMES, "*.example", "*.a.example", "2002::/16"]
EVERYTHING = (parse_destination("*"),)
USERS = ["alice", "bob", "alan", ""]
PATTERNS = ["alice", "al*", "*", "bob", "*n"]
PORTS = [0, 1, 25, 80, 443, 65535]

HOSTS = (
    HostList("inside", ["10.0.0.0/16", "a.example", "*.a.example", "2001:db8::/32"]),
    HostList("names", ["other.test", "*.example"]),
    HostList("nothing", []),
)
ADDRESS_LISTS = (HostList("office", ["10.0.0.0/24", "2001:db8::/64"]), HOSTS[2])
STAFF = (UserList("staff", ["al*"]), UserList("one", ["bob"]), UserList("nobody", []))
DAYTIME = Times(zone=ZoneInfo("Asia/Kathmandu"), hours=((8 * 60, 18 * 60),))
WEEKEND = Times(zone=ZoneInfo("UTC"), days=frozenset({5, 6}), hours=((22 * 60, 6 * 60),))


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """A few values."""
    return st.lists(values, min_size=1, max_size=3).map(tuple)


def some_of(values: list[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return some(st.sampled_from(values))


def sets(values: list[Any]) -> st.SearchStrategy[frozenset[Any]]:
    return some_of(values).map(frozenset)


PORT_RANGES = st.tuples(st.sampled_from(PORTS[1:]), st.sampled_from(PORTS[1:])).map(
    lambda ports: (min(ports), max(ports))
)

CONDITIONS: Mapping[str, st.SearchStrategy[Any]] = {
    "client": some(st.sampled_from([*map(parse_network, NETWORKS), *ADDRESS_LISTS])),
    "listener": some_of(["tcp:1080", "tcp:*", "unix:*"]),
    "version": sets(["4", "4a", "5"]),
    "method": sets([0, 1, 2, 128, USERID]),
    "user": some_of(PATTERNS),
    "group": some_of(list(STAFF)),
    "principal": some_of(PATTERNS),
    "userid": some_of(PATTERNS),
    "ident": some_of(PATTERNS),
    "command": sets(list(Command)),
    "destination": st.just(EVERYTHING)
    | some(st.sampled_from([*map(parse_destination, DESTINATIONS), *HOSTS])),
    "ports": some(PORT_RANGES),
    "times": st.sampled_from([DAYTIME, WEEKEND]),
}

TERMS = st.sampled_from([Terms(), Terms(idle=60), Terms(log=Logged.NONE), Terms(upstream="far")])


#: Conditions that are about the same thing, which tables may keep to.
KINDS = [
    ("destination",),
    ("destination", "ports", "command"),
    ("user", "group", "principal", "userid", "ident", "method"),
    ("client", "listener", "version", "times"),
    tuple(CONDITIONS),
]


@st.composite
def tables(draw: st.DrawFn) -> list[Rule]:
    """Up to eight rules, each with up to three conditions of one kind."""
    keys = draw(st.sampled_from(KINDS))
    rules = []
    for number in range(1, draw(st.integers(0, 8)) + 1):
        chosen = draw(st.sets(st.sampled_from(keys), max_size=3))
        action = draw(st.sampled_from(Action))
        rules.append(
            Rule(
                number=number,
                action=action,
                terms=draw(TERMS) if action is Action.PERMIT else Terms(),
                **{key: draw(CONDITIONS[key]) for key in sorted(chosen)},
            )
        )
    return rules


IDENTITIES = [
    Identity(),
    *(Identity(name, source) for name in USERS for source in ("password", "gssapi", "chap")),
]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Whole requests, about an address that may have been asked for by name."""
    version = draw(st.sampled_from(["4", "4a", "5"]))
    address = draw(st.sampled_from(CLIENTS))
    listener = draw(st.sampled_from(["tcp:1080", "tcp:1081", "unix:/s", ""]))
    client = Client(None if address is None else ip_address(address), 5000, None, listener)
    five = version == "5"
    userid = None if five else draw(st.sampled_from(USERS))
    return Request(
        client,
        version,
        draw(st.sampled_from([0, 1, 2, 128])) if five else None,
        draw(st.sampled_from(IDENTITIES)) if five else Identity(userid, "userid"),
        userid,
        draw(st.sampled_from(Command)),
        draw(st.none() | st.sampled_from(NAMES)),
        ip_address(draw(st.sampled_from(ADDRESSES))),
        draw(st.sampled_from(PORTS)),
        None,
        draw(st.sampled_from([None, Ident("alice"), Ident(None, "refused")])),
    )


def stages(request: Request) -> list[Request]:
    """What is asked about a request before it is known whole."""
    client = request._replace(
        method=None,
        identity=Identity(),
        userid=None,
        command=None,
        name=None,
        address=None,
        port=0,
        ident=None,
    )
    before = [] if request.version != "5" else [client]
    nowhere = request._replace(name=None, address=None)
    if request.command is Command.UDP_ASSOCIATE:
        before.append(nowhere._replace(port=0))
    elif request.command is Command.BIND and request.name is None:
        before.append(nowhere)
    if request.name is not None:
        before.append(request._replace(address=None))
    return before


#: Around the changes of the week, of a day in Nepal (UTC+5:45), and in between.
MOMENTS = st.integers(1_700_000_000, 1_700_000_000 + 7 * 86_400)
