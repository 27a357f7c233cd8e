"""Names with C{*} in them, as operators write them for user-ids."""

from collections.abc import Iterable


class NamePatterns:
    """
    Matches names.  C{*} stands for any characters, and for none; everything else stands
    for itself, upper and lower case told apart.
    """

    __slots__ = ("_names", "_patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        """
        @param patterns: any number of names and patterns.
        """
        patterns = list(patterns)
        self._names = {each for each in patterns if "*" not in each}
        self._patterns = [(each.split("*"), each) for each in patterns if "*" in each]

    def match(self, name: str) -> str | None:
        """
        @return: the pattern that matches, as it was written, or None.
        """
        if name in self._names:
            return name
        return next((text for pieces, text in self._patterns if _matches(pieces, name)), None)


class Renaming:
    """
    Gives names other names: by patterns, in which at most one C{*} stands for any
    characters; where the new name has a C{*}, it stands for the same ones.
    """

    __slots__ = ("_names", "_patterns")

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        """
        @param names: patterns, each with the new name; the first that matches counts.
        @raise ValueError: for a C{*} too many.
        """
        self._names: dict[str, str] = {}
        self._patterns: list[tuple[str, str, str]] = []
        for pattern, name in names:
            if pattern.count("*") > 1 or name.count("*") > pattern.count("*"):
                raise ValueError(f"{pattern!r} = {name!r} has a '*' too many")
            head, star, tail = pattern.partition("*")
            if star:
                self._patterns.append((head, tail, name))
            elif not any(_matches([first, last], pattern) for first, last, _ in self._patterns):
                # One behind a pattern that matches it never counts.
                self._names.setdefault(pattern, name)

    def of(self, name: str) -> str:
        """
        @return: the new name, or the same where none is given.
        """
        if name in self._names:
            return self._names[name]
        for head, tail, new in self._patterns:
            if _matches([head, tail], name):
                return new.replace("*", name[len(head) : len(name) - len(tail)])
        return name


def _matches(pieces: list[str], name: str) -> bool:
    """
    Whether a name begins with the first piece, ends with the last, and has the others
    in between, in their order.  Each is taken where it comes first, which leaves most to
    the rest, so no pattern and no name takes longer than one walk.
    """
    first, *between, last = pieces
    if len(name) < len(first) + len(last) or not name.startswith(first):
        return False
    place, end = len(first), len(name) - len(last)
    for piece in between:
        place = name.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return name.endswith(last)
