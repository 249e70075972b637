"""One choice of an answer as it is told: text as it comes, cut at a stop string, and its end."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.catalogue import RemoteModel
from gateway.choice import Choice, Failure, job
from gateway.labelling import Labeller
from gateway.question import Ended, Labelling, Piece, Question, TokenLikelihood
from gateway.remote_reading import Said
from gateway.speaking import Begun, Whole, spoken
from gateway.stopping import StopWatcher
from sandbox.errors import GrammarRefused, SandboxError

# A client that reads slowly holds several choices' sandboxes back here, instead of filling memory.
QUEUED_BATCHES = 64

Batch = Sequence[Piece | Ended]


@dataclass(slots=True)
class Telling:
    """What is told of one choice, and what has come and cannot be told yet."""

    question: Question
    index: int
    choice: Choice
    labeller: Labeller | None
    _untold: list[TokenLikelihood] = field(default_factory=list)
    _call: bool = False

    async def told(
        self, *, mark_key: bytes, began: Callable[[Begun], None]
    ) -> AsyncGenerator[Batch, None]:
        """Yield text and likelihoods, as much as came together, then the end.

        began: told where the answer comes from. Closing the iterator ends whatever generates it.

        Raises:
            RequestRefused: No sandbox or slot came free in time.
            SandboxError, UpstreamFailed: It ended before the answer did.
        """
        choice, stops = self.choice, StopWatcher(self.question.stops)
        reason, together = "stop", list[Piece | Ended]()
        work = job(self.question, choice.mark, mark_key)
        try:
            async with aclosing(spoken(self.question, work)) as run:
                async for item in run:
                    if isinstance(item, Said):
                        together += self._said(item, stops)
                        if together and (stops.stopped or not item.more):
                            yield together
                            together = []
                        if stops.stopped:
                            break
                    elif isinstance(item, Begun):
                        choice.attestation = item.attestation or choice.attestation
                        choice.elsewhere = (
                            item.model if isinstance(item.model, RemoteModel) else None
                        )
                        began(item)
                    elif isinstance(item, Whole):
                        choice.evidence, reason = item.evidence, item.reason
                        choice.attestation, choice.counted = item.attestation, item.tokens
                        break
        except SandboxError as error:
            if error.attestation is not None:
                choice.attestation = error.attestation
                choice.killed = None if isinstance(error, GrammarRefused) else type(error).__name__
            raise
        choice.finish_reason = "stop" if stops.stopped else reason
        yield [
            *self._piece(stops.finish()),
            *await self._label(),
            Ended(self.index, choice.finish_reason),
        ]

    def _said(self, said: Said, stops: StopWatcher) -> Batch:
        choice = self.choice
        choice.tokens.extend(said.tokens)
        choice.pieces += not said.tokens
        # Text that was held back stands before a call, not in it.
        before = self._piece(stops.finish()) if said.call else ()
        self._untold += said.likelihoods
        self._call = self._call or said.call
        # A stop string ends words, and never a call in its middle.
        called = self._call or bool(choice.calls)
        return (*before, *self._piece(said.text if called else stops.feed(said.text)))

    def _piece(self, text: str) -> Batch:
        """Return text that may be sent, with the likelihoods that waited for it."""
        if not text:
            return ()
        call, self._call = self._call, False
        if call:
            self.choice.calls.add(len(self.choice.text))
        self.choice.text.append(text)
        likely, self._untold = tuple(self._untold), []
        self.choice.likelihoods += likely
        return (Piece(self.index, text, likely, call),)

    async def _label(self) -> Batch:
        """Return what follows the text; it is no part of what the log commits to."""
        if self.labeller is None or self.question.labelling == Labelling():
            return ()
        text, now = "".join(self.choice.text), datetime.now(UTC)
        trailer = self.labeller.trailer
        self.choice.trailer = await asyncio.to_thread(
            trailer, self.question, self.index, text, now=now
        )
        return (Piece(self.index, self.choice.trailer),)


async def interleaved(
    tellings: Sequence[AsyncGenerator[Batch, None]],
) -> AsyncGenerator[Batch, None]:
    """Yield the batches of several choices as they come; raises as the first that fails."""
    queue: asyncio.Queue[Batch | Failure | None] = asyncio.Queue(maxsize=QUEUED_BATCHES)
    tasks = [asyncio.create_task(_forwarded(telling, queue)) for telling in tellings]
    try:
        left = len(tasks)
        while left:
            batch = await queue.get()
            if isinstance(batch, Failure):
                raise batch.error
            if batch is None:
                left -= 1
            else:
                yield batch
    finally:
        for task in tasks:
            task.cancel()
        # Every sandbox of the request is dead before its outcome is written.
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forwarded(
    telling: AsyncGenerator[Batch, None], queue: "asyncio.Queue[Batch | Failure | None]"
) -> None:
    """Queue one choice; whatever it dies of reaches the reader, who would wait for ever else."""
    try:
        async with aclosing(telling) as batches:
            async for batch in batches:
                await queue.put(batch)
    except Exception as error:  # noqa: BLE001 - handed to the reader, who raises it.
        await queue.put(Failure(error))
    else:
        await queue.put(None)
