"""
The files in which services of Linux-PAM are set up.

A service that has no line for what it is asked is not refused by PAM: the service "other" is
asked in its place, which may let in more.  So what a file says is looked at first.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

#: Where Linux-PAM looks for the file of a service, which is named as the service.
FOLDERS: Final = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
#: What a login asks of a service: L{Linux-PAM<pam.conf(5)>}'s types of lines.
NEEDED: Final = ("auth", "account")

#: Files within files, as deep as Linux-PAM goes; and octets of one.
_DEEPEST: Final = 16
_LARGEST: Final = 1 << 16


def what_is_missing(service: str, folders: Sequence[Path] = FOLDERS) -> str:
    """
    @param service: a name of a file.
    @return: why PAM would not ask this service but C{other}, on one line with the remedy;
        "" where it would ask this one.
    """
    path = _find(service, folders)
    if path is None:
        return f"it has no file; write {folders[0] / service}"
    kinds = set(_kinds(path, folders))
    for kind in NEEDED:
        if kind not in kinds:
            return f"{path} has no '{kind}' line; write one"
    return ""


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    return next((path for path in (each / name for each in folders) if path.is_file()), None)


def _kinds(path: Path, folders: Sequence[Path], depth: int = 0) -> Iterator[str]:
    """Of each line that names a module, what it is for."""
    for line in _lines(path):
        words = line.split()
        # A module that may be missing, after "-", may be missing here.
        kind = words[0].lower()
        if kind == "@include":
            include, wanted = words[1:2], None
        elif len(words) > 2 and words[1].lower() in ("include", "substack"):
            include, wanted = words[2:3], kind
        else:
            yield kind
            continue
        if depth < _DEEPEST and include:
            # An absolute path replaces the folder.
            inner = _find(include[0], folders)
            if inner is not None:
                kinds = _kinds(inner, folders, depth + 1)
                yield from (each for each in kinds if wanted in (None, each))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        # PAM cannot read it either.
        return
    for line in text.replace("\\\n", " ").split("\n"):
        line = line.split("#", 1)[0].strip()
        if line:
            yield line
