"""What twistd runs: the options, and the service they make."""

import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.python import usage

from socks5d import __version__
from socks5d.config import Settings, make_settings, read_file
from socks5d.escape import one_line
from socks5d.memory import settle
from socks5d.naming import authenticator_plugins, ruleset_plugins
from socks5d.policy import make_observers
from socks5d.reloading import Reloads, summary
from socks5d.service import SOCKSService
from socks5d.sessionlog import AccessLog
from socks5d.signals import end_in_order, on_hang_up
from socks5d.values import ConfigError, Item
from socks5d.workers.supervisor import Supervisor


class Options(usage.Options, AuthOptionMixin):
    """
    The command line.

    @ivar given: what it and the file say, once it is parsed.
    @ivar settings: the same, validated.
    """

    synopsis = "[options]"
    longdesc = (
        "A SOCKS 4, 4a and 5 proxy. Without options it serves this machine alone, on "
        "127.0.0.1:1080, and connects to every destination that does not trust this host; "
        "those only a DEST that is an address or a CIDR lets clients reach. "
        "DEST is a CIDR, an address, a name, '*.name' or '*', each with an optional ':port' or "
        "':port-port'; IPv6 in brackets when a port follows."
    )
    supportedInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        super().__init__()
        self._items: list[tuple[str, Item]] = []
        self._files: list[tuple[Path, list[tuple[str, Item]]]] = []
        self.given: Sequence[tuple[str, Item]] = ()
        self.settings = Settings()

    def _add(self, key: str, value: str) -> None:
        option = "--" + key.replace("_", "-")
        self._items.append((key, Item(option, value)))

    def opt_listen(self, endpoint: str) -> None:
        """Listen on this endpoint; repeatable. [default: tcp:1080:interface=127.0.0.1]"""
        self._add("listen", endpoint)

    def opt_auth(self, checker: str) -> None:
        """Ask SOCKS 5 clients for a password that this checker accepts; repeatable."""
        self._add("auth", checker)

    def opt_authenticator(self, authenticator: str) -> None:
        """Offer the method of this authenticator too, NAME[:ARGUMENT]; repeatable."""
        self._add("authenticator", authenticator)

    def opt_gssapi_service(self, name: str) -> None:
        """Authenticate SOCKS 5 clients by the GSS-API (Kerberos), as this service."""
        self._items.append(("gssapi", Item("--gssapi-service", {"service": name})))

    def opt_gssapi_nec(self) -> None:
        """Take GSS-API protection levels that are not wrapped, too; the service is rcmd."""
        self._items.append(("gssapi", Item("--gssapi-nec", {"nec": True})))

    def opt_ruleset(self, ruleset: str) -> None:
        """Ask this ruleset, NAME[:ARGUMENT], after every deny; repeatable."""
        self._add("ruleset", ruleset)

    def opt_allow(self, destination: str) -> None:
        """Let clients connect to DEST, and then to nothing else; repeatable."""
        self._add("allow", destination)

    def opt_deny(self, destination: str) -> None:
        """Do not let clients connect to DEST, allowed or not; repeatable."""
        self._add("deny", destination)

    def opt_allow_from(self, network: str) -> None:
        """Serve clients from this CIDR, and then no others; repeatable."""
        self._add("allow_from", network)

    def opt_deny_from(self, network: str) -> None:
        """Do not serve clients from this CIDR; repeatable."""
        self._add("deny_from", network)

    def opt_userid(self, name: str) -> None:
        """Let in SOCKS 4 clients with this USERID ('*' is any text), and no others; repeatable."""
        self._add("userid", name)

    def opt_ident(self, mode: str) -> None:
        """Ask the identd of clients' hosts: off, log or require. [default: off]"""
        self._items.append(("ident", Item("--ident", mode)))

    def opt_ident_port(self, port: str) -> None:
        """The port of identd on clients' hosts. [default: 113]"""
        self._items.append(("ident_port", Item("--ident-port", port)))

    def opt_access_log(self, path: str) -> None:
        """Write a JSON line to this file at the end of each session."""
        self._items.append(("access_log", Item("--access-log", path)))

    def opt_workers(self, count: str) -> None:
        """Serve with this many processes, or with "auto", one for each processor. [default: 1]"""
        self._items.append(("workers", Item("--workers", count)))

    def opt_config(self, path: str) -> None:
        """Read settings from this TOML file; options are added, or count more."""
        # As it is now: twistd may leave the folder that it was started in.
        self._files.append((Path(path).absolute(), read_file(Path(path))))

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
            self.given = self._all([items for _, items in self._files])
            self.settings = make_settings(self.given)
        except ConfigError as error:
            raise failure(*error.problems) from None
        except usage.UsageError as error:
            text = str(error)
            raise failure(text if "--help" in text else f"{text}; see --help") from None

    def _all(self, files: Iterable[Iterable[tuple[str, Item]]]) -> Sequence[tuple[str, Item]]:
        return (*(item for items in files for item in items), *self._items)

    def reread(self) -> tuple[Sequence[tuple[str, Item]], Settings]:
        """
        Read the files anew.

        @return: what they and the command line say now, and the same, validated.
        @raise ConfigError: with everything that is wrong.
        """
        given = self._all([read_file(path) for path, _ in self._files])
        return given, make_settings(given)

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
            parts.append(f"\n{title}:\n")
            parts += [f"  {plugin.name:<24} {plugin.description}\n" for plugin in known]
        return "".join(parts)


def failure(*problems: object) -> SystemExit:
    """
    @return: what ends the process with a line for each problem, on the standard error, and
        status 1.
    """
    return SystemExit("\n".join(one_line(f"socks5d: {each}") for each in problems))


def makeService(options: Options) -> IService:
    """
    See L{twisted.application.service.IServiceMaker}.

    @raise SystemExit: with one line that says what is wrong.
    """
    from twisted.internet import reactor

    settings = options.settings
    # Until there is what deals with them: neither is to end what has just begun.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    reactor.callWhenRunning(end_in_order, reactor)
    # Loads what the resolver needs while there is still a root directory to load it from.
    with suppress(OSError):
        socket.getaddrinfo("localhost", None)
    access_log: AccessLog | None = None
    try:
        if settings.access_log is not None:
            access_log = AccessLog(settings.access_log, reactor)
            reactor.addSystemEventTrigger("after", "shutdown", access_log.flush)
        if settings.workers > 1:
            supervisor = Supervisor(settings, options.given, reactor, access_log, options.reread)
            reactor.callWhenRunning(on_hang_up, reactor, supervisor.hang_up)
            return supervisor
        service = SOCKSService(settings, reactor, make_observers(settings, access_log))
    except ConfigError as error:
        raise failure(*error.problems) from None
    except OSError as error:
        what = f"access log {error.filename} cannot be opened: {error.strerror}"
        raise failure(what) from None
    reloads = Reloads(partial(_reload, options, service, access_log))

    def hang_up() -> None:
        if access_log is not None:
            access_log.reopen()
        reloads.ask()

    reactor.callWhenRunning(on_hang_up, reactor, hang_up)
    reactor.callWhenRunning(settle)
    return service


async def _reload(options: Options, service: SOCKSService, access_log: AccessLog | None) -> str:
    """
    @return: what has changed.
    @raise ConfigError: when nothing has.
    """
    _, settings = options.reread()
    change = await service.prepare(settings, make_observers(settings, access_log))
    service.commit(change)
    settle()
    return summary(len(change.stay), len(change.new), len(change.gone))
