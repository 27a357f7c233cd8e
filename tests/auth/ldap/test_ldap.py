"""C{ldap} by name: here, and in any application of C{twisted.cred.strcred}."""

import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.cred.strcred import (
    AuthOptionMixin,
    ICheckerFactory,
    InvalidAuthArgumentString,
    findCheckerFactory,
    makeChecker,
)
from twisted.plugin import IPlugin
from twisted.python import usage
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from socks5d.auth import ldap
from socks5d.auth.ldap.checker import LDAPChecker
from socks5d.naming import make_checker
from tests.auth.ldap.directory import PASSWORD, ROOT, bind_response, read_request
from tests.support.origins import origin
from tests.support.running import PATIENCE, in_reactor

ANN = f"uid=ann,{ROOT}"
ARGUMENT = f"localhost:dn=uid=%s,{ROOT}"


class Application(usage.Options, AuthOptionMixin):
    """An application of somebody else's."""

    supportedInterfaces = (IUsernamePassword,)


class IAvatar(Interface):
    """What it gives its users."""


@implementer(IRealm)
class Realm:
    """Its users are their names."""

    def requestAvatar(
        self, name: Any, mind: object, *interfaces: Any
    ) -> tuple[Any, Any, Callable[[], None]]:
        return IAvatar, name, lambda: None


def test_it_is_a_plugin() -> None:
    plugin: Any = findCheckerFactory("ldap")
    assert plugin.authHelp == ldap.HELP
    assert plugin.argStringFormat == ldap.ARGUMENT
    assert verifyObject(ICheckerFactory, plugin)
    assert IPlugin.providedBy(plugin)


def test_its_help_names_all_that_there_is() -> None:
    from socks5d.auth.ldap.settings import KEYS

    for key in KEYS:
        assert f"{key}=" in ldap.HELP, key
    assert max(map(len, ldap.HELP.splitlines())) <= 84


def test_it_is_made_by_name() -> None:
    for made in (make_checker(f"ldap:{ARGUMENT}"), makeChecker(f"ldap:{ARGUMENT}")):
        assert isinstance(made, LDAPChecker)
        assert verifyObject(ICredentialsChecker, made)


def lets_ann_bind(connection: socket.socket) -> None:
    """A directory."""
    while octets := connection.recv(1 << 16):
        request, _ = read_request(octets)
        if type(request.value).__name__ == "LDAPBindRequest":
            right = (request.value.dn, request.value.auth) == (ANN.encode(), PASSWORD)
            connection.sendall(bind_response(0 if right else 49, request.id))


@pytest.mark.parametrize(("name", "password"), [(b"Ann", PASSWORD), ("Ann", PASSWORD.decode())])
def test_it_serves_any_application(name: Any, password: Any) -> None:
    with origin(lets_ann_bind) as (_, port):
        options = Application()
        options.parseOptions(["--auth", f"ldap:ldap\\://localhost\\:{port}:dn=uid=%s,{ROOT}"])
        portal = Portal(Realm(), options["credCheckers"])

        def log_in(name: Any, password: Any) -> Any:
            return in_reactor(portal.login, UsernamePassword(name, password), None, IAvatar)

        assert log_in(name, password)[:2] == (IAvatar, name.lower())
        for wrong in ((name, type(password)()), (name, password + password), (name[1:], password)):
            with pytest.raises(UnauthorizedLogin):
                log_in(*wrong)
        (checker,) = options["credCheckers"]
        in_reactor(checker.close)


def test_what_is_wrong_is_told_in_one_line() -> None:
    with pytest.raises(ValueError, match="'ldap': give the server first") as caught:
        make_checker("ldap")
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidAuthArgumentString):
        makeChecker("ldap:localhost")
    with pytest.raises(usage.UsageError):
        Application().parseOptions(["--auth", "ldap:localhost"])


def test_without_ldaptor_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ldaptor.protocols", None)
    with pytest.raises(ValueError, match=r"^'ldap': .*pip install 'socks5d\[ldap\]'") as caught:
        make_checker(f"ldap:{ARGUMENT}")
    assert "\n" not in str(caught.value)


LOADED = """
import sys
from twisted.cred.strcred import findCheckerFactories
assert "ldap" in [each.authType for each in findCheckerFactories()]
import socks5d.tap
print(sorted(each for each in sys.modules if each.startswith(("ldaptor", "pyparsing"))))
print("twisted.internet.reactor" in sys.modules)
from socks5d.naming import make_checker
make_checker("ldap:localhost:dn=uid=%s,dc=x")
print("ldaptor" in sys.modules, "twisted.internet.reactor" in sys.modules)
"""


def test_ldaptor_is_loaded_when_it_is_needed_and_no_reactor_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.splitlines() == ["[]", "False", "True False"], done.stderr
