"""A real web server: nginx, with a large file to fetch and a folder that takes uploads."""

import hashlib
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from attrs import frozen

from tests.interop.programs import DEADLINE, require, sha256, wait_for_line

#: How much each client moves each way, in octets.
SIZE = 100_000_000
_PIECE = 1_000_000

_CONFIGURATION = """\
daemon off;
master_process off;
error_log stderr notice;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port4};
        listen [::1]:{port6};
        root {folder}/root;
        location /up/ {{ dav_methods PUT; }}
    }}
}}
"""

_STARTED = "event method"
_IN_USE = "Address already in use"


@frozen
class Blob:
    """
    A large file.

    @ivar path: where it is.
    @ivar digest: its SHA-256.
    """

    path: Path
    digest: str


def make_blob(path: Path) -> Blob:
    """Write a large file of noise, the same each time."""
    noise = random.Random(1928)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(SIZE // _PIECE):
            piece = noise.randbytes(_PIECE)
            digest.update(piece)
            file.write(piece)
    return Blob(path, digest.hexdigest())


class WebServer:
    """
    A running nginx.

    @ivar blob: what it serves.
    @ivar port4: its port on 127.0.0.1.
    @ivar port6: its port on ::1.
    """

    down = "/blob"

    def __init__(self, root: Path, blob: Blob, port4: int, port6: int) -> None:
        self._root = root
        self._uploads = count(1)
        self.blob = blob
        self.port4 = port4
        self.port6 = port6

    def new_upload(self) -> str:
        """A path to PUT to that nobody has used."""
        return f"/up/{next(self._uploads)}"

    def take_uploaded(self, path: str) -> str:
        """The SHA-256 of what was PUT there, which is removed."""
        file = self._root / path.lstrip("/")
        with file.open("rb") as stream:
            digest = sha256(stream)
        file.unlink()
        return digest


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def nginx(folder: Path) -> Iterator[WebServer]:
    """Runs nginx in this folder."""
    program = require("nginx", "nginx-light")
    root = folder / "root"
    (root / "up").mkdir(parents=True)
    blob = make_blob(root / "blob")
    # Between finding a port free and nginx's taking it somebody else may have it.
    for _ in range(5):
        port4, port6 = _free_port("127.0.0.1"), _free_port("::1")
        configuration = folder / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, port4=port4, port6=port6))
        process = subprocess.Popen(
            [program, "-e", "stderr", "-p", str(folder), "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            said = wait_for_line(process, _STARTED)
            if said is None:
                yield WebServer(root, blob, port4, port6)
                return
            assert _IN_USE in said, f"nginx does not start:\n{said}"
        finally:
            process.terminate()
            process.wait(DEADLINE)
    raise AssertionError("nginx found no free ports")
