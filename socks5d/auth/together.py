"""Questions that several ask at the same time."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from typing import Protocol as Shape

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class IQuestion(Shape[T_co]):
    """One question."""

    async def answer(self) -> T_co:
        """
        @return: its answer; may be cancelled.
        """

    def may_end(self) -> bool:
        """
        @return: whether, now that nobody waits for it, there is no more sense in an answer.
        """


class _Asked(Generic[T]):
    """
    @ivar waiting: those who wait for the answer.
    @ivar answer: the answer that comes; None until that is begun.
    """

    __slots__ = ("answer", "question", "waiting")

    def __init__(self, question: IQuestion[T]) -> None:
        self.question = question
        self.waiting: list[Deferred[T]] = []
        self.answer: Deferred[None] | None = None


class Together(Generic[T]):
    """
    Who asks what somebody else is just asking waits for that answer.  Whoever gives up leaves
    the others theirs; and where nobody is left, the question says whether it ends.
    """

    def __init__(self) -> None:
        self._asked: dict[Hashable, _Asked[T]] = {}

    def ask(self, key: Hashable, make: Callable[[], IQuestion[T]]) -> Deferred[T]:
        """
        @param key: what tells questions apart.
        @param make: makes the question, where nobody is asking it.
        @return: fires with its answer, and fails as that does.  May be cancelled.
        """
        asked = self._asked.get(key)
        begins = asked is None
        if asked is None:
            asked = self._asked[key] = _Asked(make())
        answer: Deferred[T] = Deferred(lambda answer: self._leave(asked, answer))
        asked.waiting.append(answer)
        if begins:
            coming = Deferred.fromCoroutine(asked.question.answer())
            asked.answer = coming.addBoth(lambda result: self._over(key, asked, result))
        return answer

    def _over(self, key: Hashable, asked: _Asked[T], result: T | Failure) -> Failure | None:
        del self._asked[key]
        waiting, asked.waiting = asked.waiting, []
        for each in waiting:
            # Who is told may have others leave.
            if not each.called:
                each.callback(result)
        if isinstance(result, Failure) and not waiting and not result.check(CancelledError):
            return result
        return None

    @staticmethod
    def _leave(asked: _Asked[T], answer: Deferred[T]) -> None:
        if answer not in asked.waiting:
            # It is just being told.
            return
        asked.waiting.remove(answer)
        if not asked.waiting and asked.answer is not None and asked.question.may_end():
            asked.answer.cancel()
