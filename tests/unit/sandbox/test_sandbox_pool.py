"""A pool that never came to have a zygote."""

import asyncio

import pytest

from sandbox import wire
from sandbox.errors import ZygoteFailed
from sandbox.limits import Limits
from sandbox.pool import Pool
from tests import descriptors

JOB = wire.Job([1], 1, 1.0, 50, 1.0, [], bytes(32), 7, bytes(32))


def pool_of(script, send_weights=lambda _: None):
    return Pool(
        size=1, limits=Limits(), send_weights=send_weights, entry=("-I", "-S", "-c", script)
    )


async def first_of(pool):
    return [item async for item in pool.run(JOB, deadline_s=60)]


async def test_pool_that_never_began_can_be_stopped_and_refuses_work():
    pool = pool_of("")
    await pool.stop()
    with pytest.raises(ZygoteFailed, match="The pool was stopped"):
        await first_of(pool)


async def test_pool_whose_weights_cannot_be_sent_leaves_nothing():
    def broken(_):
        raise ConnectionError("no broker")

    await asyncio.to_thread(int)
    with descriptors.none_left():
        pool = pool_of("import time; time.sleep(60)", broken)
        with pytest.raises(ConnectionError):
            await pool.start()
        assert pool.zygote_pid is None
