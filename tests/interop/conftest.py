"""Fixtures of these tests: the web server and two proxies, one of each for the session."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.interop.webserver import WebServer, nginx
from tests.support.running import Address
from tests.support.twistd import twistd

LOOPBACK = ("--allow", "127.0.0.0/8", "--allow", "::1")


@pytest.fixture(scope="session")
def web() -> Iterator[WebServer]:
    """nginx with a large file."""
    with TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def open_proxy() -> Iterator[Address]:
    """A proxy that asks for no password."""
    with twistd(*LOOPBACK) as server:
        yield server.address()
        assert server.stop() == 0, server.output()


@pytest.fixture(scope="session")
def password_proxy() -> Iterator[Address]:
    """A proxy that asks SOCKS 5 clients for user:pass, and serves no others."""
    with twistd(*LOOPBACK, "--auth", "memory:user:pass") as server:
        yield server.address()
        assert server.stop() == 0, server.output()


@pytest.fixture(scope="session")
def userid_proxy() -> Iterator[Address]:
    """A proxy that takes SOCKS 4 clients who call themselves alice."""
    with twistd(*LOOPBACK, "--userid", "alice") as server:
        yield server.address()
        assert server.stop() == 0, server.output()
