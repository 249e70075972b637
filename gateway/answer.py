"""The use case: admit → intent on disk → generate in a sandbox → outcome on disk → answer ends.

An `Answer` is opened once its intent is durable and must be closed with an outcome on every
path; whoever streams it sends the last byte only after `complete` returned.
"""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from audit.errors import AuditError
from gateway import logbook
from gateway.chance import Chance
from gateway.choice import Choice
from gateway.choice_ends import ChoiceEnd, mark
from gateway.fingerprints import Fingerprints
from gateway.keeping import ANSWER, PROMPT, Keeper, answered
from gateway.labelling import Labeller
from gateway.question import Ended, Piece, Question, TokenLikelihood
from gateway.recorder import Recorder
from gateway.request_secrets import Secrets, drawn
from gateway.requestkeys import RequestKeys
from gateway.speaking import Begun
from gateway.telling import Telling, interleaved
from watermark import receipts

_log = logging.getLogger("sealgate")


class Answers:
    """Opens answers. One per gateway."""

    def __init__(
        self,
        recorder: Recorder,
        keys: RequestKeys,
        fingerprints: Fingerprints | None = None,
        labeller: Labeller | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._recorder = recorder
        self._keys = keys
        self._fingerprints = fingerprints
        self._labeller = labeller
        self._keeper = keeper or Keeper()
        self._chance = Chance()

    async def open(self, question: Question) -> "Answer":
        """Make the intent durable and return the answer, not yet begun.

        Raises:
            LogUnavailable: The intent is not on disk; nothing has run.
            PrivacyError: The keys cannot be used; nothing has run.
        """
        tenant = question.principal.tenant
        keys = await self._keys.tenant(tenant)
        receipt_key = self._keys.receipt(tenant, question.request_id, epoch=keys.audit_epoch)
        answer = Answer(
            question=question,
            recorder=self._recorder,
            secrets=drawn(question, keys, self._chance.take),
            fingerprints=self._fingerprints,
            labeller=self._labeller,
            keeper=self._keeper,
        )
        await answer.keep(PROMPT, question.body)
        began = time.monotonic()
        await self._recorder.record(answer.intent(), retraction=answer.retraction)
        answer.acknowledgement_ms = round((time.monotonic() - began) * 1000)
        try:
            # Asked for before the intent was on its way, so that both were waited for at once.
            answer.receipt_key = await receipt_key
        except BaseException:
            await asyncio.shield(answer.abandon("failed", status=503))
            raise
        return answer


class Answer:
    """One request's answer, from its intent to its outcome."""

    def __init__(
        self,
        *,
        question: Question,
        recorder: Recorder,
        secrets: Secrets,
        fingerprints: Fingerprints | None = None,
        labeller: Labeller | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.question = question
        self.created_s = int(time.time())
        self._recorder = recorder
        self._secrets = secrets
        self._fingerprints = fingerprints
        self._labeller = labeller
        self._keeper = keeper or Keeper()
        self._kept: dict[str, Any] = {}
        self._choices = [Choice(mark) for mark in secrets.marks]
        self._began = time.monotonic()
        self._closed = False
        self._served: Begun | None = None
        # How long the log took to say that the intent is durable.
        self.acknowledgement_ms: int | None = None
        # What its commitments are salted with; an answer that never began has none.
        self.receipt_key: bytes | None = None

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far, over all choices."""
        return sum(choice.count for choice in self._choices)

    @property
    def marks(self) -> list[str]:
        """How well each choice is marked, as its outcome says."""
        return [mark(choice.evidence) for choice in self._choices]

    @property
    def served(self) -> Begun | None:
        """Where the answer came from, once something began to give it."""
        return self._served

    def texts(self) -> list[tuple[str, str]]:
        """Return each choice's text and finish reason."""
        return [("".join(c.text) + c.trailer, c.finish_reason or "length") for c in self._choices]

    def pieces_of(self, choice: int) -> list[Piece]:
        """Return a choice's text in its pieces, for who must know where calls begin in it."""
        given = self._choices[choice]
        return [
            Piece(choice, text, call=at in given.calls)
            for at, text in enumerate([*given.text, given.trailer])
        ]

    def likelihoods(self, choice: int) -> list[TokenLikelihood]:
        """Return how likely the model held each token of a choice's text, if it was asked."""
        return self._choices[choice].likelihoods

    def intent(self) -> dict[str, Any]:
        """Build the entry that must be durable before a model runs."""
        event = logbook.intent(
            self.question,
            epoch=self._secrets.epoch,
            trace_ids=[choice.mark.trace_id for choice in self._choices],
            prompt_hmac=self._hmac(self.question.body),
            now=datetime.now(UTC),
        )
        event["sealgate"] |= self._kept.get(PROMPT, {})
        return event

    async def keep(self, kind: str, text: bytes) -> None:
        """Keep text beside the log, if it is to be kept, before the entry that tells of it."""
        self._kept[kind] = await self._keeper.keep(self.question, kind, text)

    async def pieces(self) -> AsyncGenerator[Sequence[Piece | Ended], None]:
        """Yield what may be sent, as much as came together, each choice ended by an `Ended`.

        Raises:
            RequestRefused: No sandbox or slot came free in time.
            SandboxError, UpstreamFailed: One ended before its answer did.
        """
        tellings = [self._telling(index) for index in range(len(self._choices))]
        # Between one choice and its reader there is no need for a task and a queue.
        source = tellings[0] if len(tellings) == 1 else interleaved(tellings)
        async with aclosing(source) as batches:
            async for batch in batches:
                yield batch

    async def complete(self) -> None:
        """Make the outcome of a complete answer durable.

        Raises:
            LogUnavailable: It is not on disk; the answer's end must not leave.
        """
        await self._close("completed", status=200)
        if self._fingerprints is not None:
            key = self._secrets.fingerprint_key
            await self._fingerprints.keep_untraceable(self.question, self._choices, key=key)

    async def abandon(self, ending: str, *, status: int) -> None:
        """Record that the answer did not complete.

        Never raises: an entry that is missing is closed as `recovered` at the next start.
        """
        try:
            await self._close(ending, status=status)
            for index, choice in enumerate(self._choices):
                if choice.killed is not None:
                    now = datetime.now(UTC)
                    await self._recorder.record(
                        logbook.killed(self.question, index, choice.killed, now=now)
                    )
        except AuditError as error:
            _log.error("%s has no outcome: %s", self.question.request_id, error)
        except Exception:  # noqa: BLE001 - "never" means whatever fails.
            # Measuring marks and asking keys fail too, and the request fails of its own cause.
            _log.exception("%s has no outcome", self.question.request_id)

    def retraction(self) -> dict[str, Any]:
        """Build the outcome of an answer that was given up before it began."""
        return self._outcome("failed", status=503)

    async def _close(self, ending: str, *, status: int) -> None:
        if self._closed:
            return
        if any(choice.unmeasured for choice in self._choices):
            await asyncio.to_thread(self._measure)
        if any(choice.text for choice in self._choices):
            await self.keep(ANSWER, answered(["".join(choice.text) for choice in self._choices]))
        # From here on the entry is on its way, whether or not this caller waits for it.
        self._closed = True
        await self._recorder.record(self._outcome(ending, status=status))

    def _measure(self) -> None:
        for choice in self._choices:
            if choice.unmeasured:
                choice.measure(self._secrets.mark_key)

    def _outcome(self, ending: str, *, status: int) -> dict[str, Any]:
        event = logbook.outcome(
            self.question,
            epoch=self._secrets.epoch,
            choices=[self._end(index, choice) for index, choice in enumerate(self._choices)],
            commitment_epoch=self._secrets.audit_epoch if self.receipt_key else None,
            ending=ending,
            status=status,
            latency_ms=round((time.monotonic() - self._began) * 1000),
            now=datetime.now(UTC),
            served=self._served,
            acknowledgement_ms=self.acknowledgement_ms,
        )
        event["sealgate"] |= self._kept.get(ANSWER, {})
        return event

    def _end(self, index: int, choice: Choice) -> ChoiceEnd:
        text = "".join(choice.text)
        commitment = None
        if self.receipt_key:
            salt = receipts.salt(self.receipt_key, index)
            commitment = receipts.commitment(text, salt=salt).hex()
        return ChoiceEnd(
            trace_id=choice.mark.trace_id,
            tokens=choice.count,
            finish_reason=choice.finish_reason,
            evidence=choice.evidence,
            output_hmac=self._hmac(text.encode()),
            commitment=commitment,
            attestation=choice.attestation,
        )

    def _telling(self, index: int) -> AsyncGenerator[Sequence[Piece | Ended], None]:
        telling = Telling(self.question, index, self._choices[index], self._labeller)
        return telling.told(mark_key=self._secrets.mark_key, began=self._begin)

    def _begin(self, begun: Begun) -> None:
        self._served = begun

    def _hmac(self, content: bytes) -> str:
        # Not `hmac.digest`: that lets go of the interpreter's lock for a microsecond's work.
        return hmac.new(self._secrets.audit_key, content, hashlib.sha256).hexdigest()
