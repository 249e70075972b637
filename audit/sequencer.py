"""The log's one door for new entries: a thread that commits what arrived in batches.

No lingering: a batch is whatever waits when the disk comes free, so a lone event pays one
commit and a crowd shares it. A future resolves after the commit, never before.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import sqlalchemy as sa

from audit import events, evidence
from audit.errors import AuditError, LogUnavailable
from audit.events import Entry
from audit.writer import Recorded, Writer

__all__ = ["Recorded", "Sequencer"]

BATCH_LIMIT = 256
QUEUE_LIMIT = 4096
# While the log cannot be written, how often an empty batch tries whether it can again.
RETRY_S = 1.0

# Called once with where an event is, or why it is not in the log: in the sequencer's thread, which
# it must not hold up.
Settle = Callable[[Recorded | AuditError], None]
_Waiting = tuple[Entry, Settle]


class Sequencer:
    """Appends events from any thread; one per process and log.

    origin: the log's name, first line of its checkpoints. public_key: raw Ed25519, 32 bytes.
    sign: makes that key's signature; may raise. public_keys: where the key may be rotated, gives
    the key that `sign` signs with now, then those it signed with before and that are still
    trusted. queue_limit: events that may wait.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        origin: str,
        public_key: bytes,
        sign: Callable[[bytes], bytes],
        public_keys: Callable[[], Sequence[bytes]] | None = None,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._engine = engine
        keys = public_keys or (lambda: (public_key,))
        self._writer = Writer(engine, origin=origin, public_keys=keys, sign=sign)
        self._queue_limit = queue_limit
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="audit-sequencer", daemon=True)
        self._started = False
        self._closing = False
        self._healthy = False

    @property
    def writable(self) -> bool:
        """Whether the last batch reached the disk and the log's file is still in its place."""
        return self._healthy and not self._closing and self._writer.in_place()

    def start(self) -> None:
        """Check the log against its head and newest checkpoint, then take events.

        Raises:
            LogTampered: They disagree; nothing may be written on top.
            LogUnavailable: The log cannot be read or written.
        """
        self._writer.open()
        self._writer.write([])
        self._healthy = self._started = True
        self._thread.start()

    def recover(self, *, older_than_s: float | None = None) -> int:
        """Close every intent without an outcome, as ended in an unknown way; return how many.

        older_than_s: leaves out younger ones. None is for who knows that no other process answers
        requests over this log; others name an age that no request reaches.

        Raises:
            LogUnavailable: The log cannot be read or written.
        """
        now_ms = time.time_ns() // 1_000_000
        before_ms = None if older_than_s is None else now_ms - round(older_than_s * 1000)
        dangling = evidence.dangling(self._engine, before_ms=before_ms)
        for start in range(0, len(dangling), BATCH_LIMIT):
            futures = [
                self.submit(events.recovered(intent, time_ms=now_ms))
                for intent in dangling[start : start + BATCH_LIMIT]
            ]
            for future in futures:
                future.result()
        return len(dangling)

    def submit(self, event: Mapping[str, Any]) -> "Future[Recorded]":
        """Queue an event; the future resolves once it is on disk and in the tree.

        The future raises LogUnavailable if the batch was not acknowledged, EventConflict if the
        uid belongs to another event. Submitting the same event again gives the same place. The
        future cannot be cancelled: what was submitted is written.

        Raises:
            EventInvalid: The event breaks the format.
            LogUnavailable: Too many events wait, or the sequencer does not run.
        """
        future: Future[Recorded] = Future()
        future.set_running_or_notify_cancel()
        self.enqueue(event, partial(_resolve, future))
        return future

    def enqueue(self, event: Mapping[str, Any], settle: Settle) -> None:
        """Queue an event as `submit` does; `settle` is told what a future would be.

        For who has many events under way: a future costs as much as its event.

        Raises:
            EventInvalid: The event breaks the format.
            LogUnavailable: Too many events wait, or the sequencer does not run.
        """
        entry = events.encode(event)
        with self._changed:
            if not self._started or self._closing:
                raise LogUnavailable("The log is not open for entries.")
            if len(self._queue) >= self._queue_limit:
                raise LogUnavailable(f"{len(self._queue)} entries wait for the log already.")
            self._queue.append((entry, settle))
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, then stop. May be called again, and before `start`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._started:
            self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._commit(batch)
        self._writer.disconnect()

    def _next(self) -> list[_Waiting] | None:
        """Wait for a batch; an empty one is due when the log must be tried again."""
        with self._changed:
            while not self._queue:
                if self._closing:
                    return None
                if not self._changed.wait(None if self._healthy else RETRY_S):
                    return []
            return [self._queue.popleft() for _ in range(min(BATCH_LIMIT, len(self._queue)))]

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            results = self._writer.write([entry for entry, _ in batch])
        except Exception as error:  # noqa: BLE001 - A thread that died would never fail again.
            self._healthy = False
            for _, settle in batch:
                # Each its own: a raised exception carries its raiser's trace.
                settle(LogUnavailable(str(error)))
            return
        self._healthy = True
        for (_, settle), result in zip(batch, results, strict=True):
            settle(result)


def _resolve(future: "Future[Recorded]", result: Recorded | AuditError) -> None:
    if isinstance(result, AuditError):
        future.set_exception(result)
    else:
        future.set_result(result)
