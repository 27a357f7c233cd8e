"""A queue in which those who ask for much wait for themselves alone."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

#: Behind the last part of a key: where what waits is, which is so never beside other keys.
_OWN: Final = None


class _Branch(Generic[T]):
    """
    All that waits of those keys that begin alike.

    @ivar size: how many that is.
    @ivar below: by the next part of the key, that first whose turn it is; none is empty.
    @ivar key: the key, where it has no more parts.
    @ivar items: what waits there.
    """

    __slots__ = ("below", "items", "key", "size")

    def __init__(self, key: Hashable) -> None:
        self.size = 0
        self.below: dict[Hashable, _Branch[T]] = {}
        self.key = key
        self.items: deque[T] = deque()


class Rounds(Generic[T]):
    """
    Serves keys in turn, and what each has in its order.

    The parts of a key that is a tuple go from the widest to the narrowest: those that begin
    alike have a turn together, which goes from one of them to the next.
    """

    def __init__(self) -> None:
        self._all: _Branch[T] = _Branch(None)

    def __len__(self) -> int:
        """How many wait, of all keys."""
        return self._all.size

    def waiting(self, key: Hashable) -> int:
        """How many of a key wait."""
        branches = self._branches(key)
        return branches[-1].size if branches else 0

    def add(self, key: Hashable, item: T) -> None:
        """
        @param key: whose it is.
        @param item: waits from now on.
        """
        branch = self._all
        branch.size += 1
        for part in _parts(key):
            if part not in branch.below:
                branch.below[part] = _Branch(key)
            branch = branch.below[part]
            branch.size += 1
        branch.items.append(item)

    def discard(self, key: Hashable, item: T) -> None:
        """
        @param item: waits no longer, if it did.
        """
        branches = self._branches(key)
        if branches and item in branches[-1].items:
            branches[-1].items.remove(item)
            self._taken(key)

    def next(self, may: Callable[[Hashable], bool] = lambda key: True) -> tuple[Hashable, T] | None:
        """
        @param may: whether it may be a key's turn; whose may not be keeps its place.
        @return: whose turn it is, and with what, which waits no longer; None where nobody's is.
        """
        leaf = self._next(self._all, may)
        if leaf is None:
            return None
        item = leaf.items.popleft()
        # To the end of the round, of all the rounds that it is part of.
        branch = self._all
        for part in _parts(leaf.key):
            branch.below[part] = below = branch.below.pop(part)
            branch = below
        self._taken(leaf.key)
        return leaf.key, item

    def displaced_by(self, key: Hashable) -> T | None:
        """
        Make room for one more of a key, if another has more even then, or others that begin
        alike and in another way.

        @return: what came last of those of which most wait, which waits no longer; None
            where nobody has to give way.
        """
        branch = self._all
        for part in _parts(key):
            longest = _largest(branch)
            mine = branch.below.get(part)
            if longest is not None and longest.size > _size(mine) + 1:
                return self._last_of(longest)
            if mine is None:
                return None
            branch = mine
        return None

    def _next(self, branch: _Branch[T], may: Callable[[Hashable], bool]) -> _Branch[T] | None:
        if branch.items:
            return branch if may(branch.key) else None
        found = (self._next(below, may) for below in branch.below.values())
        return next((leaf for leaf in found if leaf is not None), None)

    def _last_of(self, branch: _Branch[T]) -> T:
        while not branch.items:
            largest = _largest(branch)
            assert largest is not None
            branch = largest
        item = branch.items.pop()
        self._taken(branch.key)
        return item

    def _branches(self, key: Hashable) -> list[_Branch[T]]:
        """
        @return: those that a key is in, the widest first; none where nothing of it waits.
        """
        branches = [self._all]
        for part in _parts(key):
            below = branches[-1].below.get(part)
            if below is None:
                return []
            branches.append(below)
        return branches

    def _taken(self, key: Hashable) -> None:
        branches = self._branches(key)
        for branch in branches:
            branch.size -= 1
        for above, below, part in zip(branches, branches[1:], _parts(key), strict=False):
            if not below.size:
                del above.below[part]


def _parts(key: Hashable) -> tuple[Hashable, ...]:
    return (*key, _OWN) if isinstance(key, tuple) else (key, _OWN)


def _largest(branch: _Branch[T]) -> _Branch[T] | None:
    """Of several that are, the one whose turn comes last."""
    return max(reversed(branch.below.values()), key=_size, default=None)


def _size(branch: _Branch[T] | None) -> int:
    return 0 if branch is None else branch.size
