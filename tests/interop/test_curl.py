"""curl: every version, names resolved by it and by the proxy, with a password and without."""

import pytest

from tests.interop.programs import require, running, sha256
from tests.interop.webserver import WebServer
from tests.support.running import Address

#: What curl exits with when a proxy does not do what it is asked (CURLE_PROXY).
REFUSED_BY_PROXY = 97


def curl(*arguments: str, status: int = 0) -> str:
    """Run curl; gives the SHA-256 of its output."""
    program = require("curl", "curl")
    # Without -q the user's own settings would count too.
    command = [program, "-q", "--silent", "--show-error", "--fail", "--noproxy", "", *arguments]
    with running(command, status=status) as process:
        return sha256(process.stdout)


def moves_both_ways(web: WebServer, base: str, *proxy: str) -> None:
    """Fetch the large file, and send it back."""
    assert curl(*proxy, base + web.down) == web.blob.digest
    path = web.new_upload()
    curl(*proxy, "--upload-file", str(web.blob.path), base + path)
    assert web.take_uploaded(path) == web.blob.digest


@pytest.mark.parametrize("option", ["--socks4", "--socks4a", "--socks5", "--socks5-hostname"])
def test_curl_moves_a_large_file_both_ways(
    option: str, web: WebServer, open_proxy: Address
) -> None:
    host, port = open_proxy
    moves_both_ways(web, f"http://localhost:{web.port4}", option, f"{host}:{port}")


@pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
def test_curl_moves_a_large_file_both_ways_with_a_password(
    option: str, web: WebServer, password_proxy: Address
) -> None:
    host, port = password_proxy
    proxy = (option, f"{host}:{port}", "--proxy-user", "user:pass")
    moves_both_ways(web, f"http://localhost:{web.port4}", *proxy)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_curl_takes_the_password_from_the_url_of_the_proxy(
    scheme: str, web: WebServer, password_proxy: Address
) -> None:
    host, port = password_proxy
    url = f"{scheme}://user:pass@{host}:{port}"
    assert curl("--proxy", url, f"http://localhost:{web.port4}{web.down}") == web.blob.digest


@pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
@pytest.mark.parametrize("offered", ["user:wrong", "other:pass", "user:", None])
def test_curl_is_not_let_in_without_the_right_password(
    option: str, offered: str | None, web: WebServer, password_proxy: Address
) -> None:
    host, port = password_proxy
    credentials = () if offered is None else ("--proxy-user", offered)
    url = f"http://localhost:{web.port4}{web.down}"
    proxy = (option, f"{host}:{port}", *credentials)
    nothing = curl(*proxy, url, status=REFUSED_BY_PROXY)
    assert nothing != web.blob.digest


@pytest.mark.parametrize("option", ["--socks4", "--socks4a"])
def test_socks4_does_not_go_round_the_password(
    option: str, web: WebServer, password_proxy: Address
) -> None:
    host, port = password_proxy
    url = f"http://localhost:{web.port4}{web.down}"
    nothing = curl(option, f"{host}:{port}", url, status=REFUSED_BY_PROXY)
    assert nothing != web.blob.digest
