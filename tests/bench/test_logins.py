"""The measurement of logins, small."""

import re

import pytest

from tests.bench import logins
from tests.interop.programs import require


def test_it_measures(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    require("htpasswd", "apache2-utils")
    monkeypatch.setattr(logins, "QUIET", 5)
    logins.main(["--logins", "5", "--guesses", "30", "--cost", "4"])
    said = capfd.readouterr().out
    assert len(re.findall(r"^median of 5 wrong logins: ", said, re.MULTILINE)) == 1
    assert len(re.findall(r"^30 guesses from \d+ addresses in [\d.]+ s: ", said, re.MULTILINE)) == 3
    assert len(re.findall(r"^others' CONNECT (?:alone|beside guesses): ", said, re.MULTILINE)) == 6
