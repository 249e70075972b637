"""What the gateway makes of a worker's bytes and end; the other end may say anything."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from sandbox import conversation, wire
from sandbox.conversation import bury, converse, death, ending, rehearse, told, welcome
from sandbox.errors import (
    CallRefused,
    DeadlinePassed,
    FrameInvalid,
    GrammarRefused,
    WorkerDied,
)
from sandbox.launch import Worker
from sandbox.seccomp import PASSING

EXITED = wire.Exited(pid=7, signal=0, code=0, peak_kib=3, cpu_ms=2)
MEASURED = {"peak_kib": 3, "cpu_ms": 2}


@asynccontextmanager
async def talking():
    """Yield a worker whose process sleeps, and the other end of its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])  # noqa: ASYNC220
    worker = Worker(
        pid=process.pid,
        pidfd=os.pidfd_open(process.pid),
        connection=ours,
        exited=asyncio.get_running_loop().create_future(),
    )
    try:
        with theirs:
            yield worker, theirs
    finally:
        worker.discard()
        process.kill()
        process.wait()


async def frames(worker):
    return [item async for item in converse(worker, b"job")]


async def test_frames_arrive_whole_however_they_are_cut():
    sent = wire.frame(wire.TOKENS, b"abcd") + wire.frame(wire.END, b"{}")
    async with talking() as (worker, theirs):
        reading = asyncio.ensure_future(frames(worker))
        for byte in sent:
            theirs.send(bytes([byte]))
            await asyncio.sleep(0)
        theirs.shutdown(socket.SHUT_WR)
        assert await reading == [(wire.TOKENS, b"abcd"), (wire.END, b"{}")]
        assert theirs.recv(3) == b"job"


async def test_frame_cut_short_by_the_workers_end_is_not_given():
    async with talking() as (worker, theirs):
        theirs.send(wire.frame(wire.TOKENS, b"abcd")[:-1])
        theirs.shutdown(socket.SHUT_WR)
        assert await frames(worker) == []


async def test_worker_that_died_with_its_job_unread_ends_the_answer():
    async with talking() as (worker, theirs):
        theirs.close()
        assert await frames(worker) == []


async def test_frame_over_its_limit_is_refused_from_its_head():
    async with talking() as (worker, theirs):
        theirs.send(b"\xff" * wire.HEADER_BYTES)
        with pytest.raises(FrameInvalid):
            await frames(worker)


async def test_worker_that_says_it_is_ready_with_its_notices_is_welcome():
    async with talking() as (worker, theirs):
        reading, writing = os.pipe()
        socket.send_fds(theirs, [wire.frame(wire.NOTICES)], [reading])
        theirs.send(wire.frame(wire.READY))
        await welcome(worker)
        assert worker.listener >= 0
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "ended while it locked itself down"),
        (wire.frame(wire.READY), "sent a frame of kind"),
        (wire.frame(wire.FAILED, b"OSError: landlock"), "failed: OSError: landlock"),
        (wire.frame(wire.NOTICES) + wire.frame(wire.NOTICES), "sent a frame of kind"),
        (wire.frame(wire.NOTICES) + 2 * wire.frame(wire.READY), "sent a frame of kind"),
        (wire.frame(wire.NOTICES) + wire.frame(wire.READY), "without the notices"),
    ],
)
async def test_worker_that_does_not_lock_itself_down_as_told_is_not_welcome(sent, said):
    async with talking() as (worker, theirs):
        theirs.send(sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(WorkerDied, match=said):
            await welcome(worker)


async def test_worker_whose_socket_breaks_is_not_welcome():
    async with talking() as (worker, theirs):
        worker.connection.send(b"never read")
        theirs.close()
        with pytest.raises(WorkerDied, match="locked itself down"):
            await welcome(worker)


async def test_rehearsal_is_asked_for_and_a_dead_worker_is_no_error():
    async with talking() as (worker, theirs):
        rehearse(worker)
        assert theirs.recv(64) == wire.frame(wire.REHEARSE)
        theirs.close()
        rehearse(worker)


async def test_worker_that_stays_after_its_answer_is_killed(monkeypatch):
    monkeypatch.setattr(conversation, "EXIT_LIMIT_S", 0.01)
    monkeypatch.setattr(conversation, "REAP_LIMIT_S", 0.01)
    async with talking() as (worker, _):
        attestation = await bury(worker, whole=True)
        assert attestation["end"] == {"how": "unknown"}
        assert worker.pidfd == -1
        _, status = await asyncio.to_thread(os.waitpid, worker.pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL


async def test_end_of_a_buried_worker_completes_its_attestation():
    async with talking() as (worker, _):
        worker.attestation = {"kernel": "6"}
        worker.exited.set_result(EXITED)
        attestation = await bury(worker, whole=True)
    assert attestation == {"kernel": "6", "end": {"how": "exit", "code": 0, **MEASURED}}


def test_end_is_told_by_what_ended_it():
    killed = wire.Exited(pid=7, signal=signal.SIGSEGV, code=0, peak_kib=3, cpu_ms=2)
    passed = wire.Exited(pid=7, signal=signal.SIGSYS, code=0, peak_kib=3, cpu_ms=2)
    assert ending(None, "open") == {"how": "unknown"}
    assert ending(killed, None) == {"how": "signal", "signal": "SIGSEGV", **MEASURED}
    assert ending(killed, "open") == {"how": "refused call", "call": "open", **MEASURED}
    names = " or ".join(call.name for call in PASSING)
    assert ending(passed, None) == {"how": "refused call", "call": names, **MEASURED}


@pytest.mark.parametrize(
    ("said", "end", "late", "kind"),
    [
        ("left", {"how": "refused call", "call": "open"}, True, CallRefused),
        ("left", {"how": "signal"}, True, DeadlinePassed),
        ("failed: GrammarRefused: too large", {"how": "exit"}, False, GrammarRefused),
        ("left", {"how": "exit"}, False, WorkerDied),
    ],
)
def test_death_is_named_by_its_gravest_cause(said, end, late, kind):
    attestation = {"end": end}
    error = death(said, attestation, late=late, deadline_s=2.0)
    assert type(error) is kind
    assert error.attestation == attestation


def test_frame_that_was_not_due_is_told_without_its_content():
    assert told(wire.FAILED, b"OSError: \xff") == "failed: OSError: \N{REPLACEMENT CHARACTER}"
    assert "secret" not in told(wire.TOKENS, b"secret")
