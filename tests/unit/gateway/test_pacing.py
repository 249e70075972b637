import pytest

from gateway.errors import RequestRefused
from gateway.pacing import Pace


@pytest.fixture
def clock():
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


def test_calls_beyond_the_limit_wait_for_the_oldest_to_be_a_minute_old(clock):
    pace = Pace(per_minute=2, clock=clock)
    pace.take("a")
    clock.now += 20
    pace.take("a")
    with pytest.raises(RequestRefused) as refused:
        pace.take("a")
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    assert "40 s" in refused.value.message
    clock.now += 40
    pace.take("a")
    with pytest.raises(RequestRefused):
        pace.take("a")


def test_callers_do_not_share_a_limit_and_are_forgotten(clock):
    pace = Pace(per_minute=1, clock=clock)
    for caller in range(100):
        pace.take(str(caller))
    clock.now += 61
    pace.take("new")
    assert set(pace._calls) == {"new"}
