import asyncio

import pytest

from gateway.backends.local import LocalBackend
from gateway.errors import RequestRefused
from gateway.slots import LEAST_WAIT_S, MOST_WAIT_S, FairSlots
from sandbox.pool import Finished, Started
from sandbox.wire import Inputs, Job
from tests.waiting import happened

pytestmark = pytest.mark.asyncio
JOB = Job([1], 1, 1.0, 1, 1.0, [], bytes(32), 0, bytes(32))


async def test_tenants_take_turns():
    slots = FairSlots(1, waiting_limit=10)
    order = []

    async def one(tenant):
        async with slots.held(tenant, limit_s=5):
            order.append(tenant)
            await asyncio.sleep(0)

    async with slots.held("first", limit_s=1):
        crowd = [asyncio.create_task(one("loud")) for _ in range(5)]
        await asyncio.sleep(0)
        crowd += [asyncio.create_task(one("quiet")) for _ in range(2)]
        await asyncio.sleep(0)
        assert slots.waiting == 7
    await asyncio.gather(*crowd)
    assert order == ["loud", "quiet", "loud", "quiet", "loud", "loud", "loud"]
    assert (slots.busy, slots.waiting) == (0, 0)


async def test_a_turn_given_up_is_nobodys():
    slots = FairSlots(1, waiting_limit=10)
    async with slots.held("a", limit_s=1):
        with pytest.raises(RequestRefused, match="busy for"):
            async with slots.held("b", limit_s=0.01):
                pass
        task = asyncio.create_task(slots._acquire("c", 5))
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (slots.busy, slots.waiting) == (0, 0)
    async with slots.held("d", limit_s=0.1):
        assert slots.busy == 1


async def crowd(slots, tenant, count, served):
    """Send requests of a tenant; each notes how it went."""

    async def one():
        try:
            async with slots.held(tenant, limit_s=30):
                served.append(tenant)
                await asyncio.sleep(0)
        except RequestRefused as refused:
            return refused
        return None

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_full_line_turns_the_greedy_away_and_takes_the_modest_in():
    slots, served = FairSlots(1, waiting_limit=6), []
    async with slots.held("first", limit_s=1):
        greedy = await crowd(slots, "greedy", 50, served)
        assert slots.waiting == 6
        modest = await crowd(slots, "modest", 2, served)
        assert slots.waiting == 6
        assert served == []
    refusals = [refused for refused in await asyncio.gather(*greedy) if refused]
    assert await asyncio.gather(*modest) == [None, None]
    assert len(refusals) == 46
    assert {(r.status, r.code) for r in refusals} == {(503, "overloaded")}
    assert all(LEAST_WAIT_S <= r.retry_after_s <= MOST_WAIT_S for r in refusals)
    # Neither before nor after it: in turn.
    assert served[:4] == ["greedy", "modest", "greedy", "modest"]
    assert (slots.busy, slots.waiting) == (0, 0)


async def test_two_greedy_tenants_share_the_line_evenly():
    slots, served = FairSlots(1, waiting_limit=6), []
    async with slots.held("first", limit_s=1):
        tasks = await crowd(slots, "a", 20, served) + await crowd(slots, "b", 20, served)
    await asyncio.gather(*tasks)
    assert sorted(served) == ["a"] * 3 + ["b"] * 3


async def test_line_without_room_refuses_at_once():
    slots = FairSlots(1, waiting_limit=0)
    async with slots.held("a", limit_s=1):
        with pytest.raises(RequestRefused, match="line is full"):
            async with slots.held("b", limit_s=60):
                pass


async def test_wait_is_told_by_how_long_slots_were_held():
    now = [0.0]
    slots = FairSlots(2, waiting_limit=10, clock=lambda: now[0])
    assert slots.wait_s == LEAST_WAIT_S
    async with slots.held("a", limit_s=1):
        now[0] += 30
    assert slots.wait_s == pytest.approx(15)
    async with slots.held("a", limit_s=1):
        now[0] += 3000
    assert slots.wait_s == MOST_WAIT_S


async def test_storm_of_leaving_requests_leaves_every_slot_free():
    slots, served = FairSlots(3, waiting_limit=40), []
    tasks = []
    for tenant in range(20):
        tasks += await crowd(slots, str(tenant), 50, served)
        for task in tasks[::3]:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (slots.busy, slots.waiting) == (0, 0)
    async with slots.held("last", limit_s=0.1):
        assert slots.busy == 1


class Waiting:
    """A pool whose answers take until they are let go."""

    ready = True

    def __init__(self):
        self.running, self.most, self.go = 0, 0, asyncio.Event()

    async def run(self, _job, *, deadline_s):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            yield Started({})
            await asyncio.wait_for(self.go.wait(), deadline_s)
            yield Finished("stop", {}, {})
        finally:
            self.running -= 1

    async def embed(self, _inputs, *, dimensions, deadline_s):
        async for item in self.run(dimensions, deadline_s=deadline_s):
            yield item


async def test_local_tier_runs_no_more_than_its_slots_and_refuses_beyond_its_line():
    pool = Waiting()
    local = LocalBackend(pool, FairSlots(2, waiting_limit=3), queue_s=30, deadline_s=30)

    async def one(number):
        tenant = f"tenant-{number}"
        if number % 2:
            return [item async for item in local.generate(JOB, tenant=tenant)]
        embedding = local.embed(Inputs([[1]]), dimensions=4, tenant=tenant)
        return [item async for item in embedding]

    tasks = [asyncio.create_task(one(number)) for number in range(7)]
    await happened(lambda: sum(task.done() for task in tasks) == 2)
    assert (pool.running, local.waiting) == (2, 3)
    pool.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, RequestRefused)]
    assert len(refused) == 2
    assert pool.most == 2
    assert (pool.running, local.waiting) == (0, 0)


async def test_answer_that_is_called_off_frees_its_slot_and_its_sandbox():
    pool = Waiting()
    local = LocalBackend(pool, FairSlots(1, waiting_limit=3), queue_s=30, deadline_s=30)
    run = local.generate(JOB, tenant="a")
    await anext(run)
    await run.aclose()
    assert pool.running == 0
    pool.go.set()
    assert len([item async for item in local.generate(JOB, tenant="b")]) == 2
