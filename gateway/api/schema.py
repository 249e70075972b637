"""The bodies of `POST /v1/chat/completions`, as OpenAI defines them, for the subset served here.

Unknown fields are tolerated, as clients send new ones before servers know them; a known field
that would change the answer and is not served yet is refused by name, never ignored.
"""

from typing import Annotated, Any, Literal

import msgspec

from gateway.api import decoding
from gateway.errors import RequestRefused
from sandbox.wire import Shaping

MAX_CHOICES = 8
MAX_STOPS = 4
MAX_BIASES = 1024
# Each piece of an answer is held against every stop string; this bounds that work.
MAX_STOP_LENGTH = 256

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Bias = Annotated[float, msgspec.Meta(ge=-100, le=100)]
Token = Annotated[int, msgspec.Meta(ge=0, lt=1 << 18)]
Stop = Annotated[str, msgspec.Meta(max_length=MAX_STOP_LENGTH)]


class TextPart(msgspec.Struct, frozen=True):
    """One part of a message's content."""

    type: str
    text: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    tool_calls: list[Any] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream carries beside the text."""

    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True):
    """A chat completion request; ranges are OpenAI's."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stop | Annotated[list[Stop], msgspec.Meta(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    logit_bias: Annotated[dict[Token, Bias], msgspec.Meta(max_length=MAX_BIASES)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    receipt: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, none of them empty."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)

    @property
    def token_limit(self) -> int | None:
        """The limit the client named, by its newer name first."""
        return self.max_completion_tokens or self.max_tokens

    def shaping(self) -> Shaping:
        """Return what bends the model's prediction before a token is drawn."""
        given = {
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "logit_bias": self.logit_bias,
        }
        return msgspec.convert({k: v for k, v in given.items() if v is not None}, Shaping)

    def turns(self) -> list[dict[str, str]]:
        """Return the messages as role and plain text, in order."""
        return [
            {"role": _role(message.role), "content": _text(message, index)}
            for index, message in enumerate(self.messages)
        ]


_decoder = msgspec.json.Decoder(ChatRequest)


def decode(body: bytes) -> ChatRequest:
    """Decode and check a request body.

    Raises:
        RequestRefused: Not JSON, a field of the wrong type or range, or one not served.
    """
    request = decoding.decode(_decoder, body)
    _refuse_unserved(request)
    return request


def _refuse_unserved(request: ChatRequest) -> None:
    """Raise for a field that would change the answer and that nothing here honours yet."""
    unserved = {
        "tools": bool(request.tools),
        "messages.tool_calls": any(message.tool_calls for message in request.messages),
        "functions": bool(request.functions),
        "response_format": (request.response_format or {}).get("type", "text") != "text",
        "logprobs": bool(request.logprobs),
    }
    for name, asked in unserved.items():
        if asked:
            raise RequestRefused(
                f"{name!r} is not supported by this model. Send the request without it.",
                param=name,
                code="unsupported_parameter",
            )


def _role(role: str) -> str:
    return "system" if role == "developer" else role


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
