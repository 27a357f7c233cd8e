"""A Kerberos realm of a test's own: MIT's KDC on loopback, principals, keytabs, tickets."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.programs import require
from tests.support.running import PATIENCE

REALM = "SOCKS.TEST"
PASSWORD = "correct horse"
PACKAGES = {
    "kdb5_util": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
    "kinit": "krb5-user",
}

_CLIENT = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    localhost = {realm}
    127.0.0.1 = {realm}
"""

_KDC = """\
[kdcdefaults]
    kdc_listen = ""
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
        acl_file = {folder}/acl
        max_life = 1h
    }}
[logging]
    kdc = FILE:{folder}/kdc.log
"""


class Realm:
    """
    A realm, and its KDC.

    @ivar environment: what Kerberos' programs and libraries need to know, without a
        credential cache and a keytab.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = _free_port()
        configuration, kdc = folder / "krb5.conf", folder / "kdc.conf"
        configuration.write_text(_CLIENT.format(realm=REALM, port=self._port))
        kdc.write_text(_KDC.format(realm=REALM, port=self._port, folder=folder))
        self.environment = {
            "KRB5_CONFIG": str(configuration),
            "KRB5_KDC_PROFILE": str(kdc),
            "KRB5RCACHENAME": f"file2:{folder}/rcache",
            "KRB5CCNAME": f"FILE:{folder}/no-tickets",
            "KRB5_KTNAME": f"FILE:{folder}/no-keys",
        }
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master key")

    def _run(self, program: str, *arguments: str, typed: str = "") -> None:
        done = subprocess.run(
            [require(program, PACKAGES[program]), *arguments],
            env={**os.environ, **self.environment},
            input=typed,
            text=True,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def _kadmin(self, query: str) -> None:
        self._run("kadmin.local", "-r", REALM, "-q", query)

    @contextmanager
    def running(self) -> Iterator["Realm"]:
        """The KDC runs."""
        process = subprocess.Popen(
            [require("krb5kdc", "krb5-kdc"), "-n", "-r", REALM],
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _until_listening(process, self._port)
            yield self
        finally:
            process.kill()
            process.wait(PATIENCE)

    def add_user(self, name: str) -> str:
        """
        Make a principal with L{PASSWORD}.

        @return: its whole name.
        """
        self._kadmin(f'addprinc -pw "{PASSWORD}" {name}')
        return f"{name}@{REALM}"

    def keytab(self, *services: str) -> Path:
        """A keytab with the keys of services, which are made."""
        path = self.folder / f"{'-'.join(services).replace('/', '_')}.keytab"
        for service in services:
            self._kadmin(f"addprinc -randkey {service}")
            self._kadmin(f"ktadd -k {path} {service}")
        return path

    def tickets(self, name: str) -> str:
        """
        Get a user a ticket-granting ticket.

        @return: a credential cache, as KRB5CCNAME names it.
        """
        cache = f"FILE:{self.folder}/{name.replace('/', '_')}.tickets"
        self._run("kinit", "-c", cache, name, typed=PASSWORD + "\n")
        return cache


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _until_listening(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, "the KDC has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "the KDC does not listen"
        select.select([], [], [], 0.01)
