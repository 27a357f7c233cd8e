"""Lists: what they are made of, and what is wrong with them."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from socks5d.config import make_settings, read_file
from socks5d.rules import HostList, UserList
from tests.config.reading import problems, settings

RULE = "[[rule]]\naction = 'deny'\n"
LOGIN = ("auth", "memory:ann:secret")


def hosts(tmp_path: Path, text: str) -> HostList:
    """The list x."""
    ((found,),) = [
        each.destination or () for each in settings(tmp_path, f"{RULE}to = '@x'\n{text}").rules
    ]
    assert isinstance(found, HostList)
    return found


def test_a_list_is_put_together_from_the_file_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "nets").write_text("# ours\n192.0.2.0/24  # all\n\n2001:db8::/32\n")
    (tmp_path / "names").write_text("*.Example.ORG.\nexample.net\n")
    made = hosts(
        tmp_path,
        f"[list.x]\naddresses = '10.0.0.0/8'\naddresses_file = '{tmp_path}/nets'\n"
        f"names = ['example.com']\nnames_file = '{tmp_path}/names'\n",
    )
    for address in ("10.1.2.3", "192.0.2.9", "2001:db8::7"):
        assert made.find(ip_address(address)) is not None
    assert made.find(ip_address("192.0.3.9")) is None
    for name in ("example.com", "www.example.org", "example.net"):
        assert made.find(name) is not None
    assert made.find("example.org") is None


def test_users_are_put_together_too(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ops  # day and night\nann-*\n")
    text = f"[list.x]\nusers = ['bob']\nusers_file = '{tmp_path}/users'\n"
    (rule,) = settings(tmp_path, f"{RULE}group = 'x'\n{text}", LOGIN).rules
    (found,) = rule.group or ()
    assert isinstance(found, UserList)
    assert found.users == ["bob", "ops", "ann-*"]


def test_a_file_counts_as_it_was_when_it_was_read(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("example.com\n")
    path = tmp_path / "socks5d.toml"
    path.write_text(f"{RULE}to = '@x'\n[list.x]\nnames_file = '{tmp_path}/names'\n")
    items = read_file(path)
    (tmp_path / "names").unlink()
    (rule,) = make_settings(items).rules
    (found,) = rule.destination or ()
    assert isinstance(found, HostList)
    assert found.names == ["example.com"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[list]\nx = 5", "2: list.x: must be a table"),
        ("list = 5", "1: list: must be a table"),
        ("[list.x]", "1: list.x: has nothing in it; there are addresses, names, users, "),
        ("[list.x]\nname = 'a'", "2: list.x.name: unknown key; did you mean 'names'?"),
        ("[list.x]\nnames = '*'", "2: list.x.names: '*' is everything, which needs no list"),
        ("[list.x]\nnames = '10.0.0.1'", "2: list.x.names: '10.0.0.1' is no name; addresses go "),
        ("[list.x]\nnames = 'a.b:80'", "2: list.x.names: 'a.b:80' has a port; ports are a key of "),
        ("[list.x]\naddresses = 'a.b'", "2: list.x.addresses: 'a.b' is no CIDR and no IP address"),
        ("[list.x]\naddresses = '10.0.0.1/8'", "2: list.x.addresses: '10.0.0.1/8' has host bits"),
        ("[list.x]\nusers = ''", "2: list.x.users: '' is no user"),
        ("[list.x]\nusers = 'a #b'", "2: list.x.users: 'a #b' is no user"),
        ("[list.x]\nusers_file = ''", "2: list.x.users_file: must be the path of a file"),
        ("[list.x]\nusers_file = '/no/such'", "2: list.x.users_file: /no/such: No such file"),
        ('[list."a b"]\nnames = 1', '2: list."a b".names: must be a text or a list of texts'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    assert problems(tmp_path, text)[0].startswith(f"socks5d.toml:{told}")


def test_what_is_wrong_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "nets").write_text("10.0.0.0/8\n10.0.0.1/8\nexample..com\n")
    text = f"[list.x]\naddresses_file = '{tmp_path}/nets'\n"
    first, second = problems(tmp_path, text)
    assert first.startswith("nets:2: '10.0.0.1/8' has host bits set; write '10.0.0.0/8'")
    assert second.startswith("nets:3: ")


@pytest.mark.parametrize(
    ("key", "line", "told"),
    [
        ("addresses_file", "example.com", "has 'example.com', which is no address; names go into "),
        ("addresses_file", "*.example.com", "has '*.example.com', which is no address; names go "),
        ("names_file", "10.0.0.1", "has addresses in it; they go into addresses_file"),
    ],
)
def test_names_and_addresses_are_kept_apart(tmp_path: Path, key: str, line: str, told: str) -> None:
    (tmp_path / "list").write_text(f"{line}\n")
    (problem,) = problems(tmp_path, f"[list.x]\n{key} = '{tmp_path}/list'\n")
    assert problem.startswith(f"socks5d.toml:2: list.x.{key}: {told}")


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("to = '@staff'", "to: list 'staff' has no addresses and no names"),
        ("from = '@names'", "from: list 'names' has names; clients are known by address alone"),
        ("group = 'names'", "group: list 'names' has no users"),
        ("group = 'staf'", "group: there is no list 'staf'; did you mean 'staff'?"),
        ("to = ['10.0.0.0/8', '@name']", "to: there is no list 'name'; did you mean 'names'?"),
    ],
)
def test_a_list_that_does_not_fit_is_told(tmp_path: Path, condition: str, told: str) -> None:
    lists = "[list.staff]\nusers = 'a'\n[list.names]\nnames = 'a.b'\n"
    (problem,) = problems(tmp_path, f"{lists}{RULE}{condition}\n")
    assert problem == f"socks5d.toml:7: rule[1].{told}"
