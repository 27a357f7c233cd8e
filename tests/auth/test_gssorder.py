"""The order of messages by their numbers, against a model that remembers all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.auth.gssorder import WINDOW, Order, sequence_number

NUMBERS = st.integers(0, 300) | st.integers((1 << 64) - 100, (1 << 64) - 1)


@given(st.lists(NUMBERS, max_size=60))
def test_each_is_taken_once_and_none_that_is_too_old(numbers: list[int]) -> None:
    order, taken = Order(), set[int]()
    for number in numbers:
        old = bool(taken) and number <= max(taken) - WINDOW
        assert order.is_new(number) is (number not in taken and not old)
        assert order.is_next(number) is (not taken or number == max(taken) + 1)
        if order.is_new(number):
            order.take(number)
            taken.add(number)


@pytest.mark.parametrize("number", [0, 1, 255, (1 << 64) - 1])
def test_a_token_says_its_number(number: int) -> None:
    header = b"\x05\x04\x03\xff\x00\x0c\x00\x00" + number.to_bytes(8)
    assert sequence_number(header) == sequence_number(header + b"octets") == number


@pytest.mark.parametrize(
    "token",
    [b"", b"\x05\x04" + bytes(13), b"\x04\x04" + bytes(20), b"\x60\x82" + bytes(30)],
    ids=["empty", "short", "a MIC", "RFC 1964"],
)
def test_other_tokens_have_none(token: bytes) -> None:
    assert sequence_number(token) is None
