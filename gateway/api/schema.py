"""The body of `POST /v1/chat/completions`, as OpenAI defines it, for the subset served here."""

from typing import Annotated, Any, Literal

import msgspec

from gateway.api import decoding
from gateway.api.formats import ResponseFormat, Tool, ToolCall, ToolChoice
from gateway.api.sampling import Count, Sampling, unserved
from gateway.errors import RequestRefused
from sandbox.wire import MOST_LIKELY

MAX_TOOLS = 128


class TextPart(msgspec.Struct, frozen=True):
    """One part of a message's content."""

    type: str
    text: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation. tool_call_id: the call that a `tool` message answers."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class ChatRequest(Sampling, frozen=True, kw_only=True):
    """A chat completion request."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=MOST_LIKELY)] | None = None

    @property
    def token_limit(self) -> int | None:
        """The limit the client named, by its newer name first."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def likely(self) -> int | None:
        """How many of the most likely tokens are told with each token; None for none at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def turns(self) -> list[dict[str, str]]:
        """Return the messages as role and plain text, in order."""
        return [
            {"role": _role(message.role), "content": _content(message, index)}
            for index, message in enumerate(self.messages)
        ]


_decoder = msgspec.json.Decoder(ChatRequest)


def decode(body: bytes) -> ChatRequest:
    """Decode and check a request body.

    Raises:
        RequestRefused: Not JSON, a field of the wrong type or range, or one not served.
    """
    request = decoding.decode(_decoder, body)
    if request.functions:
        raise unserved("functions", "is superseded by 'tools'")
    if request.top_logprobs and not request.logprobs:
        raise RequestRefused("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    return request


def _role(role: str) -> str:
    """Return the role a template knows: what a tool said reaches the model as the user's turn."""
    return {"developer": "system", "tool": "user"}.get(role, role)


def _content(message: Message, index: int) -> str:
    """Return a message's text; earlier calls stand as the model was told to write them."""
    calls = "".join(call.written() for call in message.tool_calls or ())
    return _text(message, index) + calls


def _text(message: Message, index: int) -> str:
    if message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise RequestRefused(
                f"Message {index} has a part of type {part.type!r}; this model reads text alone.",
                param="messages",
                code="unsupported_content",
            )
    return "".join(part.text or "" for part in message.content)
