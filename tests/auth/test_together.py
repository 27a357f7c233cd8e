"""Questions that several ask at once: one answer, and nobody waits in vain."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from socks5d.auth.together import Together


class Asking:
    """
    Somebody who asks.

    @ivar said: what became of it.
    """

    def __init__(self, scene: "Scene", key: str) -> None:
        self.said: list[Any] = []
        self.key = key
        self.all = Deferred.fromCoroutine(scene.together.ask(key, lambda: scene.question(key)))
        self.all.addBoth(self.said.append)


class Scene:
    """
    @ivar asked: questions that are under way.
    """

    def __init__(self) -> None:
        self.together: Together[str] = Together()
        self.asked: dict[str, Deferred[str]] = {}
        self.times = 0

    async def question(self, key: str) -> str:
        assert key not in self.asked
        self.times += 1
        answer: Deferred[str] = Deferred()
        self.asked[key] = answer
        try:
            return await answer
        finally:
            del self.asked[key]


def test_one_question_for_all() -> None:
    scene = Scene()
    asking = [Asking(scene, "a") for _ in range(5)]
    other = Asking(scene, "b")
    scene.asked["a"].callback("yes")
    assert [each.said for each in asking] == [["yes"]] * 5
    assert other.said == []
    assert scene.times == 2
    # And anew for who comes later.
    late = Asking(scene, "a")
    scene.asked["a"].callback("no")
    assert late.said == ["no"]


def test_a_question_that_fails_is_asked_again_by_the_next() -> None:
    scene = Scene()
    first, second, third = (Asking(scene, "a") for _ in range(3))
    scene.asked["a"].errback(OSError())
    assert first.said[0].check(OSError)
    assert (second.said, third.said) == ([], [])
    scene.asked["a"].callback("yes")
    assert second.said == third.said == ["yes"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.integers(0, 1)),
            st.tuples(st.just("answer"), st.integers(0, 1)),
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
            scene.asked["ab"[value]].callback("yes")
        elif word == "leave" and value < len(asking):
            asking[value].all.cancel()
        # Whoever still waits does so for a question that somebody asks.
        assert {each.key for each in asking if not each.said} == set(scene.asked)
    for answer in list(scene.asked.values()):
        answer.callback("yes")
    assert all(len(each.said) == 1 for each in asking)
    assert scene.together._asked == {}
