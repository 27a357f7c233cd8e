"""A real DNS server: dnsmasq, with records of its own and nobody to ask; and its messages."""

import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from twisted.names import dns

from tests.interop.programs import DEADLINE, require, wait_for_line

#: Where it is reached, on one port.
HOSTS = ("127.0.0.1", "::1")
PORTS = range(20_000, 32_000)

#: Every name that ends so has these addresses.
ZONE = "example.test"
IPV4 = "192.0.2.55"
IPV6 = "2001:db8::55"

#: A name that has a text.
NOTED = "noted." + ZONE
NOTE = "said by dnsmasq"

_STARTED = "dnsmasq: started"
_IN_USE = "Address already in use"


@contextmanager
def dnsmasq() -> Iterator[int]:
    """Runs dnsmasq; gives its port."""
    program = require("dnsmasq", "dnsmasq-base")
    # None of those that the kernel gives to connections, of which other tests have thousands.
    for port in random.sample(PORTS, 20):
        process = subprocess.Popen(
            [
                program,
                "--no-daemon",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--bind-interfaces",
                f"--port={port}",
                *(f"--listen-address={host}" for host in HOSTS),
                f"--address=/{ZONE}/{IPV4}",
                f"--address=/{ZONE}/{IPV6}",
                f"--txt-record={NOTED},{NOTE}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            said = wait_for_line(process, _STARTED)
            if said is None:
                yield port
                return
            assert _IN_USE in said, f"dnsmasq does not start:\n{said}"
        finally:
            process.terminate()
            process.wait(DEADLINE)
    raise AssertionError("dnsmasq found no free port")


class Question(NamedTuple):
    """
    @ivar name: what is asked about.
    @ivar kind: of which type, as C{dns.A}.
    @ivar number: the message's ID.
    """

    name: str
    kind: int = dns.A
    number: int = 1

    def encode(self) -> bytes:
        """The message."""
        message = dns.Message(self.number, recDes=1)
        message.addQuery(self.name.encode(), self.kind)
        octets: bytes = message.toStr()
        return octets

    def answered(self, octets: bytes) -> list[str]:
        """What a message answers, which must be to this question."""
        message = dns.Message()
        message.fromStr(octets)
        asked = [(str(query.name), query.type) for query in message.queries]
        assert (message.answer, message.id, asked) == (1, self.number, [(self.name, self.kind)])
        assert message.rCode == dns.OK
        return [_shown(record.payload) for record in message.answers]


def _shown(record: object) -> str:
    match record:
        case dns.Record_A():
            return str(record.dottedQuad())
        case dns.Record_AAAA():
            return socket.inet_ntop(socket.AF_INET6, record.address)
        case dns.Record_TXT():
            return b"".join(record.data).decode()
    raise AssertionError(f"not an expected record: {record!r}")
