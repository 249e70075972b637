"""A request ends with its connection, at once, and only that one."""

import asyncio

import pytest

from gateway.api.asgi import ClientGone
from gateway.api.presence import Leaving, while_present


async def never():
    await asyncio.Event().wait()


class Request:
    """A request that waits, and tells how it ended."""

    def __init__(self):
        self.began, self.ended, self.left = asyncio.Event(), None, None

    async def serve(self, left):
        self.began.set()
        try:
            await never()
        except asyncio.CancelledError:
            self.left = left()
            self.ended = "cancelled"
            # What is written when a client has left is written to the end.
            await asyncio.shield(asyncio.sleep(0.01))
            self.ended = "recorded"
            raise


@pytest.mark.parametrize("watched", [True, False])
async def test_a_client_that_leaves_ends_its_request_and_it_is_recorded(watched):
    leaving, gone, request = Leaving(), asyncio.Event(), Request()

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    how = {"leaving": leaving} if watched else {}
    task = asyncio.create_task(while_present(receive, request.serve, **how))
    await request.began.wait()
    leaving.happen()
    gone.set()
    with pytest.raises(ClientGone):
        await task
    assert (request.left, request.ended) == (True, "recorded")


@pytest.mark.parametrize("leaving", [Leaving(), None])
async def test_a_server_that_stops_is_not_a_client_that_left(leaving):
    request = Request()
    task = asyncio.create_task(while_present(never, request.serve, leaving=leaving))
    await request.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert request.ended in ("recorded", "cancelled")
    assert request.left is False


async def test_a_connection_that_is_gone_begins_nothing():
    leaving, request = Leaving(), Request()
    leaving.happen()
    with pytest.raises(ClientGone):
        await while_present(never, request.serve, leaving=leaving)
    assert not request.began.is_set()


async def test_the_next_request_is_ended_though_the_one_before_ends_late():
    leaving, second = Leaving(), Request()
    release = asyncio.Event()

    async def first(_):
        await release.wait()

    before = asyncio.create_task(leaving.ending(first))
    await asyncio.sleep(0)
    after = asyncio.create_task(leaving.ending(second.serve))
    await second.began.wait()
    release.set()
    await before
    leaving.happen()
    with pytest.raises(ClientGone):
        await asyncio.wait_for(after, 60)
    assert second.ended == "recorded"


async def test_a_timeout_within_a_request_stays_its_own():
    leaving = Leaving()

    async def serve(_):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await never()

    await leaving.ending(serve)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
