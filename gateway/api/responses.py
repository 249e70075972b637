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
    format_grammar,
    tool_grammar,
    with_introduction,
)
from gateway.api.response_events import ResponseEvents
from gateway.api.response_objects import response_object
from gateway.api.sampling import Count, Sampling, unserved
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.models.errors import ChatTemplateRefused
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
        model = self.asking.catalogue.model(request.model)
        tools = [_tool(tool) for tool in request.tools or ()]
        grammar = tool_grammar(tools, _choice(request.tool_choice))
        turns = _turns(request)
        if grammar:
            turns = with_introduction(turns, tools)
        try:
            prompt = model.template.encode_chat(turns)
        except ChatTemplateRefused as error:
            raise RequestRefused(str(error), param="input") from None
        question = self.asking.question(
            Asked(scope, principal, self.operation, body),
            request,
            model=model,
            prompt=prompt,
            token_limit=request.max_output_tokens,
            grammar=grammar or format_grammar(_format(request.text)),
        )
        return ResponseRendering(question, request, calls=bool(grammar))


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
        ((text, finish_reason),) = answer.texts()
        events.piece(Piece(0, text))
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


def _turns(request: ResponseRequest) -> list[dict[str, str]]:
    """Return the conversation as role and plain text, oldest first."""
    turns = []
    if request.instructions:
        turns.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        return [*turns, {"role": "user", "content": request.input}]
    return turns + [_turn(item, index) for index, item in enumerate(request.input)]


def _turn(item: Item, index: int) -> dict[str, str]:
    if item.type == "message":
        role = "system" if item.role == "developer" else item.role
        return {"role": role, "content": _text(item.content, index)}
    if item.type == "function_call":
        call = ToolCall(Called(item.name, item.arguments))
        return {"role": "assistant", "content": call.written()}
    if item.type == "function_call_output":
        return {"role": "user", "content": _text(item.output, index)}
    raise RequestRefused(
        f"Input item {index} is of type {item.type[:64]!r}, which is not served here.",
        param="input",
        code="unsupported_content",
    )


def _text(content: str | list[Part], index: int) -> str:
    if isinstance(content, str):
        return content
    for part in content:
        if part.type not in _TEXTS or part.text is None:
            raise RequestRefused(
                f"Input item {index} has a part of type {part.type[:64]!r}; this model reads text "
                "alone.",
                param="input",
                code="unsupported_content",
            )
    return "".join(part.text or "" for part in content)


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
