"""IPv6 origins, by address and by a name that has no other, for clients on IPv4."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from attrs import frozen

from tests.interop.conftest import LOOPBACK
from tests.interop.programs import DEADLINE, missing, require
from tests.interop.test_curl import moves_both_ways
from tests.interop.webserver import WebServer
from tests.support.running import Address
from tests.support.twistd import twistd

_LOOK_UP = (
    "import json, socket, sys;"
    "found = socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM);"
    "json.dump(sorted({address[0] for *_, address in found}), sys.stdout)"
)
# A file over /etc/hosts that only this process and its children see.
_OVER_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'


def addresses_of(name: str, prefix: Sequence[str]) -> list[str]:
    """What a process with this prefix resolves a name to."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", _LOOK_UP, name],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    found: list[str] = json.loads(done.stdout or "[]")
    return found


@frozen
class IPv6Name:
    """
    A name that has the address ::1 and no other.

    @ivar name: the name.
    @ivar prefix: what a process must be run with to see it so.
    """

    name: str
    prefix: tuple[str, ...]


@pytest.fixture(scope="module")
def ipv6_name(tmp_path_factory: pytest.TempPathFactory) -> IPv6Name:
    """Debian's own ip6-localhost; where it is missing, a name in a namespace of our own."""
    if addresses_of("ip6-localhost", ()) == ["::1"]:
        return IPv6Name("ip6-localhost", ())
    hosts: Path = tmp_path_factory.mktemp("hosts") / "hosts"
    hosts.write_text(f"{Path('/etc/hosts').read_text()}\n::1 only6.test\n")
    unshare = require("unshare", "util-linux")
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    prefix = (unshare, *rights, "--mount", "sh", "-c", _OVER_HOSTS, str(hosts))
    if addresses_of("only6.test", prefix) != ["::1"]:
        missing("a name with nothing but an IPv6 address (ip6-localhost)", "netbase")
    return IPv6Name("only6.test", prefix)


@pytest.fixture(scope="module")
def names_proxy(ipv6_name: IPv6Name) -> Iterator[Address]:
    """A proxy on IPv4 that resolves that name."""
    with twistd(*LOOPBACK, prefix=ipv6_name.prefix) as server:
        yield server.address()
        assert server.stop() == 0, server.output()


@pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
def test_curl_reaches_an_ipv6_address_by_socks5(
    option: str, web: WebServer, open_proxy: Address
) -> None:
    host, port = open_proxy
    moves_both_ways(web, f"http://[::1]:{web.port6}", option, f"{host}:{port}")


@pytest.mark.parametrize("option", ["--socks4a", "--socks5-hostname"])
def test_a_client_on_ipv4_reaches_a_name_that_has_only_an_ipv6_address(
    option: str, web: WebServer, ipv6_name: IPv6Name, names_proxy: Address
) -> None:
    assert addresses_of(ipv6_name.name, ipv6_name.prefix) == ["::1"]
    host, port = names_proxy
    assert host == "127.0.0.1"
    moves_both_ways(web, f"http://{ipv6_name.name}:{web.port6}", option, f"{host}:{port}")
