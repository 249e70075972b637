"""`POST /v1/chat/completions`, whole and streamed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.answer import Answer
from gateway.api import sse
from gateway.api.asgi import Scope
from gateway.api.asking import Asked, Asking
from gateway.api.formats import format_grammar, tool_grammar, with_introduction
from gateway.api.sampling import Sampling
from gateway.api.schema import ChatRequest, decode
from gateway.api.toolcalls import CallReader, Told
from gateway.catalogue import RemoteModel, ServedModel
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.models.errors import ChatTemplateRefused
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
        tools = request.tools or []
        grammar = tool_grammar(tools, request.tool_choice)
        turns = request.turns()
        if grammar:
            turns = with_introduction(turns, tools)
        routing = self.asking.routing(scope, principal, request.model, turns, request.token_limit)
        model = self.asking.catalogue.model(request.model) if routing is None else routing.model
        question = self.asking.question(
            Asked(scope, principal, self.operation, body),
            request,
            model=model,
            prompt=_prompt(model, turns, request),
            token_limit=request.token_limit,
            routing=routing,
            # A tool's call has its own form; the answer's form holds where no tool can be called.
            grammar=grammar or format_grammar(request.response_format),
            likely=request.likely,
        )
        return ChatRendering(question, request, calls=bool(grammar))


@dataclass(slots=True)
class ChatRendering:
    """One chat answer in OpenAI's words. calls: whether the answer may be a tool's call."""

    question: Question
    request: ChatRequest
    calls: bool
    _begun: dict[int, CallReader] = field(default_factory=dict)
    _head: dict[str, Any] = field(default_factory=dict)

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
        for index, (text, finish_reason) in enumerate(answer.texts()):
            message, reason = self._message(index, text, finish_reason)
            logprobs = _logprobs(answer.likelihoods(index)) if self.request.logprobs else None
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": logprobs,
                    "finish_reason": reason,
                }
            )
        head = _head(answer, "chat.completion")
        return _encode(head | {"choices": choices, "usage": usage(answer)} | dict(extra))

    def begin(self, answer: Answer) -> bytes:
        """Return the events before the first piece: none, each choice has its own."""
        self._head = _head(answer, "chat.completion.chunk")
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
            told = reader.feed(item.text) if self.calls else Told(text=item.text)
            return events + self._told(item, told)
        if self.calls:
            told = reader.finish(complete=item.finish_reason == "stop")
            events += self._told(Piece(item.choice, ""), told)
        reason = _reason(item.finish_reason, called=reader.called)
        return events + self._chunk(item.choice, {}, reason)

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return the events after the last piece."""
        return ending(self._head, answer, self.request, extra)

    def _told(self, piece: Piece, told: Told) -> bytes:
        if told.call is not None:
            identity = {"id": self._call_id(piece.choice), "type": "function"}
            function = {"name": told.call, "arguments": told.arguments}
            calls = [{"index": 0, **identity, "function": function}]
            return self._chunk(piece.choice, {"tool_calls": calls}, likely=piece.likelihoods)
        if told.arguments:
            calls = [{"index": 0, "function": {"arguments": told.arguments}}]
            return self._chunk(piece.choice, {"tool_calls": calls}, likely=piece.likelihoods)
        if told.text or piece.likelihoods:
            return self._chunk(piece.choice, {"content": told.text}, likely=piece.likelihoods)
        return b""

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

    def _message(self, index: int, text: str, finish_reason: str) -> tuple[dict[str, Any], str]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        reader = CallReader()
        if self.calls:
            first = reader.feed(text)
            rest = reader.finish(complete=finish_reason == "stop")
            if reader.called:
                function = {"name": first.call, "arguments": first.arguments + rest.arguments}
                identity = {"id": self._call_id(index), "type": "function"}
                calls = [{**identity, "function": function}]
                message |= {"content": None, "tool_calls": calls}
        return message, _reason(finish_reason, called=reader.called)

    def _call_id(self, index: int) -> str:
        return f"call_{self.question.request_id.removeprefix('req_')}{index}"


def _prompt(
    model: ServedModel | RemoteModel, turns: list[dict[str, str]], request: ChatRequest
) -> list[int]:
    """Encode a conversation; a remote tier takes it as text, and only what it can honour."""
    if isinstance(model, RemoteModel):
        asked = {
            "tools": bool(request.tools),
            "response_format": bool(format_grammar(request.response_format)),
            "logprobs": bool(request.logprobs),
            "logit_bias": bool(request.logit_bias),
        }
        for name in (name for name, wanted in asked.items() if wanted):
            raise RequestRefused(
                f"{name!r} is not supported by the tier that may answer. Name a model of this "
                "gateway's own.",
                param=name,
                code="unsupported_parameter",
            )
        return []
    try:
        return model.template.encode_chat(turns)
    except ChatTemplateRefused as error:
        raise RequestRefused(str(error), param="messages") from None


def ending(
    head: Mapping[str, Any], answer: Answer, request: Sampling, extra: Mapping[str, Any]
) -> bytes:
    """Return a stream's last events: usage where asked for, what else comes with it, the end."""
    tail = b""
    if request.with_usage:
        tail = sse.event(_encode({**head, "choices": [], "usage": usage(answer)}))
    if extra:
        tail += sse.event(_encode({**head, "choices": [], **extra}))
    return tail + sse.DONE


def usage(answer: Answer) -> dict[str, int]:
    """Return what an answer used, in tokens, as chats and completions tell it."""
    prompt, completion = answer.question.prompt_tokens, answer.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def fingerprint(answer: Answer) -> str:
    """Name the model's very parameters, by the beginning of their digest."""
    return f"fp_{answer.question.model.digest.removeprefix('sha256:')[:12]}"


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    question = answer.question
    model = question.model if answer.served is None else answer.served.model
    return {
        "id": f"chatcmpl-{question.request_id.removeprefix('req_')}",
        "object": kind,
        "created": answer.created_s,
        "model": model.model_id,
        "system_fingerprint": fingerprint(answer),
    }


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
