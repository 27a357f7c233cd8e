"""Questions that several ask at the same time."""

from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Together(Generic[T]):
    """
    Who asks what somebody else is just asking waits for that answer.  One who asks first and
    gives up takes the question along: another of those who wait asks it again.
    """

    def __init__(self) -> None:
        #: By question those who wait for its answer; for None where there will be none.
        self._asked: dict[Hashable, deque[Deferred[T | None]]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Awaitable[T]]) -> T:
        """
        @param key: what tells questions apart.
        @param question: is asked, unless somebody does.  Its answer is never None, and it
            fails for nobody but the one who asked it.
        @return: its answer.
        """
        while key in self._asked:
            waiting = self._asked[key]
            turn: Deferred[T | None] = Deferred(waiting.remove)
            waiting.append(turn)
            heard = await turn
            if heard is not None:
                return heard
        waiting = self._asked[key] = deque()
        answer: T | None = None
        try:
            answer = await question()
        finally:
            del self._asked[key]
            while waiting:
                waiting.popleft().callback(answer)
        return answer
