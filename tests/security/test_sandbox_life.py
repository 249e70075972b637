"""Processes of the sandbox die at random; nothing hangs, nothing survives, the pool recovers."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import time
from collections import Counter

import pytest

from sandbox import launch
from sandbox.errors import SandboxError
from tests.security import hostile_zygote as told
from tests.security.hostile import answered, gone, job, workers, zygote_of
from tests.waiting import happened

_log = logging.getLogger(__name__)

# Requests that end between two kills, however slow the machine is: some have to be answered.
PACE = 2


async def torment(pool, seen, ends, *, generator, until):
    """Kill a worker now and then, and the zygote more rarely."""
    ended = 0
    while not until.is_set():
        await asyncio.sleep(generator.uniform(0.005, 0.06))
        # While it comes up, what stands around it has children that are no workers.
        if pool._launching or ends.total() < ended + PACE:
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            zygote, found = zygote_of(pool), workers(pool)
            seen.update((zygote, *found))
            victims = [zygote] if generator.random() < 0.02 else found
            if victims:
                os.kill(generator.choice(victims), signal.SIGKILL)
                ended = ends.total()


def family(pool):
    """Return the zygote and its workers; nobody while one comes up."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        return {zygote_of(pool), *workers(pool)}
    return set()


async def outcome(pool, asked):
    """Run one job; return how it ended. Anything but an answer or a SandboxError fails the test."""
    try:
        tokens, finished = await answered(pool, asked, deadline_s=60)
    except SandboxError as error:
        ended, attestation = type(error).__name__, error.attestation
    else:
        ended, attestation = "answered", finished.attestation
        assert len(tokens) == asked.max_tokens
    # Only where no worker ever came is nothing known of one.
    if attestation is not None:
        assert attestation["seccomp"].startswith("sha256:")
        assert attestation["end"]["how"] in {"exit", "signal", "unknown"}
    return ended


async def survive(pool_of, *, requests, seed):
    generator = random.Random(seed)  # noqa: S311 - picks victims, not secrets
    seen, ends, until = set(), Counter(), asyncio.Event()
    async with pool_of(size=3) as pool:
        killer = asyncio.create_task(torment(pool, seen, ends, generator=generator, until=until))
        gate = asyncio.Semaphore(4)

        async def one():
            async with gate:
                ends[
                    await outcome(pool, job(told.ANSWER, max_tokens=generator.randint(1, 40)))
                ] += 1

        await asyncio.gather(*(one() for _ in range(requests)))
        until.set()
        await killer
        # The last kill may not have been noticed yet.
        await happened(lambda: pool.idle == len(family(pool)) - 1 == 3)
        current = family(pool)
        await gone(seen - current)
    await gone(seen | current)
    _log.info("%d requests, %d processes, none left: %s", requests, len(seen), dict(ends))
    assert ends.total() == requests
    # The torment was real, and the pool still did its work.
    assert ends["answered"] > requests / 3, ends
    assert len(ends) > 1, ends


async def test_random_kills_hang_nothing_and_leave_nothing(pool_of):
    await survive(pool_of, requests=300, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_random_kills_over_ten_thousand_requests(pool_of):
    await survive(pool_of, requests=10_000, seed=2)


async def test_zygotes_death_takes_every_worker_and_another_comes(pool_of, settled):
    async with pool_of(size=3) as pool:
        await settled(pool, 3)
        old = [zygote_of(pool), *workers(pool)]
        run = pool.run(job(told.SPIN), deadline_s=30)
        await anext(run)
        waiting = asyncio.ensure_future(anext(run))
        await asyncio.sleep(0.05)
        os.kill(old[0], signal.SIGKILL)
        with pytest.raises(SandboxError) as death:
            await waiting
        assert death.value.attestation["end"] == {"how": "unknown"}
        await gone(old)
        await settled(pool, 3)
        assert zygote_of(pool) != old[0]
        assert len(workers(pool)) == 3
        await answered(pool, job(told.ANSWER))


async def test_idle_worker_that_dies_is_replaced(pool_of, settled):
    async with pool_of(size=2) as pool:
        await settled(pool, 2)
        victim = workers(pool)[0]
        os.kill(victim, signal.SIGKILL)
        # Whoever is still a child of the zygote's has not been noticed to be dead.
        await happened(lambda: victim not in workers(pool))
        await happened(lambda: pool.idle == len(workers(pool)) == 2)
        for _ in range(3):
            await answered(pool, job(told.ANSWER))


async def test_stopped_pool_leaves_no_process_and_refuses_work(pool_of, settled):
    async with pool_of(size=2) as pool:
        await settled(pool, 2)
        everyone = [pool.zygote_pid, zygote_of(pool), *workers(pool)]
    await gone(everyone)
    with pytest.raises(SandboxError, match="stopped"):
        await answered(pool, job(told.ANSWER))


async def test_stopping_ends_answers_under_way_with_an_error(pool_of):
    async with pool_of(size=1) as pool:
        run = pool.run(job(told.SPIN), deadline_s=60)
        await anext(run)
        waiting = asyncio.ensure_future(anext(run))
        await asyncio.sleep(0.05)
    with pytest.raises(SandboxError):
        await waiting


async def test_terminals_interrupt_and_service_managers_stop_spare_the_zygote(pool_of, settled):
    async with pool_of(size=1) as pool:
        await settled(pool, 1)
        zygote = zygote_of(pool)
        # Ctrl-C reaches a process group, of which the zygote has its own.
        assert os.getpgid(zygote) != os.getpgid(0)
        os.kill(zygote, signal.SIGTERM)
        # It would be gone by the time that a second worker has come from it.
        for _ in range(2):
            await answered(pool, job(told.ANSWER))
        assert zygote_of(pool) == zygote


async def test_stopped_zygote_is_ended_with_its_pool(pool_of, settled):
    async with pool_of(size=1) as pool:
        await settled(pool, 1)
        everyone = [pool.zygote_pid, zygote_of(pool), *workers(pool)]
        # It cannot notice that its control socket closes.
        os.kill(zygote_of(pool), signal.SIGSTOP)
    await gone(everyone)


async def test_zygote_that_cannot_start_leaves_nothing_behind(pool_of):
    began = time.monotonic()
    with pytest.raises(SandboxError):
        async with pool_of("no_such_zygote.py"):
            pass
    assert time.monotonic() - began < launch.START_LIMIT_S
