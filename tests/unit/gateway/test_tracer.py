import asyncio
import threading

import pytest

from gateway.errors import RequestRefused
from gateway.provenance import Trace
from gateway.tracer import MOST_WAITING, Tracer

NOTHING = Trace("no_trace", 1.0, "blind", 0.0)


async def test_one_text_is_traced_at_a_time_and_in_order():
    running, order, most = [], [], []

    def find(text):
        running.append(text)
        most.append(len(running))
        order.append(text)
        running.remove(text)
        return NOTHING

    tracer = Tracer(find)
    await asyncio.gather(*(tracer(str(number)) for number in range(8)))
    assert order == [str(number) for number in range(8)]
    assert set(most) == {1}
    tracer.close()


async def test_full_line_turns_away_and_takes_in_again():
    go = threading.Event()

    def find(_):
        assert go.wait(60)
        return NOTHING

    tracer = Tracer(find)
    waiting = [asyncio.ensure_future(tracer("x")) for _ in range(MOST_WAITING + 1)]
    await asyncio.sleep(0)
    with pytest.raises(RequestRefused) as refused:
        await tracer("x")
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    assert refused.value.retry_after_s
    go.set()
    assert await asyncio.gather(*waiting) == [NOTHING] * (MOST_WAITING + 1)
    assert await tracer("x") is NOTHING
    tracer.close()


async def test_search_that_fails_leaves_room_for_others():
    def find(text):
        if text == "bad":
            raise ValueError
        return NOTHING

    tracer = Tracer(find)
    for _ in range(MOST_WAITING + 2):
        with pytest.raises(ValueError):  # noqa: PT011 - any of its own.
            await tracer("bad")
    assert await tracer("good") is NOTHING
    tracer.close()
