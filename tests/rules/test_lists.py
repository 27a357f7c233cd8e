"""Named lists: what a line says, quickly, and which line says nothing."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.rules import HostList, ListError, UserList, parse_destination, read_lines
from socks5d.rules.lists import MOST_ERRORS, range_of


def test_hosts_of_every_kind() -> None:
    made = HostList(
        "some",
        [
            "# a comment",
            "10.0.0.0/8  # with one behind it",
            "",
            "  192.0.2.1\t",
            "2001:db8::/32",
            "::ffff:192.0.2.2",
            "A.Example.",
            "*.b.example",
            "127.1",
            "1e100.net",
            "_dmarc.x-y.example",
        ],
    )
    assert made.names == ["a.example", "1e100.net", "_dmarc.x-y.example"]
    assert made.suffixes == ["b.example"]
    assert [(str(ip_address(a)), str(ip_address(b))) for a, b in made.ipv4] == [
        ("10.0.0.0", "10.255.255.255"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "192.0.2.2"),
        ("127.0.0.1", "127.0.0.1"),
    ]
    assert made.ipv6 == [range_of(parse_destination("2001:db8::/32").network)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("10.1.2.3", "10.0.0.0/8"),
        ("11.0.0.0", None),
        ("2001:db8::5", "2001:db8::/32"),
        ("2001:db9::", None),
        ("a.example", "a.example"),
        ("x.y.b.example", "*.b.example"),
        ("b.example", None),
        ("xb.example", None),
    ],
)
def test_finding(host: str, found: str | None) -> None:
    made = HostList("some", ["10.0.0.0/8", "2001:db8::/32", "a.example", "*.b.example"])
    wanted = host if "example" in host else ip_address(host)
    assert made.find(wanted) == found


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' has host bits set; write '10.0.0.0/8'"),
        ("10.0.0.0/33", "'10.0.0.0/33' is no CIDR and no IP address"),
        ("300.1.1.1", "'300.1.1.1' is no address and no name: malformed IPv4 address"),
        ("b\u00e4r.example", "ASCII letters only; write its form that begins with 'xn--'"),
        ("a b", "a label is malformed"),
        ("*", "'*' is everything, which needs no list"),
        ("a.example:80", "'a.example:80' has a port"),
        ("x" * 64, "a label is malformed"),
        (".".join(["x" * 63] * 4), "a name has 1 to 253 characters"),
    ],
)
def test_a_line_that_is_no_host(line: str, problem: str) -> None:
    with pytest.raises(ListError) as caught:
        HostList("some", ["a.example", line])
    (told,) = caught.value.problems
    assert told.startswith("list 'some':2: ")
    assert problem in told


def test_all_problems_are_told_of_but_not_without_end(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("a.example\n" + "a b\n" * (MOST_ERRORS + 5))
    with pytest.raises(ListError) as caught:
        HostList("some", read_lines(file), str(file))
    problems = caught.value.problems
    assert len(problems) == MOST_ERRORS + 1
    assert problems[0].startswith(f"{file}:2: ")
    assert problems[-2].startswith(f"{file}:{MOST_ERRORS + 1}: ")
    assert problems[-1] == f"{file}: and 5 more lines that cannot be read"


HOSTS = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=4).map(lambda address: f"{address}/24"),
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,4}){0,4}(/[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"(\*\.)?[a-zA-Z0-9_.-]{1,20}", fullmatch=True),
    st.text("0x17a.-_*:/[]", max_size=12),
)


@given(HOSTS)
def test_the_quick_way_reads_what_the_other_does(text: str) -> None:
    try:
        meant = parse_destination(text)
    except ValueError:
        meant = None
    if meant is not None and (meant.everything or meant.ports is not None):
        meant = None
    if not text.strip():
        return
    try:
        found = HostList("x", [text])
    except ListError:
        assert meant is None
        return
    assert meant is not None
    assert found.names == ([] if meant.name is None else [meant.name])
    assert found.suffixes == ([] if meant.suffix is None else [meant.suffix])
    assert found.ipv4 + found.ipv6 == ([] if meant.network is None else [range_of(meant.network)])


def test_users() -> None:
    made = UserList("staff", ["alice", "# nobody", "b*b # Bob", "eve#1", "#"])
    assert made.users == ["alice", "b*b", "eve#1"]
    assert made.match("bob") == "b*b"
    assert made.match("eve#1") == "eve#1"
    assert made.match("eve") is None


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_bytes(b"\xef\xbb\xbfalice\r\nb\xc3\xb6b\r\n")
    assert UserList("x", read_lines(file)).users == ["alice", "b\u00f6b"]
    file.write_bytes(b"alice\nb\xf6b\n")
    with pytest.raises(ListError, match=f"{file}:2: not in UTF-8"):
        read_lines(file)
    with pytest.raises(ListError, match="No such file or directory"):
        read_lines(tmp_path / "none")
    with pytest.raises(ListError, match="Is a directory"):
        read_lines(tmp_path)
