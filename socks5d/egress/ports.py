"""Ports to try, where an operator names a range."""

from collections.abc import Iterator
from random import randrange

Ports = tuple[int, int]

#: Ports of a range that are tried for one request.
TRIES = 64


def candidates(ports: Ports | None) -> Iterator[int]:
    """
    @param ports: the lowest and highest; None for the kernel's choice.
    @return: ports, from a random one on; a bounded number of them.
    """
    low, high = ports if ports is not None else (0, 0)
    count = high - low + 1
    start = randrange(count)  # noqa: S311 (spreads the load, hides nothing)
    for offset in range(min(count, TRIES)):
        yield low + (start + offset) % count
