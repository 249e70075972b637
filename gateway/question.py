"""A checked request and the parts its answer comes in: plain values between API and use case."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from gateway.catalogue import EmbeddingModel, RemoteModel, ServedModel
from gateway.identity import Principal
from gateway.routes import Routing
from sandbox.wire import Shaping


@dataclass(frozen=True, slots=True)
class Labelling:
    """What follows the text. visible: language of the label, or None. manifest: a C2PA one."""

    visible: Literal["en", "zh"] | None = None
    manifest: bool = False

    def entry(self) -> dict[str, bool]:
        """Tell whether there was a label that people see, and one that programs read."""
        return {"explicit": self.visible is not None, "implicit": self.manifest}


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was checked: everything that shapes its answer.

    prompt: token ids; none where a remote tier counts them, and `prompt_tokens` is a guess.
    routing: where the request goes, None for a model of the home that it names. grammar, likely: as
    in `sandbox.wire.Job`. body: the bytes the client sent, kept for their HMAC alone. inputs: texts
    to embed as token ids, in place of a prompt to answer.
    """

    request_id: str
    principal: Principal
    model: ServedModel | RemoteModel | EmbeddingModel
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
    labelling: Labelling = field(default_factory=Labelling)
    grammar: str = field(default="", repr=False)
    likely: int | None = None
    inputs: tuple[list[int], ...] = field(default=(), repr=False)
    routing: Routing | None = None
    purpose: str = "unspecified"
    policy: Mapping[str, Any] | None = None
    data_class: str = "unclassified"
    # Whom the request concerns, by the random name that the deployment gave them.
    pseudonym: str | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, as far as they can be known here."""
        if self.prompt or self.routing is None:
            return len(self.prompt) + sum(map(len, self.inputs))
        return self.routing.wanted.prompt_tokens

    @property
    def detections(self) -> Mapping[str, Any]:
        """What was hidden of it before it may leave this machine, for its intent."""
        out = None if self.routing is None else self.routing.outgoing
        return {} if out is None else out.detections()

    @property
    def tier(self) -> str:
        """The tier that the request is meant for."""
        return "local" if self.routing is None else self.routing.tier


@dataclass(frozen=True, slots=True)
class TokenLikelihood:
    """How likely the model held a token of the answer. token: its bytes.

    logprob: natural logarithm. top: the most likely tokens with theirs.
    """

    token: bytes = field(repr=False)
    logprob: float = field(repr=False)
    top: tuple[tuple[bytes, float], ...] = field(repr=False)


class Piece(msgspec.Struct, frozen=True):
    """Text of one choice that may be sent, and the likelihoods of tokens that came with it.

    call: whether a tool's call begins here, in the form that `api.toolcalls` reads. A msgspec
    structure, as each piece makes one: a frozen dataclass takes eight times as long.
    """

    choice: int
    text: str
    likelihoods: tuple[TokenLikelihood, ...] = ()
    call: bool = False

    def __repr__(self) -> str:
        """Show nothing of what is said."""
        return f"Piece(choice={self.choice}, call={self.call})"


@dataclass(frozen=True, slots=True)
class Ended:
    """One choice is complete. finish_reason: `stop` or `length`."""

    choice: int
    finish_reason: str
