"""Pools of real, locked workers whose engine does what the test tells it to."""

import os
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.limits import Limits
from sandbox.pool import Pool
from tests.security.hostile import HERE, send_weights
from tests.waiting import happened


@asynccontextmanager
async def running_pool(entry="hostile_zygote.py", *, size=2, cpu_s=5, memory_bytes=96 << 20):
    """Run a pool over one of the zygotes in this directory."""
    pool = Pool(
        size=size,
        limits=Limits(cpu_s=cpu_s, memory_bytes=memory_bytes),
        send_weights=send_weights,
        entry=("-I", str(Path(HERE, entry))),
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool():
    """One pool with every wall, for a module's tests."""
    async with running_pool() as pool:
        yield pool


@pytest.fixture(scope="session")
def pool_of():
    """Make a pool of other kinds: `async with pool_of(size=1) as pool`."""
    return running_pool


@pytest.fixture(scope="module")
def listening():
    """Listen where a worker must not reach: a port of loopback, and an abstract socket."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
    ):
        abstract.bind(f"\0sealgate-test-{os.getpid()}")
        abstract.listen()
        yield tcp.getsockname()[1]


@pytest.fixture
def settled():
    """Wait until a pool is full again."""

    async def wait(pool, size):
        await happened(lambda: pool.idle == size)

    return wait
