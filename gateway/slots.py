"""An endpoint's slots, shared fairly: a tenant that asks a lot waits behind its own requests.

The line is bounded, and its room is shared too: where it is full, the tenant with the longest part
of it gives way to one with less.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.errors import RequestRefused

# Weight of the newest time that a slot was held: about the last ten count.
SMOOTHING = 0.2
# What a wait is told to be, at least and at most.
LEAST_WAIT_S, MOST_WAIT_S = 1.0, 60.0


class FairSlots:
    """At most `limit` at once; waiting tenants take turns. For one event loop.

    waiting_limit: the most that wait. clock: seconds that never go back.
    """

    def __init__(
        self,
        limit: int,
        *,
        waiting_limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._free = limit
        self._limit = limit
        self._waiting_limit = waiting_limit
        self._clock = clock
        self._held_s: float | None = None
        # Tenants in the order of their next turn; each with its own line.
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self._limit - self._free

    @property
    def waiting(self) -> int:
        """Requests in line."""
        return sum(len(line) for line in self._lines.values())

    @property
    def wait_s(self) -> float:
        """How long one that came now would wait, by how long slots were held of late."""
        expected = (self._held_s or LEAST_WAIT_S) * (self.waiting + 1) / self._limit
        return min(MOST_WAIT_S, max(LEAST_WAIT_S, expected))

    @asynccontextmanager
    async def held(self, tenant: str, *, limit_s: float) -> AsyncIterator[None]:
        """Hold a slot.

        Raises:
            RequestRefused: 503 `overloaded`; none came free in time, or the line is full.
        """
        await self._acquire(tenant, limit_s)
        began = self._clock()
        try:
            yield
        finally:
            self._note(self._clock() - began)
            self._release()

    async def _acquire(self, tenant: str, limit_s: float) -> None:
        if self._free and not self._lines:
            self._free -= 1
            return
        if self.waiting >= self._waiting_limit:
            self._make_room(tenant)
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, deque()).append(turn)
        try:
            # Not wait_for: before Python 3.12 it may swallow a cancellation and leak the slot.
            async with asyncio.timeout(limit_s):
                await turn
        except BaseException as error:
            # A turn that came in the very moment it was given up goes on to the next.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release()
            else:
                self._leave(tenant, turn)
            if isinstance(error, TimeoutError):
                raise self._overloaded(f"were busy for {limit_s:g} s") from None
            raise

    def _make_room(self, tenant: str) -> None:
        """Turn the last of the longest line away, if the newcomer's own is shorter by more than it.

        Raises:
            RequestRefused: It is not, so the newcomer is turned away.
        """
        longest = max(self._lines, key=lambda name: len(self._lines[name]), default=tenant)
        if len(self._lines.get(longest, ())) <= len(self._lines.get(tenant, ())) + 1:
            raise self._overloaded("are busy, and the line is full")
        turn = self._lines[longest][-1]
        self._leave(longest, turn)
        if not turn.done():
            turn.set_exception(self._overloaded("are busy, and the line is full"))

    def _overloaded(self, why: str) -> RequestRefused:
        return RequestRefused(
            f"All slots {why}. Try again shortly.",
            status=503,
            kind="server_error",
            code="overloaded",
            retry_after_s=self.wait_s,
        )

    def _leave(self, tenant: str, turn: "asyncio.Future[None]") -> None:
        line = self._lines.get(tenant)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[tenant]

    def _release(self) -> None:
        while self._lines:
            tenant, line = next(iter(self._lines.items()))
            del self._lines[tenant]
            turn = line.popleft()
            if line:
                # To the back: every other tenant comes first.
                self._lines[tenant] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _note(self, held_s: float) -> None:
        before = self._held_s
        self._held_s = held_s if before is None else before + SMOOTHING * (held_s - before)
