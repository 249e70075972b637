"""Which answers share a worker: a tenant's own that wait at one time. Never two tenants'.

Each choice has its own place in line, as one that is answered alone. Who gets a slot first takes
along those of its tenant that still wait, as many as fit; they leave the line. Nothing joins a
batch that has begun.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from gateway.errors import RequestRefused
from gateway.slots import FairSlots
from sandbox.errors import SandboxError, WorkerDied
from sandbox.pool import Finished, Pool, Started
from sandbox.readings import TokenBatch
from sandbox.sharing import Item, fits, run_together
from sandbox.wire import Job


@dataclass(frozen=True, slots=True)
class Sharing:
    """When answers share a worker.

    limit: most that one worker answers together, 2 to 8. window_s: how long a choice waits for
    others before it asks for a slot. room_tokens: the model's longest prompt and answer.
    """

    limit: int
    window_s: float
    room_tokens: int


@dataclass(slots=True, eq=False)
class _Place:
    """One choice. news: what is heard of it, an error last if it fails. lead: asks for a slot."""

    job: Job
    tenant: str
    news: "asyncio.Queue[Item | RequestRefused]" = field(default_factory=asyncio.Queue)
    lead: "asyncio.Task[None] | None" = None
    batch: "_Batch | None" = None


@dataclass(slots=True, eq=False)
class _Batch:
    """Choices that one worker answers. listening: those whose client is still there."""

    places: Sequence[_Place]
    listening: set[_Place]


class Batches:
    """Answers choices in workers that they may share. For one event loop."""

    def __init__(
        self, pool: Pool, slots: FairSlots, sharing: Sharing, *, queue_s: float, deadline_s: float
    ) -> None:
        self._pool = pool
        self._slots = slots
        self._sharing = sharing
        self._queue_s = queue_s
        self._deadline_s = deadline_s
        # Places that wait, by tenant: what keeps tenants apart is that no batch looks at two.
        self._waiting: dict[str, list[_Place]] = {}

    async def generate(
        self, job: Job, *, tenant: str
    ) -> AsyncGenerator[Started | TokenBatch | Finished, None]:
        """Yield what `LocalBackend.generate` does; closing the iterator lets go of the answer.

        Its worker is killed once nobody listens to any of the answers it holds.
        """
        place = _Place(job, tenant)
        self._waiting.setdefault(tenant, []).append(place)
        place.lead = asyncio.get_running_loop().create_task(self._lead(place))
        try:
            while True:
                item = await place.news.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Finished):
                    return
        finally:
            await self._leave(place)

    async def _lead(self, place: _Place) -> None:
        """Wait for others, then for a slot, and answer all that wait by then."""
        try:
            await asyncio.sleep(self._sharing.window_s)
            async with self._slots.held(place.tenant, limit_s=self._queue_s):
                # From the slot to here nothing else runs, so nobody has taken this place.
                await self._answer(self._gathered(place))
        except RequestRefused as error:
            self._forget(place)
            place.news.put_nowait(error)

    def _gathered(self, leader: _Place) -> Sequence[_Place]:
        """Take the leader out of its tenant's line, and those behind it that fit beside it."""
        chosen = [leader]
        for place in self._waiting[leader.tenant]:
            if len(chosen) == self._sharing.limit:
                break
            jobs = [each.job for each in (*chosen, place)]
            if place is not leader and fits(jobs, room_tokens=self._sharing.room_tokens):
                chosen.append(place)
        batch = _Batch(chosen, set(chosen))
        for place in chosen:
            self._forget(place)
            place.batch = batch
            if place is not leader and place.lead is not None:
                # Its turn, if it waits for one, goes to the next in line.
                place.lead.cancel()
                place.lead = leader.lead
        return chosen

    async def _answer(self, places: Sequence[_Place]) -> None:
        try:
            if len(places) == 1:
                await self._alone(places[0])
                return
            run = run_together(
                self._pool, [each.job for each in places], deadline_s=self._deadline_s
            )
            async with aclosing(run) as items:
                async for index, item in items:
                    places[index].news.put_nowait(item)
        except SandboxError as error:
            places[0].news.put_nowait(error)
        except Exception:
            # A fault of ours: whoever waits must hear of it, or would wait for ever.
            for place in places:
                place.news.put_nowait(WorkerDied("The answer's worker was lost to a fault."))
            raise

    async def _alone(self, place: _Place) -> None:
        async with aclosing(self._pool.run(place.job, deadline_s=self._deadline_s)) as items:
            async for item in items:
                place.news.put_nowait(item)

    async def _leave(self, place: _Place) -> None:
        """Let go of a place; the worker that answers it goes on while others listen."""
        self._forget(place)
        if place.batch is not None:
            place.batch.listening.discard(place)
            if place.batch.listening:
                return
        if place.lead is not None:
            place.lead.cancel()
            await asyncio.wait([place.lead])

    def _forget(self, place: _Place) -> None:
        line = self._waiting.get(place.tenant, [])
        if place in line:
            line.remove(place)
            if not line:
                del self._waiting[place.tenant]
