"""Settings from options and files: every key, and every way to get one wrong."""

import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from attrs import fields
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory
from zope.interface import implementer

from socks5d.auth import AnyUserID, NoAuthentication
from socks5d.config import DEFAULT_LISTEN, KEYS, Settings, make_settings, read_file
from socks5d.model import Command
from socks5d.naming import make_checker
from socks5d.parameters import (
    Filtering,
    GSSAPIParameters,
    IdentMode,
    Limits,
    LocalAddresses,
    MessageProtection,
    QuotaParameters,
    QuotaPeriod,
    QuotaStore,
    Strangers,
    Timeouts,
    UDPParameters,
)
from socks5d.rules import PermitUnprotected, parse_destination, parse_network
from socks5d.values import ConfigError, Item

EVERYTHING = """
listen = ["tcp:1080:interface=127.0.0.1", "tcp:1081:interface=\\\\:\\\\:1"]
auth = "memory:alice:open-sesame"
authenticator = ["none", "any-userid"]
ruleset = ["permit"]
allow = ["*", "127.0.0.1:80"]
deny = ["*.example.com", "10.0.0.0/8"]
allow_from = ["192.0.2.0/24"]
deny_from = ["192.0.2.7"]
userid = ["fred", ""]
protect = ["172.16.0.0/12"]
bind_address = ["192.0.2.3"]
bind_ports = "40000-40100"
log_granted = false
bind = false
udp = true
udp_address = ["192.0.2.4", "2001:db8::4"]
udp_ports = 50000
udp_advertise = "203.0.113.4"
udp_filtering = "address"
udp_fragments = false
reload_ends_denied = true
ident = "log"
ident_port = 1113
socks4_strangers = "ignore"
socks5_strangers = "refuse"
proxy_from = ["127.0.0.1"]
source = ["192.0.2.1", "2001:db8::1"]
access_log = "/var/log/socks5d.json"
socks4 = false
socks5 = true
workers = 2

[gssapi]
service = "rcmd@proxy.example.org"
keytab = "/etc/socks5d/keytab"
least = "integrity"
most = "integrity"
nec = true
principals = ["*@EXAMPLE.ORG", "eve@EXAMPLE.NET"]

[gssapi.names]
"ann/admin@EXAMPLE.ORG" = "root"
"*@EXAMPLE.ORG" = "*"

[timeouts]
handshake = 1
connect = 2.5
bind = 2.7
decision = 3
ident = 3.5
login_cache = 3.7
idle = 4
udp_idle = 4.5
reassembly = 6
closing = 5
shutdown = 0
attempt = 0.1

[limits]
sessions = 1
handshake = 2000
early = 3
addresses = 4
lookups = 5
threads = 6
attempts = 7
pipes = 11
associations = 8
failures = 12
logins = 13
login_threads = 14
destinations = 9
idents = 10
client_sessions = 12
client_ipv4 = 24
client_ipv6 = 56
identity_sessions = 13
session_rate = 14
session_burst = 15
rate = 16
identity_rate = 17

[quota]
octets = 18
period = "week"
store = "memory"
file = "/var/lib/socks5d/quota"
"""


def settings(tmp_path: Path, text: str, *options: tuple[str, str]) -> Settings:
    """What a file and options together make."""
    path = tmp_path / "socks5d.toml"
    path.write_text(text, encoding="utf-8")
    items = [(key, Item("--" + key.replace("_", "-"), value)) for key, value in options]
    return make_settings([*read_file(path), *items])


def complaint(tmp_path: Path, text: str) -> str:
    """What is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    return str(caught.value)


def test_without_a_word_the_defaults_hold() -> None:
    assert make_settings([]) == Settings()
    assert Settings().listen == DEFAULT_LISTEN == ("tcp:1080:interface=127.0.0.1",)
    assert Settings().access_log is None


def test_every_key_can_stand_in_a_file(tmp_path: Path) -> None:
    made = settings(tmp_path, EVERYTHING)
    assert made.listen == ("tcp:1080:interface=127.0.0.1", r"tcp:1081:interface=\:\:1")
    assert [type(each) for each in made.authenticators] == [NoAuthentication, AnyUserID]
    assert [type(each) for each in made.rulesets] == [PermitUnprotected]
    assert [ICredentialsChecker.providedBy(each) for each in made.checkers] == [True]
    assert made.gssapi == GSSAPIParameters(
        service="rcmd@proxy.example.org",
        keytab=Path("/etc/socks5d/keytab"),
        least=MessageProtection.INTEGRITY,
        most=MessageProtection.INTEGRITY,
        nec=True,
        principals=("*@EXAMPLE.ORG", "eve@EXAMPLE.NET"),
        names=(("ann/admin@EXAMPLE.ORG", "root"), ("*@EXAMPLE.ORG", "*")),
    )
    assert made.allow == (parse_destination("*"), parse_destination("127.0.0.1:80"))
    assert made.deny == (parse_destination("*.example.com"), parse_destination("10.0.0.0/8"))
    assert made.allow_from == (ip_network("192.0.2.0/24"),)
    assert made.deny_from == (ip_network("192.0.2.7/32"),)
    assert made.userids == ("fred", "")
    assert made.protect == (ip_network("172.16.0.0/12"),)
    assert made.bind_address == LocalAddresses(ip_address("192.0.2.3"))
    assert made.bind_ports == (40000, 40100)
    assert made.log_granted is False
    assert made.workers == 2
    assert made.reload_ends_denied is True
    assert made.commands == {Command.CONNECT, Command.UDP_ASSOCIATE}
    assert (made.ident, made.ident_port) == (IdentMode.LOG, 1113)
    assert made.udp == UDPParameters(
        filtering=Filtering.ADDRESS,
        fragments=False,
        address=LocalAddresses(ip_address("192.0.2.4"), ip_address("2001:db8::4")),
        ports=(50000, 50000),
        advertise=LocalAddresses(ip_address("203.0.113.4")),
    )
    assert made.strangers == {"4": Strangers.IGNORE, "5": Strangers.REFUSE}
    assert made.proxy_from == (parse_network("127.0.0.1"),)
    assert made.source == LocalAddresses(ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    assert made.access_log == Path("/var/log/socks5d.json")
    assert (made.socks4, made.socks5) == (False, True)
    assert made.timeouts == Timeouts(
        handshake=1,
        connect=2.5,
        bind=2.7,
        decision=3,
        ident=3.5,
        login_cache=3.7,
        idle=4,
        udp_idle=4.5,
        reassembly=6,
        closing=5,
        shutdown=0,
        attempt=0.1,
    )
    assert made.limits == Limits(
        sessions=1,
        handshake=2000,
        early=3,
        addresses=4,
        lookups=5,
        threads=6,
        attempts=7,
        pipes=11,
        associations=8,
        destinations=9,
        idents=10,
        failures=12,
        logins=13,
        login_threads=14,
        client_sessions=12,
        client_ipv4=24,
        client_ipv6=56,
        identity_sessions=13,
        session_rate=14,
        session_burst=15,
        rate=16,
        identity_rate=17,
    )
    assert made.quota == QuotaParameters(
        octets=18,
        period=QuotaPeriod.WEEK,
        store=QuotaStore.MEMORY,
        file=Path("/var/lib/socks5d/quota"),
    )


def test_this_file_has_every_key_there_is(tmp_path: Path) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_text(EVERYTHING)
    content = dict(read_file(path))
    assert set(content) | {"rule", "list", "listener"} == set(KEYS)
    assert set(content["timeouts"].value) == {each.name for each in fields(Timeouts)}
    assert set(content["gssapi"].value) == {each.name for each in fields(GSSAPIParameters)}
    assert set(content["limits"].value) == {each.name for each in fields(Limits)}
    assert set(content["quota"].value) == {each.name for each in fields(QuotaParameters)}


def test_one_text_is_a_list_of_one(tmp_path: Path) -> None:
    assert settings(tmp_path, 'userid = "fred"') == settings(tmp_path, 'userid = ["fred"]')


def test_an_empty_list_leaves_the_default(tmp_path: Path) -> None:
    assert settings(tmp_path, "listen = []\nallow = []") == Settings()


def test_what_options_say_is_added_to_lists(tmp_path: Path) -> None:
    made = settings(
        tmp_path,
        'userid = ["fred"]\nallow = ["10.0.0.0/8"]',
        ("userid", "jane"),
        ("allow", "*:443"),
        ("allow", "*:80"),
    )
    assert made.userids == ("fred", "jane")
    assert [each.text for each in made.allow] == ["10.0.0.0/8", "*:443", "*:80"]


def test_what_options_say_counts_more_where_there_is_one_value(tmp_path: Path) -> None:
    made = settings(tmp_path, 'access_log = "a"', ("access_log", "b"))
    assert made.access_log == Path("b")


def test_of_two_files_the_lists_are_added_and_the_last_value_counts() -> None:
    items = [
        ("userid", Item("a: userid", ["fred"])),
        ("socks4", Item("a: socks4", True)),
        ("userid", Item("b: userid", ["jane"])),
        ("socks4", Item("b: socks4", False)),
    ]
    made = make_settings(items)
    assert (made.userids, made.socks4) == (("fred", "jane"), False)


# What is wrong.

LISTS = (
    "listen",
    "auth",
    "authenticator",
    "ruleset",
    "allow",
    "deny",
    "allow_from",
    "deny_from",
    "userid",
    "protect",
    "source",
)
LIST = "must be a text or a list of texts"


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("colour = 1", "colour", "unknown key; there are listen, auth, "),
        ("[timeout]\nidle = 1", "timeout", "unknown key; did you mean 'timeouts'?"),
        ("allow-from = []", "allow-from", "unknown key; did you mean 'allow_from'?"),
        *((f"{key} = 1080", key, LIST) for key in LISTS),
        *((f"{key} = [1080]", key, LIST) for key in LISTS),
        ("allow = true", "allow", LIST),
        ("allow = [['*']]", "allow", LIST),
        ("allow = {a = '*'}", "allow", LIST),
        ("listen = ''", "listen", "an endpoint description cannot be empty"),
        ("auth = 'nonsense:x'", "auth", "'nonsense' is no credentials checker; there are "),
        ("auth = 'anonymous'", "auth", "'anonymous' takes no user name and password"),
        ("auth = 'file:/no/such/file'", "auth", "'file': '/no/such/file' cannot be read: No such"),
        ("authenticator = 'x:y'", "authenticator", "'x' is not among those known (any-userid, "),
        ("authenticator = 'none:x'", "authenticator", "nothing goes after its name"),
        ("ruleset = 'x'", "ruleset", "'x' is not among those known (permit)"),
        ("ruleset = 'permit:x'", "ruleset", "nothing goes after its name"),
        ("allow = 'a:0'", "allow", "'0': ports go from 1 to 65535"),
        ("deny = '10.0.0.1/8'", "deny", "'10.0.0.1/8' has host bits set; write '10.0.0.0/8'"),
        ("allow_from = 'x'", "allow_from", "'x' is no CIDR and no IP address"),
        ("deny_from = '*'", "deny_from", "'*' is no CIDR and no IP address"),
        ("protect = 'example.com'", "protect", "'example.com' is no CIDR and no IP address"),
        ("source = 'eth0'", "source", "'eth0' does not appear to be an IPv4 or IPv6 address"),
        ("source = ['192.0.2.1', '192.0.2.2']", "source", "at most one address of each"),
        ("access_log = 1", "access_log", "must be the path of a file"),
        ("access_log = ''", "access_log", "must be the path of a file"),
        ("access_log = ['a']", "access_log", "must be the path of a file"),
        ("socks4 = 0", "socks4", "must be true or false"),
        ("socks5 = 'no'", "socks5", "must be true or false"),
        ("bind = 1", "bind", "must be true or false"),
        ("udp_ports = '9-1'", "udp_ports", "'9-1': ports go from 1 to 65535, the lower one first"),
        ("udp_ports = true", "udp_ports", "'True' is no port and no range of ports"),
        (
            "udp_filtering = 'all'",
            "udp_filtering",
            "must be 'address-and-port', 'address' or 'none'",
        ),
        ("udp_address = ['::1', '::2']", "udp_address", "at most one address of each family"),
        (
            "udp_advertise = 'x'",
            "udp_advertise",
            "'x' does not appear to be",
        ),
        ("ident = 'on'", "ident", "must be 'off', 'log' or 'require'"),
        ("ident = true", "ident", "must be 'off', 'log' or 'require'"),
        ("ident_port = '1-2'", "ident_port", "must be one port"),
        ("ident_port = 0", "ident_port", "'0': ports go from 1 to 65535"),
        ("socks4_strangers = 'x'", "socks4_strangers", "must be 'ignore' or 'refuse'"),
        ("timeouts = 5", "timeouts", "must be a table"),
        ("limits = []", "limits", "must be a table"),
        ("[timeouts]\nidel = 5", "timeouts.idel", "unknown key; did you mean 'idle'?"),
        ("[limits]\nhands = 5", "limits.hands", "unknown key; did you mean 'handshake'?"),
        ("[timeouts]\nidle = '5'", "timeouts.idle", "must be a number"),
        ("[timeouts]\nidle = true", "timeouts.idle", "must be a number"),
        ("[timeouts]\nidle = inf", "timeouts.idle", "must be finite"),
        ("[timeouts]\nidle = nan", "timeouts.idle", "must be finite"),
        ("[timeouts]\nidle = 0", "timeouts.idle", "'idle' must be > 0"),
        ("[timeouts]\nclosing = 10", "timeouts.closing", "'closing' must be < 10"),
        ("[timeouts]\nconnect = 121", "timeouts.connect", "'connect' must be <= 120"),
        ("[limits]\nearly = 1.0", "limits.early", "must be a whole number"),
        ("[limits]\nearly = false", "limits.early", "must be a whole number"),
        ("[limits]\nhandshake = 1", "limits.handshake", "'handshake' must be >= 1100"),
        ("[limits]\nthreads = 1025", "limits.threads", "'threads' must be <= 1024"),
    ],
)
def test_what_is_wrong_is_told_with_its_file_and_key(
    tmp_path: Path, text: str, key: str, problem: str
) -> None:
    told = complaint(tmp_path, text)
    line = 2 if "." in key else 1
    assert told.startswith(f"{tmp_path / 'socks5d.toml'}:{line}: {key}: {problem}")
    assert "\n" not in told


def test_a_number_beyond_all_measure_is_told_too(tmp_path: Path) -> None:
    for table, key in (("timeouts", "connect"), ("limits", "threads")):
        told = complaint(tmp_path, f"[{table}]\n{key} = 1{'0' * 400}")
        assert f"{table}.{key}: " in told


def test_what_is_wrong_with_an_option_is_told_with_its_name() -> None:
    with pytest.raises(ConfigError, match=r"^--deny-from: 'x' is no CIDR and no IP address$"):
        make_settings([("deny_from", Item("--deny-from", "x"))])


def test_nothing_left_to_serve_is_told(tmp_path: Path) -> None:
    assert "socks4 and socks5 are both off" in complaint(tmp_path, "socks4=false\nsocks5=false")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: No such file"):
        read_file(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        read_file(tmp_path)


@pytest.mark.parametrize(
    "octets", [b"allow = ", b"= 1", b"\xff = 1", b"allow = '*'\nallow = '*'", b"a b"]
)
def test_a_file_that_is_no_toml_is_told(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_bytes(octets)
    with pytest.raises(ConfigError, match=r"socks5d.toml(:[12])?: is no TOML: ") as caught:
        read_file(path)
    assert "\n" not in str(caught.value)


def test_a_file_says_where_each_of_its_values_stands(tmp_path: Path) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_text("socks4 = false\n[limits]\nearly = 1\n")
    assert read_file(path) == [
        ("socks4", Item(str(path), False, "socks4", {"socks4": 1})),
        ("limits", Item(str(path), {"early": 1}, "limits", {"limits": 2, "limits.early": 3})),
    ]


# Checkers, and their secrets.


def test_a_checker_is_made_of_its_description(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("alice:open-sesame\n")
    for description in ("memory:alice:open-sesame", f"file:{users}"):
        checker = make_checker(description)
        assert ICredentialsChecker.providedBy(checker)
        assert IUsernamePassword in checker.credentialInterfaces


def test_the_checkers_that_can_be_had_are_told() -> None:
    with pytest.raises(ValueError, match=r"there are .*\bfile, .*\bmemory") as caught:
        make_checker("nonsense")
    assert "anonymous" not in str(caught.value)


@pytest.mark.parametrize(
    "description",
    [
        "memory:alice:open-sesame:bob",
        "memory:open-sesame",
        "nonsense:alice:open-sesame",
        "anonymous:open-sesame",
    ],
)
def test_a_password_is_in_no_error(tmp_path: Path, description: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make_checker(description)
    assert "sesame" not in str(caught.value)
    # Nor in a traceback, by way of what it was raised from.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    told = complaint(tmp_path, f"auth = ['{description}']")
    assert "sesame" not in told


@implementer(ICheckerFactory)
class Echo:
    """A checker of somebody else's, which tells what it did not like."""

    authType = "echo"
    authHelp = ""
    argStringFormat = ""
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> Any:
        raise ValueError(f"cannot use {argstring}, that is {argstring!r}")


@pytest.mark.parametrize(
    "secret",
    ["open-sesame", "alice:open-sesame", "open-sesame\\x", "open-sesame'\"", "open-sesame\x01"],
)
def test_a_checker_that_tells_its_argument_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setattr("socks5d.naming.findCheckerFactory", lambda kind: Echo())
    with pytest.raises(ValueError, match="'echo': ") as caught:
        make_checker(f"echo:{secret}")
    assert "sesame" not in str(caught.value)


def test_a_password_file_with_a_second_colon_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("ann:secret\nbob:pa:ss\n")
    with pytest.raises(ValueError, match="line 2 has a second colon") as caught:
        make_checker(f"file:{path}")
    assert "pa:ss" not in str(caught.value)


# Workers.


@pytest.mark.parametrize("value", [1, 2, 256, "1", "16", "256"])
def test_workers_are_a_number(value: Any) -> None:
    assert make_settings([("workers", Item("--workers", value))]).workers == int(value)


@pytest.mark.parametrize(
    "value", [0, -1, 257, True, False, "x", "", "0", "-1", "257", "1.5", 1.5, ["2"], {}, "AUTO"]
)
def test_what_is_no_number_of_workers_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^--workers: .*'auto' or a number from 1 to 256$"):
        make_settings([("workers", Item("--workers", value))])


def test_there_is_a_worker_for_each_processor_that_it_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert make_settings([("workers", Item("--workers", "auto"))]).workers == 3


@pytest.mark.parametrize(("processors", "workers"), [(6, 6), (None, 1), (1000, 256)])
def test_where_it_cannot_be_told_which_it_may_use_all_count(
    processors: int | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert make_settings([("workers", Item("--workers", "auto"))]).workers == workers


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("quota = 1", "quota: must be a table"),
        ("[quota]\noctet = 1", "quota.octet: unknown key; did you mean 'octets'?"),
        ("[quota]\noctets = -1", "quota.octets: 'octets' must be >= 0: -1"),
        ("[quota]\noctets = 1.5", "quota.octets: must be a whole number"),
        ("[quota]\noctets = true", "quota.octets: must be a whole number"),
        ("[quota]\nperiod = 'hour'", "quota.period: must be 'day', 'week' or 'month'"),
        ("[quota]\nstore = 'disk'", "quota.store: must be 'sqlite' or 'memory'"),
        ("[quota]\nfile = ''", "quota.file: must be the path of a file"),
    ],
)
def test_a_wrong_quota_table_is_told(tmp_path: Path, text: str, problem: str) -> None:
    assert f": {problem}" in complaint(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gssapi = 1", "gssapi: must be a table"),
        ("[gssapi]\nservise = 'x'", "gssapi.servise: unknown key; did you mean 'service'?"),
        ("[gssapi]\nservice = ''", "gssapi.service: must be a text that is not empty"),
        ("[gssapi]\nleast = 2", "gssapi.least: must be 'none', 'integrity' or"),
        ("[gssapi]\nleast = 'integrity'\nmost = 'none'", "gssapi: least must not be more than"),
        ("[gssapi]\nnec = 'yes'", "gssapi.nec: must be true or false"),
        ("[gssapi]\nprincipals = [1]", "gssapi.principals: must be a text or a list of texts"),
        ("[gssapi]\nnames = ['a']", "gssapi.names: must be a table"),
        ("[gssapi.names]\na = 1", "gssapi.names.a: must be a text that is not empty"),
        ("[gssapi.names]\na = '*'", "gssapi: 'a' = '*' has a '*' too many"),
    ],
)
def test_a_wrong_gssapi_table_is_told(tmp_path: Path, text: str, problem: str) -> None:
    assert re.search(rf"socks5d.toml:[12]: {re.escape(problem)}", complaint(tmp_path, text))


def test_options_of_gssapi_add_to_the_table(tmp_path: Path) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_text("[gssapi]\nservice = 'host'\nleast = 'confidentiality'\n")
    options = [
        ("gssapi", Item("--gssapi-service", {"service": "rcmd@here"})),
        ("gssapi", Item("--gssapi-nec", {"nec": True})),
    ]
    made = make_settings([*read_file(path), *options])
    least = MessageProtection.CONFIDENTIALITY
    assert made.gssapi == GSSAPIParameters(service="rcmd@here", nec=True, least=least)
    assert make_settings(options[1:]).gssapi == GSSAPIParameters(service="rcmd", nec=True)
    assert make_settings([]).gssapi is None


IDENTITIES = "nobody authenticates; set auth, gssapi, userid or ident = 'require', or leave it out"


@pytest.mark.parametrize(
    ("table", "key"),
    [("limits", "identity_sessions"), ("limits", "identity_rate"), ("quota", "octets")],
)
def test_a_limit_of_identities_needs_some(tmp_path: Path, table: str, key: str) -> None:
    text = f"[{table}]\n{key} = 1\n"
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    assert caught.value.problems == (
        f"{tmp_path}/socks5d.toml:2: {table}.{key}: limits nobody, as {IDENTITIES}",
    )
    assert settings(tmp_path, f"[{table}]\n{key} = 0\n")
    for more in ("userid = 'ops-*'\n", "ident = 'require'\n", "[gssapi]\n"):
        assert settings(tmp_path, more + text)
    own = "[[listener]]\nendpoint = 'tcp:1:interface=127.0.0.1'\nuserid = 'ann'\n"
    assert settings(tmp_path, text + own)


def test_who_is_wrong_about_who_may_use_it_is_told_that_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, "auth = 'nonsense:x'\n[quota]\noctets = 1\n")
    (problem,) = caught.value.problems
    assert ":1: auth: 'nonsense' is no" in str(problem)
