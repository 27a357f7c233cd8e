"""What these tests share: settings, or everything that is wrong, of a text."""

from pathlib import Path

import pytest

from socks5d.config import Settings, make_settings, read_file
from socks5d.values import ConfigError, Item


def settings(tmp_path: Path, text: str, *options: tuple[str, str]) -> Settings:
    """What a file and options together make."""
    path = tmp_path / "socks5d.toml"
    path.write_text(text, encoding="utf-8")
    items = [(key, Item("--" + key.replace("_", "-"), value)) for key, value in options]
    return make_settings([*read_file(path), *items])


def problems(tmp_path: Path, text: str, *options: tuple[str, str]) -> list[str]:
    """All that is wrong, without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text, *options)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all("\n" not in each for each in caught.value.problems)
    return [each.removeprefix(f"{tmp_path}/") for each in caught.value.problems]
