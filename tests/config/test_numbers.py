"""Numbers: what a class says of them is what is read, and what the schema says."""

from typing import Any

import pytest
from attrs import field, frozen
from attrs.validators import ge, gt, le, lt, optional

from socks5d.config.numbers import documented, number_keys, number_kind
from socks5d.parameters import Limits, Timeouts
from socks5d.values import ConfigError, Item


@frozen(kw_only=True)
class Numbers:
    """
    Some numbers.

    @ivar whole: of C{whole}
        things, L{documented<tests>}.
    @ivar some: any.
    @ivar none: or none.
    """

    whole: int = field(default=5, validator=[ge(1), le(9)])
    some: float = field(default=0.5, validator=[gt(0), lt(1)])
    none: float | None = field(default=None, validator=optional(gt(0)))


class Undocumented:
    __doc__ = None


def test_what_is_documented_is_on_one_line() -> None:
    said = {"whole": "of whole things, documented.", "some": "any.", "none": "or none."}
    assert documented(Numbers) == said
    # As with python -OO.
    assert documented(Undocumented) == {}


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("whole", {"type": "integer", "minimum": 1, "maximum": 9}),
        ("some", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        ("none", {"type": "number", "exclusiveMinimum": 0}),
    ],
)
def test_bounds_are_in_the_schema(name: str, schema: dict[str, Any]) -> None:
    assert number_kind(Numbers, name).schema == schema


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", 0),
        ("whole", 10),
        ("whole", 1.0),
        ("whole", True),
        ("whole", "5"),
        ("some", 0),
        ("some", 1),
        ("some", float("nan")),
        ("some", 10**400),
        ("none", -1),
        ("none", None),
    ],
)
def test_what_is_out_of_bounds_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x: "):
        number_kind(Numbers, name).one(Item("x", value))


def test_there_is_a_key_for_each_or_for_those_that_are_wanted() -> None:
    made = number_keys(Numbers, ["some", "whole"])
    assert [(key.name, key.default) for key in made.values()] == [("whole", "5"), ("some", "0.5")]


@pytest.mark.parametrize("owner", [Timeouts, Limits])
def test_all_of_ours_are_documented(owner: Any) -> None:
    made = number_keys(owner)
    assert list(made) == list(documented(owner))
    assert all(key.says and key.default for key in made.values())
