"""The edge that all generating routes share, as a raw ASGI callable over a dialect.

A dialect reads one API's request into a question and writes its answer in that API's words; who
may ask, what is recorded and what happens when a client leaves is the same for all of them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from gateway.answer import Answer, Answers
from gateway.api.asgi import (
    REQUEST_ID,
    RULING,
    ClientGone,
    Receive,
    Scope,
    Send,
    header,
    read_body,
)
from gateway.api.errors import INTERNAL, SHUTTING_DOWN, refusal
from gateway.api.presence import LEAVING, Left, while_present
from gateway.api.sent import Sent
from gateway.doorkeeper import Doorkeeper
from gateway.identity import Principal, Role
from gateway.limits import RequestLimits
from gateway.metrics import Metrics, RequestTimes
from gateway.policy import PolicyInForce, Ruling
from gateway.question import Ended, Piece, Question
from gateway.spans import Spans
from privacy.identifiers import identifies

# Makes the outcome durable, and returns what the answer's last object holds beside it.
Closing = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
# A request of this size is read, and its prompt encoded, in less time than a thread takes to begin.
AT_ONCE_BYTES = 1024
_log = logging.getLogger("sealgate")


class Rendering(Protocol):
    """One answer in one API's words. A stream's events concern one answer and are called once."""

    @property
    def question(self) -> Question:
        """What was asked."""

    @property
    def streamed(self) -> bool:
        """Whether the answer goes out as it comes."""

    @property
    def receipt(self) -> bool:
        """Whether the answer comes with a receipt."""

    def whole(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return a complete answer's body. extra: what it holds beside the answer."""

    def begin(self, answer: Answer) -> bytes:
        """Return the events before the first piece."""

    def piece(self, item: Piece | Ended) -> bytes:
        """Return the events of one piece."""

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return the events after the last piece, once the outcome is durable."""


class Dialect(Protocol):
    """One API's requests."""

    @property
    def operation(self) -> str:
        """What entries call it."""

    def rendering(self, scope: Scope, principal: Principal, body: bytes) -> Rendering:
        """Read a request; a long one's runs in a thread.

        Raises:
            RequestRefused: It cannot be served as it is.
        """


@dataclass(frozen=True, slots=True)
class Generating:
    """A route. Everything it needs is handed in by the composition root."""

    dialect: Dialect
    doorkeeper: Doorkeeper
    answers: Answers
    limits: RequestLimits
    policy: PolicyInForce
    metrics: Metrics
    receipt: Callable[[str], str]
    body_limit_bytes: int
    spans: Spans | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the client's leaving cancels it wherever it is."""
        with self.metrics.request(self.dialect.operation, time.monotonic) as times:
            try:
                await self._answer(scope, receive, Sent(send, times=times), times)
            finally:
                if self.spans is not None:
                    self.spans.tell(scope, self.dialect.operation, times)

    async def _answer(
        self, scope: Scope, receive: Receive, sent: Sent, times: RequestTimes
    ) -> None:
        try:
            principal = await self.doorkeeper.admit(
                scope, operation=self.dialect.operation, role=Role.CLIENT
            )
            with self.limits.entered(principal) as headers:
                sent.headers += headers
                body = await read_body(receive, limit_bytes=self.body_limit_bytes)
                times.body(len(body))
                await while_present(
                    receive,
                    lambda left: self._serve(scope, principal, body, sent, left, times),
                    leaving=scope.get(LEAVING),
                )
        except ClientGone:
            return
        except asyncio.CancelledError:
            # Only a server that stops cancels a request, and this is all that is left of it.
            await sent.refusal(SHUTTING_DOWN)
        except Exception as error:  # noqa: BLE001 - the edge: the client gets the envelope.
            await self._refuse(scope, sent, error)

    async def _refuse(self, scope: Scope, sent: Sent, error: Exception) -> None:
        refused = refusal(error)
        if refused.code == INTERNAL:
            _log.error("%s failed", scope[REQUEST_ID], exc_info=error)
        elif refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
            _log.warning("%s failed: %s", scope[REQUEST_ID], error)
        if not sent.begun:
            await self.doorkeeper.refused(scope, refused)
        await sent.refusal(refused)

    async def _serve(
        self,
        scope: Scope,
        principal: Principal,
        body: bytes,
        sent: Sent,
        left: Left,
        times: RequestTimes,
    ) -> None:
        if len(body) <= AT_ONCE_BYTES:
            rendering = self._rendering(scope, principal, body)
        else:
            # A long prompt takes its time; the event loop serves others meanwhile.
            rendering = await asyncio.to_thread(self._rendering, scope, principal, body)
        sent.headers += _labels(scope[RULING])
        question = rendering.question
        self.doorkeeper.require_model(principal, question.model.model_id)
        with self.limits.reserved(
            principal, tokens=question.prompt_tokens + question.choices * question.max_tokens
        ) as reservation:
            answer = await self.answers.open(question)
            sent.begun = True
            times.opened(answer)
            ended = "completed"
            try:
                close = self._closing(rendering, answer)
                await (_stream if rendering.streamed else _whole)(answer, rendering, sent, close)
            except asyncio.CancelledError:
                ended, status = ("client_gone", 499) if left() else ("shutdown", 503)
                await asyncio.shield(answer.abandon(ended, status=status))
                raise
            except Exception as error:
                ended = "failed"
                await answer.abandon(ended, status=refusal(error).status)
                raise
            finally:
                prompt, completion = question.prompt_tokens, answer.completion_tokens
                reservation.settle(prompt + completion)
                model = question.model if answer.served is None else answer.served.model
                times.ended(model=model.model_id, ending=ended, marks=answer.marks)
                times.answered(
                    model=model.model_id,
                    prompt=prompt,
                    completion=completion,
                    constrained=bool(question.grammar),
                )

    def _rendering(self, scope: Scope, principal: Principal, body: bytes) -> Rendering:
        """Apply the policy to a request, and read it."""
        ruling = self.policy.current.rule(
            principal,
            declared=header(scope, b"x-sealgate-data-class"),
            purpose=header(scope, b"x-sealgate-purpose"),
            identifying=lambda: identifies(body.decode(errors="replace")),
        )
        scope[RULING] = ruling
        self.metrics.rulings.labels(ruling.data_class, str(ruling.raised).lower()).inc()
        return self.dialect.rendering(scope, principal, body)

    def _closing(self, rendering: Rendering, answer: Answer) -> Closing:
        """Return what completes the answer, and tells what its last object holds beside it."""

        async def close() -> dict[str, Any]:
            await answer.complete()
            if not rendering.receipt:
                return {}
            # The outcome is in the log, and so is what the receipt signs for.
            return {"receipt": await asyncio.to_thread(self.receipt, answer.question.request_id)}

        return close


def _labels(ruling: Ruling) -> list[tuple[bytes, bytes]]:
    """Return the header that says who wrote the answer, where the policy wants it said."""
    return [(b"x-sealgate-label", b"machine-generated")] if ruling.rule.label else []


async def _whole(answer: Answer, rendering: Rendering, sent: Sent, close: Closing) -> None:
    async with aclosing(answer.pieces()) as pieces:
        async for _ in pieces:
            pass
    extra = await close()
    await sent.json(rendering.whole(answer, extra))


async def _stream(answer: Answer, rendering: Rendering, sent: Sent, close: Closing) -> None:
    async with aclosing(answer.pieces()) as batches:
        before: bytes | None = None
        async for batch in batches:
            if before is None:
                before = rendering.begin(answer)
            # What came together goes out together: one event a piece, one write for all.
            if events := b"".join([before, *map(rendering.piece, batch)]):
                await sent.body(events)
            before = b""
    extra = await close()
    await sent.body(rendering.end(answer, extra), last=True)
