"""The pool: workers kept ready, one for each answer, and the zygote that makes them kept alive.

The gateway's side. It never holds the weights: the key broker sends them to the zygote over a
socket that passes through here unread.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from sandbox import attest, conversation, outer, wire
from sandbox.errors import FrameInvalid, SandboxError, ZygoteFailed
from sandbox.launch import ENTRY, SendWeights, Worker, Zygote, launch
from sandbox.limits import Limits
from sandbox.readings import Reader, TokenBatch, TokenReader, Undue, Vector, VectorReader
from sandbox.rehearsals import Rehearsals

T = TypeVar("T")
_log = logging.getLogger(__name__)

# A worker locks itself down in about a millisecond; one that takes this long never will.
WELCOME_LIMIT_S = 10.0
BACKOFF_S = (0.1, 0.5, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Started:
    """A worker took the job. attestation: what confines it."""

    attestation: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole and its worker is gone. reason: `stop` or `length`."""

    reason: str
    evidence: Mapping[str, Any]
    attestation: Mapping[str, Any]


class Pool:
    """Ready workers of one model. `start` and `stop` bound its life."""

    def __init__(
        self,
        *,
        size: int,
        limits: Limits,
        send_weights: SendWeights,
        entry: Sequence[str] = ENTRY,
    ) -> None:
        self._size = size
        self._limits = limits
        self._send_weights = send_weights
        self._entry = entry
        self._idle: deque[Worker] = deque()
        self._rehearsals = Rehearsals(self._idle)
        self._arrivals = asyncio.Condition()
        self._zygote: Zygote | None = None
        self._attestation: Mapping[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._trouble = ""
        self._launching = False
        self._stopped = False

    @property
    def ready(self) -> bool:
        """Whether a worker waits for a job."""
        return bool(self._idle)

    @property
    def idle(self) -> int:
        """How many workers wait for a job."""
        return len(self._idle)

    @property
    def zygote_pid(self) -> int | None:
        """The zygote's process id while one is up."""
        return self._zygote.pid if self._zygote else None

    async def start(self) -> None:
        """Bring up the zygote and the first worker.

        Raises:
            SandboxError: It cannot; nothing is left running.
        """
        try:
            await self._launch()
            await self._await_idle(limit_s=WELCOME_LIMIT_S)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every worker and the zygote."""
        self._stopped = True
        # First, so that no worker arrives any more; a relaunch under way ends what it started.
        if self._zygote is not None:
            await self._zygote.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._drop_idle()
        async with self._arrivals:
            self._arrivals.notify_all()

    async def run(
        self, job: wire.Job, *, deadline_s: float
    ) -> AsyncGenerator[Started | TokenBatch | Finished, None]:
        """Answer one job in a worker of its own. Closing the iterator kills the worker.

        deadline_s: wall time from here to the answer's end; the worker is killed when it passes.

        Raises:
            SandboxError: The answer is not whole; the error carries the worker's attestation.
        """
        async with aclosing(self.serve(TokenReader(job), deadline_s=deadline_s)) as items:
            async for item in items:
                yield item

    async def embed(
        self, inputs: wire.Inputs, *, dimensions: int, deadline_s: float
    ) -> AsyncGenerator[Started | Vector | Finished, None]:
        """Embed texts in a worker of its own, as `run` answers: one vector a text, in order."""
        reader = VectorReader(inputs, dimensions=dimensions)
        async with aclosing(self.serve(reader, deadline_s=deadline_s)) as items:
            async for item in items:
                yield item

    async def serve(
        self, reader: Reader[T], *, deadline_s: float
    ) -> AsyncGenerator[Started | T | Finished, None]:
        """Have a reader's job answered by a worker of its own, as `run` says."""
        deadline = time.monotonic() + deadline_s
        worker = await self._take(limit_s=deadline_s)
        # A timer rather than a timeout around the reads: it also ends a worker whose reader stalls.
        timer = asyncio.get_running_loop().call_later(
            max(0.0, deadline - time.monotonic()), worker.kill
        )
        end: wire.End | None = None
        told = "ended before its answer"
        self._rehearsals.answering += 1
        try:
            yield Started(worker.attestation)
            job = wire.frame(reader.kind, reader.payload)
            async with aclosing(conversation.converse(worker, job)) as frames:
                async for kind, payload in frames:
                    if kind == wire.END:
                        reader.close()
                        end = wire.decode_end(payload)
                        break
                    item = reader.read(kind, payload)
                    if item is not None:
                        yield item
        except Undue as error:
            told = str(error)
        except FrameInvalid as error:
            told = f"broke the protocol: {error}"
        finally:
            timer.cancel()
            self._rehearsals.answering -= 1
            late = time.monotonic() >= deadline
            attestation = await conversation.bury(worker, whole=end is not None)
        if end is None:
            raise conversation.death(told, attestation, late=late, deadline_s=deadline_s)
        yield Finished(end.reason, end.evidence, attestation)

    async def _take(self, *, limit_s: float) -> Worker:
        """Return a ready worker and order the next."""
        await self._await_idle(limit_s=limit_s)
        worker = self._idle.popleft()
        if self._zygote is not None:
            self._zygote.spawn()
        return worker

    async def _await_idle(self, *, limit_s: float) -> None:
        """Wait until a worker is ready.

        Raises:
            ZygoteFailed: None became ready in time, or the pool was stopped.
        """
        try:
            async with asyncio.timeout(limit_s), self._arrivals:
                await self._arrivals.wait_for(lambda: bool(self._idle) or self._stopped)
        except TimeoutError:
            because = f": {self._trouble}" if self._trouble else ""
            raise ZygoteFailed(f"No worker became ready within {limit_s:g} s{because}.") from None
        if self._stopped:
            raise ZygoteFailed("The pool was stopped.")

    async def _launch(self) -> None:
        self._launching = True
        try:
            around = await asyncio.to_thread(outer.find)
            self._zygote = await launch(
                limits=self._limits,
                send_weights=self._send_weights,
                on_worker=self._arrived,
                on_miss=lambda trouble: self._begin(self._replace(trouble)),
                on_end=self._zygote_ended,
                entry=self._entry,
                outer=around,
            )
            self._attestation = {**await self._zygote.loaded(), **around.attestation()}
        except BaseException:
            if self._zygote is not None:
                await self._zygote.stop()
            raise
        finally:
            self._launching = False
        for _ in range(self._size):
            self._zygote.spawn()

    def _arrived(self, worker: Worker) -> None:
        """Welcome a worker; one that is not admitted, for whatever reason, is let go of."""
        task = self._begin(self._welcome(worker))
        task.add_done_callback(lambda _: None if worker.admitted else worker.discard())

    async def _welcome(self, worker: Worker) -> None:
        """Admit a worker once it says that it is locked down and is seen to be, from outside."""
        try:
            async with asyncio.timeout(WELCOME_LIMIT_S):
                await conversation.welcome(worker)
            worker.attestation = {**self._attestation, **attest.observe(worker.pid)}
        except (SandboxError, TimeoutError) as error:
            worker.discard()
            await self._replace(str(error) or "a worker did not lock itself down in time")
            return
        self._failures = 0
        async with self._arrivals:
            worker.admitted = True
            self._idle.append(worker)
            # All of them: one that is being cancelled may not pass the word on.
            self._arrivals.notify_all()
        self._rehearsals.plan()
        worker.exited.add_done_callback(lambda _: self._lost(worker))

    def _lost(self, worker: Worker) -> None:
        """Drop a worker that ended while it waited for a job."""
        if worker in self._idle and not self._stopped:
            self._idle.remove(worker)
            worker.close()
            self._begin(self._replace("a worker ended while it waited"))

    async def _replace(self, trouble: str) -> None:
        await self._back_off(trouble)
        if self._zygote is not None:
            self._zygote.spawn()

    def _zygote_ended(self, reason: str) -> None:
        """Bring up another zygote; the idle workers died with the old one."""
        if self._stopped or self._launching:
            return
        self._drop_idle()
        # Whoever still waits to welcome or replace one of its workers waits in vain.
        for task in self._tasks:
            task.cancel()
        self._begin(self._relaunch(reason))

    async def _relaunch(self, reason: str) -> None:
        if self._zygote is not None:
            await self._zygote.stop()
        while True:
            await self._back_off(reason)
            try:
                await self._launch()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next try is the answer
                reason = str(error)
            else:
                return

    async def _back_off(self, trouble: str) -> None:
        """Wait longer after each failure in a row, so that a broken kernel is not hammered."""
        self._trouble = trouble
        _log.warning("sandbox: %s", trouble)
        delay_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        await asyncio.sleep(delay_s)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.popleft().close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
