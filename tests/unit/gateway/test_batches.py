"""Which answers share a sandbox, and what one that leaves does to the rest."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import batches as batching
from gateway.backends.local import LocalBackend
from gateway.batches import Sharing
from gateway.errors import RequestRefused
from gateway.slots import FairSlots
from sandbox import sharing, wire
from sandbox.errors import GrammarRefused, WorkerDied
from sandbox.pool import Finished, Started
from sandbox.readings import TokenBatch
from sandbox.sharing import fits
from sandbox.wire import Job, Shaping
from tests.waiting import LoopClock

JOB = Job(
    prompt=[1, 2],
    max_tokens=4,
    temperature=0,
    top_k=1,
    top_p=1.0,
    eos=[],
    mark_key=bytes(32),
    trace_id=0,
    seed=bytes(32),
)


class Workers:
    """Stands for the pool and for what shares a worker; holds each worker until told to go."""

    def __init__(self):
        self.held, self.killed, self.fault, self.go = [], 0, None, asyncio.Event()

    async def run(self, job, *, deadline_s):
        async for _, item in self.together(self, [job], deadline_s=deadline_s):
            if isinstance(item, Exception):
                raise item
            yield item

    async def together(self, _pool, jobs, *, deadline_s):
        self.held.append([job.trace_id for job in jobs])
        whole = False
        try:
            for index in range(len(jobs)):
                yield index, Started({"batch": len(jobs)})
            await asyncio.wait_for(self.go.wait(), deadline_s)
            if isinstance(self.fault, ArithmeticError):
                raise self.fault
            for index, job in enumerate(jobs):
                yield index, TokenBatch((job.trace_id,))
                await asyncio.sleep(0)
                yield index, self.fault or Finished("stop", {}, {"batch": len(jobs)})
            whole = True
        finally:
            self.killed += not whole


@pytest.fixture
def workers(monkeypatch):
    workers = Workers()
    monkeypatch.setattr(batching, "run_together", workers.together)
    return workers


def tier(workers, *, slots=1, limit=4, window_s=0.0, room_tokens=100, waiting=100, queue_s=30):
    together = Sharing(limit=limit, window_s=window_s, room_tokens=room_tokens)
    line = FairSlots(slots, waiting_limit=waiting)
    return LocalBackend(workers, line, queue_s=queue_s, deadline_s=600, sharing=together)


def ask(local, tenant, number, **fields):
    """Ask for an answer; return the task that hears it."""

    async def hear():
        job = replace(JOB, trace_id=number, **fields)
        return [item async for item in local.generate(job, tenant=tenant)]

    return asyncio.create_task(hear())


async def heard(tasks):
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 120)


def tokens(items):
    return [token for item in items if isinstance(item, TokenBatch) for token in item.tokens]


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_choices_of_one_request_share_a_worker_up_to_the_limit(workers):
    tasks = [ask(tier_, "a", n) for tier_ in [tier(workers, slots=2)] for n in range(6)]
    await settle()
    assert workers.held == [[0, 1, 2, 3], [4, 5]]
    workers.go.set()
    answers = await heard(tasks)
    assert [tokens(items) for items in answers] == [[n] for n in range(6)]
    assert [items[-1].attestation["batch"] for items in answers] == [4, 4, 4, 4, 2, 2]


async def test_another_tenants_choices_wait_for_a_worker_of_their_own(workers):
    local = tier(workers)
    tasks = [ask(local, tenant, n) for n, tenant in enumerate("abab")]
    await settle()
    assert workers.held == [[0, 2]]
    workers.go.set()
    await heard(tasks)
    assert workers.held == [[0, 2], [1, 3]]


async def test_those_that_wait_for_a_slot_share_the_next_worker(workers):
    local = tier(workers)
    first = ask(local, "a", 0)
    await settle()
    later = [ask(local, "a", n) for n in (1, 2, 3)]
    await settle()
    assert (workers.held, local.waiting) == ([[0]], 3)
    workers.go.set()
    await heard([first, *later])
    assert workers.held == [[0], [1, 2, 3]]
    assert local.waiting == 0


async def test_window_gathers_what_comes_within_it(workers):
    clock, local = LoopClock(), tier(workers, slots=2, window_s=60)
    first = ask(local, "a", 0)
    await settle()
    clock.move(30)
    second = ask(local, "a", 1)
    await settle()
    assert workers.held == []
    clock.move(31)
    workers.go.set()
    await heard([first, second])
    assert workers.held == [[0, 1]]


async def test_answers_too_long_to_share_memory_are_apart(workers):
    local = tier(workers, room_tokens=12)
    tasks = [ask(local, "a", n, max_tokens=4 if n else 9) for n in range(3)]
    workers.go.set()
    await heard(tasks)
    assert workers.held == [[0], [1, 2]]


async def test_one_that_leaves_the_line_is_not_answered(workers):
    local = tier(workers)
    first, second, third = (ask(local, "a", 0), ask(local, "a", 1), ask(local, "a", 2))
    await asyncio.sleep(0)
    second.cancel()
    await settle()
    workers.go.set()
    await heard([first, second, third])
    assert workers.held in ([[0, 2]], [[0], [2]])


async def test_one_that_leaves_a_worker_leaves_the_others_their_answers(workers):
    local = tier(workers)
    tasks = [ask(local, "a", n) for n in range(3)]
    await settle()
    # The first one asked for the slot; what it asked for is the others' too.
    tasks[0].cancel()
    await settle()
    assert workers.killed == 0
    workers.go.set()
    answers = await heard(tasks)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [tokens(items) for items in answers[1:]] == [[1], [2]]


async def test_worker_that_nobody_listens_to_is_killed_and_its_slot_free(workers):
    local = tier(workers)
    tasks = [ask(local, "a", n) for n in range(3)]
    await settle()
    for task in tasks:
        task.cancel()
    await heard(tasks)
    assert (workers.killed, local._slots.busy) == (1, 0)
    workers.go.set()
    assert tokens((await heard([ask(local, "b", 9)]))[0]) == [9]


@pytest.mark.parametrize(
    "fault", [WorkerDied("It died."), GrammarRefused("No."), ArithmeticError()]
)
async def test_every_answer_is_told_of_its_end(workers, fault):
    local = tier(workers)
    workers.fault = fault
    tasks = [ask(local, "a", n) for n in range(3)]
    workers.go.set()
    for answer in await heard(tasks):
        assert isinstance(answer, WorkerDied)
    workers.fault = None
    assert tokens((await heard([ask(local, "a", 9)]))[0]) == [9]


async def test_one_that_waited_too_long_is_refused_and_the_rest_wait_on(workers):
    clock, local = LoopClock(), tier(workers, queue_s=60)
    first = ask(local, "a", 0)
    await settle()
    second = ask(local, "a", 1)
    await settle()
    clock.move(20)
    third = ask(local, "a", 2)
    await settle()
    clock.move(41)
    with pytest.raises(RequestRefused):
        await second
    workers.go.set()
    assert tokens(await third) == [2]
    await first
    assert workers.held == [[0], [2]]


async def test_full_line_is_refused_at_once(workers):
    local = tier(workers, waiting=2)
    first = ask(local, "a", 0)
    await settle()
    tasks = [ask(local, "a", n) for n in range(1, 5)]
    await settle()
    workers.go.set()
    outcomes = await heard(tasks)
    assert sum(isinstance(each, RequestRefused) for each in outcomes) == 2
    await first


def test_batch_holds_no_more_than_its_frame_and_memory_do():
    assert fits([JOB] * 8, room_tokens=48)
    assert not fits([JOB] * 8, room_tokens=47)
    assert not fits([JOB] * 9, room_tokens=1000)
    assert not fits([replace(JOB, grammar="x" * 100_000)] * 2, room_tokens=1000)
    assert not fits([replace(JOB, max_tokens=1 << 15)] * 2, room_tokens=1 << 20)


def test_largest_batch_that_fits_has_room_in_one_frame():
    biases = {2**31 + n: -99.5 for n in range(sharing.MOST_BIASES // 8)}
    largest = Job(
        prompt=[2**31] * (sharing.MOST_TOKENS // 8 - 1),
        max_tokens=1,
        temperature=1.0,
        top_k=100,
        top_p=0.9,
        eos=[2**31] * 16,
        mark_key=bytes(32),
        trace_id=2**31,
        seed=bytes(32),
        shaping=Shaping(logit_bias=biases),
        grammar="\U0001f600" * (sharing.MOST_GRAMMAR_CHARACTERS // 8),
    )
    assert fits([largest] * 8, room_tokens=1 << 20)
    assert wire.frame(wire.BATCH, sharing.BatchReader([largest] * 8).payload)


ARRIVALS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans(), st.integers(1, 9)),
    min_size=1,
    max_size=30,
)


@given(arrivals=ARRIVALS, slots=st.integers(1, 3), limit=st.integers(2, 8))
@settings(max_examples=150, deadline=None)
def test_no_two_tenants_ever_share_and_everyone_is_answered(arrivals, slots, limit):
    asyncio.run(_arrive(arrivals, slots=slots, limit=limit))


async def _arrive(arrivals, *, slots, limit):
    workers = Workers()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batching, "run_together", workers.together)
        local = tier(workers, slots=slots, limit=limit, room_tokens=40)
        tasks, leaving = [], []
        for number, (tenant, pauses, leaves, max_tokens) in enumerate(arrivals):
            tasks.append(ask(local, tenant, number, max_tokens=max_tokens))
            for _ in range(pauses):
                await asyncio.sleep(0)
            if leaves:
                leaving.append(tasks[-1])
            if pauses == 3 and leaving:
                leaving.pop().cancel()
            if pauses == 2:
                workers.go.set()
        workers.go.set()
        answers = await heard(tasks)
        for held in workers.held:
            assert len({arrivals[number][0] for number in held}) == 1
            assert len(held) <= limit
        started = [number for held in workers.held for number in held]
        assert len(started) == len(set(started))
        for number, items in enumerate(answers):
            assert isinstance(items, asyncio.CancelledError) or tokens(items) == [number]
        assert local.waiting == 0
        assert local._slots.busy == 0
        assert not local._batches._waiting
