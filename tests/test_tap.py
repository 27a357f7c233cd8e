"""The command line and the file: what is wrong is said in a line."""

from pathlib import Path

import pytest

from socks5d.tap import Options

ON_LOOPBACK = ("--listen", "tcp:0:interface=127.0.0.1")


def refused(*arguments: str) -> str:
    """They are not taken; gives the line that twistd ends with, and status 1."""
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(list(arguments))
    line = caught.value.code
    assert isinstance(line, str)
    assert line.startswith("socks5d: ")
    assert len(line.splitlines()) == 1, line
    return line


@pytest.mark.parametrize(
    ("checker", "mentions"),
    [
        ("nonsense:hunter2", "nonsense"),
        ("nonsense", "memory"),
        ("memory:alice:hunter2:bob", "memory"),
        ("memory:hunter2", "memory"),
        ("anonymous", "anonymous"),
        ("file:/nowhere/passwords", "/nowhere/passwords"),
        ("file:/", "/"),
        ("file:", "file"),
        ("file", "file"),
        ("", "memory"),
    ],
)
def test_a_checker_that_cannot_be_had_is_refused(checker: str, mentions: str) -> None:
    line = refused(*ON_LOOPBACK, "--auth", checker)
    assert line.startswith("socks5d: --auth: ")
    assert mentions in line
    assert "hunter2" not in line


def test_a_password_is_not_told_from_what_is_left_of_the_message() -> None:
    said = {refused(*ON_LOOPBACK, "--auth", f"memory:alice:{each}:b") for each in ("in", "xyz")}
    assert len(said) == 1, said


@pytest.mark.parametrize(
    "dest",
    [
        "",
        "a name",
        "a..b",
        "-?-",
        "192.0.2.1/24",
        "192.0.2.0/33",
        "192.0.2.256",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:90-80",
        "192.0.2.1:http",
        "192.0.2.1:",
        "example.com:80:90",
        "*.192.0.2.1",
        "*.",
        "*x",
        "[192.0.2.1]:80",
        "[2001:db8::1",
        "2001:db8::1::2",
        "m\u00fcnchen.example",
    ],
)
def test_a_destination_that_is_none_is_refused(dest: str) -> None:
    assert refused(*ON_LOOPBACK, "--allow", dest).startswith("socks5d: --allow: ")


@pytest.mark.parametrize(
    "network", ["", "example.com", "192.0.2.1/24", "192.0.2.0/33", "192.0.2.1:80", "*", "::/129"]
)
def test_a_network_that_is_none_is_refused(network: str) -> None:
    assert refused(*ON_LOOPBACK, "--allow-from", network).startswith("socks5d: --allow-from: ")


@pytest.mark.parametrize("option", ["--allow", "--deny", "--allow-from", "--deny-from"])
def test_an_option_that_is_wrong_is_named(option: str) -> None:
    assert refused(*ON_LOOPBACK, option, "192.0.2.1/24").startswith(f"socks5d: {option}: ")


def test_a_network_with_host_bits_is_refused_with_the_remedy() -> None:
    assert "'10.0.0.0/8'" in refused(*ON_LOOPBACK, "--allow-from", "10.0.0.1/8")


@pytest.mark.parametrize("option", ["--authenticator", "--ruleset"])
@pytest.mark.parametrize("plugin", ["", "nonsense", "nonsense:argument", ":argument"])
def test_a_plugin_that_there_is_not_is_refused(option: str, plugin: str) -> None:
    line = refused(*ON_LOOPBACK, option, plugin)
    assert line.startswith(f"socks5d: {option}: ")
    assert "permit" in line or "any-userid" in line


def test_an_argument_that_a_plugin_does_not_take_is_refused() -> None:
    assert "--ruleset" in refused(*ON_LOOPBACK, "--ruleset", "permit:everything")


@pytest.mark.parametrize(
    "arguments",
    [
        ("surplus",),
        ("--nonsense",),
        ("--listen",),
        ("--userid",),
        ("--version=3",),
        ("surplus\nline",),
        ("--nonsense\nline",),
    ],
    ids=ascii,
)
def test_what_is_no_option_is_refused(arguments: tuple[str, ...]) -> None:
    refused(*ON_LOOPBACK, *arguments)


@pytest.mark.parametrize(
    ("content", "mentions"),
    [
        ("listen = ", "TOML"),
        ("\xff\xfe", "TOML"),
        ("colour = 'red'", "colour"),
        ("\"colour\\nof\" = 'red'", "colour"),
        ("listen = 1080", "listen"),
        ("listen = ['tcp:0', 5]", "listen"),
        ("listen = ['']", "listen"),
        ("allow = true", "allow"),
        ("allow = ['192.0.2.1/24']", "allow"),
        ("allow_from = [192]", "allow_from"),
        ("auth = 'nonsense:hunter2'", "auth"),
        ("socks4 = 'no'", "socks4"),
        ("socks4 = false\nsocks5 = false", "socks5"),
        ("access_log = 3", "access_log"),
        ("source = ['192.0.2.1', '192.0.2.2']", "source"),
        ("source = 'example.com'", "source"),
        ("timeouts = 5", "timeouts"),
        ("[timeouts]\nlunch = 5", "timeouts.lunch"),
        ("[timeouts]\nconnect = 'long'", "timeouts.connect"),
        ("[timeouts]\nconnect = true", "timeouts.connect"),
        ("[timeouts]\nconnect = 0", "timeouts.connect"),
        ("[timeouts]\nconnect = 121", "timeouts.connect"),
        ("[timeouts]\nclosing = 10", "timeouts.closing"),
        ("[timeouts]\nshutdown = -1", "timeouts.shutdown"),
        ("[timeouts]\nidle = inf", "timeouts.idle"),
        ("[timeouts]\nidle = nan", "timeouts.idle"),
        ("[limits]\nsessions = -1", "limits.sessions"),
        ("[limits]\nsessions = 1.5", "limits.sessions"),
        ("[limits]\nhandshake = 100", "limits.handshake"),
        ("[limits]\nthreads = 5000", "limits.threads"),
        ("[limits]\nthreads = 1\nthreads = 2", "TOML"),
    ],
    ids=lambda value: value.encode("unicode_escape").decode() if value else value,
)
def test_a_file_that_is_wrong_is_refused_and_says_where(
    content: str, mentions: str, tmp_path: Path
) -> None:
    path = tmp_path / "socks5d.toml"
    path.write_bytes(content.encode("latin-1"))
    line = refused(*ON_LOOPBACK, "--config", str(path))
    assert mentions in line
    assert "hunter2" not in line


@pytest.mark.parametrize("path", ["/nowhere/socks5d.toml", "/", ""])
def test_a_file_that_cannot_be_read_is_refused(path: str) -> None:
    line = refused(*ON_LOOPBACK, "--config", path)
    assert path in line
