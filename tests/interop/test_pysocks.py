"""PySocks: the library that Python programs speak SOCKS with."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from tests.interop.programs import DEADLINE, sha256
from tests.interop.webserver import WebServer
from tests.support.running import Address

Credentials = tuple[str, str] | None


@contextmanager
def through(
    socks: Any, kind: str, proxy: Address, web: WebServer, rdns: bool, credentials: Credentials
) -> Iterator[HTTPConnection]:
    """An HTTP connection by a PySocks socket."""
    username, password = credentials or (None, None)
    with socks.socksocket() as connection:
        connection.settimeout(DEADLINE)
        connection.set_proxy(getattr(socks, kind), *proxy, rdns, username, password)
        connection.connect(("localhost", web.port4))
        http = HTTPConnection("localhost", web.port4, blocksize=1 << 18)
        http.sock = connection
        yield http


@pytest.mark.parametrize("rdns", [True, False], ids=["rdns", "own dns"])
@pytest.mark.parametrize(
    ("kind", "credentials"),
    [("SOCKS4", None), ("SOCKS4", ("alice", "")), ("SOCKS5", None), ("SOCKS5", ("user", "pass"))],
    ids=["socks4", "socks4 userid", "socks5", "socks5 password"],
)
def test_pysocks_moves_a_large_file_both_ways(
    kind: str,
    credentials: Credentials,
    rdns: bool,
    web: WebServer,
    socks: Any,
    request: pytest.FixtureRequest,
) -> None:
    fixtures = {None: "open_proxy", "alice": "userid_proxy", "user": "password_proxy"}
    proxy: Address = request.getfixturevalue(fixtures[credentials and credentials[0]])
    with through(socks, kind, proxy, web, rdns, credentials) as http:
        http.request("GET", web.down)
        answer: HTTPResponse = http.getresponse()
        assert answer.status == 200
        assert sha256(answer) == web.blob.digest
        path = web.new_upload()
        with web.blob.path.open("rb") as file:
            # The same connection, in the other direction.
            http.request("PUT", path, body=file, headers=_length(web))
        answer = http.getresponse()
        answer.read()
        assert answer.status == 201
    assert web.take_uploaded(path) == web.blob.digest


def _length(web: WebServer) -> dict[str, str]:
    return {"Content-Length": str(web.blob.path.stat().st_size)}


@pytest.mark.parametrize("credentials", [("user", "wrong"), None], ids=["wrong", "none"])
def test_pysocks_is_told_that_its_password_is_not_accepted(
    credentials: Credentials, web: WebServer, socks: Any, password_proxy: Address
) -> None:
    with (
        pytest.raises(socks.ProxyError) as raised,
        through(socks, "SOCKS5", password_proxy, web, True, credentials),
    ):
        pass
    assert isinstance(raised.value.socket_err, socks.SOCKS5AuthError)
