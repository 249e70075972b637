"""What a worker can do with allowed calls alone, and how each of it ends."""

import asyncio
import errno
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import conversation, wire
from sandbox.errors import DeadlinePassed, WorkerDied, ZygoteFailed
from sandbox.pool import Finished, Started
from sandbox.readings import TokenBatch
from tests.security import hostile_zygote as told
from tests.security.hostile import alive, answered, job, workers, zygote_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def end_of(pool, what, *, deadline_s=60, error=WorkerDied):
    """Run a job that must not come to an answer; return the error and how its worker ended."""
    with pytest.raises(error) as death:
        await answered(pool, job(what), deadline_s=deadline_s)
    return death.value, death.value.attestation["end"]


async def test_memory_bomb_meets_its_limit_and_dies_alone(pool, settled):
    await settled(pool, 2)
    before = set(workers(pool))
    _, end = await end_of(pool, told.BOMB)
    # The worker itself saw ENOMEM, long before the machine did.
    assert (end["how"], end["code"]) == ("exit", told.REPORTED_MEMORY_ERROR)
    assert end["peak_kib"] < 400 << 10
    assert len(before & set(workers(pool))) == 1
    assert pool.zygote_pid is not None


async def test_crash_is_told_by_its_signal_and_leaves_no_core(pool):
    cores = set(Path.cwd().glob("core*"))
    _, end = await end_of(pool, told.CRASH)
    assert (end["how"], end["signal"]) == ("signal", "SIGSEGV")
    assert set(Path.cwd().glob("core*")) == cores


async def test_writing_the_weights_crashes_the_writer(pool):
    _, end = await end_of(pool, told.WRITE_WEIGHTS)
    assert end["signal"] == "SIGSEGV"


@pytest.mark.parametrize(
    ("what", "expected"),
    [(told.UNLOCK_WEIGHTS, errno.EACCES), (told.PUNCH_WEIGHTS, errno.EACCES)],
    ids=["mprotect", "MADV_REMOVE"],
)
async def test_sealed_weights_cannot_be_made_writable(pool_of, what, expected):
    # The second is refused by seccomp first; what stands behind it is the seal.
    async with pool_of("unfiltered_zygote.py", size=1) as unfiltered:
        _, end = await end_of(unfiltered, what)
        assert end["code"] == expected


async def test_mprotect_of_weights_is_refused_with_every_wall_up_too(pool):
    _, end = await end_of(pool, told.UNLOCK_WEIGHTS)
    assert end["code"] == errno.EACCES


async def test_spinning_ends_at_the_deadline(pool, settled):
    # The time to wait for a worker is counted too.
    await settled(pool, 2)
    error, end = await end_of(pool, told.SPIN, deadline_s=0.3, error=DeadlinePassed)
    assert "0.3 s" in str(error)
    assert end["signal"] == "SIGKILL"


async def test_spinning_ends_at_the_processor_limit(pool_of):
    async with pool_of(size=1, cpu_s=1) as limited:
        _, end = await end_of(limited, told.SPIN, deadline_s=60)
    assert end["signal"] == "SIGKILL"
    assert 500 <= end["cpu_ms"] <= 3000


async def test_slow_drip_ends_at_the_deadline(pool, settled):
    await settled(pool, 2)
    seen = []

    async def listen():
        async for item in pool.run(job(told.DRIP, max_tokens=100_000), deadline_s=2.5):
            # One at a time: a comprehension would lose them all with the error.
            seen.append(type(item))  # noqa: PERF401

    with pytest.raises(DeadlinePassed) as death:
        await listen()
    assert seen.count(TokenBatch) > 1
    assert death.value.attestation["end"]["signal"] == "SIGKILL"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (told.HUGE_FRAME, "broke the protocol: A frame says it has 1048577 bytes"),
        (told.OTHER_VERSION, "broke the protocol: A frame has version 2"),
        (told.LIE, "broke the protocol: A message cannot be decoded"),
        (told.FLOOD, "sent more than the 4 tokens"),
        (told.NOT_FINITE, "failed: FloatingPointError"),
        (told.SILENT_EXIT, "ended before its answer"),
    ],
)
async def test_worker_that_breaks_the_protocol_is_dropped(pool, what, words):
    error, end = await end_of(pool, what)
    assert words in str(error)
    assert end["how"] in {"signal", "exit"}


async def test_worker_that_lingers_after_its_answer_is_killed(pool):
    _, finished = await answered(pool, job(told.LINGER))
    assert finished.reason == "stop"
    assert finished.attestation["end"]["signal"] == "SIGKILL"


async def test_worker_deaf_to_sigterm_ends_by_sigkill(pool, settled):
    await settled(pool, 2)
    ready = set(workers(pool))
    run = pool.run(job(told.SPIN), deadline_s=60)
    assert isinstance(await anext(run), Started)
    task = asyncio.ensure_future(anext(run))
    await settled(pool, 2)
    for pid in ready:
        os.kill(pid, signal.SIGTERM)
    await asyncio.sleep(0.2)
    # Process 1 of a namespace takes no signal that it did not ask for.
    assert all(alive(pid) for pid in ready)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await run.aclose()
    assert sum(alive(pid) for pid in ready) == 1


async def test_closing_the_iterator_kills_the_worker_at_once(pool, settled):
    await settled(pool, 2)
    ready = set(workers(pool))
    run = pool.run(job(told.DRIP, max_tokens=100_000), deadline_s=60)
    async for item in run:
        if isinstance(item, TokenBatch):
            break
    await run.aclose()
    # aclose returns once the zygote has reaped it.
    assert sum(alive(pid) for pid in ready) == 1
    await settled(pool, 2)


async def test_second_job_on_a_worker_meets_a_closed_socket(pool):
    worker = await pool._take(limit_s=60)
    framed = wire.frame(wire.JOB, wire.encode(job(told.ANSWER)))
    frames = [kind async for kind, _ in conversation.converse(worker, framed)]
    assert frames == [*[wire.TOKENS] * 4, wire.END]
    again = [kind async for kind, _ in conversation.converse(worker, framed)]
    assert again == []
    await conversation.bury(worker, whole=True)


def held_by(pid):
    """Return a process's descriptors and what they are."""
    return {d.name: str(d.readlink()) for d in Path(f"/proc/{pid}/fd").iterdir()}


async def test_ready_worker_holds_one_descriptor(pool, settled):
    await settled(pool, 2)
    for pid in workers(pool):
        held = held_by(pid)
        assert list(held) == ["0"]
        assert held["0"].startswith("socket:")


def world_of(pid):
    """Return a process's namespaces, by name."""
    return {n.name: str(n.readlink()) for n in Path(f"/proc/{pid}/ns").iterdir()}


async def test_ready_worker_has_an_empty_root_and_no_namespace_of_ours(pool, settled):
    await settled(pool, 2)
    ours = world_of("self")
    for pid in workers(pool):
        assert os.listdir(f"/proc/{pid}/root/") == []  # noqa: PTH208 - a Path drops the last slash
        theirs = world_of(pid)
        for name in ("user", "net", "mnt", "ipc", "uts", "cgroup", "pid"):
            assert theirs[name] != ours[name]


async def test_draws_differ_by_seed_and_repeat_with_it(pool):
    # Two tokens are possible, so that contexts repeat soon and draws come from the seed.
    drawn = [
        (await answered(pool, job(told.TWO_TOKENS, max_tokens=60, seed=bytes([n]) * 32)))[0]
        for n in (1, 2, 1)
    ]
    assert set(drawn[0]) == {5, 6}
    assert drawn[0] == drawn[2] != drawn[1]


async def test_attestation_says_what_confined_the_worker(pool):
    _, finished = await answered(pool, job(told.ANSWER))
    told_of = dict(finished.attestation)
    assert isinstance(finished, Finished)
    assert told_of.pop("end")["how"] == "exit"
    assert told_of["observed"] is True
    assert told_of["seccomp"].startswith("sha256:")
    assert told_of["landlock_abi"] >= 6
    assert (told_of["cpu_limit_s"], told_of["memory_limit_mib"]) == (5, 96)


async def test_no_worker_is_an_error_within_the_deadline(pool_of, settled):
    async with pool_of(size=1) as small:
        await settled(small, 1)
        os.kill(zygote_of(small), signal.SIGSTOP)
        taken = await small._take(limit_s=60)
        with pytest.raises(ZygoteFailed, match=r"within 0\.2 s"):
            await answered(small, job(told.ANSWER), deadline_s=0.2)
        taken.kill()
        taken.close()


async def test_likelihoods_of_a_confined_worker_come_with_their_tokens(pool):
    asked = replace(job(told.ANSWER), likely=3)
    said = [item async for item in pool.run(asked, deadline_s=10) if isinstance(item, TokenBatch)]
    tokens = [token for batch in said for token in batch.tokens]
    likelihoods = [told for batch in said for told in batch.likelihoods]
    assert len(tokens) == asked.max_tokens
    assert [likely.token for likely in likelihoods] == tokens
    assert all(len(likely.top) == 3 for likely in likelihoods)
