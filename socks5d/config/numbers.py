"""Keys that hold numbers, as an attrs class has them: its docstring and validators say it all."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from attrs import Attribute, fields

from socks5d.config.kinds import One, number
from socks5d.config.tables import Key, keys

#: What a JSON Schema calls the bounds of attrs' validators.
_BOUNDS = {
    ">": "exclusiveMinimum",
    ">=": "minimum",
    "<": "exclusiveMaximum",
    "<=": "maximum",
}


def number_kind(owner: Any, name: str) -> One[float]:
    """
    @param owner: an attrs class all of whose fields have defaults.
    @param name: the field, which is a number.
    @return: the kind of its values.
    """
    attribute: Attribute[Any] = getattr(fields(owner), name)
    whole = int in (attribute.type, *get_args(attribute.type))
    return number(
        int if whole else float,
        lambda value: owner(**{name: value}),
        _bounds(attribute.validator),
    )


def number_keys(owner: Any, names: Sequence[str] = ()) -> Mapping[str, Key]:
    """
    @param owner: an attrs class of numbers, each with a default.
    @param names: those that are wanted; by default all.
    @return: a key for each.
    """
    said = documented(owner)
    return keys(
        *(
            Key(
                each.name,
                number_kind(owner, each.name),
                said.get(each.name, ""),
                f"{each.default:g}",
            )
            for each in fields(owner)
            if each.name in names or not names
        )
    )


def documented(owner: Any) -> Mapping[str, str]:
    """
    @return: what a class's docstring says of its attributes, each on one line.  Python may
        have left the docstring out.
    """
    parts = re.split(r"^\s*@ivar (\w+):", owner.__doc__ or "", flags=re.MULTILINE)
    told = (re.sub(r"[CL]\{([^{}<]*)[^{}]*\}", r"\1", each) for each in parts[2::2])
    return dict(zip(parts[1::2], (" ".join(each.split()) for each in told), strict=True))


def _bounds(validator: Any) -> dict[str, float]:
    """What attrs' validators of numbers say, whether one, or some, or optional."""
    inside = getattr(validator, "validator", validator)
    found: dict[str, float] = {}
    for each in getattr(inside, "_validators", (inside,)):
        word = _BOUNDS.get(getattr(each, "compare_op", ""))
        if word is not None:
            found[word] = each.bound
    return found
