"""What holds for every parser, by the one table of messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire import gssframe, identline, socks4, socks5, userpass
from tests.wire import cases
from tests.wire.cases import Broken, Message, Parser

PARSERS: list[Parser] = [
    socks4.parse_request,
    socks4.parse_reply,
    socks5.parse_greeting,
    socks5.parse_selection,
    socks5.parse_request,
    socks5.parse_reply,
    userpass.parse_credentials,
    userpass.parse_status,
    gssframe.parse_message,
    identline.parse_query,
    identline.parse_response,
]
OURS = cases.messages(*PARSERS)
NOT_OURS = cases.broken(*PARSERS)


def test_the_table_has_every_parser() -> None:
    assert {row.parser for row in OURS} == set(PARSERS)
    assert set(cases.LONGEST) >= set(PARSERS)


@pytest.mark.parametrize("row", OURS, ids=cases.label)
def test_a_whole_message_is_read(row: Message) -> None:
    cases.parses_whole(row)


@pytest.mark.parametrize("row", OURS, ids=cases.label)
def test_a_message_cut_short_needs_more(row: Message) -> None:
    cases.parses_octet_by_octet(row)


@pytest.mark.parametrize("row", OURS, ids=cases.label)
def test_what_follows_a_message_is_left(row: Message) -> None:
    cases.leaves_what_follows(row)


@pytest.mark.parametrize("row", NOT_OURS, ids=cases.label)
def test_what_is_no_message_is_refused_at_the_octet_that_settles_it(row: Broken) -> None:
    cases.breaks_at_its_last_octet(row)
    cases.shows_nothing_a_peer_sent(row)


@pytest.mark.parametrize("parser", PARSERS, ids=cases.label)
@given(data=st.data())
def test_any_octets_are_a_message_or_need_more_or_an_error(
    parser: Parser, data: st.DataObject
) -> None:
    octets = data.draw(cases.hostile(parser))
    cases.is_total_bounded_and_monotonic(parser, octets, data.draw(st.binary(max_size=300)))
