"""The body of `POST /v1/chat/completions`, as OpenAI defines it, for the subset served here."""

from typing import Annotated, Any, Literal

import msgspec

from gateway.api import decoding
from gateway.api.conversations import Put, text
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

    def put(self) -> Put:
        """Return what the request puts to a model.

        Raises:
            RequestRefused: A message holds what is no text.
        """
        texts = [_text(message, index) for index, message in enumerate(self.messages)]
        told = list(zip(self.messages, texts, strict=True))
        return Put(
            turns=[_turn(message, text) for message, text in told],
            messages=[_sent(message, text) for message, text in told],
            tools=self.tools or (),
            choice=self.tool_choice,
            form=self.response_format,
            likely=(self.top_logprobs or 0) if self.logprobs else None,
            parallel=self.parallel_tool_calls,
        )


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


def _turn(message: Message, text: str) -> dict[str, str]:
    """Return a message as role and text.

    Earlier calls stand as the model was told to write them, and what a tool said as the user's.
    """
    role = {"developer": "system", "tool": "user"}.get(message.role, message.role)
    calls = "".join(call.written() for call in message.tool_calls or ())
    return {"role": role, "content": text + calls}


def _sent(message: Message, text: str) -> dict[str, Any]:
    """Return a message in OpenAI's own fields, for a tier that can take its calls as such."""
    role = "system" if message.role == "developer" else message.role
    sent: dict[str, Any] = {"role": role, "content": text}
    if message.tool_calls:
        sent["tool_calls"] = [msgspec.to_builtins(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    return sent


def _text(message: Message, index: int) -> str:
    return text(message.content, f"Message {index}", kinds=frozenset({"text"}), param="messages")
