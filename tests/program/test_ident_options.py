"""What --ident, --ident-port and --userid take, what they refuse, and that they are heeded."""

from pathlib import Path
from typing import Any

import pytest

from socks5d.wire import socks4, socks5
from tests.program.launching import (
    ON_LOOPBACK,
    REACH_LOOPBACK,
    address_of,
    echoes,
    one_line,
    run_twistd,
)
from tests.program.test_access_log import logging
from tests.protocols.test_ident import ANN, OLD, Turnstile, closes, code, identd, send, silent
from tests.support.client import connect4, connect5
from tests.support.origins import echo, origin, receive_all

WORDS = "must be 'off', 'log' or 'require'"


def refused(*arguments: str) -> str:
    """It does not start; gives the line that says why."""
    return one_line(run_twistd(*ON_LOOPBACK, *arguments))


def refused_file(folder: Path, content: str) -> tuple[str, str]:
    """It does not start with such a file; gives the file's name and the line."""
    path = folder / "socks5d.toml"
    path.write_text(content)
    return str(path), refused("--config", str(path))


# What is refused.


@pytest.mark.parametrize("word", ["", "maybe", "Require", "log,require", "lo\ng"])
def test_a_word_that_is_none_of_the_three_is_refused(word: str) -> None:
    assert refused("--ident", word) == f"socks5d: --ident: {WORDS}"


@pytest.mark.parametrize("word", ["'maybe'", "true", "['log']", "nan"])
def test_it_is_refused_in_the_file_too(word: str, tmp_path: Path) -> None:
    path, line = refused_file(tmp_path, f"ident = {word}")
    assert line == f"socks5d: {path}:1: ident: {WORDS}"


@pytest.mark.parametrize(
    ("port", "remedy"),
    [
        ("0", "ports go from 1 to 65535"),
        ("65536", "ports go from 1 to 65535"),
        ("113-114", "must be one port"),
        ("", "is no port"),
        ("auth", "is no port"),
        ("-1", "is no port"),
        (" 113", "is no port"),
        ("113,1130", "is no port"),
        ("\uff11\uff11\uff13", "is no port"),
        ("113\n", "is no port"),
    ],
    ids=ascii,
)
def test_a_port_that_is_none_is_refused(port: str, remedy: str) -> None:
    line = refused("--ident-port", port)
    assert line.startswith("socks5d: --ident-port: ")
    assert remedy in line


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("ident_port = 0", "ident_port"),
        ("ident_port = 113.5", "ident_port"),
        ("ident_port = true", "ident_port"),
        ("ident_port = [113]", "ident_port"),
        ("ident_port = '113-114'", "ident_port"),
        ("[timeouts]\nident = 0", "timeouts.ident"),
        ("[timeouts]\nident = inf", "timeouts.ident"),
        ("[limits]\nidents = 0", "limits.idents"),
        ("[limits]\nidents = 1.5", "limits.idents"),
    ],
)
def test_what_is_wrong_in_the_file_is_refused_and_says_where(
    content: str, where: str, tmp_path: Path
) -> None:
    path, line = refused_file(tmp_path, content)
    number = content.count("\n") + 1
    assert line.startswith(f"socks5d: {path}:{number}: {where}: ")


@pytest.mark.parametrize("option", ["--ident", "--ident-port"])
def test_an_option_without_its_value_is_refused(option: str) -> None:
    assert option in refused(option)


def test_it_does_not_make_a_proxy_less_open() -> None:
    # identd's word is the client's host's, and anybody has a host.
    line = one_line(run_twistd("--listen", "tcp:0", "--ident", "require"))
    assert "open proxy" in line


# What is heeded.


def test_without_the_option_nobody_is_asked(tmp_path: Path) -> None:
    with origin(echo) as here, identd(ANN) as daemon:
        arguments = (*REACH_LOOPBACK, "--ident-port", str(daemon.port))
        with logging(tmp_path, *arguments) as logged:
            connection, reply = connect4(logged.address, *here, b"ann")
            with connection:
                assert reply.code == socks4.GRANTED
            record = logged.record()
        assert not daemon.disturbed()
    assert (record["ident"], record["ident_problem"]) == (None, None)


def test_log_records_the_name_and_lets_everybody_in(tmp_path: Path) -> None:
    with origin(echo) as here, identd(ANN) as daemon:
        arguments = (*REACH_LOOPBACK, "--ident", "log", "--ident-port", str(daemon.port))
        with logging(tmp_path, *arguments) as logged:
            for number, userid in enumerate((b"ann", b"bob"), 1):
                connection, reply = connect4(logged.address, *here, userid)
                with connection:
                    assert reply.code == socks4.GRANTED
                # Records are in the order in which sessions end.
                logged.text(number)
            records = logged.records(2)
    assert [record["ident"] for record in records] == ["ann", "ann"]
    assert [record["claimed"] for record in records] == ["ann", "bob"]
    assert {record["identity_source"] for record in records} == {"none"}


def test_require_refuses_whom_identd_does_not_name(tmp_path: Path) -> None:
    with origin(echo) as here, identd(ANN) as daemon:
        arguments = (*REACH_LOOPBACK, "--ident", "require", "--ident-port", str(daemon.port))
        with logging(tmp_path, *arguments) as logged:
            connection, reply = connect4(logged.address, *here, b"ann")
            with connection:
                assert reply.code == socks4.GRANTED
            logged.text(1)
            connection, reply = connect4(logged.address, *here, b"bob")
            with connection:
                assert reply.code == socks4.USERID_MISMATCH
                assert receive_all(connection) == b""
            records = logged.records(2)
    assert [record["identity"] for record in records] == ["ann", None]
    assert [record["result"] for record in records] == ["granted", "identd names another user"]


def test_the_file_sets_it_all_and_the_command_line_counts_more(tmp_path: Path) -> None:
    file = tmp_path / "socks5d.toml"
    file.write_text("ident = 'require'\nident_port = 1\n[limits]\nidents = 1\n")
    with origin(echo) as here, identd(closes) as daemon:
        over = ("--config", str(file), "--ident-port", str(daemon.port))
        for mode, told in ((), socks5.NOT_ALLOWED), (("--ident", "log"), socks5.SUCCEEDED):
            with logging(tmp_path, *REACH_LOOPBACK, *over, *mode) as logged:
                connection, reply = connect5(logged.address, *here)
                with connection:
                    assert reply.code == told
                logged.records()
        assert len(daemon.questions) == 2


def test_the_file_sets_how_long_an_answer_may_take(tmp_path: Path) -> None:
    file = tmp_path / "socks5d.toml"
    with identd(silent) as daemon:
        # Were it the 5 seconds that are the default, the request's own time would end first.
        file.write_text(
            f"ident = 'require'\nident_port = {daemon.port}\n[timeouts]\nident = 0.1\nconnect = 4\n"
        )
        with logging(tmp_path, *REACH_LOOPBACK, "--config", str(file)) as logged:
            connection, reply = connect5(logged.address, "127.0.0.1", 9)
            with connection:
                assert reply.code == socks5.NOT_ALLOWED
            record = logged.record()
    assert record["result"] == "identd gave no name"


def test_the_file_sets_how_many_are_asked_about_at_once(tmp_path: Path) -> None:
    file = tmp_path / "socks5d.toml"
    turnstile = Turnstile()
    with origin(echo) as here, identd(turnstile) as daemon:
        file.write_text(f"ident = 'log'\nident_port = {daemon.port}\n[limits]\nidents = 2\n")
        with logging(tmp_path, *REACH_LOOPBACK, "--config", str(file)) as logged:
            crowd = [send(logged.address, OLD, here) for _ in range(6)]
            turnstile.wait(inside=2)
            turnstile.open.set()
            for connection in crowd:
                assert code(connection, OLD) == socks4.GRANTED
                connection.close()
            records = logged.records(6)
    assert {record["ident"] for record in records} == {"ann"}
    assert (turnstile.most, len(daemon.questions)) == (2, 6)


def test_it_is_asked_about_the_clients_of_every_listener(tmp_path: Path) -> None:
    listen = "tcp:0:interface=127.0.0.2"
    with origin(echo) as here, identd(ANN) as daemon:
        arguments = ("--ident", "require", "--ident-port", str(daemon.port), "--listen", listen)
        with logging(tmp_path, *REACH_LOOPBACK, *arguments) as logged:
            servers = (logged.address, address_of(logged.server, listen))
            for server in servers:
                connection, reply = connect5(server, *here)
                with connection:
                    assert reply.code == socks5.SUCCEEDED
            records = logged.records(2)
    assert [question.source for question in daemon.questions] == ["127.0.0.1", "127.0.0.2"]
    assert [question.ports[1] for question in daemon.questions] == [port for _, port in servers]
    assert {record["ident"] for record in records} == {"ann"}


# User-ids.


def claimed(folder: Path, userid: bytes, *options: str) -> dict[str, Any]:
    """Whether an origin is reached with this USERID is in the record, which this gives."""
    with origin(echo) as here, logging(folder, *REACH_LOOPBACK, *options) as logged:
        connection, reply = connect4(logged.address, *here, userid)
        with connection:
            if reply.code == socks4.GRANTED:
                echoes(connection)
            else:
                assert reply.code == socks4.REJECTED
                assert receive_all(connection) == b""
        record = logged.record()
    assert (record["result"] == "granted") is (reply.code == socks4.GRANTED)
    return record


@pytest.mark.parametrize("userid", [b"ops-ann", b"ops-", b"fred"])
def test_a_pattern_lets_in_under_the_name_that_was_given(userid: bytes, tmp_path: Path) -> None:
    record = claimed(tmp_path, userid, "--userid", "ops-*", "--userid", "fred")
    assert record["result"] == "granted"
    assert (record["identity"], record["identity_source"]) == (userid.decode(), "userid")


@pytest.mark.parametrize("userid", [b"", b"ops", b"Ops-ann", b"devops-ann", b"fred "])
def test_what_no_pattern_matches_is_not_let_in(userid: bytes, tmp_path: Path) -> None:
    record = claimed(tmp_path, userid, "--userid", "ops-*", "--userid", "fred")
    assert record["result"] == "not authenticated"
    assert record["identity"] is None
