"""Questions that several ask at once: one answer, and nobody waits in vain."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from socks5d.auth.together import Together


class Question:
    """
    One that is answered when it is told to.

    @ivar ends: whether it does when nobody waits any more.
    """

    def __init__(self, scene: "Scene", key: str) -> None:
        self._scene = scene
        self._key = key
        self.ends = True
        self.coming: Deferred[str] = Deferred()

    async def answer(self) -> str:
        assert self._key not in self._scene.asked
        self._scene.times += 1
        self._scene.asked[self._key] = self
        try:
            return await self.coming
        finally:
            del self._scene.asked[self._key]

    def may_end(self) -> bool:
        return self.ends


class Scene:
    """
    @ivar asked: questions that are under way.
    @ivar times: how many there were.
    """

    def __init__(self) -> None:
        self.together: Together[str] = Together()
        self.asked: dict[str, Question] = {}
        self.times = 0


class Asking:
    """
    Somebody who asks.

    @ivar said: what became of it.
    """

    def __init__(self, scene: Scene, key: str) -> None:
        self.said: list[Any] = []
        self.key = key
        self.all = scene.together.ask(key, lambda: Question(scene, key))
        self.all.addBoth(self.said.append)


def test_one_question_for_all() -> None:
    scene = Scene()
    asking = [Asking(scene, "a") for _ in range(5)]
    other = Asking(scene, "b")
    scene.asked["a"].coming.callback("yes")
    assert [each.said for each in asking] == [["yes"]] * 5
    assert other.said == []
    assert scene.times == 2
    # And anew for who comes later.
    late = Asking(scene, "a")
    scene.asked["a"].coming.callback("no")
    assert late.said == ["no"]


def test_a_question_that_fails_fails_for_all() -> None:
    scene = Scene()
    asking = [Asking(scene, "a") for _ in range(3)]
    scene.asked["a"].coming.errback(OSError())
    assert all(each.said[0].check(OSError) for each in asking)
    assert scene.asked == {}


def test_who_leaves_leaves_the_others_their_answer() -> None:
    scene = Scene()
    first, second, third = (Asking(scene, "a") for _ in range(3))
    first.all.cancel()
    second.all.cancel()
    scene.asked["a"].coming.callback("yes")
    assert third.said == ["yes"]
    assert all(each.said[0].check(CancelledError) for each in (first, second))
    assert scene.times == 1


def test_who_is_told_may_have_others_leave() -> None:
    scene = Scene()
    first, second, third = (Asking(scene, "a") for _ in range(3))
    first.all.addCallback(lambda _: second.all.cancel())
    scene.asked["a"].coming.callback("yes")
    assert third.said == ["yes"]
    assert second.said[0].check(CancelledError)


def test_where_nobody_is_left_a_question_ends_or_does_not() -> None:
    scene = Scene()
    Asking(scene, "a").all.cancel()
    assert scene.asked == {}
    alone = Asking(scene, "a")
    scene.asked["a"].ends = False
    alone.all.cancel()
    # Who comes then hears of it.
    late = Asking(scene, "a")
    assert scene.times == 2
    scene.asked["a"].coming.callback("yes")
    assert late.said == ["yes"]
    assert scene.together._asked == {}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.integers(0, 1)),
            st.tuples(st.just("answer"), st.integers(0, 1)),
            st.tuples(st.just("keep"), st.integers(0, 1)),
            st.tuples(st.just("leave"), st.integers(0, 20)),
        ),
        max_size=40,
    )
)
def test_whatever_happens_everybody_hears(script: list[tuple[str, int]]) -> None:
    scene = Scene()
    asking: list[Asking] = []
    for word, value in script:
        if word == "ask":
            asking.append(Asking(scene, "ab"[value]))
        elif word == "answer" and "ab"[value] in scene.asked:
            scene.asked["ab"[value]].coming.callback("yes")
        elif word == "keep" and "ab"[value] in scene.asked:
            scene.asked["ab"[value]].ends = False
        elif word == "leave" and value < len(asking):
            asking[value].all.cancel()
        # Whoever still waits does so for a question that somebody asks.
        waiting = {each.key for each in asking if not each.said}
        assert waiting <= set(scene.asked)
        assert all(not scene.asked[key].ends for key in set(scene.asked) - waiting)
    for question in list(scene.asked.values()):
        question.coming.callback("yes")
    assert all(len(each.said) == 1 for each in asking)
    assert scene.together._asked == {}
