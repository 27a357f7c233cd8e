"""What twistd runs: the options, and the service they make."""

import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.application.service import IService
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.python import usage

from socks5d import __version__
from socks5d.config import ConfigError, Item, Settings, make_settings, read_file
from socks5d.interfaces import ISessionObserver
from socks5d.naming import authenticator_plugins, ruleset_plugins
from socks5d.service import SOCKSService
from socks5d.sessionlog import AccessLog, SessionLog


class Options(usage.Options, AuthOptionMixin):
    """
    The command line.

    @ivar settings: what it and the file say, once it is parsed.
    """

    synopsis = "[options]"
    longdesc = (
        "A SOCKS 4, 4a and 5 proxy. Without options it serves this machine alone, on "
        "127.0.0.1:1080, and connects to every destination that does not trust this host. "
        "DEST is a CIDR, an address, a name, '*.name' or '*', each with an optional ':port' or "
        "':port-port'; IPv6 in brackets when a port follows."
    )
    supportedInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        super().__init__()
        self._items: list[tuple[str, Item]] = []
        self._file: list[tuple[str, Item]] = []
        self.settings = Settings()

    def _add(self, key: str, value: str) -> None:
        option = "--" + key.replace("_", "-")
        self._items.append((key, Item(option, value)))

    def opt_listen(self, endpoint: str) -> None:
        """Listen on this Twisted endpoint; may be given again.
        [default: tcp:1080:interface=127.0.0.1]"""
        self._add("listen", endpoint)

    def opt_auth(self, checker: str) -> None:
        """Ask SOCKS 5 clients for a user name and a password that this checker accepts
        (see --help-auth); may be given again: one that accepts is enough."""
        self._add("auth", checker)

    def opt_authenticator(self, authenticator: str) -> None:
        """Also offer the method of this authenticator, NAME or NAME:ARGUMENT; may be given
        again."""
        self._add("authenticator", authenticator)

    def opt_ruleset(self, ruleset: str) -> None:
        """Ask this ruleset, NAME or NAME:ARGUMENT, after every deny and before --allow; may be
        given again. What no ruleset and no --allow permits is then denied."""
        self._add("ruleset", ruleset)

    def opt_allow(self, destination: str) -> None:
        """Let clients connect to DEST, and once this is given to nothing else; may be given
        again. '*' is everything but what trusts this host, which only an address or a CIDR
        lets them reach."""
        self._add("allow", destination)

    def opt_deny(self, destination: str) -> None:
        """Do not let clients connect to DEST, whatever --allow says; may be given again."""
        self._add("deny", destination)

    def opt_allow_from(self, network: str) -> None:
        """Serve clients from this CIDR, and once this is given no others; may be given again."""
        self._add("allow_from", network)

    def opt_deny_from(self, network: str) -> None:
        """Do not serve clients from this CIDR, whatever --allow-from says; may be given
        again."""
        self._add("deny_from", network)

    def opt_userid(self, name: str) -> None:
        """Let in SOCKS 4 clients with this USERID, and once this is given no others; may be
        given again."""
        self._add("userid", name)

    def opt_access_log(self, path: str) -> None:
        """Write a JSON line to this file at the end of each session."""
        self._items.append(("access_log", Item("--access-log", path)))

    def opt_config(self, path: str) -> None:
        """Read settings from this TOML file; what options say is added, or counts more."""
        self._file.extend(read_file(Path(path)))

    def opt_version(self) -> None:
        """Show the version of socks5d and exit."""
        sys.stdout.write(f"socks5d {__version__}\n")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        See L{usage.Options}.

        @raise SystemExit: with one line that says what is wrong, for what cannot be
            done; twistd would print its whole help.
        """
        try:
            super().parseOptions(options)
            self.settings = make_settings([*self._file, *self._items])
        except (usage.UsageError, ConfigError) as error:
            raise SystemExit(f"socks5d: {error}") from None

    def parseArgs(self, *args: str) -> None:
        """See L{usage.Options}."""
        if args:
            raise usage.UsageError(f"unexpected argument {args[0]!r}; see --help")

    def getUsage(self, width: int | None = None) -> str:
        """See L{usage.Options}.  Lists the plugins too."""
        parts = [super().getUsage(width)]
        plugins: tuple[tuple[str, Iterable[Any]], ...] = (
            ("Authenticators", authenticator_plugins()),
            ("Rulesets", ruleset_plugins()),
        )
        for title, known in plugins:
            parts.append(f"{title}:\n")
            parts += [f"  {plugin.name:<24} {plugin.description}\n" for plugin in known]
        return "".join(parts)


def end_in_order(reactor: Any) -> None:
    """
    Make SIGTERM end the process with status 0 once everything is over.

    Twisted stops the reactor too, but then has the process die of the signal.

    @param reactor: one that runs, for it sets its own handlers when it starts.
    """
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            reactor.callFromThread(reactor.stop)

    signal.signal(signal.SIGTERM, stop)


def makeService(options: Options) -> IService:
    """
    See L{twisted.application.service.IServiceMaker}.

    @raise SystemExit: with one line that says what is wrong.
    """
    from twisted.internet import reactor

    settings = options.settings
    reactor.callWhenRunning(end_in_order, reactor)
    # Loads what the resolver needs while there is still a root directory to load it from.
    socket.getaddrinfo("localhost", None)
    observers: list[ISessionObserver] = [SessionLog()]
    try:
        if settings.access_log is not None:
            observers.append(AccessLog(settings.access_log, reactor))
        return SOCKSService(settings, reactor, observers)
    except ConfigError as error:
        raise SystemExit(f"socks5d: {error}") from None
    except OSError as error:
        where = f"access log {error.filename}"
        raise SystemExit(f"socks5d: {where} cannot be opened: {error.strerror}") from None
