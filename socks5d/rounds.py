"""A queue in which those who ask for much wait for themselves alone."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Rounds(Generic[T]):
    """Serves keys in turn, and what each has in its order."""

    def __init__(self) -> None:
        #: The key whose turn it is first; none is empty.
        self._queues: dict[Hashable, deque[T]] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many wait, of all keys."""
        return self._size

    def waiting(self, key: Hashable) -> int:
        """How many of a key wait."""
        return len(self._queues.get(key, ()))

    def add(self, key: Hashable, item: T) -> None:
        """
        @param key: whose it is.
        @param item: waits from now on.
        """
        self._queues.setdefault(key, deque()).append(item)
        self._size += 1

    def discard(self, key: Hashable, item: T) -> None:
        """
        @param item: waits no longer, if it did.
        """
        queue = self._queues.get(key)
        if queue is not None and item in queue:
            queue.remove(item)
            self._taken(key, queue)

    def next(self, may: Callable[[Hashable], bool] = lambda key: True) -> tuple[Hashable, T] | None:
        """
        @param may: whether it may be a key's turn; whose may not be keeps its place.
        @return: whose turn it is, and with what, which waits no longer; None where nobody's is.
        """
        key = next(filter(may, self._queues), None)
        if key is None:
            return None
        queue = self._queues.pop(key)
        item = queue.popleft()
        # To the end of the round.
        self._queues[key] = queue
        self._taken(key, queue)
        return key, item

    def displaced_by(self, key: Hashable) -> T | None:
        """
        Make room for one more of a key, if another has more even then.

        @return: what came last of the key of which most wait, which waits no longer; None
            where nobody has to give way.
        """
        longest = max(self._queues, key=self.waiting, default=key)
        if self.waiting(longest) <= self.waiting(key) + 1:
            return None
        queue = self._queues[longest]
        item = queue.pop()
        self._taken(longest, queue)
        return item

    def _taken(self, key: Hashable, queue: deque[T]) -> None:
        self._size -= 1
        if not queue:
            del self._queues[key]
