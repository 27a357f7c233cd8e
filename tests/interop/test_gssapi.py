"""
libcurl with the GSS-API, as pycurl brings it.

Debian 12's own curl, 7.88, is not among these: it takes a context that is established for an
unknown method, whatever the server is.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop import libcurl
from tests.interop.conftest import LOOPBACK
from tests.interop.programs import DEADLINE, missing
from tests.interop.test_curl import REFUSED_BY_PROXY
from tests.interop.webserver import WebServer
from tests.support.kerberos import Realm
from tests.support.twistd import Twistd, twistd


@contextmanager
def gssapi_proxy(keytab: Path, *arguments: str) -> Iterator[Twistd]:
    """
    A proxy for clients with tickets.  libcurl asks for confidentiality, has none, and goes
    on where it is given none.
    """
    path = keytab.with_name("libcurl.toml")
    path.write_text(f"[gssapi]\nkeytab = '{keytab}'\nmost = 'none'\n")
    with twistd(*LOOPBACK, "--config", str(path), *arguments) as server:
        yield server
        assert server.stop() == 0, server.output()


def fetch(
    kind: str, server: Twistd, web: WebServer, nec: bool, status: int = 0
) -> "subprocess.CompletedProcess[str]":
    """Download the large file."""
    done = subprocess.run(
        [
            sys.executable,
            libcurl.__file__,
            kind,
            f"localhost:{server.address()[1]}",
            "nec" if nec else "wrapped",
            f"http://127.0.0.1:{web.port4}{web.down}",
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    if done.returncode == 2:
        missing("libcurl with GSS-API", "none: pip install pycurl")
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.parametrize("kind", ["SOCKS5", "SOCKS5_HOSTNAME"])
@pytest.mark.parametrize("nec", [False, True], ids=["wrapped", "nec"])
def test_libcurl_fetches_a_large_file(
    kind: str,
    nec: bool,
    web: WebServer,
    keytab: Path,
    tickets: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KRB5CCNAME", tickets)
    with gssapi_proxy(keytab, *(("--gssapi-nec",) if nec else ())) as server:
        assert fetch(kind, server, web, nec).stdout.strip() == web.blob.digest
        server.wait_for("identity=gssapi:ann@SOCKS.TEST .* result=granted")


def test_libcurl_without_a_ticket_is_refused(web: WebServer, keytab: Path) -> None:
    with gssapi_proxy(keytab) as server:
        done = fetch("SOCKS5", server, web, nec=False, status=REFUSED_BY_PROXY)
        assert "No Kerberos credentials available" in done.stderr


def test_libcurl_with_a_ticket_that_is_wrong_is_refused(
    web: WebServer, realm: Realm, tickets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The proxy has the keys of other/localhost alone, and libcurl a ticket for rcmd/localhost.
    monkeypatch.setenv("KRB5CCNAME", tickets)
    with gssapi_proxy(realm.keytab("other/localhost"), "--gssapi-service", "other") as server:
        fetch("SOCKS5", server, web, nec=False, status=REFUSED_BY_PROXY)
        server.wait_for('result="not authenticated"')


def test_what_is_not_wrapped_is_refused_where_it_is_not_let_in(
    web: WebServer, keytab: Path, tickets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5CCNAME", tickets)
    with gssapi_proxy(keytab) as server:
        fetch("SOCKS5", server, web, nec=True, status=REFUSED_BY_PROXY)
        server.wait_for("the protection level is not wrapped")
