"""What a hostile sequence can do to those it shares a worker with, and what it cannot.

It can end them. Each is told so by an error of its own, nobody hangs, and another worker's answers
are not touched.
"""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from sandbox.errors import CallRefused, DeadlinePassed, SandboxError, WorkerDied
from sandbox.pool import Finished, Started
from sandbox.readings import TokenBatch
from sandbox.sharing import run_together
from tests.security import hostile_zygote as told
from tests.security.attacks import ATTACKS
from tests.security.hostile import alive, answered, job, workers

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def together(pool, jobs, *, deadline_s=60):
    """Run a batch to its end; return each job's tokens and its last item."""
    tokens, last = [[] for _ in jobs], [None] * len(jobs)
    async with aclosing(run_together(pool, jobs, deadline_s=deadline_s)) as items:
        async for index, item in items:
            assert not isinstance(last[index], Finished | SandboxError), "it had ended"
            if isinstance(item, TokenBatch):
                tokens[index] += item.tokens
            last[index] = item
    return tokens, last


async def test_answers_of_a_batch_are_those_of_workers_of_their_own(pool):
    jobs = [job(told.ANSWER, n, max_tokens=3 + n, seed=bytes([n] * 32)) for n in range(4)]
    alone = [await answered(pool, each) for each in jobs]
    tokens, last = await together(pool, jobs)
    assert tokens == [each for each, _ in alone]
    assert [(e.reason, e.evidence) for e in last] == [(e.reason, e.evidence) for _, e in alone]


async def test_each_entry_says_that_its_worker_was_shared(pool):
    jobs = [job(told.ANSWER, max_tokens=count) for count in (2, 5, 3)]
    started = []
    async with aclosing(run_together(pool, jobs, deadline_s=60)) as items:
        async for index, item in items:
            if isinstance(item, Started):
                started.append((index, item.attestation["batch"]))
    assert started == [(0, 3), (1, 3), (2, 3)]
    _, last = await together(pool, jobs)
    assert [each.attestation["batch"] for each in last] == [3, 3, 3]
    assert [each.attestation["end"]["how"] for each in last] == ["left", "exit", "left"]
    _, single = await answered(pool, jobs[0])
    assert "batch" not in single.attestation


@pytest.mark.parametrize(
    "what", [told.CRASH, told.BOMB, told.SILENT_EXIT, told.HUGE_FRAME, told.OTHER_VERSION]
)
async def test_crash_of_one_ends_its_mates_with_an_error_each(pool, what):
    mates = [job(told.DRIP, max_tokens=200), job(what), job(told.DRIP, 3, max_tokens=200)]
    _, last = await together(pool, mates)
    assert all(isinstance(each, WorkerDied) for each in last)
    assert len({id(each) for each in last}) == 3
    assert all(each.attestation["batch"] == 3 for each in last)
    assert (await answered(pool, job(told.ANSWER)))[1].reason == "length"


@pytest.mark.parametrize("what", [told.LIE, told.LINGER, told.FLOOD, told.MISPLACED, told.FOREIGN])
async def test_frame_that_is_no_sequences_own_ends_the_batch(pool, what):
    # The liar comes last: its mates have their first tokens, and hear of the end all the same.
    tokens, last = await together(pool, [job(told.ANSWER, max_tokens=9), job(what, max_tokens=9)])
    assert all(isinstance(each, WorkerDied) for each in last)
    assert (len(tokens[0]), tokens[1]) == (1, [])


async def test_refused_call_is_told_to_every_mate(pool, listening):
    number = next(n for n, attack in enumerate(ATTACKS) if attack.refused == "socket")
    attacker = job(told.FIRST_ATTACK + number, listening)
    _, last = await together(pool, [job(told.ANSWER, max_tokens=9), attacker])
    assert all(isinstance(each, CallRefused) for each in last)
    assert all(each.attestation["end"]["call"] == "socket" for each in last)


async def test_deadline_ends_all_and_each_is_told(pool, settled):
    # The time to wait for a worker is counted too.
    await settled(pool, 2)
    _, last = await together(pool, [job(told.ANSWER, max_tokens=9), job(told.SPIN)], deadline_s=0.5)
    assert all(isinstance(each, DeadlinePassed) for each in last)


async def test_sequence_that_fails_by_its_own_numbers_leaves_its_mates_whole(pool):
    mate = job(told.ANSWER, max_tokens=6)
    expected, _ = await answered(pool, mate)
    tokens, last = await together(pool, [mate, job(told.NOT_FINITE)])
    assert (tokens[0], last[0].reason) == (expected, "length")
    assert isinstance(last[1], WorkerDied)
    assert last[1].attestation["end"] == {"how": "left"}


async def test_closing_the_batch_kills_its_worker(pool, settled):
    await settled(pool, 2)
    idle = set(workers(pool))
    run = run_together(pool, [job(told.HOLD), job(told.HOLD)], deadline_s=60)
    assert isinstance((await anext(run))[1], Started)
    (taken,) = idle - {worker.pid for worker in pool._idle}
    assert alive(taken)
    await run.aclose()
    assert not alive(taken)


async def test_keys_of_one_sequence_mark_no_other(pool):
    """Each draws with its own key and stream: a mate's key changes nothing of an answer."""
    mine = job(told.ANSWER, max_tokens=12)
    others = [replace(mine, mark_key=bytes([n] * 32), seed=bytes([n] * 32)) for n in (5, 6)]
    (first, _), (second, _) = [await together(pool, [mine, other]) for other in others]
    assert first[0] == second[0]
    assert first[1] != second[1]


async def test_twenty_batches_at_once_all_end(pool):
    jobs = [job(told.ANSWER), job(told.CRASH), job(told.ANSWER, 5)]
    ended = await asyncio.gather(*(together(pool, jobs[: 2 + n % 2]) for n in range(20)))
    assert all(isinstance(each, WorkerDied) for _, last in ended for each in last)
