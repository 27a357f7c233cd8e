"""
What stands behind the name of a checker: C{FIRST:key=value:key=value}, in the manner of
Twisted's endpoints.  A backslash before a colon, or before another one, makes it stand
for itself.
"""

from collections.abc import Mapping

from twisted.cred.strcred import InvalidAuthArgumentString


class ArgumentError(InvalidAuthArgumentString, ValueError):
    """
    An argument makes no sense.  The text is one line for the operator and holds no secret.
    """


def parse_arguments(text: str, first: str, known: Mapping[str, str]) -> dict[str, str]:
    """
    @param text: what stood behind the name and its colon.
    @param first: the key of what stands first, without one; "" where nothing does.
    @param known: the keys there may be, each with what it is when it is left out.
    @return: a value for C{first}, possibly empty, and for each known key.
    @raise ArgumentError: for a key that is unknown, comes twice, or has no value.
    """
    pieces = _split(text)
    given = {first: pieces.pop(0)} if first else {}
    if not first and pieces == [""]:
        pieces = []
    for piece in pieces:
        key, equals, value = piece.partition("=")
        if key not in known:
            options = ", ".join(known) or "nothing"
            raise ArgumentError(f"{key!r} is not known here; there is {options}")
        if not equals or not value:
            raise ArgumentError(f"{key!r} has no value; write {key}=...")
        if key in given:
            raise ArgumentError(f"{key!r} is there twice")
        given[key] = value
    return {**known, **given}


def switch(arguments: Mapping[str, str], key: str) -> bool:
    """
    @return: whether the key's value is yes.
    @raise ArgumentError: when it is neither yes nor no.
    """
    value = arguments[key]
    if value not in ("yes", "no"):
        raise ArgumentError(f"{key!r} must be yes or no")
    return value == "yes"


def number(arguments: Mapping[str, str], key: str, low: float, high: float) -> float:
    """
    @return: the key's value.
    @raise ArgumentError: when it is no number from C{low} to C{high}.
    """
    try:
        value = float(arguments[key])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ArgumentError(f"{key!r} must be a number from {low:g} to {high:g}")
    return value


def _split(text: str) -> list[str]:
    pieces, piece, escaped = [], "", False
    for character in text:
        if escaped and character not in ":\\":
            piece += "\\"
        if escaped or character not in ":\\":
            piece += character
            escaped = False
        elif character == ":":
            pieces.append(piece)
            piece = ""
        else:
            escaped = True
    return [*pieces, piece + "\\" * escaped]
