"""GSS-API in a server: a call that blocks holds up nobody else."""

import socket
import threading
from contextlib import ExitStack

from socks5d.auth import NoAuthentication
from socks5d.auth.blocking import login_threads
from socks5d.auth.gssapi import GSSAPIAuthenticator
from socks5d.auth.gsscontext import NotEstablished
from socks5d.model import Outcome
from socks5d.parameters import Limits, Timeouts
from socks5d.wire.gssframe import CONTEXT, encode_message
from tests.support import client
from tests.support.origins import echo, origin, receive_all, receive_exactly
from tests.support.running import PATIENCE, Observed, in_reactor, proxy, reactor
from tests.support.waiting import readable


class Hanging:
    """A context whose step hangs until it is released, and then fails."""

    complete = False
    principal = None
    integrity = confidentiality = True

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()

    def step(self, token: bytes) -> bytes:
        self.begun.set()
        assert self.released.wait(PATIENCE)
        raise NotEstablished("no")

    def wrap(self, data: bytes, confidential: bool) -> bytes:
        raise AssertionError("nothing is established")

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        raise AssertionError("nothing is established")

    def unwrap_datagram(self, token: bytes) -> tuple[bytes, bool]:
        raise AssertionError("nothing is established")

    def room(self, token: int, confidential: bool) -> int:
        raise AssertionError("nothing is established")


def test_a_step_that_hangs_holds_up_its_own_client_alone() -> None:
    context = Hanging()
    ours = [GSSAPIAuthenticator(lambda: context, reactor), NoAuthentication()]
    with (
        origin(echo) as (host, port),
        proxy(authenticators=ours) as server,
        client.dial(server) as held_up,
        client.dial(server) as other,
    ):
        assert client.greet(held_up, b"\x01") == 1
        held_up.sendall(encode_message(CONTEXT, b"token"))
        assert context.begun.wait(PATIENCE)
        client.greet(other)
        assert client.request5(other, client.destination(host, port)).code == 0
        other.sendall(b"served meanwhile")
        assert receive_exactly(other, 16) == b"served meanwhile"
        context.released.set()
        assert receive_all(held_up) == b"\x01\xff"


def test_a_client_that_begins_many_contexts_keeps_nobody_else_out() -> None:
    contexts: list[Hanging] = []

    def make() -> Hanging:
        contexts.append(Hanging())
        return contexts[-1]

    def begin(source: str) -> socket.socket:
        connection = crowd.enter_context(client.dial(server, source))
        assert client.greet(connection, b"\x01") == 1
        connection.sendall(encode_message(CONTEXT, b"token"))
        return connection

    seen = Observed()
    in_reactor(lambda: login_threads(reactor).limit(threads=2, jobs=8))
    try:
        with (
            ExitStack() as crowd,
            proxy(seen, authenticators=[GSSAPIAuthenticator(make, reactor)]) as server,
        ):
            waiting = [begin("127.0.0.1") for _ in range(10)]

            def leaves(number: int) -> None:
                connection, *_ = readable(waiting, PATIENCE)
                assert receive_all(connection) == b"\x01\xff"
                connection.close()
                waiting.remove(connection)
                assert seen.record(number).rule == "too many logins at once"

            # One runs, and seven wait for it.
            for number in range(2):
                leaves(number)
            other = begin("127.0.0.2")
            # The last of those who have most gives its place.
            leaves(2)
            # In the reactor's thread, which makes a context after it has selected the method.
            newest = in_reactor(lambda: contexts[-1])
            assert newest.begun.wait(PATIENCE)
            assert sum(each.begun.is_set() for each in contexts) == 2
            for context in contexts:
                context.released.set()
            for connection in (*waiting, other):
                assert receive_all(connection) == b"\x01\xff"
    finally:
        for context in contexts:
            context.released.set()
        usual = Limits()
        in_reactor(
            lambda: login_threads(reactor).limit(threads=usual.login_threads, jobs=usual.logins)
        )


def test_a_step_that_takes_too_long_is_an_abort() -> None:
    context = Hanging()
    seen = Observed()
    with (
        proxy(
            seen,
            authenticators=[GSSAPIAuthenticator(lambda: context, reactor)],
            timeouts=Timeouts(decision=0.1),
        ) as server,
        client.dial(server) as held_up,
    ):
        assert client.greet(held_up, b"\x01") == 1
        held_up.sendall(encode_message(CONTEXT, b"token"))
        assert receive_all(held_up) == b"\x01\xff"
        held_up.close()
        assert seen.record().outcome is Outcome.NOT_AUTHENTICATED
        context.released.set()
