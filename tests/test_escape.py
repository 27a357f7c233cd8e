"""Strangers' text in a log: one line, one word, no two texts alike."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socks5d.escape import LIMIT, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"", ""),
        (b"alice", "alice"),
        ("alice", "alice"),
        (b"a b", r"a\x20b"),
        (b"a\nb\r\n", r"a\nb\r\n"),
        (b"\t\0\x1b[2J\x7f", r"\t\x00\x1b[2J\x7f"),
        (b"a\\nb", r"a\\nb"),
        (b"\\", r"\\"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\udcff", r"\xff"),
        ("j\u00f6rg".encode(), "j\u00f6rg"),
        ("j\u00f6rg", "j\u00f6rg"),
        # Line separators, what turns the direction of text round, and what shows nothing.
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u200b\ufeff", r"\u200b\ufeff"),
        ("\U000e0001", r"\U000e0001"),
        ("\u3000", r"\u3000"),
        ('"quoted"', '"quoted"'),
    ],
)
def test_text_is_shown(text: bytes | str, shown: str) -> None:
    assert printable(text) == shown


TEXTS = st.one_of(st.binary(max_size=400), st.text(max_size=400))


@given(TEXTS)
def test_what_is_shown_is_one_printable_word(text: bytes | str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert " " not in shown
    assert len(shown.splitlines()) <= 1


@given(TEXTS)
def test_what_is_shown_has_a_length(text: bytes | str) -> None:
    assert len(printable(text)) <= LIMIT + len("...")


@given(st.binary(max_size=70), st.binary(max_size=70))
@example(b"\x80", b"\xc2\x80")
@example(b"\\n", b"\n")
@example(b"\\xff", b"\xff")
@example(b"\xa0", "\u00a0".encode())
def test_no_two_texts_look_alike(one: bytes, other: bytes) -> None:
    assert (printable(one) == printable(other)) is (one == other)


def test_what_fits_is_whole_and_what_does_not_is_marked() -> None:
    assert printable("x" * LIMIT) == "x" * LIMIT
    assert printable("x" * (LIMIT + 1)) == "x" * LIMIT + "..."
    assert printable(b"\n" * LIMIT) == "\\n" * (LIMIT // 2) + "..."


def test_no_escape_is_cut_in_two() -> None:
    shown = printable("x" * (LIMIT - 3) + "\xad" + "y" * 10)
    assert shown == "x" * (LIMIT - 3) + "..."
