"""`POST /v1/chat/completions`, whole and streamed, as a raw ASGI callable."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.answer import Answer, Answers
from gateway.api import sse
from gateway.api.asgi import (
    REQUEST_ID,
    ClientGone,
    Receive,
    Scope,
    Send,
    gone,
    read_body,
    reply,
    reply_refusal,
    source_ip,
)
from gateway.api.errors import INTERNAL, SHUTTING_DOWN, envelope, refusal
from gateway.api.schema import ChatRequest, decode
from gateway.catalogue import Catalogue, ServedModel
from gateway.doorkeeper import Doorkeeper
from gateway.errors import RequestRefused
from gateway.identity import Principal, Role
from gateway.models.errors import ChatTemplateRefused
from gateway.question import Ended, Piece, Question
from gateway.settings import Settings

OPERATION = "chat.completions.create"
# Whether the client has left, asked when its request was cancelled.
Left = Callable[[], bool]
# Makes the outcome durable, and returns what the answer's last object holds beside it.
Closing = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
_encode = msgspec.json.encode
_log = logging.getLogger("sealgate")


@dataclass(frozen=True, slots=True)
class Chat:
    """The route. Everything it needs is handed in by the composition root."""

    settings: Settings
    catalogue: Catalogue
    doorkeeper: Doorkeeper
    answers: Answers
    receipt: Callable[[str], str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the client's leaving cancels it wherever it is."""
        sent = _Sent(send)
        try:
            principal = await self.doorkeeper.admit(scope, operation=OPERATION, role=Role.CLIENT)
            body = await read_body(receive, limit_bytes=self.settings.body_limit_bytes)
            await _while_present(
                receive, lambda left: self._serve(scope, principal, body, sent, left)
            )
        except ClientGone:
            return
        except asyncio.CancelledError:
            # Only a server that stops cancels a request, and this is all that is left of it.
            await sent.refusal(SHUTTING_DOWN)
        except Exception as error:  # noqa: BLE001 - the edge: the client gets the envelope.
            refused = refusal(error)
            if refused.code == INTERNAL:
                _log.error("%s failed", scope[REQUEST_ID], exc_info=error)
            elif refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
                _log.warning("%s failed: %s", scope[REQUEST_ID], error)
            if not sent.begun:
                await self.doorkeeper.refused(scope, refused)
            await sent.refusal(refused)

    async def _serve(
        self, scope: Scope, principal: Principal, body: bytes, sent: "_Sent", left: Left
    ) -> None:
        # A long prompt takes its time; the event loop serves others meanwhile.
        question, request = await asyncio.to_thread(self._question, scope, principal, body)
        answer = await self.answers.open(question)
        sent.begun = True
        try:
            if request.stream:
                await _stream(answer, request, sent, self._closing(request, answer))
            else:
                await _whole(answer, sent, self._closing(request, answer))
        except asyncio.CancelledError:
            ending, status = ("client_gone", 499) if left() else ("shutdown", 503)
            await asyncio.shield(answer.abandon(ending, status=status))
            raise
        except Exception as error:
            await answer.abandon("failed", status=refusal(error).status)
            raise

    def _closing(self, request: ChatRequest, answer: Answer) -> Closing:
        """Return what completes the answer, and tells what its last object holds beside it."""

        async def close() -> dict[str, Any]:
            await answer.complete()
            if not request.receipt:
                return {}
            # The outcome is in the log, and so is what the receipt signs for.
            return {"receipt": await asyncio.to_thread(self.receipt, answer.question.request_id)}

        return close

    def _question(
        self, scope: Scope, principal: Principal, body: bytes
    ) -> tuple[Question, ChatRequest]:
        request = decode(body)
        model = self.catalogue.model(request.model)
        try:
            prompt = model.template.encode_chat(request.turns())
        except ChatTemplateRefused as error:
            raise RequestRefused(str(error), param="messages") from None
        question = Question(
            request_id=scope[REQUEST_ID],
            principal=principal,
            model=model,
            operation=OPERATION,
            prompt=prompt,
            body=body,
            choices=request.n or 1,
            max_tokens=self._token_limit(request, model, len(prompt)),
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            top_k=request.top_k or self.settings.top_k,
            stops=request.stops,
            seed=request.seed,
            source_ip=source_ip(scope),
            shaping=request.shaping(),
        )
        return question, request

    def _token_limit(self, request: ChatRequest, model: ServedModel, prompt_tokens: int) -> int:
        """Return how many tokens a choice may have, or refuse a prompt that leaves no room."""
        room = model.context_length - prompt_tokens
        asked = request.token_limit
        if room < 1 or (asked is not None and asked > room):
            wanted = prompt_tokens + (asked or 1)
            raise RequestRefused(
                f"This model's context is {model.context_length} tokens, and the request needs "
                f"{wanted} ({prompt_tokens} in the messages). Shorten the messages or max_tokens.",
                param="messages",
                code="context_length_exceeded",
            )
        if asked is not None and asked > self.settings.output_limit_tokens:
            raise RequestRefused(
                f"max_tokens is over this gateway's limit of {self.settings.output_limit_tokens}.",
                param="max_tokens",
                code="max_tokens_exceeded",
            )
        limit = self.settings.default_max_tokens if asked is None else asked
        return min(limit, room)


async def _while_present(
    receive: Receive, serve: Callable[[Left], Coroutine[Any, Any, None]]
) -> None:
    """Run what `serve` starts to its end, or cancel it as soon as the client has left.

    Raises:
        ClientGone: The client left first.
    """
    leaving = asyncio.ensure_future(gone(receive))
    # A watch that was called off saw nobody leave.
    working = asyncio.ensure_future(serve(lambda: leaving.done() and not leaving.cancelled()))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        await working
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _whole(answer: Answer, sent: "_Sent", close: Closing) -> None:
    async with aclosing(answer.pieces()) as pieces:
        async for _ in pieces:
            pass
    extra = await close()
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        for index, (text, finish_reason) in enumerate(answer.texts())
    ]
    body = _head(answer, "chat.completion") | {"choices": choices, "usage": _usage(answer)}
    await sent.json(_encode(body | extra))


async def _stream(answer: Answer, request: ChatRequest, sent: "_Sent", close: Closing) -> None:
    with_usage = request.stream_options is not None and request.stream_options.include_usage
    head = _head(answer, "chat.completion.chunk")
    if with_usage:
        head["usage"] = None

    def chunk(index: int, delta: dict[str, Any], finish_reason: str | None) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return sse.event(_encode(head | {"choices": [choice]}))

    begun: set[int] = set()
    async with aclosing(answer.pieces()) as pieces:
        async for item in pieces:
            events = b""
            if item.choice not in begun:
                begun.add(item.choice)
                events = chunk(item.choice, {"role": "assistant", "content": ""}, None)
            match item:
                case Piece(choice, text):
                    events += chunk(choice, {"content": text}, None)
                case Ended(choice, finish_reason):
                    events += chunk(choice, {}, finish_reason)
            await sent.body(events)
    extra = await close()
    tail = b""
    if with_usage:
        tail = sse.event(_encode(head | {"choices": [], "usage": _usage(answer)}))
    if extra:
        tail += sse.event(_encode(head | {"choices": []} | extra))
    await sent.body(tail + sse.DONE, last=True)


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    question = answer.question
    return {
        "id": f"chatcmpl-{question.request_id.removeprefix('req_')}",
        "object": kind,
        "created": answer.created_s,
        "model": question.model.model_id,
        "system_fingerprint": f"fp_{question.model.digest.removeprefix('sha256:')[:12]}",
    }


def _usage(answer: Answer) -> dict[str, int]:
    prompt, completion = len(answer.question.prompt), answer.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


class _Sent:
    """The response so far: an HTTP status is still possible until the first byte.

    begun: an intent is in the log, so that the answer's end is its outcome's to record.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.started = False
        self.ended = False

    async def json(self, body: bytes) -> None:
        self.started = self.ended = True
        await reply(self._send, body)

    async def refusal(self, refused: RequestRefused) -> None:
        """Send an error as a status, or as the last event of a stream that has begun."""
        if not self.started:
            self.started = self.ended = True
            await reply_refusal(self._send, refused)
        elif not self.ended:
            await self.body(sse.event(envelope(refused)), last=True)

    async def body(self, data: bytes, *, last: bool = False) -> None:
        if not self.started:
            self.started = True
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache"),
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.ended = last
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
