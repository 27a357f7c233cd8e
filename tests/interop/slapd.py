"""A real directory: OpenLDAP's slapd on loopback, in a folder of its own, as whoever tests."""

import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.programs import require
from tests.support.authority import Authority
from tests.support.running import PATIENCE

ROOT = "dc=example,dc=org"
#: Only L{SEARCHER} may search here.
PEOPLE = f"ou=people,{ROOT}"
#: Everybody may search here.
OPEN = f"ou=open,{ROOT}"
SEARCHER = f"cn=searcher,{ROOT}"
SEARCHERS_SECRET = "the searcher's own"

PASSWORD = "correct horse"
#: A name and a password that are not ASCII.
NON_ASCII = ("josé", "pässwörd")
#: Whom the certificate is for.
HOST = "localhost"

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
argsfile {folder}/args
{tls}
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="{open}" by * read
access to * by dn.exact="{searcher}" read by anonymous auth by * none
database mdb
suffix "{root}"
directory {folder}/data
index objectClass eq
index uid,mail eq
"""

_TLS = """\
TLSCACertificateFile {ca}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
TLSVerifyClient never
"""


def _entries() -> Iterator[str]:
    yield f"dn: {ROOT}\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: example\n"
    for unit in (PEOPLE, OPEN):
        yield f"dn: {unit}\nobjectClass: organizationalUnit\n"
    yield (
        f"dn: {SEARCHER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
        f"userPassword: {SEARCHERS_SECRET}\n"
    )
    yield _person(PEOPLE, "ann", PASSWORD, "mail: ann@example.org\nmail: shared@example.org\n")
    yield _person(PEOPLE, "Bob", PASSWORD, "mail: shared@example.org\n")
    yield _person(PEOPLE, NON_ASCII[0], NON_ASCII[1])
    yield _person(PEOPLE, "two", PASSWORD, "uid: names\n")
    # A name with what means something in a filter's text, or in a DN's.
    yield _person(PEOPLE, "*(a)", PASSWORD, dn="\\2a\\28a\\29")
    yield _person(OPEN, "carl", PASSWORD)


def _person(unit: str, name: str, password: str, more: str = "", dn: str = "") -> str:
    return (
        f"dn: uid={dn or name},{unit}\nobjectClass: inetOrgPerson\nuid: {name}\n"
        f"cn: {name}\nsn: {name}\nuserPassword: {password}\n{more}"
    )


class Slapd:
    """
    A directory.

    @ivar authority: whose certificate it has, for L{HOST} alone.
    @ivar secret: a file with the password of L{SEARCHER}.
    """

    def __init__(self, folder: Path, tls: bool = True) -> None:
        self.folder = folder
        (folder / "data").mkdir()
        # By another path, since a profile of AppArmor's holds it to the system's own folders.
        self._program = shutil.copy(require("slapd", "slapd"), folder / "slapd")
        self.authority = Authority(folder)
        files = self.authority.issue(HOST)
        self.secret = folder / "secret"
        self.secret.write_text(SEARCHERS_SECRET + "\n")
        tls_lines = _TLS.format(
            ca=self.authority.certificate, certificate=files.certificate, key=files.key
        )
        self._configuration = folder / "slapd.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(
                folder=folder,
                tls=tls_lines if tls else "",
                open=OPEN,
                searcher=SEARCHER,
                root=ROOT,
            )
        )
        entries = folder / "entries.ldif"
        entries.write_text("\n".join(_entries()))
        done = subprocess.run(
            [self._program, "-T", "add", "-f", self._configuration, "-l", entries],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._tls = tls
        self._ports = (0, 0)

    @property
    def port(self) -> int:
        """Of ldap://."""
        return self._ports[0]

    @property
    def ldap(self) -> str:
        """The URL for L{HOST}, as an argument takes it."""
        return f"ldap\\://{HOST}\\:{self._ports[0]}"

    @property
    def ldaps(self) -> str:
        """The same, with TLS from the start."""
        return f"ldaps\\://{HOST}\\:{self._ports[1]}"

    @contextmanager
    def running(self) -> Iterator["Slapd"]:
        """It runs, but for when it is stopped."""
        self._start_anywhere()
        try:
            yield self
        finally:
            self.stop()

    def _start_anywhere(self) -> None:
        # Between finding ports free and slapd's taking them somebody else may have them.
        for _ in range(5):
            self._ports = (_free_port(), _free_port())
            if self.start():
                return
        raise AssertionError("slapd does not start")

    def start(self) -> bool:
        """
        Start it where it was.

        @return: whether it listens.
        """
        urls = [f"ldap://127.0.0.1:{self._ports[0]}/"]
        if self._tls:
            urls.append(f"ldaps://127.0.0.1:{self._ports[1]}/")
        self._process = process = subprocess.Popen(
            [self._program, "-d", "0", "-h", " ".join(urls), "-f", self._configuration],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._ports[0])) == 0:
                    return True
            assert time.monotonic() < deadline, "slapd does not listen"
            select.select([], [], [], 0.01)
        return False

    def stop(self) -> None:
        """End it; connections to it end too."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
