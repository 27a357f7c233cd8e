"""
Debian's curl with the GSS-API: the system's where that is new enough, else the one of Debian's
backports that C{debian_curl.sh} unpacks beside the virtual environment.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path

import pytest

from tests.interop.conftest import LOOPBACK
from tests.interop.programs import DEADLINE, missing, require
from tests.interop.test_curl import REFUSED_BY_PROXY
from tests.interop.webserver import WebServer
from tests.support.kerberos import Realm
from tests.support.twistd import Twistd, twistd

#: The first of Debian's curls that gets as far as a request.
ENOUGH = (8, 21)
UNPACKED = Path(sys.prefix) / "debian-curl"


@pytest.fixture(scope="module")
def curl() -> Sequence[str]:
    """How to run it, whatever the user's own settings."""
    return [*_found(), "-q", "--silent", "--show-error", "--fail", "--noproxy", ""]


def _found() -> list[str]:
    system = require("curl", "curl")
    said = subprocess.run([system, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"curl (\d+)\.(\d+)", said)
    assert version is not None
    if tuple(map(int, version.groups())) >= ENOUGH:
        return [system]
    if not UNPACKED.exists():
        missing("curl of Debian's backports", "by sh tests/interop/debian_curl.sh")
    libraries = next((UNPACKED / "usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux*.so.*"))
    return [str(loader), "--library-path", str(libraries), str(UNPACKED / "usr/bin/curl")]


@contextmanager
def gssapi_proxy(keytab: Path, *arguments: str) -> Iterator[Twistd]:
    """
    A proxy for clients with tickets.  curl asks for confidentiality, has none, and goes on
    where it is given none.
    """
    path = keytab.with_name("curl.toml")
    path.write_text(f"[gssapi]\nkeytab = '{keytab}'\nmost = 'none'\n")
    with twistd(*LOOPBACK, "--config", str(path), *arguments) as server:
        yield server
        assert server.stop() == 0, server.output()


class Fetched:
    """
    What came of a download of the large file.

    @ivar digest: the SHA-256 of what came.
    @ivar octets: how many came.
    @ivar said: what curl said.
    """

    def __init__(
        self,
        curl: Sequence[str],
        server: Twistd,
        web: WebServer,
        folder: Path,
        *options: str,
        status: int = 0,
    ) -> None:
        path = folder / "fetched"
        path.touch()
        done = subprocess.run(
            [
                *curl,
                *options,
                f"localhost:{server.address()[1]}",
                "--socks5-gssapi",
                "--output",
                str(path),
                f"http://127.0.0.1:{web.port4}{web.down}",
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == status, done.stderr
        self.said = done.stderr
        self.octets = path.stat().st_size
        with path.open("rb") as file:
            self.digest = file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
@pytest.mark.parametrize("nec", [(), ("--socks5-gssapi-nec",)], ids=["wrapped", "nec"])
def test_curl_fetches_a_large_file(
    option: str,
    nec: tuple[str, ...],
    curl: Sequence[str],
    web: WebServer,
    keytab: Path,
    tickets: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KRB5CCNAME", tickets)
    with gssapi_proxy(keytab, *(("--gssapi-nec",) if nec else ())) as server:
        fetched = Fetched(curl, server, web, tmp_path, *nec, option)
        assert (fetched.octets, fetched.digest) == (100_000_000, web.blob.digest)
        server.wait_for("identity=gssapi:ann@SOCKS.TEST .* result=granted")


def test_curl_without_a_ticket_is_refused(
    curl: Sequence[str], web: WebServer, keytab: Path, tmp_path: Path
) -> None:
    with gssapi_proxy(keytab) as server:
        done = Fetched(curl, server, web, tmp_path, "--socks5", status=REFUSED_BY_PROXY)
        assert "No Kerberos credentials available" in done.said
        assert done.octets == 0


def test_curl_with_a_ticket_that_is_wrong_is_refused(
    curl: Sequence[str],
    web: WebServer,
    realm: Realm,
    tickets: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The proxy has the keys of other/localhost alone, and curl a ticket for rcmd/localhost.
    monkeypatch.setenv("KRB5CCNAME", tickets)
    with gssapi_proxy(realm.keytab("other/localhost"), "--gssapi-service", "other") as server:
        done = Fetched(curl, server, web, tmp_path, "--socks5", status=REFUSED_BY_PROXY)
        server.wait_for('result="not authenticated"')
        assert done.octets == 0


def test_what_is_not_wrapped_is_refused_where_it_is_not_let_in(
    curl: Sequence[str],
    web: WebServer,
    keytab: Path,
    tickets: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KRB5CCNAME", tickets)
    options = ("--socks5-gssapi-nec", "--socks5")
    with gssapi_proxy(keytab) as server:
        Fetched(curl, server, web, tmp_path, *options, status=REFUSED_BY_PROXY)
        server.wait_for("the protection level is not wrapped")
