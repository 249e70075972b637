"""An endpoint's slots, shared fairly: a tenant that asks a lot waits behind its own requests."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """At most `limit` at once; waiting tenants take turns. For one event loop."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._limit = limit
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

    @asynccontextmanager
    async def held(self, tenant: str, *, limit_s: float) -> AsyncIterator[None]:
        """Hold a slot.

        Raises:
            TimeoutError: None came free in time.
        """
        await self._acquire(tenant, limit_s)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, tenant: str, limit_s: float) -> None:
        if self._free and not self._lines:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, deque()).append(turn)
        try:
            async with asyncio.timeout(limit_s):
                await turn
        except BaseException:
            # A turn that came in the very moment it was given up goes on to the next.
            if turn.done() and not turn.cancelled():
                self._release()
            else:
                self._leave(tenant, turn)
            raise

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
