"""What stands behind a checker's name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.auth.arguments import ArgumentError, number, parse_arguments, switch

KNOWN = {"plain": "no", "seconds": "5", "dn": ""}


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("/etc/x", {"path": "/etc/x"}),
        ("/etc/x:plain=yes", {"path": "/etc/x", "plain": "yes"}),
        ("a\\:b:dn=uid={},dc=x", {"path": "a:b", "dn": "uid={},dc=x"}),
        ("a\\\\b\\c:dn=h\\:1", {"path": "a\\b\\c", "dn": "h:1"}),
        ("a=b:seconds=2", {"path": "a=b", "seconds": "2"}),
        ("end\\", {"path": "end\\"}),
        ("", {"path": ""}),
    ],
)
def test_what_stands_there_is_found(text: str, given: dict[str, str]) -> None:
    assert parse_arguments(text, "path", KNOWN) == {**KNOWN, **given}


def test_nothing_need_stand_first() -> None:
    assert parse_arguments("", "", KNOWN) == KNOWN
    assert parse_arguments("dn=x", "", KNOWN) == {**KNOWN, "dn": "x"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x:pain=yes", "'pain' is not known here; there is plain, seconds, dn"),
        ("x:plain", "'plain' has no value; write plain=..."),
        ("x:plain=", "'plain' has no value"),
        ("x:dn=1:dn=2", "'dn' is there twice"),
        ("x:", "'' is not known here"),
    ],
)
def test_what_makes_no_sense_is_told(text: str, problem: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_arguments(text, "path", KNOWN)
    assert str(caught.value).startswith(problem)


@given(st.text())
def test_any_text_is_an_argument_or_an_error(text: str) -> None:
    try:
        found = parse_arguments(text, "path", KNOWN)
    except ArgumentError as error:
        assert "\n" not in str(error)
    else:
        assert found.keys() == {"path", *KNOWN}


@given(st.text())
def test_an_escaped_text_stands_for_itself(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace(":", "\\:")
    assert parse_arguments(escaped, "path", {})["path"] == text


def test_switches_and_numbers() -> None:
    assert switch({"plain": "yes"}, "plain")
    assert not switch({"plain": "no"}, "plain")
    assert number({"seconds": "2.5"}, "seconds", 0, 10) == 2.5
    with pytest.raises(ArgumentError, match="'plain' must be yes or no"):
        switch({"plain": "maybe"}, "plain")
    for wrong in ("eleven", "11", "-1", "nan", "inf"):
        with pytest.raises(ArgumentError, match="'seconds' must be a number from 0 to 10"):
            number({"seconds": wrong}, "seconds", 0, 10)
