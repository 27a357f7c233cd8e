"""The nouns: that nothing can be changed once it is said."""

import pytest

from socks5d.model import (
    ANONYMOUS,
    NO_OPINION,
    Authenticated,
    Client,
    Decision,
    Identity,
    More,
    NotAuthenticated,
    Outcome,
    Refusal,
    Request,
    Verdict,
)


@pytest.mark.parametrize(
    ("noun", "name"),
    [
        (Client(None), "address"),
        (Identity(), "name"),
        (Request(Client(None), "5"), "port"),
        (Decision(Verdict.PERMIT), "verdict"),
        (More(), "send"),
        (Authenticated(ANONYMOUS), "identity"),
        (NotAuthenticated(), "send"),
    ],
    ids=lambda noun: type(noun).__name__,
)
def test_a_noun_cannot_be_changed(noun: object, name: str) -> None:
    before = getattr(noun, name)
    with pytest.raises(AttributeError):
        setattr(noun, name, "changed")
    assert getattr(noun, name) == before


def test_nobody_in_particular_has_no_name() -> None:
    assert (ANONYMOUS.name, ANONYMOUS.source) == (None, "none")
    assert Request(Client(None), "4").identity is ANONYMOUS


def test_no_opinion_is_no_permit() -> None:
    assert NO_OPINION.verdict is Verdict.NO_OPINION
    assert not NO_OPINION.by_address
    assert not Decision(Verdict.PERMIT).by_address


def test_a_refusal_says_its_outcome_and_its_rule() -> None:
    refusal = Refusal(Outcome.DENIED, "deny *")
    assert (refusal.outcome, refusal.rule) == (Outcome.DENIED, "deny *")
    assert "denied" in str(refusal)


def test_every_outcome_has_a_word_of_its_own_for_logs() -> None:
    words = [outcome.value for outcome in Outcome]
    assert len(set(words)) == len(words)
    assert all(word == word.lower() and word.isascii() for word in words)
