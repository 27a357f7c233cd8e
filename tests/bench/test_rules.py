"""The benchmark of the rules, small."""

import re

import pytest

from tests.bench import rules


def test_everything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--rules", "50", "--networks", "200", "--names", "200", "--rounds", "1"]
    rules.main(sizes)
    figures = re.findall(
        r"^(loading|deciding) .* +([0-9.]+) (s|us)$", capsys.readouterr().out, re.M
    )
    assert [unit for _, _, unit in figures] == ["s", "us", "us", "us", "us", "us"]
    assert all(float(figure) > 0 for what, figure, _ in figures if what == "deciding")
