"""Wrapping what follows a context: splitting, putting together, and what ends a session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from socks5d.auth.gssencapsulation import GSSEncapsulation, Unprotected
from socks5d.interfaces import IDatagramEncapsulation, IEncapsulation
from socks5d.wire.gssframe import (
    CONFIDENTIALITY,
    CONTEXT,
    ENCAPSULATED,
    INTEGRITY,
    PER_MESSAGE,
    encode_message,
)
from socks5d.wire.parsed import WireError

OVERHEAD = 3


class Numbered:
    """Stands for a context: each token says its number, and whether it is confidential."""

    def __init__(self) -> None:
        self.sent = self.received = 0

    def wrap(self, data: bytes, confidential: bool) -> bytes:
        self.sent += 1
        return bytes((self.sent & 0xFF, confidential, 0)) + data

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        self.received += 1
        if len(token) < OVERHEAD or token[0] != self.received & 0xFF:
            raise ValueError("out of turn")
        return token[OVERHEAD:], bool(token[1])

    def unwrap_datagram(self, token: bytes) -> tuple[bytes, bool]:
        if len(token) < OVERHEAD or token[0] < self.received & 0xFF:
            raise ValueError("overtaken")
        self.received = token[0]
        return token[OVERHEAD:], bool(token[1])

    def room(self, token: int, confidential: bool) -> int:
        return token - OVERHEAD


def ours(level: int = CONFIDENTIALITY) -> GSSEncapsulation:
    return GSSEncapsulation(Numbered(), level)


def after_one() -> GSSEncapsulation:
    """One that has taken a message."""
    made = ours()
    assert made.decapsulate(ours().encapsulate(b"first")) == b"first"
    return made


def test_it_is_what_the_interfaces_say() -> None:
    assert verifyObject(IEncapsulation, ours())
    assert verifyObject(IDatagramEncapsulation, ours())


@given(st.lists(st.binary(max_size=300), max_size=10), st.data())
def test_what_one_sends_the_other_receives_however_it_is_cut_up(
    pieces: list[bytes], data: st.DataObject
) -> None:
    sender, receiver = ours(), ours()
    stream = b"".join(map(sender.encapsulate, pieces))
    found = b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += receiver.decapsulate(stream[:size])
        stream = stream[size:]
    assert found == b"".join(pieces)
    receiver.finish()


@pytest.mark.parametrize("size", [65531, 65532, 65533, 131064, 131065, 300_000])
def test_no_message_is_longer_than_may_be(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    stream = ours().encapsulate(data)
    whole = 65535 - OVERHEAD
    assert len(stream) == size + -(-size // whole) * (4 + OVERHEAD)
    assert stream[2:4] == (min(size, whole) + OVERHEAD).to_bytes(2)
    assert ours().decapsulate(stream) == data


@pytest.mark.parametrize(
    ("level", "encrypts"), [(INTEGRITY, False), (CONFIDENTIALITY, True), (PER_MESSAGE, True)]
)
def test_messages_are_protected_as_was_agreed_on(level: int, encrypts: bool) -> None:
    assert ours(level).encapsulate(b"x")[5] == encrypts
    assert ours(level).encapsulate_datagram(b"x")[5] == encrypts


@pytest.mark.parametrize(
    ("level", "encrypted", "taken"),
    [
        (INTEGRITY, False, True),
        (INTEGRITY, True, True),
        (CONFIDENTIALITY, False, False),
        (CONFIDENTIALITY, True, True),
        (PER_MESSAGE, False, True),
        (PER_MESSAGE, True, True),
    ],
)
def test_what_is_less_protected_than_agreed_on_is_refused(
    level: int, encrypted: bool, taken: bool
) -> None:
    message = encode_message(ENCAPSULATED, Numbered().wrap(b"x", encrypted))
    if taken:
        assert ours(level).decapsulate(message) == b"x"
        assert ours(level).decapsulate_datagram(message) == b"x"
        return
    for way in (ours(level).decapsulate, ours(level).decapsulate_datagram):
        with pytest.raises(Unprotected):
            way(message)


@pytest.mark.parametrize(
    "octets",
    [
        encode_message(CONTEXT, b"\x01\x01\x00x"),
        encode_message(ENCAPSULATED, b"\x00\x01\x00x"),
        encode_message(ENCAPSULATED, b""),
        b"\x01\xff",
        b"\x05\x01\x00\x01",
        b"\x01\x04\x00\x01x",
    ],
    ids=["another type", "out of turn", "empty", "an abort", "another VER", "unknown MTYP"],
)
def test_what_is_not_the_next_message_is_refused(octets: bytes) -> None:
    with pytest.raises((Unprotected, WireError, ValueError)):
        after_one().decapsulate(octets)
    with pytest.raises((Unprotected, WireError, ValueError)):
        after_one().decapsulate_datagram(octets)


def test_datagrams_may_be_lost_and_a_streams_messages_may_not() -> None:
    octets = encode_message(ENCAPSULATED, b"\x03\x01\x00x")
    assert after_one().decapsulate_datagram(octets) == b"x"
    with pytest.raises(ValueError, match="out of turn"):
        after_one().decapsulate(octets)


def test_a_stream_that_ends_in_the_middle_of_a_message_is_cut_off() -> None:
    receiver = ours()
    assert receiver.decapsulate(ours().encapsulate(b"octets")[:-1]) == b""
    with pytest.raises(Unprotected, match="not whole"):
        receiver.finish()


@pytest.mark.parametrize("change", [-1, 1])
def test_a_datagram_is_one_whole_message(change: int) -> None:
    datagram = ours().encapsulate_datagram(b"header and data")
    assert ours().decapsulate_datagram(datagram) == b"header and data"
    wrong = datagram[:change] if change < 0 else datagram + b"x"
    with pytest.raises(Unprotected, match="not one message"):
        ours().decapsulate_datagram(wrong)


def test_a_datagram_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 65535"):
        ours().encapsulate_datagram(bytes(65535))


def test_a_mechanism_without_room_is_refused() -> None:
    class Full(Numbered):
        def room(self, token: int, confidential: bool) -> int:
            return 0

    with pytest.raises(ValueError, match="do not fit"):
        GSSEncapsulation(Full(), INTEGRITY)
