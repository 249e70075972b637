"""`POST /v1/chat/completions`, whole and streamed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.answer import Answer
from gateway.api import answered, sse
from gateway.api.asgi import Scope
from gateway.api.asking import Asked, Asking
from gateway.api.schema import ChatRequest, decode
from gateway.api.toolcalls import CallReader, Told
from gateway.identity import Principal
from gateway.question import Ended, Piece, Question, TokenLikelihood

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class ChatDialect:
    """Reads chat requests."""

    asking: Asking
    operation: str = "chat.completions.create"

    def rendering(self, scope: Scope, principal: Principal, body: bytes) -> "ChatRendering":
        """Read a request.

        Raises:
            RequestRefused: It cannot be served as it is.
        """
        request = decode(body)
        put = request.put()
        grammar = put.grammar()
        question = self.asking.question(
            Asked(scope, principal, self.operation, body),
            request,
            put.conversation(request),
            token_limit=request.token_limit,
            grammar=grammar,
            likely=put.likely,
        )
        return ChatRendering(question, request, calls=put.calls)


@dataclass(slots=True)
class ChatRendering:
    """One chat answer in OpenAI's words. calls: whether the answer may be a tool's call."""

    question: Question
    request: ChatRequest
    calls: bool
    _begun: dict[int, CallReader] = field(default_factory=dict)
    _head: dict[str, Any] = field(default_factory=dict)
    _frames: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)

    @property
    def streamed(self) -> bool:
        """Whether the answer goes out as it comes."""
        return self.request.stream

    @property
    def receipt(self) -> bool:
        """Whether the answer comes with a receipt."""
        return self.request.receipt

    def whole(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return a complete answer's body."""
        choices = []
        for index, (_, finish_reason) in enumerate(answer.texts()):
            message, reason = self._message(answer.pieces_of(index), index, finish_reason)
            logprobs = _logprobs(answer.likelihoods(index)) if self.request.logprobs else None
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": logprobs,
                    "finish_reason": reason,
                }
            )
        head = answered.head(answer, "chat.completion", prefix="chatcmpl")
        return _encode(head | {"choices": choices, "usage": answered.usage(answer)} | dict(extra))

    def begin(self, answer: Answer) -> bytes:
        """Return the events before the first piece: none, each choice has its own."""
        self._head = answered.head(answer, "chat.completion.chunk", prefix="chatcmpl")
        if self.request.with_usage:
            self._head["usage"] = None
        return b""

    def piece(self, item: Piece | Ended) -> bytes:
        """Return the events of one piece."""
        events = b""
        if item.choice not in self._begun:
            self._begun[item.choice] = CallReader()
            events = self._chunk(item.choice, {"role": "assistant", "content": ""})
        reader = self._begun[item.choice]
        if isinstance(item, Piece):
            if not self.calls:
                return events + self._told(item, Told(text=item.text))
            return events + self._told(item, reader.feed(item.text, begins=item.call))
        if self.calls:
            told = reader.finish(complete=item.finish_reason == "stop")
            events += self._told(Piece(item.choice, ""), told)
        reason = _reason(item.finish_reason, called=reader.called)
        return events + self._chunk(item.choice, {}, reason)

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return the events after the last piece."""
        return answered.ending(self._head, answer, self.request, extra)

    def _told(self, piece: Piece, told: Told) -> bytes:
        if told.call is not None:
            identity = {"id": self._call_id(piece.choice, told.index), "type": "function"}
            function = {"name": told.call, "arguments": told.arguments}
            calls = [{"index": told.index, **identity, "function": function}]
            return self._chunk(piece.choice, {"tool_calls": calls}, likely=piece.likelihoods)
        if told.arguments:
            calls = [{"index": told.index, "function": {"arguments": told.arguments}}]
            return self._chunk(piece.choice, {"tool_calls": calls}, likely=piece.likelihoods)
        if self.request.logprobs and (told.text or piece.likelihoods):
            return self._chunk(piece.choice, {"content": told.text}, likely=piece.likelihoods)
        return self._plain(piece.choice, told.text) if told.text else b""

    def _plain(self, index: int, text: str) -> bytes:
        """Return a chunk of text and nothing else: what most of every stream is made of.

        Only the text differs from one to the next, so the rest is encoded once.
        """
        frame = self._frames.get(index)
        if frame is None:
            empty = b'"content":""'
            before, _, after = self._chunk(index, {"content": ""}).rpartition(empty)
            frame = self._frames[index] = (before + empty[:-2], after)
        return frame[0] + _encode(text) + frame[1]

    def _chunk(
        self,
        index: int,
        delta: Mapping[str, Any],
        finish_reason: str | None = None,
        *,
        likely: Sequence[TokenLikelihood] = (),
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": _logprobs(likely) if self.request.logprobs and delta else None,
            "finish_reason": finish_reason,
        }
        return sse.event(_encode(self._head | {"choices": [choice]}))

    def _message(
        self, pieces: Sequence[Piece], index: int, finish_reason: str
    ) -> tuple[dict[str, Any], str]:
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        if not self.calls:
            return message | {"content": "".join(p.text for p in pieces)}, finish_reason
        reader, texts = CallReader(), list[str]()
        calls: list[dict[str, Any]] = []
        parts = [reader.feed(piece.text, begins=piece.call) for piece in pieces]
        for told in (*parts, reader.finish(complete=finish_reason == "stop")):
            texts.append(told.text)
            if told.call is not None:
                identity = {"id": self._call_id(index, told.index), "type": "function"}
                function = {"name": told.call, "arguments": ""}
                calls.append({**identity, "function": function})
            if told.arguments:
                calls[told.index]["function"]["arguments"] += told.arguments
        text = "".join(texts)
        message["content"] = text if text or not calls else None
        if calls:
            message["tool_calls"] = calls
        return message, _reason(finish_reason, called=reader.called)

    def _call_id(self, choice: int, index: int) -> str:
        # The first keeps the shape that it had while an answer had one call at most.
        return f"call_{self.question.request_id.removeprefix('req_')}{choice}" + (
            f"_{index}" if index else ""
        )


def _reason(finish_reason: str, *, called: bool) -> str:
    return "tool_calls" if called and finish_reason == "stop" else finish_reason


def _logprobs(likelihoods: Sequence[TokenLikelihood]) -> dict[str, Any]:
    content = [
        {**_token(each.token, each.logprob), "top_logprobs": [_token(*top) for top in each.top]}
        for each in likelihoods
    ]
    return {"content": content, "refusal": None}


def _token(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token.decode(errors="replace"), "logprob": logprob, "bytes": list(token)}
