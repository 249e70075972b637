"""The local tier: one confined process a choice, from a pool kept ready."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.errors import RequestRefused
from sandbox.pool import Finished, Pool, Started
from sandbox.readings import TokenBatch
from sandbox.wire import Job


class LocalBackend:
    """Runs jobs in the pool's sandboxes, at most `concurrency` at once, first come first served."""

    def __init__(self, pool: Pool, *, concurrency: int, queue_s: float, deadline_s: float) -> None:
        self._pool = pool
        self._slots = asyncio.Semaphore(concurrency)
        self._queue_s = queue_s
        self._deadline_s = deadline_s

    @property
    def ready(self) -> bool:
        """Whether a sandbox waits for a request."""
        return self._pool.ready

    async def generate(self, job: Job) -> AsyncGenerator[Started | TokenBatch | Finished, None]:
        """Yield what confines the answer's sandbox, its tokens as they come, then how it ended.

        Closing the iterator kills the sandbox at once.

        Raises:
            RequestRefused: 503, no sandbox came free in time.
            sandbox.errors.SandboxError: The sandbox ended otherwise; its attestation is attached.
        """
        try:
            # Not wait_for: before Python 3.12 it may swallow a cancellation and leak the slot.
            async with asyncio.timeout(self._queue_s):
                await self._slots.acquire()
        except TimeoutError:
            raise RequestRefused(
                f"All sandboxes were busy for {self._queue_s:g} s. Try again shortly.",
                status=503,
                kind="server_error",
                code="overloaded",
            ) from None
        try:
            async with aclosing(self._pool.run(job, deadline_s=self._deadline_s)) as run:
                async for item in run:
                    yield item
        finally:
            self._slots.release()
