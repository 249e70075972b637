"""What is remembered for a turn of an event loop is never older than what the turn serves."""

import asyncio

import pytest

from gateway.turns import Turn, once_a_turn


class Looks:
    """Counts how often it was looked, and can fail."""

    def __init__(self):
        self.count = 0
        self.error = None

    def __call__(self):
        self.count += 1
        if self.error is not None:
            raise self.error
        return self.count


def test_requests_of_one_turn_share_a_look_and_the_next_turn_looks_again():
    looks = Looks()
    version = once_a_turn(looks)

    async def serve():
        return version()

    async def run():
        together = await asyncio.gather(*(serve() for _ in range(5)))
        return together, version()

    together, after = asyncio.run(run())
    assert together == [1] * 5
    assert after == 2


def test_outside_of_a_loop_nothing_is_remembered():
    version = once_a_turn(Looks())
    assert [version(), version()] == [1, 2]


def test_a_thread_beside_the_loop_looks_for_itself():
    version = once_a_turn(Looks())

    async def run():
        version()
        # The loop turns while the thread runs: what it asks is asked in any case.
        return await asyncio.to_thread(lambda: (version(), version()))

    assert asyncio.run(run()) == (2, 3)


def test_a_failed_look_is_not_remembered():
    looks = Looks()
    looks.error = OSError("gone")
    version = once_a_turn(looks)

    async def run():
        with pytest.raises(OSError, match="gone"):
            version()
        looks.error = None
        return version()

    assert asyncio.run(run()) == 2


def test_each_key_is_looked_for_by_itself():
    turn = Turn()

    async def run():
        return [turn.once(key, lambda key=key: key * 2) for key in ("a", "b", "a")]

    assert asyncio.run(run()) == ["aa", "bb", "aa"]


def test_a_loop_that_ended_within_its_turn_leaves_nothing_to_the_next_loop():
    looks = Looks()
    version = once_a_turn(looks)
    for expected in (1, 2):
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(None)

        async def ask():
            return version()

        task = loop.create_task(ask())
        # Stopped at once: what the turn was to forget at its end is never run.
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert task.result() == expected
        loop.close()
