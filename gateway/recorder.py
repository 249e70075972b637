"""The gateway's way into the log: an event is durable when `record` returns, or nothing goes on."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from audit.errors import AuditError, EventConflict, EventInvalid, LogUnavailable
from audit.sequencer import Recorded, Settle
from gateway.metrics import Metrics

Event = Mapping[str, Any]
_Told = Recorded | AuditError


class Log(Protocol):
    """What takes events: the sequencer."""

    def enqueue(self, event: Event, settle: Settle) -> None:
        """Queue an event, and tell what became of it from any thread."""


@dataclass(slots=True)
class _Waiting:
    """One event on its way. abandoned: nobody waits for it any more."""

    answer: "asyncio.Future[_Told]"
    retraction: Callable[[], Event] | None
    abandoned: bool = False


class Recorder:
    """Awaitable front of the sequencer's thread, for one event loop.

    acknowledgement_s: longest wait; a slower log counts as unavailable, so that no model runs
    and no answer leaves on the strength of an entry that may never be written.
    """

    def __init__(
        self, sequencer: Log, *, acknowledgement_s: float, metrics: Metrics | None = None
    ) -> None:
        self._sequencer = sequencer
        self._acknowledgement_s = acknowledgement_s
        self._metrics = Metrics() if metrics is None else metrics
        # What the sequencer's thread told; the loop is woken once for all of a batch.
        self._told: deque[tuple[_Waiting, _Told]] = deque()
        self._woken = False

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
        waiting = self._enqueued(event, retraction)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._acknowledgement_s, _give_up, waiting)
        try:
            told = await waiting.answer
        except asyncio.CancelledError:
            # What was told already is settled here: nobody will be told again.
            self._abandon(waiting)
            raise
        finally:
            timer.cancel()
        if waiting.abandoned:
            raise LogUnavailable(
                f"The log did not acknowledge within {self._acknowledgement_s:g} s. Check the disk "
                "that holds the home."
            )
        if isinstance(told, EventConflict):
            raise _refused(told) from told
        if isinstance(told, AuditError):
            raise told

    def _enqueued(self, event: Event, retraction: Callable[[], Event] | None) -> _Waiting:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), retraction)
        try:
            self._sequencer.enqueue(event, lambda told: self._arrived(loop, waiting, told))
        except EventInvalid as error:
            raise _refused(error) from error
        return waiting

    def _arrived(self, loop: asyncio.AbstractEventLoop, waiting: _Waiting, told: _Told) -> None:
        """Take what the sequencer tells, in its thread."""
        self._told.append((waiting, told))
        if not self._woken:
            self._woken = True
            # A loop that is closed has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        # Before the first is taken: what arrives after the last one was wakes the loop again.
        self._woken = False
        while self._told:
            waiting, told = self._told.popleft()
            if waiting.abandoned or waiting.answer.cancelled():
                self._retract(waiting, told)
            else:
                waiting.answer.set_result(told)

    def _abandon(self, waiting: _Waiting) -> None:
        waiting.abandoned = True
        if waiting.answer.done() and not waiting.answer.cancelled():
            self._retract(waiting, waiting.answer.result())

    def _retract(self, waiting: _Waiting, told: _Told) -> None:
        """Answer an entry that landed after all. A start closes what is not answered here."""
        if waiting.retraction is None or isinstance(told, AuditError):
            return
        with contextlib.suppress(AuditError):
            self._sequencer.enqueue(waiting.retraction(), lambda _: None)


def _give_up(waiting: _Waiting) -> None:
    if not waiting.answer.done():
        waiting.abandoned = True
        waiting.answer.set_result(LogUnavailable("late"))


def _refused(error: AuditError) -> LogUnavailable:
    """Say that an event is not in the log for its own sake: to the caller that is all the same."""
    return LogUnavailable(f"The log refuses the entry: {error}")
