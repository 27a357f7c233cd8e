"""Token buckets: whatever is asked, no more goes than the rate and the burst allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.limits.bucket import TokenBucket

STEPS = st.lists(
    st.tuples(st.floats(0, 10), st.integers(1, 500), st.booleans()), min_size=1, max_size=60
)


@given(st.integers(1, 1000), st.integers(1, 1000), STEPS)
def test_no_more_is_taken_than_came(
    rate: int, burst: int, steps: list[tuple[float, int, bool]]
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, taken = 0.0, 0
    for seconds, count, _ in steps:
        now += seconds
        had = bucket.level(now)
        granted = bucket.take(count, now)
        assert granted is (count <= had + 1e-9)
        taken += count if granted else 0
        assert taken <= burst + rate * now + 1e-6
        assert bucket.level(now) <= burst


@given(st.integers(1, 1000), st.integers(1, 1000), STEPS)
def test_what_is_spent_beyond_is_paid_for_before_anything_else(
    rate: int, burst: int, steps: list[tuple[float, int, bool]]
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, went = 0.0, 0
    for seconds, count, hurries in steps:
        now += 0.0 if hurries else seconds
        if bucket.level(now) > 0:
            bucket.spend(count, now)
            went += count
        assert went <= burst + rate * now + count + 500


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 5000))
def test_it_tells_when_there_is_enough(rate: int, burst: int, spent: int) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    bucket.spend(spent, 0.0)
    seconds = bucket.seconds_until(burst, 0.0)
    assert not bucket.take(burst, seconds * 0.99 - 0.001)
    assert bucket.take(burst, seconds + 0.001)


def test_it_is_full_at_its_beginning_and_again_in_time() -> None:
    bucket = TokenBucket(2, 4, 100.0)
    assert bucket.is_full(100.0)
    assert bucket.take(1, 100.0)
    assert not bucket.is_full(100.4)
    assert bucket.is_full(100.5)


def test_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = TokenBucket(10, 10, 100.0)
    assert bucket.take(10, 100.0)
    assert bucket.level(50.0) == 0
    assert bucket.level(100.5) == 5


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_one_that_could_never_give_anything_is_not_made(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        TokenBucket(rate, burst, 0.0)
