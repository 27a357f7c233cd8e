"""Settings as a table."""

from pathlib import Path

import pytest

from socks5d.answers.rows import Row, rows, table
from socks5d.config import Settings
from socks5d.rules import PermitUnprotected, parse_destination, parse_network
from tests.answers.settings import made
from tests.config.test_rules import EVERYTHING

NETWORK = parse_network("192.0.2.0/24")
DESTINATION = parse_destination("*:443")
PLUGIN = PermitUnprotected()
UNPROTECTED = Row("otherwise", "permit", "all that is not protected")
NOTHING = Row("otherwise", "deny", "everything")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), [UNPROTECTED]),
        (Settings(deny=(DESTINATION,)), [Row("deny", "deny", "to *:443"), UNPROTECTED]),
        (Settings(allow=(DESTINATION,)), [Row("allow", "permit", "to *:443"), NOTHING]),
        (
            Settings(allow_from=(NETWORK,), deny_from=(NETWORK,)),
            [
                Row("deny_from", "deny", "from 192.0.2.0/24"),
                Row("allow_from", "deny", "from outside 192.0.2.0/24"),
                UNPROTECTED,
            ],
        ),
        (
            Settings(rulesets=(PLUGIN,)),
            [Row("ruleset", "permit", "all that is not protected"), NOTHING],
        ),
    ],
)
def test_there_is_a_row_for_all_that_decides(settings: Settings, expected: list[Row]) -> None:
    assert rows(settings) == expected


def test_of_many_values_some_are_shown() -> None:
    many = tuple(parse_destination(f"192.0.2.{each}") for each in range(9))
    (row, _) = rows(Settings(deny=many))
    assert row.when.startswith("to 192.0.2.0, 192.0.2.1, ")
    assert row.when.endswith("192.0.2.5 and 3 more")


def test_a_rule_is_told_in_the_words_of_the_file(tmp_path: Path) -> None:
    first, second, _ = rows(made(tmp_path, EVERYTHING))
    assert first == Row(
        'rule "office hours"',
        "permit",
        "from @office, 10.0.0.0/8; listener tcp:1080:*; version 4a, 5; method userid, gssapi, "
        "password; user ops, root-*; group staff; ident ann; userid ann, ; "
        "principal *@EXAMPLE.ORG; command connect, udp; "
        "to @ads, *.example.com, 203.0.113.7; ports 443, 8000-8099; "
        "mon, tue, wed, sat 08:00-12:00, 22:00-06:00 Europe/Vienna",
        "they work; idle 60, udp_idle 90, connect 5.5, bind 30, rate 1000000, log refused, "
        "source 192.0.2.1, 2001:db8::1, device eth1, upstream direct",
    )
    assert second == Row("rule 2", "deny", "everything")


def test_listeners_with_the_same_policy_share_a_table(tmp_path: Path) -> None:
    text = "listen = ['tcp:1', 'tcp:2']\ndeny = '*'\n[[listener]]\nendpoint = 'tcp:3'\nauth = []\n"
    assert table(made(tmp_path, text).listeners) == [
        "listener tcp:1, tcp:2, tcp:3",
        "  deny       deny    to *",
        "  otherwise  permit  all that is not protected",
    ]


def test_listeners_with_others_have_their_own(tmp_path: Path) -> None:
    lines = table(made(tmp_path).listeners)
    assert lines[0] == "listener tcp:1080:interface=127.0.0.1"
    assert lines[2] == '  rule "no ads"  deny    to *.ads.example (nobody wants them)'
    at = lines.index("listener guests")
    assert lines[at - 1] == ""
    assert lines[at + 2] == '  rule "guests 1"  permit  to *; ports 80'
