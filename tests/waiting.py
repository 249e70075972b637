"""Waiting in tests: for what is about to happen, never for a time; and limits that pass at once."""

import asyncio
import time
from collections.abc import Callable

# A machine that is busy with other work may take long; one that waits in vain fails all the same.
LIMIT_S = 60.0


def until(holds: Callable[[], object], *, limit_s: float = LIMIT_S) -> None:
    """Wait for what another thread or process is about to do.

    Raises:
        AssertionError: It was not done in time.
    """
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, "It did not happen in time."
        time.sleep(0.01)


async def happened(holds: Callable[[], object], *, limit_s: float = LIMIT_S) -> None:
    """Wait for what another task, thread or process is about to do.

    Raises:
        TimeoutError: It was not done in time.
    """
    async with asyncio.timeout(limit_s):
        while not holds():  # noqa: ASYNC110 - Whoever does it does not know that it is waited for.
            await asyncio.sleep(0.005)


class LoopClock:
    """The running event loop's clock, which a test moves on: a limit is over without a wait.

    Limits of a minute so stay apart from each other however slow the machine is.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._real, self._ahead_s = loop.time, 0.0
        loop.time = self

    def __call__(self) -> float:
        return self._real() + self._ahead_s

    def move(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._ahead_s += seconds
