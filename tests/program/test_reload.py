"""SIGHUP: settings are read anew, in all processes, and nobody notices who need not."""

import hashlib
import os
import re
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from socks5d.wire import socks4, socks5
from tests.program.certificates import make_certificate
from tests.program.launching import address_of, echoes
from tests.program.test_workers import Workers, until
from tests.support.client import connect4, connect5, dial
from tests.support.datagrams import Associated, echoing, udp_socket, until_taken
from tests.support.origins import echo, origin, receive_all
from tests.support.running import PATIENCE, Address
from tests.support.twistd import Twistd, twistd

LISTEN = "tcp:0:interface=127.0.0.1"
OTHER = "tcp:0:interface=127.0.0.2"
PERMIT = 'allow = ["127.0.0.0/8"]\n'
#: What denies everything that the tests connect to.
DENY = 'allow = ["192.0.2.1"]\n'
#: More descriptors than a server has that serves nobody.
MANY = 40


def write(path: Path, workers: int, text: str, listen: str) -> None:
    path.write_text(f"listen = {listen.split()}\nworkers = {workers}\n{text}")


class Reloading:
    """
    A server, and its file.

    @ivar server: its process, the parent's where there are workers.
    """

    def __init__(self, server: Twistd, path: Path, workers: int) -> None:
        self.server = server
        self._path = path
        self._workers = workers

    def write(self, text: str, listen: str = LISTEN) -> None:
        write(self._path, self._workers, text, listen)

    def outcomes(self) -> list[str]:
        """What came of every reload so far, without what a new one would still say."""
        return re.findall(r"socks5d: (reloaded: .*|not reloaded: .*)", self.server.output())

    def hang_up(self) -> str:
        """Signal it, and wait for what comes of it."""
        before = len(self.outcomes())
        os.kill(self.server.process.pid, signal.SIGHUP)
        until(lambda: len(self.outcomes()) > before)
        return self.outcomes()[before]

    def judged(self) -> list[int]:
        """How many running sessions were judged anew, each time."""
        found = re.findall(r"(\d+) sessions were judged", self.server.output())
        return [int(each) for each in found]

    def becomes(self, text: str, listen: str = LISTEN) -> str:
        """Write the file anew, and tell the server."""
        self.write(text, listen)
        return self.hang_up()


@contextmanager
def reloading(folder: Path, workers: int, text: str, listen: str = LISTEN) -> Iterator[Reloading]:
    """A server whose file says this, and that serves."""
    path = folder / "socks5d.toml"
    write(path, workers, text, listen)
    with twistd("--config", str(path), listen=None) as server:
        children: list[int] = []
        processes = Workers(server, workers)
        try:
            if workers > 1:
                processes.all_serve()
            else:
                connect5(server.address(), "127.0.0.1", 1)[0].close()
            yield Reloading(server, path, workers)
        finally:
            if server.process.poll() is None:
                children = processes.children()
                server.process.kill()
            for pid in children:
                processes.waits_for_gone(pid)


@pytest.fixture(params=[1, 2])
def workers(request: pytest.FixtureRequest) -> int:
    """How many processes serve."""
    count: int = request.param
    return count


def reply(server: Address, where: Address) -> int:
    """What becomes of a request."""
    connection, answer = connect5(server, *where)
    connection.close()
    return answer.code


# What is right, and what is wrong.


def test_other_rules_hold_for_new_sessions_and_running_ones_stay(
    workers: int, tmp_path: Path
) -> None:
    with reloading(tmp_path, workers, PERMIT) as made, origin(echo) as where:
        server = made.server.address()
        running, answer = connect5(server, *where)
        with running:
            assert answer.code == socks5.SUCCEEDED
            assert made.becomes(DENY) == (
                "reloaded: of the listeners 1 stay, 0 are new, 0 are gone"
            )
            assert {reply(server, where) for _ in range(8)} == {socks5.NOT_ALLOWED}
            echoes(running)
        made.becomes(PERMIT)
        assert {reply(server, where) for _ in range(8)} == {socks5.SUCCEEDED}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("allw = []", r"/\S+socks5d.toml:3: allw: unknown key; did you mean 'allow'\?"),
        ("allow = [", r"/\S+socks5d.toml: is no TOML: .*"),
        ("auth = ['file:/none']", r"/\S+socks5d.toml:3: auth\S*: 'file': '/none' cannot be read.*"),
        ("access_log = 'log'", r"access_log: only a restart changes it; it is not set now.*"),
        (f"userid = 'ann'\n{PERMIT}[quota]\noctets = 5", r"quota .*: only a restart changes it.*"),
        ("listen = []", r"/\S+socks5d.toml.*"),
    ],
)
def test_a_wrong_file_changes_nothing_and_says_why(
    text: str, problem: str, workers: int, tmp_path: Path
) -> None:
    with reloading(tmp_path, workers, PERMIT) as made, origin(echo) as where:
        outcome = made.becomes(text)
        assert re.fullmatch(f"not reloaded: {problem}", outcome), outcome
        assert {reply(made.server.address(), where) for _ in range(8)} == {socks5.SUCCEEDED}
        assert "reloaded: of" in made.becomes(DENY)
        assert reply(made.server.address(), where) == socks5.NOT_ALLOWED


def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    with reloading(tmp_path, 1, PERMIT) as made, origin(echo) as where:
        (tmp_path / "socks5d.toml").unlink()
        assert re.fullmatch(r"not reloaded: \S+: cannot be read: No such .*", made.hang_up())
        assert reply(made.server.address(), where) == socks5.SUCCEEDED


def test_without_a_file_options_and_what_they_name_are_read_anew(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("ann:secret\n")
    with twistd("--auth", f"file:{users}") as server:
        made = Reloading(server, tmp_path / "none", 1)
        server.address()
        assert made.hang_up().startswith("reloaded: ")
        users.unlink()
        assert re.search(r"'file': \S+ cannot be read", made.hang_up())


def test_lists_are_read_anew(workers: int, tmp_path: Path) -> None:
    names = tmp_path / "addresses"
    names.write_text("127.0.0.0/8\n")
    text = f"[list.mine]\naddresses_file = '{names}'\n[[rule]]\naction = 'permit'\nto = '@mine'\n"
    with reloading(tmp_path, workers, text) as made, origin(echo) as where:
        server = made.server.address()
        assert reply(server, where) == socks5.SUCCEEDED
        names.write_text("192.0.2.0/24\n")
        made.hang_up()
        assert {reply(server, where) for _ in range(8)} == {socks5.NOT_ALLOWED}


def test_limits_change_and_count_what_there_is(workers: int, tmp_path: Path) -> None:
    with reloading(tmp_path, workers, f"{PERMIT}[limits]\nclient_sessions = 1\n") as made:
        server = made.server.address()
        with origin(echo) as where:
            # What had tried whether it serves may be counted still.
            first: list[socket.socket | None] = []
            until(lambda: first.append(one_more(server, where)) or first[-1])  # type: ignore[func-returns-value]
            assert first[-1] is not None
            with first[-1]:
                assert one_more(server, where) is None
                made.becomes(f"{PERMIT}[limits]\nclient_sessions = 2\n")
                second = one_more(server, where)
                assert second is not None
                with second:
                    assert one_more(server, where) is None
                made.becomes(PERMIT)
                third, fourth = one_more(server, where), one_more(server, where)
                assert third is not None
                assert fourth is not None
                third.close()
                fourth.close()


def one_more(server: Address, where: Address) -> socket.socket | None:
    """A session, or None for one too many."""
    with suppress(ConnectionError):
        connection, answer = connect5(server, *where)
        if answer.code == socks5.SUCCEEDED:
            return connection
        connection.close()
    return None


def test_a_version_can_be_switched_off(tmp_path: Path) -> None:
    with reloading(tmp_path, 1, PERMIT) as made, origin(echo) as where:
        server = made.server.address()
        connection, granted = connect4(server, *where)
        connection.close()
        made.becomes(f"{PERMIT}socks4 = false\n")
        connection, refused = connect4(server, *where)
        connection.close()
        assert (granted.code, refused.code) == (socks4.GRANTED, socks4.REJECTED)


# Sessions that run.


def until_cut_off(connection: socket.socket) -> None:
    """What the far end of a session sees that is ended."""
    with pytest.raises(ConnectionResetError):
        receive_all(connection)


def test_sessions_that_are_denied_end_where_that_is_wanted(workers: int, tmp_path: Path) -> None:
    with (
        reloading(tmp_path, workers, PERMIT) as made,
        origin(until_cut_off) as where,
        origin(echo, "127.0.0.3") as other,
    ):
        server = made.server.address()
        denied = [connect5(server, *where)[0] for _ in range(6)]
        staying = [connect5(server, *other)[0] for _ in range(6)]
        made.becomes('deny = ["127.0.0.1"]\nreload_ends_denied = true\n' + PERMIT)
        for connection in denied:
            with connection, pytest.raises(ConnectionResetError):
                connection.recv(1)
        for connection in staying:
            with connection:
                echoes(connection)
        until(lambda: sum(made.judged()) == 12)
        until(lambda: made.server.output().count('end="reload: deny 127.0.0.1"') == 6)


def test_datagrams_are_judged_by_the_new_rules_where_that_is_wanted(
    workers: int, tmp_path: Path
) -> None:
    with (
        reloading(tmp_path, workers, PERMIT) as made,
        echoing() as where,
        Associated(made.server.address()) as client,
    ):
        assert client.ask(*where, b"one") == b"one"
        made.becomes(f"{DENY}reload_ends_denied = true\n")
        until(lambda: sum(made.judged()) == 1)
        client.send(*where, b"two")
        until_taken(client.relay)
        made.becomes(f"{PERMIT}reload_ends_denied = true\n")
        until(lambda: sum(made.judged()) == 2)
        assert client.ask(*where, b"three") == b"three"


def test_who_is_denied_by_the_new_rules_can_answer_no_more(tmp_path: Path) -> None:
    with (
        reloading(tmp_path, 1, PERMIT) as made,
        echoing() as where,
        udp_socket() as peer,
        Associated(made.server.address()) as client,
    ):
        host, port = peer.getsockname()
        client.send(host, port, b"hello")
        _, relay = peer.recvfrom(16)
        made.becomes(f"{DENY}reload_ends_denied = true\n")
        until(lambda: sum(made.judged()) == 1)
        peer.sendto(b"denied", relay)
        until_taken(relay)
        made.becomes(f"{PERMIT}reload_ends_denied = true\n")
        until(lambda: sum(made.judged()) == 2)
        assert client.ask(*where, b"permitted") == b"permitted"


def test_who_was_let_in_under_rules_that_hold_no_more_is_judged_by_the_new(
    tmp_path: Path,
) -> None:
    with reloading(tmp_path, 1, PERMIT) as made, origin(until_cut_off) as where:
        with dial(made.server.address()) as connection:
            connection.sendall(socks5.encode_greeting(b"\x00"))
            assert connection.recv(2) == b"\x05\x00"
            made.becomes(f"{DENY}reload_ends_denied = true\n")
            host, port = where
            connection.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(host) + port.to_bytes(2))
            with suppress(ConnectionResetError):
                receive_all(connection)
        made.server.wait_for("1 sessions were judged by the new rules, and 1 ended")


# Listeners.


def test_listeners_come_and_go_and_those_that_stay_keep_their_sockets(
    workers: int, tmp_path: Path
) -> None:
    with reloading(tmp_path, workers, PERMIT) as made, origin(echo) as where:
        first = made.server.address()
        outcome = made.becomes(PERMIT, f"{OTHER} {LISTEN}")
        assert outcome.endswith("1 stay, 1 are new, 0 are gone")
        second = address_of(made.server, OTHER)
        for server in (first, second):
            assert {reply(server, where) for _ in range(8)} == {socks5.SUCCEEDED}
        running, _ = connect5(first, *where)
        with running:
            assert made.becomes(PERMIT, OTHER).endswith("1 stay, 0 are new, 1 are gone")
            until(lambda: refuses(first))
            assert {reply(second, where) for _ in range(8)} == {socks5.SUCCEEDED}
            echoes(running)


def refuses(server: Address) -> bool:
    try:
        dial(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_new_listener_is_protected(workers: int, tmp_path: Path) -> None:
    text = 'allow = ["*"]\n'
    with reloading(tmp_path, workers, text) as made:
        made.becomes(text, f"{LISTEN} {OTHER}")
        assert reply(made.server.address(), address_of(made.server, OTHER)) == socks5.NOT_ALLOWED


def test_a_listener_that_cannot_be_had_changes_nothing(workers: int, tmp_path: Path) -> None:
    with (
        reloading(tmp_path, workers, PERMIT) as made,
        origin(echo) as where,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        second = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        outcome = made.becomes(DENY, f"{LISTEN} {OTHER} {second}")
        assert re.fullmatch(rf"not reloaded: listen '{second}': .*in use.*", outcome), outcome
        assert reply(made.server.address(), where) == socks5.SUCCEEDED
        # What had been opened for it is closed again.
        made.server.wait_for("no more listening on 127.0.0.2")
        assert refuses(address_of(made.server, OTHER))


def test_a_listener_that_would_be_open_to_strangers_changes_nothing(
    workers: int, tmp_path: Path
) -> None:
    text = f'{PERMIT}allow_from = ["127.0.0.0/8"]\n'
    with reloading(tmp_path, workers, text, "tcp:0") as made:
        assert "would be an open proxy" in made.becomes(PERMIT, "tcp:0")
        _, port = made.server.address()
        with origin(echo) as where:
            assert reply(("127.0.0.1", port), where) == socks5.SUCCEEDED


def test_certificates_are_read_anew(workers: int, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "certificate.pem")
    listen = f"ssl:0:interface=127.0.0.1:privateKey={certificate}"
    with reloading(tmp_path, workers, PERMIT, LISTEN) as made:
        made.becomes(PERMIT, f"{LISTEN} {listen}")
        address = address_of(made.server, listen)
        before = certificate_of(address)
        make_certificate(certificate)
        assert certificate_of(address) == before
        made.hang_up()
        after = {certificate_of(address) for _ in range(8)}
        assert after == {ssl.PEM_cert_to_DER_cert(_certificate_in(certificate))}
        assert before not in after
        certificate.write_text("nothing")
        assert made.hang_up().startswith("not reloaded: listen 'ssl:0")
        assert {certificate_of(address) for _ in range(8)} == after


def _certificate_in(path: Path) -> str:
    text = path.read_text()
    return text[text.index("-----BEGIN CERTIFICATE") :]


def certificate_of(address: Address) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with dial(address) as plain, context.wrap_socket(plain) as wrapped:
        found = wrapped.getpeercert(binary_form=True)
    assert found is not None
    return found


# Workers.


def test_a_worker_that_is_started_later_does_as_the_others(tmp_path: Path) -> None:
    with reloading(tmp_path, 2, PERMIT) as made, origin(echo) as where:
        server = made.server.address()
        made.becomes(DENY, f"{LISTEN} {OTHER}")
        processes = Workers(made.server, 2)
        for _ in range(3):
            # The spare one serves, and then the first that was started since.
            number, pid = min(processes.serving().items())
            os.kill(pid, signal.SIGKILL)
            made.server.wait_for(f"worker {number} was ended by signal 9")
            processes.all_serve()
        for listener in (server, address_of(made.server, OTHER)):
            assert {reply(listener, where) for _ in range(8)} == {socks5.NOT_ALLOWED}


def test_a_worker_that_does_not_answer_changes_nothing_for_the_others(
    tmp_path: Path,
) -> None:
    with reloading(tmp_path, 2, PERMIT) as made, origin(echo) as where:
        processes = Workers(made.server, 2)
        number, pid = min(processes.serving().items())
        os.kill(pid, signal.SIGSTOP)
        made.write(DENY)
        os.kill(made.server.process.pid, signal.SIGHUP)
        # It is gone before it has answered, which leaves those that have.
        os.kill(pid, signal.SIGKILL)
        made.server.wait_for("reloaded: of the listeners")
        processes.all_serve()
        server = made.server.address()
        assert {reply(server, where) for _ in range(8)} == {socks5.NOT_ALLOWED}
        assert number not in processes.serving()


# All the time.


@pytest.mark.parametrize(
    ("reloads", "megabytes"), [(10, 32), pytest.param(100, 1024, marks=pytest.mark.long)]
)
def test_reloads_during_a_transfer_cost_nobody_anything(
    reloads: int, megabytes: int, workers: int, tmp_path: Path
) -> None:
    """A transfer arrives whole, and of those who connect all the time none is refused."""
    block = os.urandom(1 << 20)
    sent = hashlib.sha256()
    for _ in range(megabytes):
        sent.update(block)

    over = threading.Event()
    #: A part of the transfer for each reload.
    turns = threading.Semaphore(0)

    def pour(connection: socket.socket) -> None:
        sent_so_far = 0
        for number in range(1, reloads + 1):
            assert turns.acquire(timeout=PATIENCE)
            until_then = megabytes * number // reloads
            for _ in range(until_then - sent_so_far):
                connection.sendall(block)
            sent_so_far = until_then

    problems: list[BaseException] = []
    served = 0

    def keep_connecting(server: Address, where: Address) -> None:
        nonlocal served
        try:
            while not over.is_set():
                connection, answer = connect5(server, *where)
                with connection:
                    assert answer.code == socks5.SUCCEEDED
                    echoes(connection, b"x")
                served += 1
        except BaseException as error:  # noqa: BLE001 (it is the test that fails)
            problems.append(error)

    with (
        reloading(tmp_path, workers, PERMIT) as made,
        origin(pour) as source,
        origin(echo) as where,
    ):
        server = made.server.address()
        bulk, answer = connect5(server, *source)
        assert answer.code == socks5.SUCCEEDED
        received = hashlib.sha256()

        def take() -> None:
            while piece := bulk.recv(1 << 20):
                received.update(piece)

        threads = [
            threading.Thread(target=take, daemon=True),
            threading.Thread(target=keep_connecting, args=(server, where), daemon=True),
        ]
        for thread in threads:
            thread.start()
        for number in range(reloads):
            turns.release()
            deny = f'deny = ["192.0.2.{number % 250}"]\n'
            before = served
            assert made.becomes(PERMIT + deny).startswith("reloaded: ")
            until(lambda before=before: served > before or problems)  # type: ignore[misc]
        over.set()
        for thread in threads:
            thread.join(10 * PATIENCE)
            assert not thread.is_alive()
        bulk.close()
        assert problems == []
        assert served >= reloads
        assert received.hexdigest() == sent.hexdigest()
        if workers == 1:
            # Nothing of those before stays open.
            until(lambda: made.server.descriptors() < MANY)


def test_signals_that_come_together_are_not_lost(workers: int, tmp_path: Path) -> None:
    with reloading(tmp_path, workers, PERMIT) as made, origin(echo) as where:
        for _ in range(20):
            os.kill(made.server.process.pid, signal.SIGHUP)
        made.write(DENY)
        os.kill(made.server.process.pid, signal.SIGHUP)
        until(lambda: reply(made.server.address(), where) == socks5.NOT_ALLOWED)
        assert all(each.startswith("reloaded: ") for each in made.outcomes())


def test_a_worker_that_cannot_begin_says_why_in_a_line_and_is_tried_again(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("ann:secret\n")
    with reloading(tmp_path, 2, f"auth = 'file:{users}'\n") as made:
        processes = Workers(made.server, 2)
        users.rename(tmp_path / "elsewhere")
        os.kill(min(processes.serving().values()), signal.SIGKILL)
        made.server.wait_for(r"socks5d: .*auth.*: 'file': '\S+users' cannot be read: No such file")
        (tmp_path / "elsewhere").rename(users)
        processes.all_serve()
        assert "Traceback" not in made.server.output()
