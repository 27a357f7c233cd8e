"""Security contexts with a real KDC: who is let in, and what a context does."""

import builtins
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socks5d.auth.gsscontext import Acceptor, Context, NoCredentials, NotEstablished, OutOfOrder
from socks5d.auth.gssunwrap import DUPLICATE, GAP, OLD, OUT_OF_SEQUENCE, GSSFailure, Unwrapped
from tests.support.gssclient import FLAGS, UDP_FLAGS, initiator
from tests.support.kerberos import Realm

SPNEGO = "1.3.6.1.5.5.2"


def establish(theirs: Any, ours: Context) -> int:
    """Exchange tokens until both are done; gives how many there were."""
    token, count = theirs.step(), 0
    while token:
        count += 1
        answer = ours.step(token)
        token = None
        if answer:
            count += 1
            token = theirs.step(answer)
    assert ours.complete
    assert theirs.complete
    return count


@pytest.mark.parametrize(
    "service", ["rcmd", "rcmd@localhost", "rcmd/localhost", "rcmd/localhost@SOCKS.TEST"]
)
def test_a_service_is_host_based_or_a_principal(service: str, keytab: Path, tickets: str) -> None:
    ours = Acceptor(service, keytab).context()
    assert not ours.complete
    assert establish(initiator(tickets), ours) == 2
    assert ours.principal == "ann@SOCKS.TEST"
    assert (ours.integrity, ours.confidentiality) == (True, True)


def test_the_keytab_is_the_environments_where_none_is_named(
    keytab: Path, tickets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5_KTNAME", f"FILE:{keytab}")
    ours = Acceptor("rcmd").context()
    establish(initiator(tickets), ours)
    assert ours.principal == "ann@SOCKS.TEST"


@pytest.mark.parametrize(
    ("flags", "tokens"),
    [(FLAGS, 2), (("integrity",), 1), (("dce_style", "mutual_authentication"), 3)],
    ids=["mutual", "one way", "three tokens"],
)
def test_a_context_takes_as_many_tokens_as_its_flags_want(
    flags: tuple[str, ...], tokens: int, keytab: Path, tickets: str
) -> None:
    ours = Acceptor("rcmd", keytab).context()
    assert establish(initiator(tickets, flags=flags), ours) == tokens


@pytest.mark.parametrize("confidential", [False, True])
def test_what_one_wraps_the_other_unwraps_and_knows_how(
    confidential: bool, keytab: Path, tickets: str
) -> None:
    ours, theirs = Acceptor("rcmd", keytab).context(), initiator(tickets)
    establish(theirs, ours)
    token = ours.wrap(b"to you", confidential)
    assert (b"to you" in token) is not confidential
    assert theirs.unwrap(token)[:2] == (b"to you", confidential)
    assert ours.unwrap(theirs.wrap(b"to me", confidential).message) == (b"to me", confidential)
    room = ours.room(65535, confidential)
    assert len(ours.wrap(bytes(room), confidential)) <= 65535
    assert len(ours.wrap(bytes(room + 64), confidential)) > 65535


ASKED = pytest.mark.parametrize(
    "flags",
    [FLAGS, UDP_FLAGS, ("mutual_authentication",), ("integrity",)],
    ids=["replay and sequence", "replay", "neither", "nothing at all"],
)


def both(
    keytab: Path, tickets: str, flags: tuple[str, ...]
) -> tuple[Context, Callable[..., bytes]]:
    """Our context, and what wraps the client's messages."""
    ours, theirs = Acceptor("rcmd", keytab).context(), initiator(tickets, flags=flags)
    establish(theirs, ours)

    def wrap(data: bytes, confidential: bool = True) -> bytes:
        token: bytes = theirs.wrap(data, confidential).message
        return token

    return ours, wrap


@ASKED
@pytest.mark.parametrize("confidential", [False, True])
def test_what_comes_twice_or_out_of_turn_or_altered_is_refused_whatever_was_asked_for(
    confidential: bool, flags: tuple[str, ...], keytab: Path, tickets: str
) -> None:
    ours, wrap = both(keytab, tickets, flags)
    first, second, third = (wrap(b"%d" % number, confidential) for number in range(3))
    altered = second[:-1] + bytes((second[-1] ^ 1,))
    assert ours.unwrap(first) == (b"0", confidential)
    for wrong in (first, third, altered, b"", b"x" * 60, second[:8] + third[8:]):
        with pytest.raises((OutOfOrder, GSSFailure)):
            ours.unwrap(wrong)
    # None of these was taken for the client's.
    assert ours.unwrap(second) == (b"1", confidential)
    assert ours.unwrap(third) == (b"2", confidential)


@ASKED
def test_datagrams_may_be_lost_and_overtaken_but_come_once(
    flags: tuple[str, ...], keytab: Path, tickets: str
) -> None:
    ours, wrap = both(keytab, tickets, flags)
    tokens = [wrap(b"%d" % number) for number in range(150)]
    # Lost: 1 and 2, then 4, then 6 to 69, some of which come late.
    for number in (0, 3, 5, 70, 7, 69, 68, 10):
        assert ours.unwrap_datagram(tokens[number]) == (b"%d" % number, True)
    for number in (0, 3, 5, 70, 7, 69, 68, 10, 6, 4, 1):
        with pytest.raises(OutOfOrder):
            ours.unwrap_datagram(tokens[number])
    altered = tokens[149][:-1] + bytes((tokens[149][-1] ^ 1,))
    with pytest.raises(GSSFailure):
        ours.unwrap_datagram(altered)
    for number in (71, 149, 86):
        assert ours.unwrap_datagram(tokens[number]) == (b"%d" % number, True)
    with pytest.raises(OutOfOrder):
        ours.unwrap_datagram(tokens[85])


def test_a_stream_goes_on_where_its_datagrams_were_not_lost(keytab: Path, tickets: str) -> None:
    ours, wrap = both(keytab, tickets, FLAGS)
    tokens = [wrap(b"%d" % number) for number in range(5)]
    assert ours.unwrap(tokens[0]) == (b"0", True)
    assert ours.unwrap_datagram(tokens[1]) == (b"1", True)
    assert ours.unwrap(tokens[2]) == (b"2", True)
    assert ours.unwrap_datagram(tokens[4]) == (b"4", True)
    with pytest.raises(OutOfOrder):
        ours.unwrap(tokens[3])


class Hidden:
    """A mechanism whose numbers cannot be seen: it says of each message what it is told to."""

    def __init__(self) -> None:
        self.remarks = 0

    def unwrap(self, token: bytes) -> Unwrapped:
        return Unwrapped(token, True, self.remarks)


@pytest.mark.parametrize(
    ("flags", "watched"), [(FLAGS, True), (UDP_FLAGS, False), (("integrity",), False)]
)
def test_where_numbers_cannot_be_seen_the_client_has_to_have_asked(
    flags: tuple[str, ...], watched: bool, keytab: Path, tickets: str
) -> None:
    ours, _ = both(keytab, tickets, flags)
    ours._receiver = mechanism = Hidden()  # type: ignore[assignment]
    # The protection level, which is needed where nothing is to be protected, too.
    assert ours.unwrap(b"x") == (b"x", True)
    for way in (ours.unwrap, ours.unwrap_datagram):
        for remarks in (0, DUPLICATE, OLD, OUT_OF_SEQUENCE, GAP):
            mechanism.remarks = remarks
            if watched and (not remarks or (remarks == GAP and way == ours.unwrap_datagram)):
                assert way(b"x") == (b"x", True)
            else:
                with pytest.raises(OutOfOrder):
                    way(b"x")


@pytest.mark.parametrize("token", [b"\0", b"x" * 65535, bytes.fromhex("6082")])
def test_what_is_no_token_establishes_nothing(token: bytes, keytab: Path) -> None:
    ours = Acceptor("rcmd", keytab).context()
    with pytest.raises(NotEstablished) as caught:
        ours.step(token)
    assert not ours.complete
    assert "\n" not in str(caught.value)
    assert 0 < len(str(caught.value)) <= 200
    assert "Success" not in str(caught.value)
    assert "Unknown" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 10, 30, 100])
def test_a_token_that_is_cut_off_is_refused_by_a_reason(
    size: int, keytab: Path, tickets: str
) -> None:
    token = initiator(tickets).step()
    with pytest.raises(NotEstablished) as caught:
        Acceptor("rcmd", keytab).context().step(token[:size])
    assert not re.search("Success|Unknown", str(caught.value))


def test_an_empty_token_establishes_nothing(keytab: Path) -> None:
    ours = Acceptor("rcmd", keytab).context()
    # SPNEGO takes it for the wish to hear what there is.
    ours.step(b"")
    assert not ours.complete


def test_a_context_token_serves_once(keytab: Path, tickets: str) -> None:
    acceptor, token = Acceptor("rcmd", keytab), initiator(tickets).step()
    assert acceptor.context().step(token)
    with pytest.raises(NotEstablished, match="Request is a replay"):
        acceptor.context().step(token)


def test_a_ticket_for_another_service_is_refused(realm: Realm, keytab: Path, tickets: str) -> None:
    realm.keytab("other/localhost")
    ours = Acceptor("rcmd", keytab).context()
    with pytest.raises(NotEstablished):
        ours.step(initiator(tickets, "other@localhost").step())
    assert not ours.complete


def test_a_service_without_a_key_is_told_at_once(keytab: Path) -> None:
    with pytest.raises(NoCredentials, match="No key table entry found matching imap"):
        Acceptor("imap", keytab)
    with pytest.raises(NoCredentials, match="'/nonexistent' not found"):
        Acceptor("rcmd", Path("/nonexistent"))


@pytest.mark.parametrize("named", ["by the file", "by the environment", "by nobody"])
@pytest.mark.parametrize("wrong", ["gone", "no keytab", "a folder", "without the key"])
def test_what_is_wrong_with_a_keytab_is_told_with_its_remedy(
    wrong: str, named: str, keytab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    if wrong == "no keytab":
        path.write_text("ssh-rsa AAAA")
    elif wrong == "a folder":
        path.mkdir()
    elif wrong == "without the key":
        path.write_bytes(keytab.read_bytes())
    if named == "by the environment":
        monkeypatch.setenv("KRB5_KTNAME", f"FILE:{path}")
    else:
        monkeypatch.delenv("KRB5_KTNAME", raising=False)
    if named == "by nobody":
        configuration = tmp_path / "krb5.conf"
        configuration.write_text(f"[libdefaults]\ndefault_keytab_name = {path}\n")
        monkeypatch.setenv("KRB5_CONFIG", str(configuration))
    with pytest.raises(NoCredentials) as caught:
        Acceptor("imap", path if named == "by the file" else None)
    said = str(caught.value)
    assert "\n" not in said
    expected = {
        "by the file": f"'keytab' under [gssapi] in the file names {path}: ",
        "by the environment": f"KRB5_KTNAME names FILE:{path}: ",
        "by nobody": "it is the system's keytab, mostly /etc/krb5.keytab: ",
    }
    assert expected[named] in said
    assert said.endswith("by 'keytab' under [gssapi] in the file or by KRB5_KTNAME")


def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "gssapi":
            raise ImportError("No module named 'gssapi'")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NoCredentials, match=r"pip install 'socks5d\[gssapi\]'"):
        Acceptor("rcmd")


def test_a_client_without_a_name_has_none(keytab: Path, tickets: str) -> None:
    import gssapi

    class Anonymous:
        complete = True
        initiator_name = gssapi.Name("nobody", gssapi.NameType.anonymous)
        actual_flags = gssapi.IntEnumFlagSet(gssapi.RequirementFlag, 0)

    ours = Acceptor("rcmd", keytab).context()
    ours._context = Anonymous()
    assert ours.principal is None
    ours._context.initiator_name = gssapi.Name("ann", gssapi.NameType.user)
    assert ours.principal == "ann"
    ours._context.actual_flags = [gssapi.RequirementFlag.anonymity]
    assert ours.principal is None
