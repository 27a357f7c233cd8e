"""The handshake over real sockets: what is malformed, too much, too late, or cut up."""

import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5d.auth import AnyUserID, NoAuthentication, PasswordAuthenticator, UserIDList
from socks5d.model import Outcome
from socks5d.parameters import Limits, Timeouts
from socks5d.wire import socks4, socks5, userpass
from socks5d.wire.address import Address
from socks5d.wire.userpass import Credentials
from tests.support import client
from tests.support.origins import echo, origin, receive_all, receive_exactly
from tests.support.running import Observed, proxy, reactor


def passwords(**known: str) -> PasswordAuthenticator:
    from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse

    checker = InMemoryUsernamePasswordDatabaseDontUse()
    for name, password in known.items():
        checker.addUser(name.encode(), password.encode())
    return PasswordAuthenticator([checker], reactor, 5.0)


def said(server: tuple[str, int], octets: bytes) -> bytes:
    """Everything the server says to some octets, to its FIN."""
    with client.dial(server) as connection:
        connection.sendall(octets)
        return receive_all(connection)


GENERAL_FAILURE = b"\x05\x01\x00\x01\0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"\x05\xff", id="another protocol"),
        pytest.param(b"\x05\x00", b"\x05\xff", id="no method at all"),
        pytest.param(b"\x05\x01\x01", b"\x05\xff", id="no method of ours"),
        pytest.param(b"\x05\x02\x01\xff", b"\x05\xff", id="FF is no method"),
        pytest.param(b"\x05\x01\x00\x04", b"\x05\x00" + GENERAL_FAILURE, id="VER of a request"),
        pytest.param(
            b"\x05\x01\x00\x05\x09", b"\x05\x00\x05\x07\x00\x01\0\0\0\0\0\0", id="unknown CMD"
        ),
        pytest.param(
            b"\x05\x01\x00\x05\x01\x00\x02",
            b"\x05\x00\x05\x08\x00\x01\0\0\0\0\0\0",
            id="unknown ATYP",
        ),
        pytest.param(b"\x04\x03\0\x50", b"\x00\x5b\0\0\0\0\0\0", id="unknown CD"),
        pytest.param(
            b"\x04\x01\0\x50\0\0\0\1" + b"x" * 256, b"\x00\x5b\0\0\0\0\0\0", id="long USERID"
        ),
        pytest.param(
            b"\x04\x01\0\x50\0\0\0\1\0" + b"x" * 256, b"\x00\x5b\0\0\0\0\0\0", id="long HOSTNAME"
        ),
    ],
)
def test_what_is_malformed_is_answered_in_its_own_terms(octets: bytes, answer: bytes) -> None:
    seen = Observed()
    with proxy(seen) as server:
        assert said(server, octets) == answer
        assert seen.record().outcome in (Outcome.MALFORMED, Outcome.NO_ACCEPTABLE_METHOD)


def test_a_wrong_version_of_the_sub_negotiation_is_a_failure_of_it() -> None:
    with proxy(authenticators=[passwords(ann="secret")]) as server:
        assert said(server, b"\x05\x01\x02\x05") == b"\x05\x02\x01\x01"


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (b"ann", b"wrong"),
        (b"bob", b"secret"),
        (b"", b""),
        (b"ann", b""),
        (b"\xff" * 255, b"x" * 255),
    ],
)
def test_wrong_credentials_are_refused_and_the_connection_closes(
    username: bytes, password: bytes
) -> None:
    seen = Observed()
    with proxy(seen, authenticators=[passwords(ann="secret")]) as server:
        with client.dial(server) as connection:
            assert client.greet(connection, b"\x00\x02") == 2
            assert client.log_in(connection, username, password) == userpass.FAILURE
            assert receive_all(connection) == b""
        record = seen.record()
        assert record.outcome is Outcome.NOT_AUTHENTICATED
        assert record.identity.name is None
        assert "secret" not in repr(record)


def test_right_credentials_give_the_session_its_identity() -> None:
    seen = Observed()
    with (
        origin(echo) as (host, port),
        proxy(seen, authenticators=[passwords(ann="secret")]) as server,
        client.dial(server) as connection,
    ):
        assert client.greet(connection, b"\x00\x01\x02\xfe") == 2
        assert client.log_in(connection, b"ann", b"secret") == userpass.SUCCESS
        reply = client.request5(connection, client.destination(host, port))
        assert reply.code == socks5.SUCCEEDED
        connection.close()
        identity = seen.record().identity
        assert (identity.name, identity.source) == ("ann", "password")


def test_the_servers_order_of_methods_counts() -> None:
    both = [passwords(ann="secret"), NoAuthentication()]
    with proxy(authenticators=both) as server, client.dial(server) as connection:
        assert client.greet(connection, b"\x00\x02") == 2
    with proxy(authenticators=both[::-1]) as server, client.dial(server) as connection:
        assert client.greet(connection, b"\x02\x00") == 0


def test_socks_4_is_not_a_way_around_passwords() -> None:
    seen = Observed()
    with origin(echo) as (host, port):
        with proxy(seen, authenticators=[passwords(ann="secret")]) as server:
            connection, reply = client.connect4(server, host, port, b"ann")
            with connection:
                assert reply.code == socks4.REJECTED
                assert receive_all(connection) == b""
            assert seen.record().claimed == "ann"


def test_listed_userids_alone_are_let_in() -> None:
    seen = Observed()
    lists = [NoAuthentication(), UserIDList(["ann", "bob"])]
    with origin(echo) as (host, port), proxy(seen, authenticators=lists) as server:
        for number, (userid, code) in enumerate(
            [(b"ann", 90), (b"bob", 90), (b"eve", 91), (b"", 91), (b"ANN", 91), (b"ann\xff", 91)]
        ):
            connection, reply = client.connect4(server, host, port, userid)
            connection.close()
            assert reply.code == code, userid
            record = seen.record(number)
            name = userid.decode() if code == 90 else None
            assert (record.identity.name, record.identity.source) == (
                name,
                "userid" if name else "none",
            )


def test_a_handshake_that_takes_too_long_ends() -> None:
    seen = Observed()
    with proxy(seen, timeouts=Timeouts(handshake=0.05)) as server:
        for number, start in enumerate((b"", b"\x05", b"\x05\x01\x00\x05\x01", b"\x04\x01")):
            with client.dial(server) as connection:
                connection.sendall(start)
                receive_all(connection)
            assert seen.record(number).outcome is Outcome.HANDSHAKE_TIMED_OUT


def test_a_client_that_leaves_in_the_middle_is_forgotten() -> None:
    seen = Observed()
    with proxy(seen) as server:
        for number, start in enumerate((b"", b"\x05", b"\x05\x01\x00", b"\x04\x01")):
            with client.dial(server) as connection:
                connection.sendall(start)
                connection.shutdown(socket.SHUT_WR)
                receive_all(connection)
            record = seen.record(number)
            assert (record.outcome, record.handshake) == (Outcome.CLIENT_LEFT, len(start))


def test_a_handshake_over_its_octets_ends() -> None:
    """Only a method without bounds of its own can get that far."""
    from tests.protocols.test_seams import Endless

    seen = Observed()
    with proxy(seen, authenticators=[Endless()], limits=Limits(handshake=2000)) as server:
        with client.dial(server) as connection:
            assert client.greet(connection, b"\x80") == 0x80
            connection.sendall(b"x" * 5000)
            receive_all(connection)
        assert seen.record().outcome is Outcome.OVER_BUDGET


# Optimistic data: whichever way the octets are cut up, nothing of them is lost.

DATA = bytes(range(256)) * 3


def conversations(port: int) -> dict[str, tuple[bytes, int]]:
    """What a client sends at once, and how many octets the server answers before the data."""
    request = socks5.encode_request(socks5.Request(1, client.destination("127.0.0.1", port)))
    by_name = socks5.encode_request(socks5.Request(1, Address(b"localhost", port)))
    login = userpass.encode_credentials(Credentials(b"ann", b"secret"))
    four = socks4.encode_request(socks4.Request(1, client.destination("127.0.0.1", port), b"me"))
    four_a = socks4.encode_request(socks4.Request(1, Address(b"localhost", port), b"me"))
    return {
        "4": (four, 8),
        "4a": (four_a, 8),
        "5": (b"\x05\x01\x00" + request, 12),
        "5 by name": (b"\x05\x01\x00" + by_name, 12),
        "5 with a password": (b"\x05\x01\x02" + login + request, 14),
    }


@pytest.fixture(scope="module")
def cut_server() -> Any:
    everybody = [passwords(ann="secret"), NoAuthentication(), AnyUserID()]
    with origin(echo) as (_, port), proxy(authenticators=everybody) as server:
        yield server, port


@pytest.mark.parametrize("which", list(conversations(1)))
def test_octet_by_octet_with_data_behind_nothing_is_lost(which: str, cut_server: Any) -> None:
    server, port = cut_server
    opening, answer = conversations(port)[which]
    with client.dial(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in opening + DATA[:40]:
            connection.send(bytes((octet,)))
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection)[answer:] == DATA[:40]


@settings(max_examples=60)
@given(
    which=st.sampled_from(list(conversations(1))),
    cuts=st.lists(st.integers(0, 800), max_size=6),
)
def test_however_it_is_cut_up_nothing_is_lost(which: str, cuts: list[int], cut_server: Any) -> None:
    server, port = cut_server
    opening, answer = conversations(port)[which]
    everything = opening + DATA
    with client.dial(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = 0
        for cut in [*sorted(cuts), len(everything)]:
            connection.sendall(everything[start:cut])
            start = max(start, cut)
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection)[answer:] == DATA


@pytest.mark.parametrize("early", [0, 1, 100])
def test_a_small_room_for_early_octets_does_not_stop_a_handshake(early: int) -> None:
    with origin(echo) as (_, port), proxy(limits=Limits(early=early)) as server:
        for opening, answer in (conversations(port)["4a"], conversations(port)["5 by name"]):
            with client.dial(server) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for octet in opening:
                    connection.send(bytes((octet,)))
                connection.sendall(DATA)
                connection.shutdown(socket.SHUT_WR)
                assert receive_all(connection)[answer:] == DATA


def test_a_megabyte_before_the_first_answer_is_kept(cut_server: Any) -> None:
    server, port = cut_server
    opening, answer = conversations(port)["5 with a password"]
    early = DATA * 1400
    with client.dial(server) as connection:
        import threading

        def send() -> None:
            connection.sendall(opening + early)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert receive_all(connection)[answer:] == early
        sender.join()


def test_what_the_origin_says_first_comes_right_behind_the_reply() -> None:
    with origin(lambda connection: connection.sendall(b"220 ready\r\n")) as (host, port):
        with proxy() as server:
            connection, reply = client.connect5(server, host, port)
            with connection:
                assert reply.code == socks5.SUCCEEDED
                assert receive_exactly(connection, 11) == b"220 ready\r\n"
                assert receive_all(connection) == b""
