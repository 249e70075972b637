"""What every tier is to the gateway: something that answers one choice, and tells its load.

Plain values; nothing here talks to anyone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from watermark.argument import Mark

# What a request may ask beyond text, and the fields of a request for it that are ever sent.
Feature = Literal[
    "tools", "json_object", "json_schema", "logprobs", "penalties", "min_p", "repetition_penalty",
    "token_ids", "completions",
]  # fmt: skip
FEATURES: Mapping[Feature, tuple[str, ...]] = {
    "tools": ("tools", "tool_choice", "parallel_tool_calls"),
    "json_object": ("response_format",),
    "json_schema": ("response_format",),
    "logprobs": ("logprobs", "top_logprobs"),
    "penalties": ("presence_penalty", "frequency_penalty"),
    "min_p": ("min_p",),
    "repetition_penalty": ("repetition_penalty",),
    # They belong to one model, whose tokeniser must be known here: no remote gets any.
    "token_ids": (),
    "completions": (),
}
OPTIONS = frozenset(name for names in FEATURES.values() for name in names)


@dataclass(frozen=True, slots=True)
class Ask:
    """One choice to generate, as text: what a server with a tokeniser of its own needs.

    turns: role and content, and the calls in them. prompt: a bare text to continue in place of
    turns. seed: for the server's own draws, None for any. options: what else shapes the answer, by
    the names of `OPTIONS`. mark: what a server with our processor draws with.
    """

    request_id: str
    tenant: str
    turns: Sequence[Mapping[str, Any]] = field(repr=False)
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stops: tuple[str, ...] = field(repr=False)
    seed: int | None = field(repr=False)
    prompt: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    mark: Mark | None = field(default=None, repr=False)

    @property
    def callable(self) -> frozenset[str]:
        """The names of functions that the answer may call."""
        return frozenset(each["function"]["name"] for each in self.options.get("tools", ()))


@dataclass(frozen=True, slots=True)
class Likely:
    """How likely a server held a token. token: its bytes. top: the likeliest with theirs."""

    token: bytes = field(repr=False)
    logprob: float = field(repr=False)
    top: tuple[tuple[bytes, float], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    """Some of an answer, in order. more: whether the next text came with it and follows at once."""

    text: str = field(repr=False)
    likely: tuple[Likely, ...] = field(default=(), repr=False)
    more: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function. name: where one begins, None where it goes on. arguments: JSON text."""

    name: str | None
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer used, in tokens. counted: by the tier itself, or else by its pieces."""

    prompt_tokens: int
    completion_tokens: int
    counted: bool


@dataclass(frozen=True, slots=True)
class Complete:
    """The answer is whole. reason: `stop` or `length`. attestation: where it came from."""

    reason: str
    usage: Usage
    attestation: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an endpoint is, as far as is known.

    running, waiting: requests. kv_fraction: of its cache, 0 to 1. outstanding_tokens: asked for
    and not yet answered. ewma_ttft_s, ewma_itl_s: first-token and inter-token times, smoothed,
    None before any. age_s: since it was last told; what is too old counts as unknown.
    """

    running: int = 0
    waiting: int = 0
    kv_fraction: float = 0.0
    outstanding_tokens: int = 0
    ewma_ttft_s: float | None = None
    ewma_itl_s: float | None = None
    age_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint can do. marks: whether its answers carry our mark.

    features: of `FEATURES`.
    """

    context_length: int
    output_limit: int
    marks: bool = False
    features: frozenset[Feature] = frozenset()
