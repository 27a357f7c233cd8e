"""
A PAM service of a test's own, which needs root: the system's PAM, whose modules run a script
that looks into the test's files.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

#: Where the system's PAM looks.
FOLDER = Path("/etc/pam.d")
#: Microseconds that a refusal waits for, more or less.
DELAY = 20_000

_RULES = """\
auth     required  pam_faildelay.so delay={delay}
auth     required  pam_exec.so quiet expose_authtok {script}
account  required  pam_exec.so quiet {script}
"""

# Whoever is called slow waits until there is a line in the pipe for it.
_SCRIPT = """\
#!/bin/sh
cd '{folder}' || exit 2
if [ "$PAM_TYPE" = account ]; then
    exec grep -q -x -F -e "$PAM_USER" current
fi
password=$(cat)
if [ "$PAM_USER" = slow ]; then
    echo >begun
    read -r line <>answers
fi
exec grep -q -x -F -e "$PAM_USER:$password" users
"""


class PAMUsers:
    """
    Whom a service knows.

    @ivar service: its name.
    """

    def __init__(self, folder: Path, users: dict[str, str], expired: str) -> None:
        self.service = f"socks5d-test-{os.getpid()}"
        self._pipes = {}
        for name in ("begun", "answers"):
            os.mkfifo(folder / name)
            # Both ways, so that nobody waits for another end, and no line is lost.
            self._pipes[name] = (folder / name).open("r+b", buffering=0)
        script = folder / "script"
        script.write_text(_SCRIPT.format(folder=folder))
        script.chmod(0o755)
        both = "".join(f"{name}:{password}\n" for name, password in users.items())
        (folder / "users").write_text(both, "utf-8")
        current = "".join(f"{name}\n" for name in users if name != expired)
        (folder / "current").write_text(current, "utf-8")
        self.rules = _RULES.format(script=script, delay=DELAY)

    def wait_for_slow(self) -> None:
        """Wait until a login of the slow one has begun."""
        assert self._pipes["begun"].read(1) == b"\n"

    def end_slow(self) -> None:
        """End one."""
        self._pipes["answers"].write(b"\n")

    def close(self) -> None:
        """Let go of the pipes."""
        for pipe in self._pipes.values():
            pipe.close()


@contextmanager
def pam_service(users: dict[str, str], expired: str) -> Iterator[PAMUsers]:
    """
    The system has a service that knows these users and their passwords.

    @param expired: one of them, whose account is over.
    """
    if not os.access(FOLDER, os.W_OK):
        assert not os.environ.get("CI"), f"{FOLDER} is not writable"
        pytest.skip(f"{FOLDER} is not writable: run it as root")
    with TemporaryDirectory() as folder:
        made = PAMUsers(Path(folder), users, expired)
        path = FOLDER / made.service
        try:
            path.write_text(made.rules)
            yield made
        finally:
            path.unlink(missing_ok=True)
            made.close()
