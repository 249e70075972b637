"""What tests say to the hostile zygote, and what they see of it from outside."""

import fcntl
import os
import socket
from pathlib import Path

from sandbox.pool import Finished
from sandbox.readings import TokenBatch
from sandbox.wire import Job
from tests.waiting import happened

HERE = Path(__file__).parent
WEIGHTS = b"the weights of no model " * 4096


def send_weights(connection):
    """Send a small sealed memfd, as the key broker sends the real one."""
    memory = os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(memory, WEIGHTS)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    socket.send_fds(connection, [b"x"], [memory])
    os.close(memory)


def job(what, *rest, max_tokens=4, seed=bytes(32), mark_key=bytes(32)):
    """Tell the engine what to do."""
    return Job(
        prompt=[what, *rest, 7],
        max_tokens=max_tokens,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        eos=[],
        mark_key=mark_key,
        trace_id=7,
        seed=seed,
    )


async def answered(pool, asked, *, deadline_s=60):
    """Run a job to its end; return its tokens and the Finished."""
    tokens, finished = [], None
    async for item in pool.run(asked, deadline_s=deadline_s):
        if isinstance(item, TokenBatch):
            tokens += item.tokens
        if isinstance(item, Finished):
            finished = item
    return tokens, finished


def children(pid):
    """Return the pids of a process's children that have not been reaped."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zygote_of(pool):
    """Return the zygote's own pid: bubblewrap may stand around it."""
    pid = pool.zygote_pid
    if Path(f"/proc/{pid}/comm").read_text() == "bwrap\n":
        (pid,) = children(pid)
    return pid


def workers(pool):
    """Return the pids of the zygote's children that have not been reaped."""
    return children(zygote_of(pool))


def alive(pid):
    """Tell whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pids):
    """Wait until none of these processes runs; raises TimeoutError if one stays."""
    await happened(lambda: not any(alive(pid) for pid in pids))
