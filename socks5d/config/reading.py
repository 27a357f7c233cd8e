"""From a file to its keys, each with its value and where that stands."""

import re
import tomllib
from pathlib import Path

from socks5d.config.lines import lines_of
from socks5d.config.lists import list_files
from socks5d.values import ConfigError, Item, member

#: How L{tomllib} says where something is wrong.
_AT = re.compile(r" \(at line ([0-9]+), column ([0-9]+)\)$")


def read_file(file_path: Path) -> list[tuple[str, Item]]:
    """
    Read a TOML file.

    @return: its keys, each with its value and where that stands.
    @raise ConfigError: when it cannot be read or is no TOML.
    """
    try:
        octets = file_path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file_path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{str(file_path)!r}: is no path") from None
    try:
        text = octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file_path}:{line}: is no TOML: not in UTF-8") from None
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(_no_toml(file_path, str(error))) from None
    lines = lines_of(text)
    files = list_files(content.get("list"))
    return [
        (key, Item(str(file_path), value, *_below(key, lines), files if key == "list" else {}))
        for key, value in content.items()
    ]


def _no_toml(file_path: Path, problem: str) -> str:
    found = _AT.search(problem)
    if found is None:
        return f"{file_path}: is no TOML: {problem}"
    return f"{file_path}:{found[1]}: is no TOML: {problem[: found.start()]} (column {found[2]})"


def _below(key: str, lines: dict[str, int]) -> tuple[str, dict[str, int]]:
    """The path of a key of the file, and the lines of it and of what is in it."""
    path = member("", key)
    starts = (f"{path}.", f"{path}[")
    return path, {each: n for each, n in lines.items() if each == path or each.startswith(starts)}
