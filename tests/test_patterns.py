"""Names with stars in them: beside regular expressions, and where those would never end."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socks5d.patterns import NamePatterns, Renaming

# Few characters, so that names and patterns meet; some mean more to a regular expression.
_CHARACTERS = ["a", "b", ".", "\\", "[", "\n", "\udcff"]
NAMES = st.lists(st.sampled_from(_CHARACTERS), max_size=10).map("".join)
PATTERNS = st.lists(st.sampled_from([*_CHARACTERS, "*", "*"]), max_size=7).map("".join)


def reference(pattern: str, name: str) -> bool:
    """What a pattern means, said by a regular expression."""
    expression = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    return re.fullmatch(expression, name, re.DOTALL) is not None


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("fred", "fred"),
        ("", ""),
        ("*", ""),
        ("*", "anybody\n\udcff"),
        ("**", "fred"),
        ("ops-*", "ops-"),
        ("ops-*", "ops-ann"),
        ("*-ops", "ann-ops"),
        ("o*s", "os"),
        ("o*s", "oops"),
        ("a*b*a", "aba"),
        ("a*a", "aa"),
        ("*a*a*", "aa"),
        # The first b is not the one that the end needs.
        ("a*b*b", "abb"),
        ("ops-*", "ops-*"),
    ],
)
def test_a_name_that_a_pattern_stands_for_matches(pattern: str, name: str) -> None:
    assert NamePatterns([pattern]).match(name) == pattern


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("fred", "Fred"),
        ("fred", "fred "),
        ("fred", "fredd"),
        ("fred", ""),
        ("", "fred"),
        ("ops-*", "Ops-ann"),
        ("ops-*", "xops-ann"),
        ("ops-*", "ops"),
        ("*-ops", "ann-opsx"),
        # One octet cannot be both ends.
        ("a*a", "a"),
        ("ab*ba", "aba"),
        ("*a*a*", "a"),
        ("a*b*b", "ab"),
        ("a*bc*c", "abc"),
        # Nothing but the star means anything.
        ("a.c", "abc"),
        ("a?c", "abc"),
        ("[ab]", "a"),
        ("%", "a"),
        ("\\*", "*"),
    ],
)
def test_any_other_name_does_not(pattern: str, name: str) -> None:
    assert NamePatterns([pattern]).match(name) is None


@given(PATTERNS, NAMES)
@example("*a*a", "a")
@example("a**a", "aa")
@example("*\n", "a\n")
def test_a_pattern_matches_what_its_regular_expression_does(pattern: str, name: str) -> None:
    assert NamePatterns([pattern]).match(name) == (pattern if reference(pattern, name) else None)


@given(PATTERNS, st.data())
def test_a_pattern_matches_whatever_stands_for_its_stars(pattern: str, data: Any) -> None:
    first, *rest = pattern.split("*")
    name = first + "".join(data.draw(NAMES) + piece for piece in rest)
    assert NamePatterns([pattern]).match(name) == pattern


@given(st.lists(PATTERNS, max_size=5), NAMES)
def test_of_several_the_name_itself_counts_and_then_the_first(
    patterns: list[str], name: str
) -> None:
    found = NamePatterns(patterns).match(name)
    matching = [each for each in patterns if reference(each, name)]
    if name in patterns and "*" not in name:
        assert found == name
    else:
        assert found == (matching[0] if matching else None)


def test_none_match_nothing() -> None:
    assert NamePatterns([]).match("") is None
    assert NamePatterns([]).match("fred") is None


def test_they_may_come_from_an_iterator() -> None:
    patterns = NamePatterns(iter(["fred", "ops-*"]))
    assert patterns.match("fred") == "fred"
    assert patterns.match("ops-ann") == "ops-*"


class Walked(str):
    """A name that notes from where to where it is searched."""

    walks: list[tuple[int, int]]

    def find(self, sub: str, start: Any = 0, end: Any = None, /) -> int:
        self.walks.append((start, end))
        return super().find(sub, start, end)


@pytest.mark.parametrize("stars", [1, 2, 100, 1000])
@pytest.mark.parametrize("tail", ["b", "*b", "*b*", "*a"])
def test_no_name_is_walked_twice(stars: int, tail: str) -> None:
    # To a regular expression that backtracks, these hundred stars are forever.
    pattern = "*a" * stars + tail
    name = Walked("a" * 10_000)
    name.walks = []
    assert (NamePatterns([pattern]).match(name) is not None) is (tail == "*a")
    assert len(name.walks) <= pattern.count("*")
    starts = [start for start, _ in name.walks]
    assert starts == sorted(set(starts))


RENAMING = Renaming(
    [
        ("ann/admin@HERE", "root"),
        ("*@HERE", "*"),
        ("host/*", "machine *"),
        ("late@HERE", "never"),
        ("*", "guest"),
    ]
)


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("ann/admin@HERE", "root"),
        ("ann@HERE", "ann"),
        ("@HERE", ""),
        ("host/a@THERE", "machine a@THERE"),
        ("host/a@HERE", "host/a"),
        ("late@HERE", "late"),
        ("ann@THERE", "guest"),
        ("HERE", "guest"),
    ],
)
def test_the_first_pattern_that_matches_gives_the_new_name(name: str, new: str) -> None:
    assert RENAMING.of(name) == new


def test_a_name_that_nothing_matches_stays() -> None:
    assert Renaming([("a", "b"), ("*.x", "y")]).of("c") == "c"


@pytest.mark.parametrize(("pattern", "new"), [("**", "x"), ("a*b*", "x"), ("a", "*"), ("*", "**")])
def test_a_star_too_many_is_an_error(pattern: str, new: str) -> None:
    with pytest.raises(ValueError, match=r"has a '\*' too many"):
        Renaming([(pattern, new)])
