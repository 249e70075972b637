"""The gateway's way into the log: an event is durable when `record` returns, or nothing goes on."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from audit.errors import AuditError, EventConflict, EventInvalid, LogUnavailable
from audit.sequencer import Recorded, Sequencer
from gateway.metrics import Metrics

Event = Mapping[str, Any]


class Recorder:
    """Awaitable front of the sequencer's thread.

    acknowledgement_s: longest wait; a slower log counts as unavailable, so that no model runs
    and no answer leaves on the strength of an entry that may never be written.
    """

    def __init__(
        self, sequencer: Sequencer, *, acknowledgement_s: float, metrics: Metrics | None = None
    ) -> None:
        self._sequencer = sequencer
        self._acknowledgement_s = acknowledgement_s
        self._metrics = Metrics() if metrics is None else metrics

    async def record(self, event: Event, *, retraction: Callable[[], Event] | None = None) -> None:
        """Return once the event is on disk and in the tree.

        retraction: builds the entry that answers this one should it land after all, once the
        caller has given up waiting or has itself been cancelled.

        Raises:
            LogUnavailable: It is not on disk, or not in time, or the log refuses this very event.
        """
        began = time.monotonic()
        try:
            await self._recorded(event, retraction)
        except LogUnavailable:
            self._metrics.log_failures.inc()
            raise
        self._metrics.log_seconds.observe(time.monotonic() - began)

    async def _recorded(self, event: Event, retraction: Callable[[], Event] | None) -> None:
        try:
            future = asyncio.wrap_future(self._sequencer.submit(event))
        except EventInvalid as error:
            raise _refused(error) from error
        try:
            async with asyncio.timeout(self._acknowledgement_s):
                await asyncio.shield(future)
        except EventConflict as error:
            raise _refused(error) from error
        except TimeoutError:
            self._retract_when_written(future, retraction)
            raise LogUnavailable(
                f"The log did not acknowledge within {self._acknowledgement_s:g} s. Check the disk "
                "that holds the home."
            ) from None
        except asyncio.CancelledError:
            self._retract_when_written(future, retraction)
            raise

    def _retract_when_written(
        self, future: "asyncio.Future[Recorded]", retraction: Callable[[], Event] | None
    ) -> None:
        def settle(future: "asyncio.Future[Recorded]") -> None:
            # Asking for the exception also keeps it from being reported as never retrieved.
            if future.cancelled() or future.exception() or retraction is None:
                return
            # A log that takes no more entries closes the intent at its next start.
            with contextlib.suppress(AuditError):
                asyncio.wrap_future(self._sequencer.submit(retraction())).add_done_callback(_forget)

        future.add_done_callback(settle)


def _refused(error: AuditError) -> LogUnavailable:
    """Say that an event is not in the log for its own sake: to the caller that is all the same."""
    return LogUnavailable(f"The log refuses the entry: {error}")


def _forget(future: "asyncio.Future[Recorded]") -> None:
    """Let go of an entry nobody waits for; a start-up closes the intent if it did not land."""
    if not future.cancelled():
        future.exception()
