"""`POST /v1/responses`: OpenAI's newer API, for its text and function-call subset.

Nothing is stored: a response cannot be fetched again, continued by its id, or run in the
background. A request for any of these is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from gateway.answer import Answer
from gateway.api.asgi import Scope
from gateway.api.asking import Asked, Asking
from gateway.api.conversations import Put, text
from gateway.api.decoding import decode
from gateway.api.formats import (
    Called,
    ChosenTool,
    Function,
    JsonSchema,
    Name,
    Named,
    ResponseFormat,
    Tool,
    ToolCall,
    ToolChoice,
)
from gateway.api.response_events import ResponseEvents
from gateway.api.response_objects import response_object
from gateway.api.sampling import Count, Sampling, unserved
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.question import Ended, Piece, Question

_TEXTS = frozenset({"input_text", "output_text", "text"})


class Part(msgspec.Struct, frozen=True):
    """One part of an item's content."""

    type: str
    text: str | None = None


class Item(msgspec.Struct, frozen=True):
    """One item of the input: a message, an earlier call, or what a call returned."""

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] = "user"
    content: str | list[Part] = ""
    name: str = ""
    arguments: str = "{}"
    call_id: str = ""
    output: str | list[Part] = ""


class TextFormat(msgspec.Struct, frozen=True):
    """The form of the answer's text."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = "answer"
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct, frozen=True):
    """How the answer's text is to be."""

    format: TextFormat | None = None


class FunctionTool(msgspec.Struct, frozen=True):
    """A function that the model may call."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChosenFunction(msgspec.Struct, frozen=True):
    """The one function that must be called."""

    type: Literal["function"]
    name: str


FunctionChoice = Literal["none", "auto", "required"] | ChosenFunction


class ResponseRequest(Sampling, frozen=True, kw_only=True):
    """A request for a response."""

    input: str | Annotated[list[Item], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], msgspec.Meta(max_length=128)] | None = None
    tool_choice: FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None
    prompt: Any = None


_decoder = msgspec.json.Decoder(ResponseRequest)


@dataclass(frozen=True, slots=True)
class ResponseDialect:
    """Reads requests for responses."""

    asking: Asking
    operation: str = "responses.create"

    def rendering(self, scope: Scope, principal: Principal, body: bytes) -> "ResponseRendering":
        """Read a request.

        Raises:
            RequestRefused: It cannot be served as it is.
        """
        request = decode(_decoder, body)
        _refuse_unserved(request)
        put = _put(request)
        grammar = put.grammar()
        question = self.asking.question(
            Asked(scope, principal, self.operation, body),
            request,
            put.conversation(request),
            token_limit=request.max_output_tokens,
            grammar=grammar,
            param="input",
        )
        return ResponseRendering(question, request, calls=put.calls)


@dataclass(slots=True)
class ResponseRendering:
    """One answer as a response. calls: whether it may be a function's call."""

    question: Question
    request: ResponseRequest
    calls: bool
    _events: ResponseEvents | None = field(default=None)

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
        events = self._begun(answer)
        ((_, finish_reason),) = answer.texts()
        for piece in answer.pieces_of(0):
            events.piece(piece)
        events.piece(Ended(0, finish_reason))
        return msgspec.json.encode(events.complete(answer) | dict(extra))

    def begin(self, answer: Answer) -> bytes:
        """Return the events before the first piece."""
        self._events = self._begun(answer)
        return self._events.begin()

    def piece(self, item: Piece | Ended) -> bytes:
        """Return the events of one piece."""
        return self._events.piece(item) if self._events else b""

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return the events after the last piece."""
        return self._events.end(answer, extra) if self._events else b""

    def _begun(self, answer: Answer) -> ResponseEvents:
        echoed = {
            "instructions": self.request.instructions,
            "max_output_tokens": self.request.max_output_tokens,
            "metadata": self.request.metadata or {},
            "temperature": self.question.temperature,
            "top_p": self.question.top_p,
            "text": _told_format(self.request.text),
            "tools": [msgspec.to_builtins(tool) for tool in self.request.tools or ()],
            "tool_choice": msgspec.to_builtins(self.request.tool_choice or "auto"),
        }
        return ResponseEvents(response_object(answer, echoed), calls=self.calls)


def _refuse_unserved(request: ResponseRequest) -> None:
    for name in ("previous_response_id", "conversation", "background", "prompt"):
        if getattr(request, name):
            raise unserved(name)
    if (request.n or 1) > 1:
        raise unserved("n")


def _put(request: ResponseRequest) -> Put:
    """Return what the request puts to a model.

    Raises:
        RequestRefused: An item of its input is not served here.
    """
    given = request.input
    items = [Item(content=given)] if isinstance(given, str) else given
    turns, messages = [], []
    if request.instructions:
        turns = [{"role": "system", "content": request.instructions}]
        messages = [dict(turns[0])]
    for index, item in enumerate(items):
        turn, message = _told(item, index)
        turns.append(turn)
        messages.append(message)
    return Put(
        turns=turns,
        messages=messages,
        tools=[_tool(tool) for tool in request.tools or ()],
        choice=_choice(request.tool_choice),
        form=_format(request.text),
        parallel=request.parallel_tool_calls,
    )


def _told(item: Item, index: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Return an item as role and text, and in the fields of a chat's message."""
    if item.type == "message":
        role = "system" if item.role == "developer" else item.role
        turn = {"role": role, "content": _text(item.content, index)}
        return turn, dict(turn)
    if item.type == "function_call":
        call = ToolCall(Called(item.name, item.arguments), id=item.call_id)
        message = {"role": "assistant", "content": "", "tool_calls": [msgspec.to_builtins(call)]}
        return {"role": "assistant", "content": call.written()}, message
    if item.type == "function_call_output":
        said = _text(item.output, index)
        message = {"role": "tool", "content": said, "tool_call_id": item.call_id}
        return {"role": "user", "content": said}, message
    raise RequestRefused(
        f"Input item {index} is of type {item.type[:64]!r}, which is not served here.",
        param="input",
        code="unsupported_content",
    )


def _text(content: str | list[Part], index: int) -> str:
    return text(content, f"Input item {index}", kinds=_TEXTS, param="input")


def _tool(tool: FunctionTool) -> Tool:
    return Tool("function", Function(tool.name, tool.description, tool.parameters))


def _choice(choice: FunctionChoice | None) -> ToolChoice | None:
    if isinstance(choice, ChosenFunction):
        return ChosenTool("function", Named(choice.name))
    return choice


def _format(text: TextOptions | None) -> ResponseFormat | None:
    if text is None or text.format is None:
        return None
    asked = text.format
    return ResponseFormat(asked.type, JsonSchema(asked.name, asked.schema, asked.strict))


def _told_format(text: TextOptions | None) -> dict[str, Any]:
    if text is None or text.format is None or text.format.type != "json_schema":
        kind = text.format.type if text and text.format else "text"
        return {"format": {"type": kind}}
    return {"format": msgspec.to_builtins(text.format)}
