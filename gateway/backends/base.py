"""What every tier is to the gateway: something that answers one choice, and tells its load.

Plain values and one Protocol; nothing here talks to anyone.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ask:
    """One choice to generate, as text: what a server with a tokeniser of its own needs.

    turns: role and content. seed: for the server's own draws, None for any.
    """

    request_id: str
    tenant: str
    turns: Sequence[Mapping[str, str]] = field(repr=False)
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stops: tuple[str, ...] = field(repr=False)
    seed: int | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    """Some of an answer, in order."""

    text: str = field(repr=False)


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
    """What an endpoint can do. marks: whether its answers carry our mark."""

    context_length: int
    output_limit: int
    marks: bool = False


class Backend(Protocol):
    """An endpoint of a tier that answers asks."""

    @property
    def name(self) -> str:
        """What entries and metrics call it."""

    @property
    def load(self) -> Load:
        """How busy it is."""

    def generate(self, ask: Ask) -> AsyncGenerator[Text | Complete, None]:
        """Yield the answer's text, then its end. Closing the iterator calls the work off.

        Raises:
            UpstreamFailed: There is no whole answer; the error says whether any text came.
        """
