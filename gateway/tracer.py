"""Traces texts one at a time: a long one takes seconds of a processor, and memory with it.

Several at once would take as much of both as all together, and keep the threads that answers need.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from gateway.errors import RequestRefused

if TYPE_CHECKING:
    from gateway.provenance import Trace

MOST_WAITING: Final = 16
WAIT_S: Final = 10.0


class Tracer:
    """Has a thread of its own. find: looks for a text's marks. For one event loop."""

    def __init__(self, find: "Callable[[str], Trace]") -> None:
        self._find = find
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trace")
        self._texts = 0

    async def __call__(self, text: str) -> "Trace":
        """Return what a text's marks say, once the texts before it are done with.

        Raises:
            RequestRefused: 429 `rate_limit_exceeded`, too many wait already.
        """
        if self._texts > MOST_WAITING:
            raise RequestRefused(
                f"{MOST_WAITING} texts wait to be traced already. Try again in {WAIT_S:g} s.",
                status=429,
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after_s=WAIT_S,
            )
        self._texts += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._find, text)
        finally:
            self._texts -= 1

    def close(self) -> None:
        """Begin no further search."""
        self._thread.shutdown(wait=False, cancel_futures=True)
