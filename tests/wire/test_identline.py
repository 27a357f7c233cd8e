"""Lines of the Identification Protocol (RFC 1413): what is written reads back."""

from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire import identline

PORTS = st.integers(1, 65535)
PAIRS = st.tuples(PORTS, PORTS)
TEXTS = st.binary(min_size=1, max_size=512).filter(
    lambda text: not set(text) & set(b"\r\n\0") and text == text.strip(b" \t")
)


@given(PORTS, PORTS)
def test_a_query_reads_back(port_on_server: int, port_on_client: int) -> None:
    line = identline.encode_query(port_on_server, port_on_client)
    assert line.endswith(b"\r\n")
    assert identline.parse_query(line) == ((port_on_server, port_on_client), len(line))


@given(PAIRS, st.sampled_from([b"UNIX", b"OTHER"]), TEXTS)
def test_a_user_id_reads_back(ports: tuple[int, int], system: bytes, userid: bytes) -> None:
    response = identline.UserID(ports, system, userid)
    line = identline.encode_response(response)
    assert identline.parse_response(line) == (response, len(line))


@given(PAIRS, st.sampled_from([b"INVALID-PORT", b"NO-USER", b"HIDDEN-USER", b"UNKNOWN-ERROR"]))
def test_an_error_reads_back(ports: tuple[int, int], error: bytes) -> None:
    response = identline.Error(ports, error)
    line = identline.encode_response(response)
    assert identline.parse_response(line) == (response, len(line))
