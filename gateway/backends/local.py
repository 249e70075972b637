"""The local tier: one confined process a choice or batch, from a pool kept ready."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.batches import Batches, Sharing
from gateway.slots import FairSlots
from sandbox.pool import Finished, Pool, Started
from sandbox.readings import TokenBatch, Vector
from sandbox.wire import Inputs, Job


class LocalBackend:
    """Runs jobs in the pool's sandboxes, as many at once as there are slots.

    sharing: when a tenant's answers may share a sandbox; never if None.
    """

    def __init__(
        self,
        pool: Pool,
        slots: FairSlots,
        *,
        queue_s: float,
        deadline_s: float,
        sharing: Sharing | None = None,
    ) -> None:
        self._pool = pool
        self._slots = slots
        self._queue_s = queue_s
        self._deadline_s = deadline_s
        self._batches = (
            Batches(pool, slots, sharing, queue_s=queue_s, deadline_s=deadline_s)
            if sharing
            else None
        )

    @property
    def ready(self) -> bool:
        """Whether a sandbox waits for a request."""
        return self._pool.ready

    @property
    def able(self) -> bool:
        """Whether it answers: a sandbox waits, or some are at work and the next one is made.

        A gateway whose sandboxes are all at work is busy, not broken: it has a line for more.
        """
        return self._pool.ready or self._slots.busy > 0

    @property
    def waiting(self) -> int:
        """How many choices wait for a slot."""
        return self._slots.waiting

    async def generate(
        self, job: Job, *, tenant: str
    ) -> AsyncGenerator[Started | TokenBatch | Finished, None]:
        """Yield what confines the answer's sandbox, its tokens as they come, then how it ended.

        tenant: whose turn it takes. Closing the iterator kills the sandbox at once.

        Raises:
            RequestRefused: 503, no slot came free in time, or too many wait.
            sandbox.errors.SandboxError: The sandbox ended otherwise; its attestation is attached.
        """
        if self._batches is not None:
            async with aclosing(self._batches.generate(job, tenant=tenant)) as shared:
                async for item in shared:
                    yield item
            return
        async with (
            self._slots.held(tenant, limit_s=self._queue_s),
            aclosing(self._pool.run(job, deadline_s=self._deadline_s)) as run,
        ):
            async for item in run:
                yield item

    async def embed(
        self, inputs: Inputs, *, dimensions: int, tenant: str
    ) -> AsyncGenerator[Started | Vector | Finished, None]:
        """Yield what confines the sandbox, one vector a text, then how it ended, as `generate`."""
        async with (
            self._slots.held(tenant, limit_s=self._queue_s),
            aclosing(
                self._pool.embed(inputs, dimensions=dimensions, deadline_s=self._deadline_s)
            ) as run,
        ):
            async for item in run:
                yield item
