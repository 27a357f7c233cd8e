"""OpenLDAP's slapd behind the real twistd."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pytest
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred

from socks5d.auth.ldap import ldap_checker
from socks5d.wire.socks5 import SUCCEEDED
from tests.interop.conftest import LOOPBACK
from tests.interop.slapd import HOST, NON_ASCII, OPEN, PASSWORD, PEOPLE, SEARCHER, Slapd
from tests.support.authority import Authority
from tests.support.client import destination, dial, greet, log_in, request5
from tests.support.running import in_reactor
from tests.support.twistd import Twistd, twistd

ACCEPTED, REFUSED = 0, 1
LOGINS = 1000
#: How far the times of a wrong password and of an unknown name may be apart.
APART = 0.05


def by_template(server: str, more: str = "") -> str:
    return f"{server}:dn=uid=%s,{PEOPLE}{more}"


def by_search(server: str, directory: Slapd, more: str = "") -> str:
    return f"{server}:base={PEOPLE}:bind={SEARCHER}:secret={directory.secret}{more}"


@contextmanager
def proxy(argument: str, *options: str) -> Iterator[Twistd]:
    with twistd(*LOOPBACK, "--auth", f"ldap:{argument}", *options) as server:
        yield server
        assert server.stop() == 0, server.output()
        assert "Traceback" not in server.output()
        assert "Warning" not in server.output()
        assert PASSWORD not in server.output()


def status(server: Twistd, name: str | bytes, password: str | bytes = PASSWORD) -> int:
    """What a client is told."""
    octets = [each.encode() if isinstance(each, str) else each for each in (name, password)]
    with dial(server.address()) as connection:
        assert greet(connection, b"\x02") == 2
        return log_in(connection, octets[0], octets[1])


@pytest.fixture(params=["plain", "StartTLS", "ldaps"])
def transport(request: pytest.FixtureRequest, directory: Slapd) -> tuple[str, str]:
    """A server, and what goes behind it."""
    ca = f":ca={directory.authority.certificate}"
    ways = {
        "plain": (directory.ldap, ""),
        "StartTLS": (directory.ldap, f":starttls=yes{ca}"),
        "ldaps": (directory.ldaps, ca),
    }
    return ways[request.param]


@pytest.fixture(params=["template", "search"])
def argument(
    request: pytest.FixtureRequest, directory: Slapd, transport: tuple[str, str]
) -> tuple[str, str]:
    """The way, and what stands behind C{ldap:}."""
    server, more = transport
    if request.param == "template":
        return request.param, by_template(server, more)
    return request.param, by_search(server, directory, more)


def test_who_is_let_in_and_who_is_not(argument: tuple[str, str], tmp_path: Path) -> None:
    way, text = argument
    # Every one is to be asked about, however many have failed.
    (tmp_path / "socks5d.toml").write_text("limits.failures = 100\n")
    with proxy(text, "--config", str(tmp_path / "socks5d.toml")) as server:
        assert status(server, "ann") == ACCEPTED
        assert status(server, "ann", "wrong") == REFUSED
        assert status(server, "ann", "") == REFUSED
        assert status(server, "ann", PASSWORD + "\0") == REFUSED
        assert status(server, "ann", b"\xff" * 255) == REFUSED
        assert status(server, "nobody") == REFUSED
        assert status(server, "") == REFUSED
        assert status(server, "", "") == REFUSED
        assert status(server, "x" * 255) == REFUSED
        assert status(server, "ann", "x" * 255) == REFUSED
        assert status(server, b"ann\xff") == REFUSED
        assert status(server, b"ann\0") == REFUSED
        for name in (
            "*",
            "a*",
            "ann)(uid=*",
            "*)(uid=*))(|(uid=*",
            "ann,ou=people",
            "\\2a",
            "an\\6e",
        ):
            assert status(server, name) == REFUSED, name
        assert status(server, "*(a)") == ACCEPTED
        # Beyond ASCII a template's names might be several for one user.
        non_ascii = ACCEPTED if way == "search" else REFUSED
        assert status(server, *NON_ASCII) == non_ascii
        assert status(server, NON_ASCII[0], NON_ASCII[1] + "x") == REFUSED
        assert status(server, "ann") == ACCEPTED
        assert "not checked" not in server.output()


def test_the_other_ways_to_write_a_name_give_the_same_identity(
    directory: Slapd, argument: tuple[str, str]
) -> None:
    way, text = argument
    with proxy(text) as server:

        def identity(name: str) -> str:
            with dial(server.address()) as connection:
                assert greet(connection, b"\x02") == 2
                assert log_in(connection, name.encode(), PASSWORD.encode()) == ACCEPTED
                port = connection.getsockname()[1]
                reply = request5(connection, destination("127.0.0.1", directory.port))
                assert reply.code == SUCCEEDED
            return server.wait_for(rf":{port} .*identity=(\S+) .*result=granted")[1]

        assert {identity(name) for name in ("ann", "ANN", "aNn")} == {"password:ann"}
        # As the directory has it, or in lower case where it is not asked.
        known = "Bob" if way == "search" else "bob"
        assert {identity(name) for name in ("bob", "Bob", "BOB")} == {f"password:{known}"}
        # A directory takes spaces at either end for nothing.
        if way == "search":
            assert identity(" ann ") == "password:ann"
        else:
            assert status(server, " ann ") == REFUSED


def test_a_certificate_for_another_name_lets_nobody_in(directory: Slapd) -> None:
    ca = f":ca={directory.authority.certificate}"
    for url, more in ((directory.ldap, ":starttls=yes"), (directory.ldaps, "")):
        with proxy(by_template(url.replace(HOST, "127.0.0.1"), more + ca)) as server:
            assert status(server, "ann") == REFUSED
            server.wait_for("the directory .* fails.*its certificate is for another name")


def test_a_certificate_of_another_ca_lets_nobody_in(directory: Slapd, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    for url, more in ((directory.ldap, ":starttls=yes"), (directory.ldaps, "")):
        for ca in (f":ca={other.certificate}", ""):
            with proxy(by_search(url, directory, more + ca)) as server:
                assert status(server, "ann") == REFUSED
                server.wait_for("the directory .* fails.*TLS: .*verify failed")


def test_a_server_without_tls_is_not_spoken_to_without_it(tmp_path: Path) -> None:
    with Slapd(tmp_path, tls=False).running() as directory:
        with proxy(by_template(directory.ldap, ":starttls=yes")) as server:
            assert status(server, "ann") == REFUSED
            server.wait_for("the directory .* fails.*it refuses StartTLS")


def test_a_directory_that_is_restarted_is_used_again(
    directory: Slapd, argument: tuple[str, str]
) -> None:
    with proxy(argument[1]) as server:
        assert status(server, "ann") == ACCEPTED
        directory.stop()
        assert status(server, "ann") == REFUSED
        server.wait_for("the directory .* fails.*it refuses connections")
        assert directory.start()
        assert status(server, "ann") == ACCEPTED
        directory.stop()
        assert directory.start()
        # Nothing is known to have ended before it is asked.
        assert status(server, "ann", "wrong") == REFUSED
        assert status(server, "ann") == ACCEPTED


def test_the_wrong_secret_lets_nobody_in(directory: Slapd, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not the searchers")
    text = f"{directory.ldap}:base={PEOPLE}:bind={SEARCHER}:secret={secret}"
    with proxy(text) as server:
        for _ in range(3):
            assert status(server, "ann") == REFUSED
        server.wait_for("it refuses the account that searches .invalidCredentials.")
        assert server.output().count("it refuses the account") == 1
        assert server.output().count("it has refused the account") == 1
        assert "not the searchers" not in server.output()


def test_who_may_search_is_the_directorys_to_say(directory: Slapd) -> None:
    with proxy(f"{directory.ldap}:base={OPEN}") as server:
        assert status(server, "carl") == ACCEPTED
        assert status(server, "ann") == REFUSED
    with proxy(f"{directory.ldap}:base={PEOPLE}") as server:
        assert status(server, "ann") == REFUSED
        server.wait_for("it does not search .insufficientAccessRights.")


def test_what_is_found_must_be_one_entry_with_one_name(directory: Slapd) -> None:
    text = by_search(directory.ldap, directory, ":filter=(|(uid=%s)(mail=%s)):name=uid")
    with proxy(text) as server:
        assert status(server, "ann@example.org") == ACCEPTED
        assert status(server, "shared@example.org") == REFUSED
        assert status(server, "two") == REFUSED
        server.wait_for("whom it finds has no name: not one value of uid")


@pytest.mark.long
def test_an_unknown_name_takes_as_long_as_a_wrong_password(directory: Slapd) -> None:
    checker = in_reactor(ldap_checker, by_search(directory.ldap, directory))
    ratios = []
    for _ in range(3):
        times: dict[bytes, list[float]] = {b"ann": [], b"nobody": []}
        for name in (b"ann", b"nobody") * LOGINS:

            def timed(name: bytes = name, times: Any = times) -> Deferred[Any]:
                begun = perf_counter()
                answer: Deferred[Any] = checker.requestAvatarId(UsernamePassword(name, b"wrong"))
                return answer.addErrback(lambda _: times[name].append(perf_counter() - begun))

            in_reactor(timed)
        ratios.append(median(times[b"nobody"]) / median(times[b"ann"]))
    in_reactor(checker.close)
    assert min(abs(ratio - 1) for ratio in ratios) < APART, ratios
