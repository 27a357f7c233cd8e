"""What a worker is told at its beginning, in a file that it inherits."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from socks5d.values import Item

# The descriptors of a worker.
CHANNEL_IN: Final = 3
CHANNEL_OUT: Final = 4
LOG: Final = 5
ASSIGNMENT: Final = 6
PORTS: Final = 7
ACCESS_LOG: Final = 8
HANDOVER: Final = 9
#: The first of the listeners'.
LISTENERS: Final = 10


@frozen(slots=True, kw_only=True)
class Assignment:
    """
    @ivar items: keys and values, as options and files gave them.
    @ivar workers: how many processes serve.
    @ivar listeners: for each listener the descriptors of its sockets, one for each slot,
        or one for all.
    @ivar access_log: where the access log is, whose descriptor is L{ACCESS_LOG}; or None.
    @ivar reactor: the module that installs the reactor.
    @ivar name: what the process is called.
    """

    items: Sequence[tuple[str, Item]]
    workers: int
    listeners: Sequence[Sequence[int]]
    access_log: Path | None
    reactor: str
    name: str

    def store(self) -> int:
        """
        @return: the descriptor of a file without a name that holds it.
        """
        descriptor = nameless_file("socks5d assignment")
        with open(os.dup(descriptor), "wb") as file:  # noqa: PTH123 (it has no path)
            file.write(_encoded(self))
        return descriptor

    @classmethod
    def read(cls, descriptor: int) -> "Assignment":
        """
        @param descriptor: as L{store} gave it.
        """
        octets = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        content = _decoded(octets)
        if content["access_log"] is not None:
            content["access_log"] = Path(content["access_log"])
        return cls(**content)


@frozen(slots=True, kw_only=True)
class Orders:
    """
    What a worker is told when it is to go on by other settings.

    @ivar items: keys and values, as options and files give them now.
    @ivar sockets: for each listener how many sockets are handed over with it: none for one
        that stays.
    """

    items: Sequence[tuple[str, Item]]
    sockets: Sequence[int]

    def encode(self) -> bytes:
        """
        @return: octets for the channel.
        """
        return _encoded(self)

    @classmethod
    def decode(cls, octets: bytes) -> "Orders":
        """
        @param octets: as L{encode} gave them.
        """
        return cls(**_decoded(octets))


def _encoded(what: "Assignment | Orders") -> bytes:
    content = asdict(what, value_serializer=lambda _1, _2, value: _plain(value))
    return json.dumps(content).encode()


def _decoded(octets: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(octets)
    content["items"] = [(key, Item(**item)) for key, item in content["items"]]
    return content


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def nameless_file(name: str) -> int:
    """
    @param name: for whoever looks at descriptors.
    @return: a file's descriptor; it is gone when nobody has it open any more.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108
    return descriptor
