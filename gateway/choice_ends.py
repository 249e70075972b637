"""What became of one choice, as an outcome's entry tells it. Pure.

What the sampler says of its mark comes out of the jail: whatever is not of its form counts as none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.ocsf import Event

MARKS = ("traceable", "weak", "unmarked")


@dataclass(frozen=True, slots=True)
class ChoiceEnd:
    """What became of one choice.

    tokens: how many were generated. finish_reason: None when it did not end by itself.
    evidence: the sampler's own account of its mark, None when the choice was cut off.
    output_hmac: hex. attestation: how the sandbox was confined and ended, None when none ran.
    commitment: hex, what a receipt says of the text; None where none can be given.
    """

    trace_id: int
    tokens: int
    finish_reason: str | None
    evidence: Mapping[str, Any] | None
    output_hmac: str
    attestation: Mapping[str, Any] | None = field(repr=False)
    commitment: str | None = None

    def entry(self) -> Event:
        """Return its part of an outcome."""
        mark, log_evidence = _evidence(self.evidence or {})
        return {
            "trace_id": self.trace_id,
            "tokens": self.tokens,
            "finish_reason": self.finish_reason,
            "output_hmac": self.output_hmac,
            "output_commitment": self.commitment,
            "mark": mark,
            "log_evidence_milli": None if log_evidence is None else round(log_evidence * 1000),
            "sandbox": dict(self.attestation or {}),
        }


def mark(evidence: Mapping[str, Any] | None) -> str:
    """Name how well a choice is marked by its sampler's evidence, `unmarked` without any."""
    return _evidence(evidence or {})[0]


def _evidence(told: Mapping[str, Any]) -> tuple[str, float | None]:
    """Read the sampler's evidence; it comes out of the jail, so anything else counts as none."""
    mark, log_evidence = told.get("status"), told.get("log_evidence")
    if mark not in MARKS:
        return "unmarked", None
    if not isinstance(log_evidence, float) or not math.isfinite(log_evidence):
        return mark, None
    return mark, log_evidence
