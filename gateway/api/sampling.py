"""What shapes an answer, as OpenAI's text routes all name it; ranges are OpenAI's.

Unknown fields are tolerated, as clients send new ones before servers know them; a known field
that would change the answer and is not served is refused by name, never ignored.
"""

from typing import Annotated, Literal

import msgspec

from gateway.errors import RequestRefused
from gateway.question import Labelling
from sandbox.wire import Shaping

MAX_CHOICES = 8
MAX_STOPS = 4
MAX_BIASES = 1024
# Each piece of an answer is held against every stop string; this bounds that work.
MAX_STOP_LENGTH = 256

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Bias = Annotated[float, msgspec.Meta(ge=-100, le=100)]
Token = Annotated[int, msgspec.Meta(ge=0, lt=1 << 18)]
# Counts are 32-bit integers: entries hold none beyond 2^53 - 1 (RFC 8785), and no model needs more.
Count = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
Stop = Annotated[str, msgspec.Meta(max_length=MAX_STOP_LENGTH)]


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream carries beside the text."""

    include_usage: bool = False


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every text route shares."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Count | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stop | Annotated[list[Stop], msgspec.Meta(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    logit_bias: Annotated[dict[Token, Bias], msgspec.Meta(max_length=MAX_BIASES)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    receipt: bool = False
    label: Literal["en", "zh"] | None = None
    content_credentials: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, none of them empty."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with what the answer used."""
        return self.stream_options is not None and self.stream_options.include_usage

    def labelling(self) -> Labelling:
        """Return what is to follow the answer's text."""
        return Labelling(self.label, self.content_credentials)

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


def unserved(name: str, why: str = "is not served here") -> RequestRefused:
    """Return the refusal of a field that would change the answer and that nothing honours."""
    return RequestRefused(
        f"{name!r} {why}. Send the request without it.", param=name, code="unsupported_parameter"
    )
