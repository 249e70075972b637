"""What one request told its worker is nowhere in another's memory, read from outside as root."""

import asyncio
import os
import re
import secrets
import struct
from pathlib import Path

import numpy as np
import pytest

from sandbox.pool import Started
from tests.security import hostile_zygote as told
from tests.security.hostile import WEIGHTS, answered, job, workers, zygote_of
from tests.waiting import happened

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="reads others' memory, so it needs root"),
]


def memory_of(pid):
    """Read a process's whole address space."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            begin, end = (int(part, 16) for part in re.match(r"(\w+)-(\w+)", line).groups())
            rights, path = line.split()[1], " ".join(line.split()[5:])
            # A file's pages that cannot be written hold the file, and nothing that came later.
            unchanged = "w" not in rights and path.startswith("/") and "memfd:" not in path
            if "r" not in rights or path.startswith("[v") or unchanged:
                continue
            memory.seek(begin)
            yield memory.read(end - begin)


def found_in(pid, canaries):
    """Return which canaries stand anywhere in a process's memory."""
    found = set()
    for region in memory_of(pid):
        found |= {name for name, data in canaries.items() if data in region}
    return found


@pytest.fixture(scope="module")
def environment():
    """A secret in the gateway's environment, there before any zygote is."""
    secret = secrets.token_hex(16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALGATE_TEST_CANARY", secret)
        yield secret.encode()


@pytest.fixture(scope="module")
def gateway_secret():
    """A secret in the gateway's memory."""
    return secrets.token_bytes(32)


async def test_nothing_of_one_request_is_in_another_worker(
    environment, gateway_secret, pool_of, settled
):
    tokens = [secrets.randbelow(1 << 18) + (1 << 17) for _ in range(6)]
    canaries = {
        "key": secrets.token_bytes(32),
        "seed": secrets.token_bytes(32),
        "prompt as it came": b"".join(b"\xce" + struct.pack(">I", t) for t in tokens),
    }
    others = {
        "prompt as words": np.array(tokens, np.uint32).tobytes(),
        "prompt as long words": np.array(tokens, np.int64).tobytes(),
        "environment": environment,
        "gateway's memory": gateway_secret,
    }
    asked = job(told.HOLD, *tokens, mark_key=canaries["key"], seed=canaries["seed"])
    async with pool_of(size=2) as pool:
        await settled(pool, 2)
        ready = set(workers(pool))
        run = pool.run(asked, deadline_s=60)
        assert isinstance(await anext(run), Started)
        holding = asyncio.ensure_future(anext(run))
        await settled(pool, 2)
        # The one that was ready before and is taken now holds every canary of its request, once it
        # has read it.
        first = {}

        def was_read():
            first.update((pid, found_in(pid, canaries)) for pid in ready)
            return sorted(map(len, first.values())) == [0, len(canaries)]

        await happened(was_read)
        # The rest: those idle beside it, those made since, the zygote; and weights are in each.
        taken = max(first, key=lambda pid: len(first[pid]))
        for pid in {*workers(pool), zygote_of(pool)} - {taken}:
            assert found_in(pid, canaries | others | {"weights": WEIGHTS[:64]}) == {"weights"}
        assert not found_in(taken, {name: others[name] for name in list(others)[2:]})
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        await run.aclose()
        # Nor do later ones inherit anything, once that worker is gone.
        await answered(pool, job(told.ANSWER))
        await settled(pool, 2)
        for pid in {*workers(pool), zygote_of(pool)}:
            assert found_in(pid, canaries | others) == set()


async def test_scan_would_find_what_is_there(gateway_secret):
    assert found_in(os.getpid(), {"secret": gateway_secret}) == {"secret"}
