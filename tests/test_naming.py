"""Components by name."""

from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.plugin import IPlugin
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.auth import AnyUserID, NoAuthentication
from socks5d.interfaces import (
    IAuthenticator,
    IAuthenticatorPlugin,
    IRuleset,
    IRulesetPlugin,
)
from socks5d.naming import (
    NamedAuthenticator,
    NamedRuleset,
    authenticator_plugins,
    checker_source,
    make_authenticator,
    make_checker,
    make_ruleset,
    ruleset_plugins,
)
from socks5d.rules import PermitUnprotected


def test_our_own_components_have_names() -> None:
    assert {"none", "any-userid"} <= {plugin.name for plugin in authenticator_plugins()}
    assert "permit" in {plugin.name for plugin in ruleset_plugins()}


def test_plugins_come_in_the_order_of_their_names() -> None:
    for names in (
        [plugin.name for plugin in authenticator_plugins()],
        [plugin.name for plugin in ruleset_plugins()],
    ):
        assert names == sorted(names)


def test_every_plugin_provides_its_interface_and_has_one_line_of_help() -> None:
    for authenticator in authenticator_plugins():
        assert verifyObject(IAuthenticatorPlugin, authenticator)
        assert IPlugin.providedBy(authenticator)
        assert authenticator.description
        assert "\n" not in authenticator.description
    for ruleset in ruleset_plugins():
        assert verifyObject(IRulesetPlugin, ruleset)
        assert IPlugin.providedBy(ruleset)
        assert ruleset.description
        assert "\n" not in ruleset.description


def test_a_name_makes_its_component() -> None:
    assert isinstance(make_authenticator("none"), NoAuthentication)
    assert isinstance(make_authenticator("any-userid"), AnyUserID)
    assert isinstance(make_ruleset("permit"), PermitUnprotected)
    assert verifyObject(IAuthenticator, make_authenticator("none"))
    assert verifyObject(IRuleset, make_ruleset("permit"))


def test_a_name_with_nothing_after_its_colon_is_the_name() -> None:
    assert isinstance(make_ruleset("permit:"), PermitUnprotected)


@pytest.mark.parametrize("description", ["", "nonsense", "None", "none ", ":none", "permit"])
def test_an_unknown_authenticator_is_told_with_those_known(description: str) -> None:
    with pytest.raises(ValueError, match=r"is not among those known \(any-userid, .*none"):
        make_authenticator(description)


def test_an_unknown_ruleset_is_told_with_those_known() -> None:
    with pytest.raises(ValueError, match=r"'none' is not among those known \(permit"):
        make_ruleset("none")


@pytest.mark.parametrize("argument", ["x", "x:y", " "])
def test_an_argument_where_none_goes_is_a_value_error(argument: str) -> None:
    with pytest.raises(ValueError, match="nothing goes after its name"):
        make_authenticator(f"none:{argument}")
    with pytest.raises(ValueError, match="nothing goes after its name"):
        make_ruleset(f"permit:{argument}")


def test_a_plugin_is_given_what_stands_after_its_first_colon() -> None:
    given: list[str] = []

    def authenticator(argument: str) -> NoAuthentication:
        given.append(argument)
        return NoAuthentication()

    def ruleset(argument: str) -> PermitUnprotected:
        given.append(argument)
        return PermitUnprotected()

    NamedAuthenticator("a", "an authenticator", authenticator).authenticator("x:y")
    NamedRuleset("r", "a ruleset", ruleset).ruleset("")
    assert given == ["x:y", ""]


def test_checkers_by_the_same_description_have_the_same_source() -> None:
    one, same, other = map(make_checker, ("memory:ann:x", "memory:ann:x", "memory:ann:y"))
    assert checker_source(one) == checker_source(same) != checker_source(other)
    assert b"ann" not in bytes(checker_source(one))  # type: ignore[call-overload]


def test_a_checker_that_nobody_described_is_a_source_of_its_own() -> None:
    @implementer(ICredentialsChecker)
    class Bare:
        __slots__ = ()
        credentialInterfaces = (IUsernamePassword,)

        def requestAvatarId(self, credentials: object) -> Any:
            return b"ann"

    checker: ICredentialsChecker = InMemoryUsernamePasswordDatabaseDontUse()
    for each in (checker, Bare()):
        assert checker_source(each) != checker_source(each)
