"""Fixtures of these tests: servers and proxies, one of each for the session; PySocks."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.interop.dnsserver import dnsmasq
from tests.interop.programs import missing
from tests.interop.slapd import Slapd
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
def dns_port() -> Iterator[int]:
    """The port of dnsmasq."""
    with dnsmasq() as port:
        yield port


@pytest.fixture(scope="module")
def directory() -> Iterator[Slapd]:
    """slapd with users."""
    with TemporaryDirectory() as folder, Slapd(Path(folder)).running() as server:
        yield server


@pytest.fixture(scope="session")
def socks() -> Any:
    """PySocks."""
    try:
        import socks  # type: ignore[import-untyped]
    except ImportError:
        missing("PySocks", "python3-socks")
    return socks


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
