"""What stands behind C{ldap:}: what it means, and what is refused."""

from pathlib import Path

import pytest

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.ldap.settings import Search, Server, Settings, Template, parse_settings

DN = "dn=uid=%s,dc=example"
BASE = "base=dc=example"


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("ldap.example.org", Server("ldap.example.org", 389, tls=True, ask=True)),
        ("ldap\\://ldap.example.org", Server("ldap.example.org", 389, tls=True, ask=True)),
        ("ldap\\://ldap.example.org\\:3890/", Server("ldap.example.org", 3890, True, True)),
        ("ldap.example.org\\:3890", Server("ldap.example.org", 3890, True, True)),
        ("ldaps\\://ldap.example.org", Server("ldap.example.org", 636, tls=True, ask=False)),
        ("LDAPS\\://LDAP.example.org", Server("ldap.example.org", 636, tls=True, ask=False)),
        ("192.0.2.1", Server("192.0.2.1", 389, tls=True, ask=True)),
        ("127.0.0.1", Server("127.0.0.1", 389, tls=False, ask=False)),
        ("localhost", Server("localhost", 389, tls=False, ask=False)),
        ("ldap\\://[\\:\\:1]\\:3890", Server("::1", 3890, tls=False, ask=False)),
        ("localhost.example.org", Server("localhost.example.org", 389, True, True)),
    ],
)
def test_a_password_crosses_a_network_in_tls_alone(text: str, server: Server) -> None:
    assert parse_settings(f"{text}:{DN}").server == server


def test_tls_can_be_asked_for_and_done_without() -> None:
    server = parse_settings(f"localhost:{DN}:starttls=yes").server
    assert (server.tls, server.ask) == (True, True)
    server = parse_settings(f"ldap.example.org:{DN}:starttls=no").server
    assert (server.tls, server.ask) == (False, False)


def test_what_is_left_out() -> None:
    assert parse_settings(f"localhost:{DN}") == Settings(
        Server("localhost", 389, False, False), Template("uid=%s,dc=example")
    )
    assert parse_settings(f"localhost:{BASE}").way == Search("dc=example", "(uid=%s)")


def test_what_is_there(tmp_path: Path) -> None:
    secret, ca = tmp_path / "secret", tmp_path / "ca.pem"
    secret.write_bytes(b"s\xc3\xa9same \r\n")
    ca.write_text("a certificate")
    settings = parse_settings(
        f"ldaps\\://a:{BASE}:filter=(&(a=b)(uid\\:x\\:=%s)):name=cn:bind=cn=x:secret={secret}"
        f":decoy=cn=y:ca={ca}:timeout=2.5:connections=4:waiting=0:idle=10"
    )
    assert settings == Settings(
        Server("a", 636, True, False, "a certificate"),
        Search("dc=example", "(&(a=b)(uid:x:=%s))", "cn", "cn=x", b"s\xc3\xa9same ", "cn=y"),
        timeout=2.5,
        connections=4,
        waiting=0,
        idle=10,
    )
    assert "same" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "give the server first"),
        (f":{DN}", "give the server first"),
        ("http\\://a:" + DN, "is no server; write HOST"),
        ("ldap\\://a/dc=example:" + DN, "is no server; write HOST"),
        ("ldap\\://a?uid:" + DN, "is no server; write HOST"),
        ("ldap\\://me@a:" + DN, "is no server; write HOST"),
        ("ldap\\://:" + DN, "is no server; write HOST"),
        ("a\\:0:" + DN, "is no server; write HOST"),
        ("a\\:70000:" + DN, "is no server's URL"),
        ("ldap\\://[\\:\\:1:" + DN, "is no server's URL"),
        # A colon that is not escaped.
        ("ldap://a:" + DN, "is not known here"),
        ("a", "either 'dn', to bind as it, or 'base'"),
        (f"a:{DN}:{BASE}", "either 'dn', to bind as it, or 'base'"),
        ("a:dn=uid=ann", "must hold %s"),
        (f"a:{DN}:filter=(uid=%s)", "'filter' goes with 'base'"),
        (f"a:{DN}:name=uid", "'name' goes with 'base'"),
        (f"a:{DN}:bind=cn=x", "'bind' goes with 'base'"),
        (f"a:{DN}:secret=/x", "'secret' goes with 'base'"),
        (f"a:{DN}:decoy=cn=x", "'decoy' goes with 'base'"),
        (f"a:{BASE}:bind=cn=x", "'bind' and 'secret', the file with its password"),
        (f"a:{BASE}:secret=/x", "'bind' and 'secret', the file with its password"),
        (f"a:{BASE}:bind=cn=x:secret=/nowhere/x", "'/nowhere/x' cannot be read: No such file"),
        (f"a:{BASE}:bind=cn=x:secret=/", "'/' cannot be read: Is a directory"),
        (f"a:{DN}:ca=/nowhere/x", "'ca': '/nowhere/x' cannot be read: No such file"),
        (f"a:{DN}:ca=a\0b", "cannot be read"),
        (f"localhost:{DN}:ca=/x", "'ca' is for TLS, and there is none"),
        (f"ldaps\\://a:{DN}:starttls=yes", "'starttls' is for ldap://"),
        (f"ldaps\\://a:{DN}:starttls=no", "'starttls' is for ldap://"),
        (f"a:{DN}:starttls=maybe", "must be yes or no"),
        (f"a:{DN}:timeout=0", "must be a number from 0.1 to 60"),
        (f"a:{DN}:timeout=nan", "must be a number from 0.1 to 60"),
        (f"a:{DN}:connections=1", "must be a number from 2 to 1000"),
        (f"a:{DN}:connections=2.5", "must be a whole number"),
        (f"a:{DN}:waiting=-1", "must be a number from 0"),
        (f"a:{DN}:idle=0", "must be a number from 1"),
        (f"a:{DN}:password=x", "is not known here"),
        (f"a:{DN}:{DN}", "is there twice"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(text: str, why: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_settings(text)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"a\0b", b"\nlater", b"x" * 5000])
def test_a_secret_is_one_password_that_is_not_empty(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match="must hold a password, and nothing else"):
        parse_settings(f"a:{BASE}:bind=cn=x:secret={path}")
