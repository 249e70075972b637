"""A checked request and the parts its answer comes in: plain values between API and use case."""

from dataclasses import dataclass, field

from gateway.catalogue import ServedModel
from gateway.identity import Principal
from sandbox.wire import Shaping


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was checked: everything that shapes its answer.

    prompt: token ids. grammar, likely: as in `sandbox.wire.Job`. body: the bytes the
    client sent, kept for their HMAC alone.
    """

    request_id: str
    principal: Principal
    model: ServedModel
    operation: str
    prompt: list[int] = field(repr=False)
    body: bytes = field(repr=False)
    choices: int
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stops: tuple[str, ...] = field(repr=False)
    seed: int | None
    source_ip: str | None
    shaping: Shaping = field(default_factory=Shaping)
    grammar: str = field(default="", repr=False)
    likely: int | None = None
    # Whom the request concerns, by the random name that the deployment gave them.
    pseudonym: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLikelihood:
    """How likely the model held a token of the answer. token: its bytes.

    logprob: natural logarithm. top: the most likely tokens with theirs.
    """

    token: bytes = field(repr=False)
    logprob: float = field(repr=False)
    top: tuple[tuple[bytes, float], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one choice that may be sent, and the likelihoods of tokens that came with it."""

    choice: int
    text: str = field(repr=False)
    likelihoods: tuple[TokenLikelihood, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """One choice is complete. finish_reason: `stop` or `length`."""

    choice: int
    finish_reason: str
