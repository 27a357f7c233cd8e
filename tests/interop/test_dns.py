"""DNS over UDP: PySocks' datagrams, and drill's by Dante's library, to a real DNS server."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.names import dns

from tests.interop.conftest import LOOPBACK
from tests.interop.dnsserver import HOSTS, IPV4, IPV6, NOTE, NOTED, ZONE, Question
from tests.interop.programs import DEADLINE, require, running, socksified
from tests.support.running import Address
from tests.support.twistd import twistd

Credentials = tuple[str, str] | None

QUESTIONS = {
    Question("www." + ZONE, dns.A, 11): [IPV4],
    Question("www." + ZONE, dns.AAAA, 12): [IPV6],
    Question(NOTED, dns.TXT, 13): [NOTE],
}


@contextmanager
def association(
    socks: Any, proxy: Address, credentials: Credentials = None, rdns: bool = True
) -> Iterator[Any]:
    """A PySocks socket for datagrams."""
    username, password = credentials or (None, None)
    with socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(DEADLINE)
        datagrams.set_proxy(socks.SOCKS5, *proxy, rdns, username, password)
        yield datagrams


def ask(datagrams: Any, server: Address, question: Question) -> tuple[list[str], Address]:
    """Send a question; gives the answers, and where they came from."""
    octets = question.encode()
    assert datagrams.sendto(octets, server) == len(octets)
    answer, source = datagrams.recvfrom(4096)
    return question.answered(answer), source


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("credentials", [None, ("user", "pass")], ids=["open", "password"])
def test_pysocks_asks_a_server_by_its_address(
    credentials: Credentials,
    host: str,
    dns_port: int,
    socks: Any,
    request: pytest.FixtureRequest,
) -> None:
    proxy = request.getfixturevalue("password_proxy" if credentials else "open_proxy")
    server = host, dns_port
    with association(socks, proxy, credentials) as datagrams:
        for question, answers in QUESTIONS.items():
            assert ask(datagrams, server, question) == (answers, server)


@pytest.mark.parametrize("rdns", [True, False], ids=["rdns", "own dns"])
def test_pysocks_asks_a_server_by_its_name(
    rdns: bool, dns_port: int, socks: Any, open_proxy: Address
) -> None:
    with association(socks, open_proxy, rdns=rdns) as datagrams:
        for question, answers in QUESTIONS.items():
            said, (host, port) = ask(datagrams, ("localhost", dns_port), question)
            assert said == answers
            assert host in HOSTS
            assert port == dns_port


@pytest.mark.parametrize("credentials", [("user", "wrong"), None], ids=["wrong", "none"])
def test_pysocks_is_not_let_in_without_the_right_password(
    credentials: Credentials, dns_port: int, socks: Any, password_proxy: Address
) -> None:
    with association(socks, password_proxy, credentials) as datagrams:
        with pytest.raises(socks.SOCKS5AuthError):
            ask(datagrams, (HOSTS[0], dns_port), Question(ZONE))


@pytest.mark.parametrize("count", [1000])
def test_many_questions_are_asked_in_one_association(count: int, dns_port: int, socks: Any) -> None:
    server = HOSTS[0], dns_port
    questions = [Question(f"host{number}.{ZONE}", number=number) for number in range(count)]
    with twistd(*LOOPBACK) as proxy:
        with association(socks, proxy.address()) as datagrams:
            for question in questions:
                assert ask(datagrams, server, question) == ([IPV4], server)
        # An answer is the question, and a record of 16 octets.
        octets = sum(len(question.encode()) for question in questions)
        proxy.wait_for(
            rf"session=1 .*ASSOCIATE.* received={octets} sent={octets + 16 * count} dropped=0 "
        )
        assert proxy.stop() == 0
        assert "Traceback" not in proxy.output()


@pytest.mark.parametrize(
    ("rules", "denied"),
    [
        ((*LOOPBACK, "--deny", "127.0.0.9"), "127.0.0.9"),
        (("--allow", "127.0.0.1:{port}"), "127.0.0.1"),
        ((*LOOPBACK, "--deny", "localhost"), "localhost"),
    ],
    ids=["address", "port", "name"],
)
def test_what_is_denied_gets_no_question_and_the_next_is_answered(
    rules: tuple[str, ...], denied: str, dns_port: int, socks: Any
) -> None:
    server = HOSTS[0], dns_port
    with (
        twistd(*(rule.format(port=dns_port) for rule in rules)) as proxy,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
    ):
        silent.bind((denied, 0))
        silent.setblocking(False)
        port = silent.getsockname()[1]
        with association(socks, proxy.address()) as datagrams:
            for number in (1, 2, 3):
                datagrams.sendto(Question(ZONE, number=number).encode(), (denied, port))
                question = Question(ZONE, number=number + 10)
                assert ask(datagrams, server, question) == ([IPV4], server)
        record = proxy.wait_for(r"session=1 .*ASSOCIATE.* result=granted .*dropped=3 ")
        assert f"{denied}:{port}" in record.string
        with pytest.raises(BlockingIOError):
            silent.recv(1)
        assert proxy.stop() == 0


@pytest.mark.parametrize("credentials", [None, ("ann", "secret")], ids=["open", "password"])
def test_drill_asks_by_dantes_library(credentials: Credentials, dns_port: int) -> None:
    auth = () if credentials is None else ("--auth", "memory:ann:secret")
    identity = "-" if credentials is None else "password:ann"
    with twistd(*LOOPBACK, *auth) as proxy:
        drill = [require("drill", "ldnsutils"), "-p", str(dns_port), f"@{HOSTS[0]}", ZONE, "A"]
        with running(socksified(drill, proxy.address(), "5", credentials)) as process:
            said = process.stdout.read().decode()
        assert "rcode: NOERROR" in said
        assert IPV4 in said.split()
        # By this proxy indeed.
        proxy.wait_for(rf"identity={identity} .*ASSOCIATE.* result=granted .*dropped=0 ")
        assert proxy.stop() == 0
