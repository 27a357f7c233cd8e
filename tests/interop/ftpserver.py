"""A real FTP server: Debian's vsftpd, one process for each session, for anonymous users."""

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

from tests.interop.programs import DEADLINE, require
from tests.support.origins import origin
from tests.support.running import Address

# It runs as whoever runs the tests, root or not, and so in one process, without a jail.
_CONFIGURATION = """\
listen=NO
run_as_launching_user=YES
secure_chroot_dir={folder}/empty
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
pasv_enable=NO
connect_from_port_20=NO
anonymous_enable=YES
no_anon_password=YES
anon_root={folder}/root
anon_world_readable_only=NO
write_enable=YES
anon_upload_enable=YES
"""


def _as_listed(address: Address) -> str:
    """An address and port as C{/proc/net/tcp} writes them: in words of this machine."""
    packed = ip_address(address[0]).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


class FTPServer:
    """
    A place where vsftpd serves.

    @ivar address: where it is reached.
    @ivar root: the folder that it serves; C{up} in it takes uploads.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        (self.root / "up").mkdir(parents=True)
        (folder / "empty").mkdir()
        self._configuration = folder / "vsftpd.conf"
        self._configuration.write_text(_CONFIGURATION.format(folder=folder))
        self._program = require("vsftpd", "vsftpd")
        self._sessions: set[int] = set()
        self.address: Address = ("", 0)

    def serve(self, connection: socket.socket) -> None:
        """
        One session, as inetd starts it: on a connection that was accepted for it.  So there
        is no port to lose to somebody else, no start to wait for, and nobody unknown to end.
        """
        connection.setblocking(True)
        process = subprocess.Popen(
            [self._program, str(self._configuration)],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=subprocess.DEVNULL,
        )
        self._sessions.add(process.pid)
        connection.close()
        try:
            status = process.wait(DEADLINE)
        finally:
            self._sessions.discard(process.pid)
            if process.poll() is None:
                process.kill()
                process.wait(DEADLINE)
        assert status == 0, f"vsftpd ended with {status}"

    def holds(self, local: Address, remote: Address) -> bool:
        """Whether a session that runs has a connection between these two, itself at the first."""
        table = Path("/proc/net/tcp6" if ":" in local[0] else "/proc/net/tcp")
        ends = [_as_listed(local), _as_listed(remote)]
        rows = [line.split() for line in table.read_text().splitlines()]
        inodes = {f"socket:[{row[9]}]" for row in rows if row[1:3] == ends}
        return any(inodes & _open_files(pid) for pid in list(self._sessions))


def _open_files(pid: int) -> set[str]:
    """What a process has open; nothing when it has ended, or is about to."""
    found = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            found.add(str(link.readlink()))
    return found


@contextmanager
def vsftpd(folder: Path, host: str) -> Iterator[FTPServer]:
    """
    Serves in this folder, on any port of an address.

    @param host: an address of this machine.  Where it has more than one, data connections
        come from this one too.
    """
    server = FTPServer(folder)
    with origin(server.serve, host) as server.address:
        yield server
