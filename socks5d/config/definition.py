"""
Every key that there is: what it holds, and what it is for.

From these the file and the options are read, and the JSON Schema and the list of keys made.
"""

from ipaddress import ip_address
from typing import Final, TypeVar

from attrs import fields

from socks5d.config import lists, rules
from socks5d.config.kinds import (
    LINE,
    PATH,
    PORT,
    PORT_RANGE,
    SWITCH,
    TEXT,
    WORKERS,
    One,
    texts,
    words,
)
from socks5d.config.numbers import documented, number_keys, number_kind
from socks5d.config.tables import Key, NamedTables, Table, TableOrFalse, Tables, keys
from socks5d.naming import make_authenticator, make_checker, make_ruleset
from socks5d.parameters import (
    Filtering,
    GSSAPIParameters,
    IdentMode,
    Limits,
    MessageProtection,
    QuotaParameters,
    QuotaPeriod,
    QuotaStore,
    Strangers,
    Timeouts,
)
from socks5d.rules.destinations import parse_destination
from socks5d.rules.prefixes import parse_network
from socks5d.values import Item, Problems

T = TypeVar("T")

#: Time-outs that are the server's, not a listener's.
SERVERS_TIMEOUTS: Final = ("ident", "shutdown", "attempt")


def _endpoint(text: str) -> str:
    if not text:
        raise ValueError("an endpoint description cannot be empty")
    return text


def _one_endpoint(item: Item) -> str:
    if not isinstance(item.value, str) or not item.value:
        raise item.wrong("must be an endpoint, as 'tcp:1080:interface=127.0.0.1'")
    return item.value


def _pairs(item: Item) -> tuple[tuple[str, str], ...]:
    problems = Problems()
    made = tuple((key, problems.within(TEXT.one, each) or "") for key, each in item.members())
    problems.complain()
    return made


_PARAMETERS = documented(GSSAPIParameters)
GSSAPI = keys(
    Key("service", TEXT, _PARAMETERS.get("service", ""), '"rcmd"', "gssapi-service"),
    Key("nec", SWITCH, _PARAMETERS.get("nec", ""), "false", "gssapi-nec"),
    Key("keytab", PATH, _PARAMETERS.get("keytab", "")),
    Key("least", words(MessageProtection), _PARAMETERS.get("least", ""), '"none"'),
    Key("most", words(MessageProtection), _PARAMETERS.get("most", ""), '"confidentiality"'),
    Key("principals", texts(str), _PARAMETERS.get("principals", ""), '["*"]'),
    Key(
        "names",
        One(_pairs, {"type": "object", "additionalProperties": TEXT.schema}),
        _PARAMETERS.get("names", ""),
    ),
)

_QUOTA = documented(QuotaParameters)
QUOTA = keys(
    Key("octets", number_kind(QuotaParameters, "octets"), _QUOTA.get("octets", ""), "0"),
    Key("period", words(QuotaPeriod), _QUOTA.get("period", ""), '"day"'),
    Key("store", words(QuotaStore), _QUOTA.get("store", ""), '"sqlite"'),
    Key("file", PATH, _QUOTA.get("file", ""), '"socks5d-quota.sqlite3"'),
)

#: What a listener may have of its own.
SERVING = keys(
    Key("auth", texts(make_checker), "Checkers of passwords.", "[]", "auth"),
    Key("authenticator", texts(make_authenticator), "Plugins' methods.", "[]", "authenticator"),
    Key("ruleset", texts(make_ruleset), "Plugins' rulesets.", "[]", "ruleset"),
    Key("allow", texts(parse_destination), "Destinations that are let through.", "[]", "allow"),
    Key("deny", texts(parse_destination), "Destinations that are not.", "[]", "deny"),
    Key("allow_from", texts(parse_network), "Clients that are served.", "[]", "allow-from"),
    Key("deny_from", texts(parse_network), "Clients that are not.", "[]", "deny-from"),
    Key("userid", texts(str), "SOCKS 4 USERIDs that are let in.", "[]", "userid"),
    Key(
        "proxy_from",
        texts(parse_network),
        "Networks whose PROXY headers are believed.",
        '["127.0.0.0/8", "::1"]',
    ),
    Key("ident", words(IdentMode), "What is done about RFC 1413.", '"off"', "ident"),
    Key("socks4", SWITCH, "Serve SOCKS 4 and 4a.", "true"),
    Key("socks5", SWITCH, "Serve SOCKS 5.", "true"),
    Key("bind", SWITCH, "Serve BIND.", "true"),
    Key("udp", SWITCH, "Serve UDP ASSOCIATE.", "true"),
    Key("rule", rules.RULES, "Rules, judged in order."),
)

LISTENER = keys(
    Key("endpoint", One(_one_endpoint, TEXT.schema), "Where to listen, as a Twisted endpoint."),
    Key("name", LINE, "What rules and logs call it; by default the endpoint."),
    *SERVING.values(),
    Key("gssapi", TableOrFalse(GSSAPI), "The GSS-API for its clients; false for not at all."),
    Key(
        "timeouts",
        Table(
            number_keys(
                Timeouts,
                [each.name for each in fields(Timeouts) if each.name not in SERVERS_TIMEOUTS],
            )
        ),
        "How long things may take, in seconds.",
    ),
)

#: All that may stand in the file.
KEYS = keys(
    Key(
        "listen",
        texts(_endpoint),
        "Endpoints to listen on.",
        '["tcp:1080:interface=127.0.0.1"]',
        "listen",
    ),
    *SERVING.values(),
    Key("protect", texts(parse_network), "More that only an allow by address reaches.", "[]"),
    Key("source", texts(ip_address), "Local addresses of outgoing connections.", "[]"),
    Key("bind_address", texts(ip_address), "Local addresses that BIND listens on.", "[]"),
    Key("bind_ports", PORT_RANGE, "Ports that BIND listens on."),
    Key("udp_address", texts(ip_address), "Local addresses for clients' datagrams.", "[]"),
    Key("udp_advertise", texts(ip_address), "What clients are told in their place.", "[]"),
    Key("udp_ports", PORT_RANGE, "Ports for clients' datagrams."),
    Key(
        "udp_filtering",
        words(Filtering),
        "Whose datagrams clients get.",
        '"address-and-port"',
    ),
    Key("udp_fragments", SWITCH, "Put fragments together, or drop them.", "true"),
    Key("ident_port", PORT, "The port of identd.", "113", "ident-port"),
    Key("socks4_strangers", words(Strangers), "A stranger at a SOCKS 4 BIND.", '"refuse"'),
    Key("socks5_strangers", words(Strangers), "A stranger at a SOCKS 5 BIND.", '"ignore"'),
    Key("access_log", PATH, "Where a JSON line for each session goes.", None, "access-log"),
    Key("log_granted", SWITCH, "Whether twistd's log tells of granted sessions too."),
    Key("workers", WORKERS, "Processes that serve.", "1", "workers"),
    Key(
        "reload_ends_denied",
        SWITCH,
        "Whether a reload ends sessions that the new rules deny.",
        "false",
    ),
    Key("gssapi", Table(GSSAPI), "Clients authenticate by the GSS-API."),
    Key("timeouts", Table(number_keys(Timeouts)), "How long things may take, in seconds."),
    Key("quota", Table(QUOTA), "How much each identity may relay in a period."),
    Key("limits", Table(number_keys(Limits)), "How much there may be."),
    Key("list", NamedTables(lists.KEYS), "Lists, by their names, for rules to refer to."),
    Key("listener", Tables(LISTENER, needed=("endpoint",)), "Listeners with ways of their own."),
)

__all__ = ["GSSAPI", "KEYS", "LISTENER", "SERVERS_TIMEOUTS", "SERVING"]
