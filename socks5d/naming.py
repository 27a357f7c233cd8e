"""
Components by name: C{NAME} or C{NAME:ARGUMENT}, from plugins of any installed package.

A package adds one by a file in its C{twisted/plugins} that holds an object which
provides L{IPlugin<twisted.plugin.IPlugin>} and L{IAuthenticatorPlugin} or
L{IRulesetPlugin}.
"""

import os
from collections.abc import Callable, Hashable
from contextlib import suppress
from hashlib import blake2b
from typing import TypeVar
from weakref import WeakKeyDictionary

from attrs import frozen
from twisted.cred.checkers import (
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import (
    ICheckerFactory,
    InvalidAuthType,
    findCheckerFactories,
    findCheckerFactory,
)
from twisted.plugin import IPlugin, getPlugins
from zope.interface import implementer

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.passwordfile import PasswordFile
from socks5d.interfaces import IAuthenticator, IAuthenticatorPlugin, IRuleset, IRulesetPlugin

P = TypeVar("P", IAuthenticatorPlugin, IRulesetPlugin)

#: Of checkers what they were made by, as a digest, for that may hold a password.
_sources: WeakKeyDictionary[ICredentialsChecker, bytes] = WeakKeyDictionary()
_KEY = os.urandom(32)


@implementer(IPlugin, IAuthenticatorPlugin)
@frozen(slots=True)
class NamedAuthenticator:
    """
    An authenticator plugin.

    @ivar name: the word before the colon.
    @ivar description: one line for --help.
    @ivar make: makes one of what stood after the colon; may raise ValueError.
    """

    name: str
    description: str
    make: Callable[[str], IAuthenticator]

    def authenticator(self, argument: str) -> IAuthenticator:
        """See L{IAuthenticatorPlugin}."""
        return self.make(argument)


@implementer(IPlugin, IRulesetPlugin)
@frozen(slots=True)
class NamedRuleset:
    """
    A ruleset plugin.

    @ivar name: the word before the colon.
    @ivar description: one line for --help.
    @ivar make: makes one of what stood after the colon; may raise ValueError.
    """

    name: str
    description: str
    make: Callable[[str], IRuleset]

    def ruleset(self, argument: str) -> IRuleset:
        """See L{IRulesetPlugin}."""
        return self.make(argument)


@implementer(IPlugin, ICheckerFactory)
class NamedChecker:
    """
    A credentials checker for user names and passwords, for C{--auth} here and in any other
    application that uses L{twisted.cred.strcred}.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self, name: str, argument: str, description: str, make: Callable[[str], ICredentialsChecker]
    ) -> None:
        """
        @param name: the word before the colon.
        @param argument: what stands after it, for a reader.
        @param description: what it does, in sentences.
        @param make: makes one of what stood after the colon; may raise
            L{InvalidAuthArgumentString<twisted.cred.strcred.InvalidAuthArgumentString>}.
        """
        self.authType = name
        self.argStringFormat = argument
        self.authHelp = description
        self.generateChecker = make


def authenticator_plugins() -> list[IAuthenticatorPlugin]:
    """The authenticators that can be named, in the order of their names."""
    return sorted(getPlugins(IAuthenticatorPlugin), key=lambda plugin: plugin.name)


def ruleset_plugins() -> list[IRulesetPlugin]:
    """The rulesets that can be named, in the order of their names."""
    return sorted(getPlugins(IRulesetPlugin), key=lambda plugin: plugin.name)


def make_authenticator(description: str) -> IAuthenticator:
    """
    @param description: C{NAME} or C{NAME:ARGUMENT}.
    @raise ValueError: for an unknown name, or an argument the plugin refuses.
    """
    plugin, argument = _find(description, authenticator_plugins())
    return plugin.authenticator(argument)


def make_ruleset(description: str) -> IRuleset:
    """
    @param description: C{NAME} or C{NAME:ARGUMENT}.
    @raise ValueError: for an unknown name, or an argument the plugin refuses.
    """
    plugin, argument = _find(description, ruleset_plugins())
    return plugin.ruleset(argument)


def make_checker(description: str) -> ICredentialsChecker:
    """
    @param description: what C{--auth} takes.
    @raise ValueError: for an unknown checker, one that takes no user names and
        passwords, or an argument it refuses; what the argument was is not told,
        for it may hold a password.
    """
    kind, _, argument = description.partition(":")
    try:
        factory = findCheckerFactory(kind)
    except InvalidAuthType:
        known = ", ".join(
            sorted(
                each.authType
                for each in findCheckerFactories()
                if IUsernamePassword in each.credentialInterfaces
            )
        )
        raise ValueError(f"{kind!r} is no credentials checker; there are {known}") from None
    if IUsernamePassword not in factory.credentialInterfaces:
        raise ValueError(f"{kind!r} takes no user name and password")
    try:
        make: Callable[[str], ICredentialsChecker] = factory.generateChecker
        checker = PasswordFile(argument, make) if kind == "file" else make(argument)
    except ArgumentError as error:
        raise ValueError(f"{kind!r}: {error}; see --help-auth-type {kind}") from None
    except Exception as error:  # noqa: BLE001 (a stranger's code)
        text = str(error) if not argument else f"its argument is wrong ({type(error).__name__})"
        raise ValueError(f"{kind!r}: {text}; see --help-auth-type {kind}") from None
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        # Twisted's plugin for "memory" fills it with text, which no client's octets equal.
        checker.users = {_octets(name): _octets(word) for name, word in checker.users.items()}
    with suppress(TypeError):  # one that cannot be a key, or have weak references
        _sources[checker] = blake2b(_octets(description), key=_KEY).digest()
    return checker


def checker_source(checker: ICredentialsChecker) -> Hashable:
    """
    @return: what is equal for checkers that were made by the same description, also one after
        the other; for any other checker nothing that anything else is equal to.
    """
    try:
        return _sources.get(checker) or object()
    except TypeError:
        return object()


def _octets(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _find(description: str, plugins: list[P]) -> tuple[P, str]:
    name, _, argument = description.partition(":")
    for plugin in plugins:
        if plugin.name == name:
            return plugin, argument
    known = ", ".join(plugin.name for plugin in plugins) or "none is installed"
    raise ValueError(f"{name!r} is not among those known ({known})")
