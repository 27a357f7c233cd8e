"""GSS-API by the real twistd and a real KDC: every level, every command, and hostile tokens."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from socks5d.wire import socks5
from socks5d.wire.address import Address
from socks5d.wire.gssframe import CONTEXT, ENCAPSULATED, PROTECTION, encode_message, parse_message
from socks5d.wire.udp import parse_header
from tests.program.launching import REACH_LOOPBACK, run_twistd
from tests.support import client
from tests.support.datagrams import BUFFER, echoing, to, udp_socket
from tests.support.gssclient import FLAGS, UDP_FLAGS, GSSClient, initiator
from tests.support.kerberos import Realm
from tests.support.origins import echo, origin, receive_all, until_gone
from tests.support.running import PATIENCE
from tests.support.running import Address as SocketAddress
from tests.support.twistd import Twistd, twistd

ANYWHERE = Address(ip_address("0.0.0.0"), 0)
MIB = bytes(range(256)) * 4096


@contextmanager
def serving(keytab: Path, *arguments: str) -> Iterator[Twistd]:
    """twistd with GSS-API, which ends in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KRB5_KTNAME", f"FILE:{keytab}")
        with twistd("--gssapi-service", "rcmd", *REACH_LOOPBACK, *arguments) as server:
            yield server
            assert server.stop() == 0, server.output()
            assert "Traceback" not in server.output()


@pytest.fixture(scope="module")
def server(keytab: Path) -> Iterator[Twistd]:
    with serving(keytab) as running:
        yield running


@contextmanager
def authenticated(
    server: Twistd, tickets: str, level: int, flags: tuple[str, ...] = FLAGS
) -> Iterator[GSSClient]:
    with GSSClient(server.address(), initiator(tickets, flags=flags)) as ours:
        ours.authenticate(level)
        assert ours.level == level
        yield ours


def destination(address: SocketAddress) -> Address:
    return client.destination(*address)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_connect_is_wrapped_both_ways(level: int, server: Twistd, tickets: str) -> None:
    with origin(echo) as where, authenticated(server, tickets, level) as ours:
        reply = ours.request(destination(where))
        assert reply.code == socks5.SUCCEEDED
        assert reply.bound.port != 0

        def send_all() -> None:
            ours.send(MIB)
            ours.half_close()

        sender = threading.Thread(target=send_all)
        sender.start()
        try:
            assert ours.receive(len(MIB)) == MIB
            assert ours.receive(1) == b""
        finally:
            sender.join(PATIENCE)
    server.wait_for(r"identity=gssapi:ann@SOCKS.TEST .* end=finished received=1048576 sent=1048576")


def test_where_each_message_may_be_protected_as_its_sender_likes(
    server: Twistd, tickets: str
) -> None:
    with origin(echo) as where, authenticated(server, tickets, 3) as ours:
        ours.request(destination(where))
        for encrypt in (True, False):
            ours.control.sendall(ours.wrap(b"a message", encrypt=encrypt))
            assert ours.receive(9) == b"a message"


def test_what_is_optimistic_is_kept(server: Twistd, tickets: str) -> None:
    with origin(echo) as where, authenticated(server, tickets, 2) as ours:
        request = socks5.encode_request(socks5.Request(socks5.CONNECT, destination(where)))
        octets = ours.wrap(request) + ours.wrap(b"early") + ours.wrap(b" data")
        for start in range(0, len(octets), 7):
            ours.control.sendall(octets[start : start + 7])
        assert ours.reply().code == socks5.SUCCEEDED
        assert ours.receive(10) == b"early data"


def test_a_refusal_is_wrapped(server: Twistd, tickets: str) -> None:
    with authenticated(server, tickets, 2) as ours:
        reply = ours.request(client.destination("169.254.169.254", 80))
        assert reply.code == socks5.NOT_ALLOWED
        assert ours.receive(1) == b""


@pytest.mark.parametrize("level", [1, 2, 3])
def test_both_replies_to_bind_are_wrapped(level: int, server: Twistd, tickets: str) -> None:
    with authenticated(server, tickets, level) as ours:
        peer_expected = Address(ip_address("127.0.0.1"), 0)
        first = ours.request(peer_expected, socks5.BIND)
        assert first.code == socks5.SUCCEEDED
        with socket.create_connection((str(first.bound.host), first.bound.port), PATIENCE) as peer:
            second = ours.reply()
            assert second.code == socks5.SUCCEEDED
            assert (str(second.bound.host), second.bound.port) == peer.getsockname()
            peer.sendall(b"from the peer")
            assert ours.receive(13) == b"from the peer"
            ours.send(b"from the client")
            ours.half_close()
            assert receive_all(peer) == b"from the client"


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("flags", [UDP_FLAGS, FLAGS], ids=["as for UDP", "as for TCP"])
def test_datagrams_are_wrapped_with_their_headers(
    level: int, flags: tuple[str, ...], server: Twistd, tickets: str
) -> None:
    with (
        echoing() as (host, port),
        authenticated(server, tickets, level, flags) as ours,
        udp_socket() as datagrams,
        udp_socket() as stranger,
    ):
        reply = ours.request(ANYWHERE, socks5.UDP_ASSOCIATE)
        assert reply.code == socks5.SUCCEEDED
        relay = (str(reply.bound.host), reply.bound.port)
        # Neither pins the port: no stranger can make what is the client's.
        stranger.sendto(to(host, port, b"bare"), relay)
        stranger.sendto(encode_message(ENCAPSULATED, bytes(60)), relay)
        for size in (0, 1, 1400, 20_000):
            wrapped = ours.wrap(to(host, port, MIB[:size]))
            datagrams.sendto(wrapped, relay)
            answer = parse_message(datagrams.recv(BUFFER))
            assert answer is not None
            plain = ours.unwrap(answer.value)
            header = parse_header(plain)
            assert header.value.address == client.destination(host, port)
            assert plain[header.end :] == MIB[:size]
            # The same datagram again is a replay, which costs nobody anything.
            datagrams.sendto(wrapped, relay)
    server.wait_for(r"command=\"UDP ASSOCIATE\" .* received=21401 sent=21401 dropped=[56] ")


@pytest.mark.parametrize(
    "tokens",
    [
        "garbage",
        "oversized",
        "replayed",
        "reordered",
        "altered",
        "another type",
        "an abort",
        "bare",
    ],
)
@pytest.mark.parametrize("when", ["as the request", "in the relay"])
def test_a_wrong_token_ends_its_session_alone(
    tokens: str, when: str, server: Twistd, tickets: str
) -> None:
    with (
        origin(until_gone) as where,
        origin(echo) as other,
        authenticated(server, tickets, 2) as neighbour,
        authenticated(server, tickets, 2) as ours,
    ):
        neighbour.request(destination(other))
        if when == "in the relay":
            ours.request(destination(where))
        first, second = ours.wrap(b"\x05\x01"), ours.wrap(b"\x00\x01")
        ours.control.sendall(
            {
                "garbage": encode_message(ENCAPSULATED, b"garbage" * 10),
                "oversized": encode_message(ENCAPSULATED, bytes(65535)),
                "replayed": first + first,
                "reordered": second + first,
                "altered": first[:-1] + bytes((first[-1] ^ 1,)),
                "another type": encode_message(CONTEXT, first[4:]),
                "an abort": b"\x01\xff",
                "bare": b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
            }[tokens]
        )
        assert ours.end() == "reset"
        neighbour.send(b"still here")
        assert neighbour.receive(10) == b"still here"
    server.wait_for("what the client sent cannot be decapsulated")


@pytest.mark.parametrize("flags", [("mutual_authentication",), ("integrity",), UDP_FLAGS])
@pytest.mark.parametrize("order", [(0, 0), (1, 0), (0, 2)], ids=["twice", "swapped", "a gap"])
def test_what_is_out_of_turn_ends_a_stream_whatever_its_client_asked_for(
    order: tuple[int, ...], flags: tuple[str, ...], server: Twistd, tickets: str
) -> None:
    with origin(until_gone) as where, authenticated(server, tickets, 1, flags) as ours:
        ours.request(destination(where))
        messages = [ours.wrap(b"%d" % number) for number in range(3)]
        ours.control.sendall(b"".join(messages[number] for number in order))
        assert ours.end() == "reset"
    server.wait_for("what the client sent cannot be decapsulated")


def test_a_level_of_none_needs_no_order(keytab: Path, tickets: str) -> None:
    context = initiator(tickets, flags=("mutual_authentication",))
    with serving(keytab) as server, GSSClient(server.address(), context) as ours:
        ours.authenticate(0)
        assert client.request5(ours.control, client.destination("169.254.1.1", 80)).code == 2


@pytest.mark.parametrize("flags", [FLAGS, UDP_FLAGS, ("mutual_authentication",)])
def test_datagrams_may_be_lost_and_overtaken_but_none_comes_twice(
    flags: tuple[str, ...], server: Twistd, tickets: str
) -> None:
    with (
        echoing() as (host, port),
        authenticated(server, tickets, 2, flags) as ours,
        udp_socket() as datagrams,
    ):
        reply = ours.request(ANYWHERE, socks5.UDP_ASSOCIATE)
        relay = (str(reply.bound.host), reply.bound.port)
        wrapped = [ours.wrap(to(host, port, b"%03d" % number)) for number in range(100)]

        def answered(number: int) -> bytes:
            datagrams.sendto(wrapped[number], relay)
            answer = parse_message(datagrams.recv(BUFFER))
            assert answer is not None
            return ours.unwrap(answer.value)[-3:]

        for number in (0, 3, 1, 50, 20, 49, 99):
            # Those that were taken before come again, and are nothing.
            assert answered(number) == b"%03d" % number
            datagrams.sendto(wrapped[number], relay)
        # Too old to tell, and overtaken by 63.
        datagrams.sendto(wrapped[35], relay)
        assert answered(36) == b"036"
    server.wait_for(r"command=\"UDP ASSOCIATE\" .* received=24 sent=24 dropped=8 ")


def test_a_client_that_is_cut_off_is_not_taken_for_whole(server: Twistd, tickets: str) -> None:
    def reset_comes(connection: socket.socket) -> None:
        with pytest.raises(ConnectionResetError):
            receive_all(connection)

    with origin(reset_comes) as where, authenticated(server, tickets, 1) as ours:
        ours.request(destination(where))
        ours.control.sendall(ours.wrap(b"the first half, and ") + ours.wrap(b"the second")[:20])
        ours.half_close()
        assert ours.end() == "reset"


@pytest.mark.parametrize(
    "octets",
    [
        encode_message(CONTEXT, b"garbage"),
        encode_message(CONTEXT, bytes(65535)),
        encode_message(PROTECTION, b"\x01"),
        encode_message(ENCAPSULATED, b"x"),
        b"\x05\x01\x00\x01x",
        b"\x01\x09",
    ],
)
def test_a_client_without_a_context_is_aborted(octets: bytes, server: Twistd) -> None:
    with client.dial(server.address()) as connection:
        assert client.greet(connection, b"\x01") == 1
        connection.sendall(octets)
        assert receive_all(connection).endswith(b"\x01\xff")
    server.wait_for('identity=- .* result="not authenticated"')


def test_a_ticket_for_another_service_is_refused(
    server: Twistd, realm: Realm, tickets: str
) -> None:
    realm.keytab("other/localhost")
    with GSSClient(server.address(), initiator(tickets, "other@localhost")) as ours:
        ours.greet()
        with pytest.raises(ConnectionAbortedError):
            ours.establish()


def test_clients_that_offer_no_gssapi_are_not_served(server: Twistd) -> None:
    for methods in (b"\x00", b"\x02", b"\x00\x02"):
        with client.dial(server.address()) as connection:
            assert client.greet(connection, methods) == 0xFF


@pytest.mark.parametrize("nec", [False, True])
def test_a_level_that_is_not_wrapped_is_taken_where_it_is_let_in(
    nec: bool, keytab: Path, tickets: str
) -> None:
    with (
        serving(keytab, *(("--gssapi-nec",) if nec else ())) as server,
        origin(echo) as where,
        GSSClient(server.address(), initiator(tickets)) as ours,
    ):
        ours.greet()
        ours.establish()
        if not nec:
            with pytest.raises(ConnectionAbortedError):
                ours.protect(2, wrapped=False)
            return
        assert ours.protect(2, wrapped=False) == 2
        assert ours.request(destination(where)).code == socks5.SUCCEEDED
        ours.send(b"wrapped all the same")
        assert ours.receive(20) == b"wrapped all the same"


def configured(folder: Path, keytab: Path, text: str) -> tuple[str, ...]:
    """A file with a table for the GSS-API, and the access log."""
    path = folder / "socks5d.toml"
    path.write_text(f"[gssapi]\nkeytab = '{keytab}'\n{text}\n")
    return ("--config", str(path), "--access-log", str(folder / "access.json"))


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "access.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("text", "asked", "taken"),
    [
        ("least = 'integrity'", 0, 1),
        ("least = 'confidentiality'", 1, 2),
        ("least = 'confidentiality'", 3, 2),
        ("most = 'integrity'", 3, 1),
        ("most = 'none'", 2, 0),
    ],
)
def test_the_operator_says_within_what_levels(
    text: str, asked: int, taken: int, tmp_path: Path, keytab: Path, tickets: str
) -> None:
    arguments = configured(tmp_path, keytab, text)
    with (
        twistd(*arguments, *REACH_LOOPBACK) as server,
        GSSClient(server.address(), initiator(tickets)) as ours,
    ):
        ours.greet()
        ours.establish()
        assert ours.protect(asked) == taken


def test_names_and_who_is_let_in_stand_in_the_file(
    tmp_path: Path, realm: Realm, keytab: Path, tickets: str
) -> None:
    realm.add_user("bob")
    text = "principals = 'ann@*'\n[gssapi.names]\n'*@SOCKS.TEST' = 'staff-*'"
    with (
        twistd(*configured(tmp_path, keytab, text), *REACH_LOOPBACK) as server,
        origin(echo) as where,
    ):
        with GSSClient(server.address(), initiator(tickets)) as ours:
            ours.authenticate(1)
            assert ours.request(destination(where)).code == socks5.SUCCEEDED
        with GSSClient(server.address(), initiator(realm.tickets("bob"))) as ours:
            ours.greet()
            with pytest.raises(ConnectionAbortedError):
                ours.establish()
                ours.protect(1)
        server.wait_for('claimed=bob@SOCKS.TEST .* rule="the principal is not let in"')
        assert server.stop() == 0
    granted, refused = sorted(records(tmp_path), key=lambda each: each["result"])
    assert (granted["identity"], granted["identity_source"]) == ("staff-ann", "gssapi")
    assert granted["method"] == 1
    assert (refused["identity"], refused["claimed"]) == (None, "bob@SOCKS.TEST")


def test_it_serves_with_workers(keytab: Path, tickets: str) -> None:
    with serving(keytab, "--workers", "2") as server, origin(echo) as where:
        for _ in range(6):
            with authenticated(server, tickets, 2) as ours:
                assert ours.request(destination(where)).code == socks5.SUCCEEDED
                ours.send(b"to whichever worker")
                assert ours.receive(19) == b"to whichever worker"


def test_passwords_are_taken_beside_it_and_first(keytab: Path, tickets: str) -> None:
    with serving(keytab, "--auth", "memory:ann:secret") as server:
        with client.dial(server.address()) as connection:
            assert client.greet(connection, b"\x00\x01\x02") == 2
        with authenticated(server, tickets, 1) as ours:
            assert ours.request(client.destination("169.254.1.1", 80)).code == socks5.NOT_ALLOWED


def test_without_a_key_it_does_not_start(keytab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_KTNAME", f"FILE:{keytab}")
    done = run_twistd("--gssapi-service", "imap")
    assert done.returncode == 1
    said = (done.stdout + done.stderr).splitlines()
    assert said[-1].startswith("socks5d: gssapi: service 'imap': No key table entry found")
    assert not any("Traceback" in line for line in said)


def test_it_counts_as_authentication(keytab: Path) -> None:
    with serving(keytab, "--listen", "tcp:0:interface=127.0.0.1", "--listen", "tcp:0") as server:
        server.wait_for(r"listening on 0\.0\.0\.0:")
