"""The library's gss_unwrap: what it says beside a message, and that nothing is left behind."""

import gc
from pathlib import Path
from typing import Any

import pytest

from socks5d.auth.gssunwrap import (
    DUPLICATE,
    GAP,
    OLD,
    OUT_OF_SEQUENCE,
    GSSFailure,
    Library,
    Receiver,
)
from tests.support.gssclient import FLAGS, UDP_FLAGS, initiator


@pytest.fixture(scope="module")
def library() -> Library:
    import gssapi

    return Library(gssapi.raw.message.__file__)


def exported(keytab: Path, tickets: str, flags: tuple[str, ...]) -> tuple[Any, bytes]:
    """The client's context, and ours."""
    import gssapi

    credentials = gssapi.Credentials(usage="accept", store={"keytab": str(keytab)})
    theirs = initiator(tickets, flags=flags)
    ours = gssapi.SecurityContext(creds=credentials, usage="accept")
    theirs.step(ours.step(theirs.step()))
    return theirs, ours.export()


def resident() -> int:
    """KiB of memory that this process has."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize(
    ("flags", "remarks"),
    [
        (FLAGS, [0, GAP, DUPLICATE, OUT_OF_SEQUENCE, GAP, OUT_OF_SEQUENCE]),
        (UDP_FLAGS, [0, 0, DUPLICATE, 0, 0, OLD]),
        (("mutual_authentication",), [0, 0, 0, 0, 0, 0]),
    ],
    ids=["replay and sequence", "replay", "neither"],
)
def test_it_says_what_the_client_asked_to_be_told(
    flags: tuple[str, ...], remarks: list[int], library: Library, keytab: Path, tickets: str
) -> None:
    theirs, octets = exported(keytab, tickets, flags)
    ours = library.receiver(octets)
    tokens = [theirs.wrap(b"%d" % number, True).message for number in range(100)]
    found = [ours.unwrap(tokens[number]) for number in (0, 2, 2, 1, 99, 3)]
    assert [each.remarks for each in found] == remarks
    assert [each.data for each in found] == [b"0", b"2", b"2", b"1", b"99", b"3"]
    assert all(each.encrypted for each in found)


@pytest.mark.parametrize("size", [0, 1, 65_000])
@pytest.mark.parametrize("encrypt", [False, True])
def test_messages_come_as_they_were(
    size: int, encrypt: bool, library: Library, keytab: Path, tickets: str
) -> None:
    theirs, octets = exported(keytab, tickets, FLAGS)
    data = (bytes(range(256)) * 256)[:size]
    token = theirs.wrap(data, encrypt).message
    before = bytes(bytearray(token))
    assert library.receiver(octets).unwrap(token) == (data, encrypt, 0)
    assert token == before


@pytest.mark.parametrize("token", [b"", b"x", b"\x05\x04", bytes(70_000)])
def test_what_is_no_token_is_an_error(
    token: bytes, library: Library, keytab: Path, tickets: str
) -> None:
    ours = library.receiver(exported(keytab, tickets, FLAGS)[1])
    with pytest.raises(GSSFailure, match="major 0x"):
        ours.unwrap(token)


@pytest.mark.parametrize("octets", [b"", b"x", bytes(1000)])
def test_what_is_no_context_is_an_error(octets: bytes, library: Library) -> None:
    with pytest.raises(GSSFailure, match="major 0x"):
        library.receiver(octets)


def test_a_module_without_the_library_is_told() -> None:
    with pytest.raises(OSError, match="cannot open"):
        Library("/nonexistent.so")
    import _hashlib

    with pytest.raises(AttributeError, match="gss_import_sec_context"):
        Library(_hashlib.__file__)


def test_messages_that_are_refused_and_contexts_leave_nothing_behind(
    library: Library, keytab: Path, tickets: str
) -> None:
    theirs, octets = exported(keytab, tickets, FLAGS)
    token = theirs.wrap(bytes(60_000), True).message
    altered = token[:-1] + bytes((token[-1] ^ 1,))

    def use(ours: Receiver) -> None:
        for _ in range(50):
            ours.unwrap(token)
            with pytest.raises(GSSFailure):
                ours.unwrap(altered)

    use(library.receiver(octets))
    gc.collect()
    before = resident()
    for _ in range(20):
        use(library.receiver(octets))
    # It would be 60,000 and more for what comes twice alone.
    assert resident() - before < 10_000
