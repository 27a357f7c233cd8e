"""Hashes of passwords: those that are taken, what they accept, and what they may cost."""

import sys
from collections.abc import Iterator
from ctypes import CDLL, c_char_p, create_string_buffer

import argon2
import bcrypt
import pytest

from socks5d.auth import shacrypt
from socks5d.auth.hashes import BCRYPT_LONGEST, LONGEST, HashError, parse_hash

PASSWORD = "l\u00f6sung".encode()
SALT = b"$2b$04$GYEinZISQHx6kiQgY6I4u."
BCRYPT = bcrypt.hashpw(PASSWORD, SALT)


def argon(kind: argon2.Type, password: bytes = PASSWORD) -> bytes:
    """As cheap as may be."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=kind)
    return hasher.hash(password, salt=SALT[-16:]).encode()


ARGON2 = argon(argon2.Type.ID)
#: Of "Hello world!", from the specification (Drepper, SHA-crypt.txt 0.6).
SHA = [
    b"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    b"$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
    b"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoE"
    b"OfaS35inz1",
]
linux = pytest.mark.skipif(sys.platform != "linux", reason="SHA-crypt is had on Linux")

TAKEN = [
    pytest.param(BCRYPT, id="2b"),
    pytest.param(b"$2a" + BCRYPT[3:], id="2a"),
    pytest.param(b"$2y" + BCRYPT[3:], id="2y"),
    pytest.param(ARGON2, id="argon2id"),
    pytest.param(argon(argon2.Type.I), id="argon2i"),
    pytest.param(argon(argon2.Type.D), id="argon2d"),
]


@pytest.mark.parametrize("text", TAKEN)
def test_it_accepts_its_password_alone(text: bytes) -> None:
    made = parse_hash(text)
    assert made.check(PASSWORD)
    for wrong in (b"", PASSWORD[:-1], PASSWORD + b"\0", PASSWORD + b" ", b"\xff", b"unusable"):
        assert not made.check(wrong)


@linux
@pytest.mark.parametrize("text", SHA)
def test_sha_crypt_is_the_systems(text: bytes) -> None:
    made = parse_hash(text)
    assert made.check(b"Hello world!")
    for wrong in (b"", b"Hello world", b"Hello world!\0", b"\xff", b"x" * 255, b"x" * 600):
        assert not made.check(wrong)


@linux
def test_passwords_that_are_no_text_have_sha_crypt_too() -> None:
    text = b"$5$rounds=1000$saltstring$"
    made = CDLL("libcrypt.so.1").crypt_r
    made.restype = c_char_p
    state = create_string_buffer(1 << 18)
    assert parse_hash(made(b"\xff\xfe", text, state)).check(b"\xff\xfe")


@pytest.mark.parametrize("password", [b"x" * LONGEST, b"ann:b", b"$6$", b"\xff\xfe"])
def test_plain_text_is_taken_where_it_is_let_in(password: bytes) -> None:
    if password.startswith(b"$"):
        with pytest.raises(HashError):
            parse_hash(password, plain=True)
        return
    made = parse_hash(password, plain=True)
    assert made.check(password)
    assert not made.check(password + b"x")
    assert not made.check(password[:-1])
    with pytest.raises(
        HashError, match="plain text, which takes plain=yes; make a better one with: htpasswd -B"
    ):
        parse_hash(password)


@pytest.mark.parametrize("longer", [1, 100, 1000])
def test_bcrypt_does_not_cut_a_password_off(longer: int) -> None:
    longest = b"x" * BCRYPT_LONGEST
    made = parse_hash(bcrypt.hashpw(longest, SALT))
    assert made.check(longest)
    assert not made.check(longest + b"x" * longer)


def test_the_hash_of_nothing_accepts_nobody() -> None:
    assert not parse_hash(bcrypt.hashpw(b"", SALT)).check(b"")


def test_no_password_is_accepted_in_place_of_one_that_cannot_be() -> None:
    made = parse_hash(bcrypt.hashpw(b"unusable", SALT))
    assert made.check(b"unusable")
    for wrong in (b"", b"\0", b"unusable\0", b"x" * 73):
        assert not made.check(wrong)


@pytest.mark.parametrize("password", [b"wrong", b"", b"a\0b", b"x" * 73, b"x" * 4096])
def test_every_password_costs_one_hash(password: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []

    def checkpw(given: bytes, text: bytes) -> bool:
        hashed.append(given)
        return False

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    assert not parse_hash(BCRYPT).check(password)
    assert len(hashed) == 1
    assert len(hashed[0]) in range(1, 73)
    assert b"\0" not in hashed[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no hash after the name"),
        (b"$apr1$saltsalt$0123456789abcdefghijkl", "too weak; make a better one with: htpasswd -B"),
        (b"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
        (b"$1$saltsalt$0123456789abcdefghijkl", "MD5"),
        (b"$2x" + BCRYPT[3:], "faulty"),
        (b"$2$" + BCRYPT[4:], "no kind that is known"),
        (b"$y$j9T$salt$hash", "no kind that is known"),
        (b"{SSHA256}x", "no kind that is known"),
        (b"rqXexS6ZhobKA", "plain text"),
        (BCRYPT[:-1], "not whole"),
        (BCRYPT + b"x", "not whole"),
        (BCRYPT + b":", "not whole"),
        (BCRYPT + b" ", "not whole"),
        (BCRYPT[:28] + b"P" + BCRYPT[29:], "not whole"),
        (b"$2b$03" + BCRYPT[6:], "cost"),
        (b"$2b$18" + BCRYPT[6:], "cost"),
        (b"$2b$99" + BCRYPT[6:], "cost"),
        (b"$2b$4" + BCRYPT[6:], "not whole"),
        (ARGON2[:-40], "not whole"),
        (ARGON2 + b"=", "not whole"),
        (ARGON2.replace(b"v=19", b"v=20"), "not whole"),
        (ARGON2.replace(b"argon2id", b"argon2x"), "not whole"),
        (ARGON2.replace(b"m=8", b"m=1000000"), "costs too much"),
        (ARGON2.replace(b"m=8", b"m=999999999"), "costs too much"),
        (ARGON2.replace(b"t=1", b"t=999999999"), "costs too much"),
        (ARGON2.replace(b"p=1", b"p=99"), "costs too much"),
        (ARGON2.replace(b"p=1", b"p=2"), "8 KiB"),
        (ARGON2.replace(b"m=8", b"m=0"), "not whole"),
        (ARGON2.replace(b"m=8", b"m=8,m=8"), "not whole"),
        (SHA[0][:-1], "not whole"),
        (SHA[0].replace(b"$5$", b"$6$"), "not whole"),
        (SHA[1].replace(b"10000", b"999999999"), "rounds"),
        (SHA[1].replace(b"10000", b"100"), "not whole"),
        (SHA[1].replace(b"10000", b"01000"), "not whole"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("plain", [False, True])
def test_what_is_not_taken_is_told_and_not_shown(text: bytes, why: str, plain: bool) -> None:
    if plain and why == "plain text":
        assert parse_hash(text, plain=True).check(text)
        return
    with pytest.raises(HashError, match=why) as caught:
        parse_hash(text, plain=plain)
    said = str(caught.value)
    assert "\n" not in said
    assert len(text) < 20 or text.decode()[8:20] not in said


@pytest.mark.parametrize("password", [b"a\0b", b"x" * (LONGEST + 1)])
def test_plain_text_that_nobody_could_give_is_not_taken(password: bytes) -> None:
    with pytest.raises(HashError, match="NUL"):
        parse_hash(password, plain=True)


@pytest.mark.parametrize(("module", "text"), [("bcrypt", BCRYPT), ("argon2", ARGON2)])
def test_without_the_package_it_is_named(
    module: str, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HashError, match=rf"{module} .*: pip install 'socks5d\[htpasswd\]'"):
        parse_hash(text)


@pytest.fixture
def without_sha_crypt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shacrypt._crypt_r.cache_clear()
    monkeypatch.setattr(shacrypt, "_LIBRARIES", ("libnowhere.so.1",))
    yield
    shacrypt._crypt_r.cache_clear()


def test_without_the_systems_library_it_is_said(without_sha_crypt: None) -> None:
    with pytest.raises(HashError, match="this system has no library for SHA-crypt"):
        parse_hash(SHA[0])
    with pytest.raises(OSError, match="no library"):
        shacrypt.matches(SHA[0], b"Hello world!")


def test_a_library_that_hashes_wrong_is_not_used(
    without_sha_crypt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shacrypt, "_LIBRARIES", ("libcrypt.so.1",))
    monkeypatch.setattr(shacrypt, "_KNOWN", (SHA[0][:-1] + b"6",))
    assert not shacrypt.available()


def test_no_hash_is_in_what_is_shown_of_one() -> None:
    assert "GYEinZ" not in repr(parse_hash(BCRYPT))
    assert "hunter2" not in repr(parse_hash(b"hunter2", plain=True))
