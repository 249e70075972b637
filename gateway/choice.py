"""One choice of an answer in the making."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.marking import ChoiceMark
from gateway.question import TokenLikelihood


@dataclass(frozen=True, slots=True)
class Failure:
    """What a choice died of."""

    error: Exception


@dataclass(slots=True)
class Choice:
    """What became of one choice so far. trailer: the label and manifest that follow its text."""

    mark: ChoiceMark
    text: list[str] = field(default_factory=list)
    trailer: str = ""
    tokens: list[int] = field(default_factory=list)
    pieces: int = 0
    counted: int | None = None
    finish_reason: str | None = None
    likelihoods: list[TokenLikelihood] = field(default_factory=list)
    evidence: Mapping[str, Any] | None = None
    attestation: Mapping[str, Any] | None = None

    @property
    def count(self) -> int:
        """Tokens of the answer: by a remote tier's account or its pieces where ours knows none."""
        return len(self.tokens) or (self.pieces if self.counted is None else self.counted)
