"""Username and password messages (RFC 1929), both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire import userpass
from socks5d.wire.userpass import Credentials
from tests.wire import cases

NOT_TEXTS = st.binary(max_size=255)


TEXTS = st.binary(max_size=255)


@given(TEXTS, TEXTS)
def test_encoded_credentials_read_back(username: bytes, password: bytes) -> None:
    octets = userpass.encode_credentials(Credentials(username, password))
    assert userpass.parse_credentials(octets) == ((username, password), len(octets))


@given(cases.OCTETS)
def test_an_encoded_status_reads_back(status: int) -> None:
    assert userpass.parse_status(userpass.encode_status(status)) == (status, 2)


@pytest.mark.parametrize(
    "credentials",
    [Credentials(b"u" * 256, b""), Credentials(b"", b"p" * 256)],
    ids=["long name", "long password"],
)
def test_credentials_that_cannot_be_said_are_a_value_error(credentials: Credentials) -> None:
    with pytest.raises(ValueError, match="at most 255 octets") as caught:
        userpass.encode_credentials(credentials)
    assert "ppp" not in str(caught.value)


def test_credentials_show_the_name_and_never_the_password() -> None:
    credentials = Credentials(b"alice", b"open sesame")
    for shown in (repr(credentials), str(credentials), f"{credentials}", f"{(credentials,)}"):
        assert "alice" in shown
        assert "sesame" not in shown


def test_a_parsed_message_shows_no_password_either() -> None:
    parsed = userpass.parse_credentials(b"\x01\x05alice\x06sesame")
    assert parsed is not None
    assert "alice" in repr(parsed)
    assert "sesame" not in repr(parsed)
