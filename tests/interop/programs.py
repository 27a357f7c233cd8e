"""Programs of other people's that tests run: found or named, with a deadline, ended by pid."""

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple, NoReturn

import pytest

from tests.support.running import Address

#: How long one program may take, in seconds; a transfer takes one or two.
DEADLINE = 60.0


def missing(what: str, package: str) -> NoReturn:
    """Fail in CI, where everything must be there; elsewhere skip."""
    text = f"{what} is missing: install the Debian package {package}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def require(program: str, package: str) -> str:
    """The path of a program."""
    # Not every user's PATH has the folders for administrators.
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    found = shutil.which(program, path=places)
    if found is None:
        missing(program, package)
    return found


class Running(NamedTuple):
    """A program that runs, and the pipes to it."""

    stdin: IO[bytes]
    stdout: IO[bytes]


@contextmanager
def running(command: Sequence[str], *, status: int | None = 0) -> Iterator[Running]:
    """
    Runs a program with a pipe at either end, and waits for its end.

    @param status: the exit status it must have; None for any.
    """
    with TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(DEADLINE, process.kill)
        late.start()
        try:
            yield Running(process.stdin, process.stdout)
            ended = process.wait(DEADLINE)
        finally:
            late.cancel()
            if process.poll() is None:
                process.kill()
                process.wait(DEADLINE)
            process.stdout.close()
            # What it did not read went with it.
            with suppress(BrokenPipeError):
                process.stdin.close()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    assert status is None or ended == status, f"{command} ended with {ended}:\n{said}"


def wait_for_line(process: "subprocess.Popen[str]", text: str) -> str | None:
    """
    Read a server's standard error until it says that it has started.

    @param text: what is in the line that says so.
    @return: None once it has; what it said when it ended instead.
    """
    assert process.stderr is not None
    late = threading.Timer(DEADLINE, process.kill)
    late.start()
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if text in line:
                # It goes on writing there, and must not find the pipe full.
                drain = threading.Thread(target=process.stderr.read, daemon=True)
                drain.start()
                return None
        return "".join(lines)
    finally:
        late.cancel()


def socksified(
    program: Sequence[str],
    proxy: Address,
    version: str = "5",
    credentials: tuple[str, str] | None = None,
) -> list[str]:
    """A command line that runs a program on Dante's client library, which speaks SOCKS for it."""
    settings = [
        f"SOCKS{version}_SERVER={proxy[0]}:{proxy[1]}",
        # By itself it reaches what is on this machine without a proxy.
        "SOCKS_AUTOADD_LANROUTES=no",
        "SOCKS_CONF=/dev/null",
    ]
    if credentials is not None:
        settings += [f"SOCKS_USERNAME={credentials[0]}", f"SOCKS_PASSWORD={credentials[1]}"]
    return ["env", *settings, require("socksify", "dante-client"), *program]


class Answer(NamedTuple):
    """
    What a web server said.

    @ivar status: the status code.
    @ivar digest: the SHA-256 of the body.
    """

    status: int
    digest: str


def converse(command: Sequence[str], request: bytes, body: Path | None = None) -> Answer:
    """
    Run a program that connects its standard input and output to a web server, and speak
    HTTP to it by hand.  The program's input stays open until the answer is there: nginx
    takes a client that half-closes for one that has left.

    @param request: the request's header.
    @param body: a file that goes behind it.
    """
    problems: list[OSError] = []

    def say(to: IO[bytes]) -> None:
        try:
            to.write(request)
            if body is not None:
                with body.open("rb") as file:
                    shutil.copyfileobj(file, to, 1 << 18)
            to.flush()
        except OSError as problem:
            problems.append(problem)

    with running(command) as program:
        speaker = threading.Thread(target=say, args=(program.stdin,), daemon=True)
        speaker.start()
        answer = read_answer(program.stdout)
        speaker.join(DEADLINE)
        assert not problems, problems
        program.stdin.close()
        assert program.stdout.read() == b""
    return answer


def read_answer(stream: IO[bytes]) -> Answer:
    """Read an HTTP answer of known length."""
    line = stream.readline()
    assert line.startswith(b"HTTP/1."), f"no HTTP answer: {line!r}"
    status, left = int(line.split()[1]), 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            left = int(value)
    digest = hashlib.sha256()
    while left:
        piece = stream.read(min(left, 1 << 18))
        assert piece, f"the answer ends {left} octets early"
        digest.update(piece)
        left -= len(piece)
    return Answer(status, digest.hexdigest())


def sha256(stream: IO[bytes]) -> str:
    """The SHA-256 of what is left of a stream."""
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
