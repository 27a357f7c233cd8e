"""Security contexts with a real KDC: who is let in, and what a context does."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from socks5d.auth.gsscontext import Acceptor, Context, NoCredentials, NotEstablished
from tests.support.gssclient import FLAGS, initiator
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


def test_tokens_that_come_twice_or_out_of_turn_or_altered_are_refused(
    keytab: Path, tickets: str
) -> None:
    ours, theirs = Acceptor("rcmd", keytab).context(), initiator(tickets)
    establish(theirs, ours)
    first, second, third = (theirs.wrap(b"%d" % number, True).message for number in range(3))
    assert ours.unwrap(first) == (b"0", True)
    for wrong in (first, third, second, third[:-1] + bytes((third[-1] ^ 1,)), b"", b"x" * 60):
        with pytest.raises(Exception, match="Major"):
            ours.unwrap(wrong)


@pytest.mark.parametrize("token", [b"\0", b"x" * 65535, bytes.fromhex("6082")])
def test_what_is_no_token_establishes_nothing(token: bytes, keytab: Path) -> None:
    ours = Acceptor("rcmd", keytab).context()
    with pytest.raises(NotEstablished) as caught:
        ours.step(token)
    assert not ours.complete
    assert "\n" not in str(caught.value)
    assert 0 < len(str(caught.value)) <= 200


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


def test_a_service_without_a_key_is_told_at_once(realm: Realm, keytab: Path) -> None:
    with pytest.raises(NoCredentials, match="No key table entry found matching imap"):
        Acceptor("imap", keytab)
    with pytest.raises(NoCredentials, match="'/nonexistent' not found"):
        Acceptor("rcmd", Path("/nonexistent"))


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
