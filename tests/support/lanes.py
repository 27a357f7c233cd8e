"""The same tests on both kinds of TCP transport."""

from collections.abc import Iterator

import pytest

from socks5d.net import poller

LANES = ("fast", "twisted")


@pytest.fixture(params=LANES, autouse=True)
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """
    A whole module's tests on socks5d.net's transports, and then on Twisted's, as where the
    platform has no epoll.
    """
    if request.param == "twisted":
        monkeypatch.setattr(poller, "_HAS_EPOLL", False)
    yield request.param
