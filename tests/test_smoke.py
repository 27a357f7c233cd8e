from tests.support.client import connect4, connect5
from tests.support.origins import echo, origin
from tests.support.running import Observed, proxy
from tests.support.twistd import twistd


def test_a():
    seen = Observed()
    with origin(echo) as (host, port), proxy(seen) as server:
        c, reply = connect5(server, host, port)
        c.sendall(b"hello")
        assert c.recv(10) == b"hello"
        c.close()
        assert seen.record().received == 5
        c, reply = connect4(server, b"localhost", port)
        c.sendall(b"hello")
        assert c.recv(10) == b"hello"
        c.close()


def test_b():
    with origin(echo) as (host, port), twistd("--allow", "127.0.0.1") as t:
        c, reply = connect5(t.address(), host, port)
        c.sendall(b"hello")
        assert c.recv(10) == b"hello"
        c.close()
        assert t.stop() == 0, t.output()
