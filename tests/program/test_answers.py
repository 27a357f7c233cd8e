"""The program socks5d: check, explain, rules and schema."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from socks5d import __version__
from tests.answers.settings import FILE
from tests.support.running import PATIENCE

SOCKS5D = Path(sys.executable).with_name("socks5d")


def run(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs it to its end."""
    done = subprocess.run(
        [str(SOCKS5D), *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "socks5d.toml"
    path.write_text(FILE)
    return str(path)


# check


def test_settings_that_are_right_are_told_so(file: str) -> None:
    for arguments in ((file,), ("--config", file), ()):
        done = run("check", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "socks5d: the settings are right\n"


def test_all_that_is_wrong_is_told(file: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("timeout = 5\nallow_from = '10.0.0.1/8'\n")
    done = run("check", "--deny", "a..b", file, str(wrong))
    assert (done.returncode, done.stdout) == (1, "")
    assert sorted(line.replace(str(wrong), "FILE") for line in done.stderr.splitlines()) == [
        "socks5d: --deny: 'a..b' is no address and no name: no domain name: a label is malformed",
        "socks5d: FILE:1: timeout: unknown key; did you mean 'timeouts'?",
        "socks5d: FILE:2: allow_from: '10.0.0.1/8' has host bits set; write '10.0.0.0/8'",
    ]


def test_options_go_before_files(file: str) -> None:
    done = run("check", file, "--deny", "*")
    assert (done.returncode, done.stderr) == (
        1,
        "socks5d: --deny: options go before files; see --help\n",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listen = ['tcp:0', 'nonsense:1']", ["open proxy", "nonsense"]),
        ("authenticator = ['none', 'none']", ["two authenticators for method 0"]),
        ("[gssapi]\nkeytab = '/no/such/keytab'", ["gssapi: service 'rcmd': "]),
        ("[list.x]\nnames_file = '/no/such/list'", ["/no/such/list: No such file"]),
    ],
)
def test_what_would_not_start_is_not_right(text: str, told: list[str], tmp_path: Path) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_text(text)
    done = run("check", str(path))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == len(told)
    for line, each in zip(lines, told, strict=True):
        assert line.startswith("socks5d: ")
        assert each in line


def test_a_socket_that_systemd_will_give_is_taken_for_granted(tmp_path: Path) -> None:
    done = run("check", "--listen", "systemd:domain=INET:index=0", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_check_leaves_nothing_behind(file: str, tmp_path: Path) -> None:
    Path(file).write_text(f"access_log = 'log.json'\n{FILE}")
    assert run("check", file, cwd=tmp_path).returncode == 0
    assert [each.name for each in tmp_path.iterdir()] == ["socks5d.toml"]


# explain

STAFF = ("--via", "tcp:1080:interface=127.0.0.1", "--user", "ops", "--at", "2026-11-23T12:00Z")


def explain(file: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run("explain", "--config", file, "--from", "192.0.2.7", *arguments)


def test_what_is_permitted_has_status_0(file: str) -> None:
    where = ("--connect", "www.example.com:443", "--address", "203.0.113.9")
    done = explain(file, *STAFF, *where)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "permitted"
    assert "  rule 2 (permit): matches: www.example.com is in *.example.com" in lines


def test_what_is_denied_has_status_1(file: str) -> None:
    done = explain(file, *STAFF, "--connect", "x.ads.example:443")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == 'denied: rule "no ads": nobody wants them'


def test_options_count_as_with_twistd(file: str) -> None:
    where = ("--connect", "203.0.113.9:443")
    assert explain(file, *STAFF, *where).returncode == 0
    done = explain(file, *STAFF, *where, "--deny", "203.0.113.0/24")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "denied: deny 203.0.113.0/24"


def test_a_name_is_looked_up(file: str) -> None:
    done = explain(file, "--via", "guests", "--connect", "localhost:80")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "denied: protected: loopback"
    done = run("explain", "--allow", "127.0.0.0/8", "--allow", "::1", "--connect", "localhost:80")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--via: say by which listener: "),
        (("--via", "guests"), "give one of --connect, --bind and --udp"),
        (("--nonsense",), "option --nonsense not recognized; see --help"),
        (("--config", "/no/such.toml"), "/no/such.toml: cannot be read: No such file"),
        (("--deny", "a..b"), "--deny: 'a..b' is no address and no name"),
        (("surplus",), "unexpected argument 'surplus'"),
    ],
)
def test_a_wrong_question_has_status_2(file: str, arguments: tuple[str, ...], told: str) -> None:
    done = explain(file, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"socks5d: {told}")


# rules, schema, and what there is


def test_the_policy_is_a_table(file: str) -> None:
    done = run("rules", "--config", file, "--allow-from", "10.0.0.0/8")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "listener tcp:1080:interface=127.0.0.1"
    assert lines[1].split() == ["allow_from", "deny", "from", "outside", "10.0.0.0/8"]
    assert "listener guests" in lines


def test_a_policy_that_is_wrong_has_status_1() -> None:
    done = run("rules", "--allow", "a..b")
    assert (done.returncode, done.stdout) == (1, "")


def test_the_schema_is_one() -> None:
    done = run("schema")
    assert (done.returncode, done.stderr) == (0, "")
    Draft202012Validator.check_schema(json.loads(done.stdout))


def test_help_tells_of_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("check", "explain", "rules", "schema"):
        assert f"\n    {command} " in done.stdout
        shown = run(command, "--help")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout.startswith(f"Usage: socks5d {command} ")
    assert run("--version").stdout == f"socks5d {__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("--nonsense",)])
def test_without_a_command_there_is_no_answer(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_who_reads_no_more_is_no_error(file: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        command = [str(SOCKS5D), "rules", "--config", file]
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
        )
    assert done.stderr == b""
