"""The commands of the program C{socks5d}."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python import usage
from twisted.python.failure import Failure

from socks5d import __version__
from socks5d.answers.explaining import Explainer
from socks5d.answers.question import ask
from socks5d.answers.rows import table
from socks5d.config.schema import json_schema
from socks5d.escape import one_line
from socks5d.listening import make_endpoint, without_systemd
from socks5d.service import SOCKSService
from socks5d.tap import Options, failure
from socks5d.values import ConfigError, Problems

#: Exit status of what is permitted, or right; denied, or wrong; asked in the wrong way.
PERMITTED = RIGHT = 0
DENIED = WRONG = 1
USAGE = 2


def _print(line: str) -> None:
    sys.stdout.write(one_line(line) + "\n")


class Check(Options):
    """C{socks5d check}."""

    synopsis = "[options] [FILE ...]"
    longdesc = (
        "Says everything that is wrong with settings, as twistd would take them from the same "
        "options, and ends with status 1; or nothing else than that they are right, with "
        "status 0. It does not listen, and opens no log. FILE is as --config FILE."
    )

    def parseArgs(self, *args: str) -> None:
        """See L{usage.Options}."""
        for each in args:
            if each.startswith("-"):
                raise usage.UsageError(f"{each}: options go before files")
            self.opt_config(each)

    def answer(self) -> int:
        """
        @return: the exit status.
        """
        from twisted.internet import reactor

        settings, problems = self.settings, Problems()
        endpoints: list[Any] = [
            problems.within(make_endpoint, each, reactor, without_systemd(each.endpoint))
            for each in settings.listeners
        ]
        problems.within(SOCKSService, settings, reactor, endpoints=endpoints)
        try:
            problems.complain()
        except ConfigError as error:
            raise failure(*error.problems) from None
        _print("socks5d: the settings are right")
        return RIGHT


class Explain(Options):
    """C{socks5d explain}."""

    synopsis = "[options] --from ADDRESS --connect HOST:PORT"
    longdesc = (
        "Says what becomes of a request, and why: what each rule says to it, in the order in "
        "which the server asks them. What twistd takes as options counts here too. The exit "
        "status is 0 for what is permitted, 1 for what is denied, and 2 where the question or "
        "the settings are wrong. A name is looked up, unless it is denied before or --address "
        "says what it resolves to."
    )
    optParameters = [
        ["from", None, None, "The client's address; without it, it has none (a UNIX socket)."],
        ["via", None, None, "The name of the listener; needed where there are several."],
        ["socks", None, "5", "The version: 4, 4a or 5."],
        ["user", None, None, "Whom the client has proven to be (SOCKS 5)."],
        ["method", None, None, "How: password, gssapi, none, or a number. [default: password]"],
        ["claimed", None, None, "The USERID of SOCKS 4."],
        ["identd", None, None, "What identd says of the client."],
        ["connect", None, None, "HOST:PORT to connect to."],
        ["bind", None, None, "HOST:PORT of the peer to be expected by BIND."],
        ["udp", None, None, "HOST:PORT of a datagram's destination."],
        ["address", None, None, "What the destination's name resolves to."],
        ["at", None, None, "When, as 2026-02-03T18:00, with Z for UTC. [default: now]"],
    ]

    def answer(self) -> int:
        """
        @return: the exit status.
        """
        from twisted.internet import reactor

        try:
            question = ask(self.settings, self)
            explainer = Explainer(self.settings, question, reactor, _print)
        except ConfigError as error:
            raise failure(*error.problems) from None
        answers: list[Any] = []
        explaining = Deferred.fromCoroutine(explainer.explain()).addBoth(answers.append)
        if not answers:
            # A name is looked up, or a plugin takes its time.
            explaining.addBoth(lambda _: reactor.stop())
            reactor.run()
        (answer,) = answers
        if isinstance(answer, Failure):
            answer.raiseException()
        return PERMITTED if answer else DENIED


class Rules(Options):
    """C{socks5d rules}."""

    longdesc = (
        "Shows what decides about clients, for each listener, in the order in which it is "
        "asked. What twistd takes as options counts here too."
    )

    def answer(self) -> int:
        """
        @return: the exit status.
        """
        for line in table(self.settings.listeners):
            _print(line)
        return RIGHT


class Schema(usage.Options):
    """C{socks5d schema}."""

    longdesc = "Prints a JSON Schema of the file, for editors."

    def answer(self) -> int:
        """
        @return: the exit status.
        """
        sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
        return RIGHT


class Program(usage.Options):
    """The program: one of its commands."""

    longdesc = "Answers about settings. The server is started by twistd socks5d."
    subCommands = [
        ["check", None, Check, "Say what is wrong with settings."],
        ["explain", None, Explain, "Say what becomes of a request, and why."],
        ["rules", None, Rules, "Show what decides about clients."],
        ["schema", None, Schema, "Print a JSON Schema of the file."],
    ]

    def getSynopsis(self) -> str:
        """See L{usage.Options}.  A command puts its own behind it."""
        return "Usage: socks5d" if self.subCommand else "Usage: socks5d COMMAND [options]"

    def opt_version(self) -> None:
        """Show the version of socks5d and exit."""
        sys.stdout.write(f"socks5d {__version__}\n")
        raise SystemExit(RIGHT)


def run(arguments: Sequence[str]) -> int:
    """
    @param arguments: of the command line, without the program's name.
    @return: the exit status.
    """
    program = Program()
    try:
        program.parseOptions(arguments)
        if program.subCommand is None:
            raise usage.UsageError("give a command: check, explain, rules or schema")
        status: int = program.subOptions.answer()
    except usage.UsageError as error:
        sys.stderr.write(one_line(f"socks5d: {error}; see --help") + "\n")
        return USAGE
    except SystemExit as end:
        if not isinstance(end.code, str):
            return end.code or RIGHT
        sys.stderr.write(f"{end.code}\n")
        return USAGE if program.subCommand == "explain" else WRONG
    return status


def main() -> None:
    """
    @raise SystemExit: always.
    """
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough. What is left would be tried again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = WRONG
    raise SystemExit(status)
