"""From a text back to its request: the mark's id, then the log entry that was issued with it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa

from audit import evidence
from gateway.marking import PURPOSE, key_context
from gateway.models.tokenizer import Tokenizer
from watermark.detector import Detection, detect


@dataclass(frozen=True, slots=True)
class Trace:
    """What a text's mark says.

    verdict: `traced`, `no_trace` or `too_short`. p_value: the bound on meeting such a mark in an
    unmarked text. request_ids: more than one only when a seed repeated an answer. start, end:
    characters of the text that carry the mark.
    """

    verdict: str
    p_value: float
    mode: str
    confidence: float
    trace_id: int | None = None
    request_ids: tuple[str, ...] = ()
    tenant: str | None = None
    epoch: int | None = None
    model_id: str | None = None
    start: int | None = None
    end: int | None = None

    @property
    def request_id(self) -> str | None:
        """The request, or the earliest of several alike."""
        return self.request_ids[0] if self.request_ids else None

    def shown(self) -> dict[str, Any]:
        """Return what whoever asked is told, as JSON."""
        return {
            "object": "provenance.verification",
            "verdict": self.verdict,
            "p_value": self.p_value,
            "mode": self.mode,
            "confidence": self.confidence,
            "trace_id": self.trace_id,
            "request_id": self.request_id,
            "request_ids": list(self.request_ids),
            "tenant": self.tenant,
            "epoch": self.epoch,
            "model": self.model_id,
            "span": None if self.start is None else [self.start, self.end],
        }


@dataclass(frozen=True, slots=True)
class _Marked:
    tenant: str
    epoch: int


def trace(
    text: str,
    *,
    log: sa.Engine,
    tokenizers: Mapping[str, Tokenizer],
    derive: Callable[..., bytes],
    epochs: Iterable[int],
    tenants: Iterable[str],
) -> Trace:
    """Look in `text` for the mark of any tenant and epoch, under each model's tokeniser."""
    candidates = {
        f"{tenant}/{epoch}": _Marked(tenant, epoch) for tenant in tenants for epoch in epochs
    }
    keys = {
        label: derive(PURPOSE, *key_context(who.tenant, who.epoch), epoch=who.epoch)
        for label, who in candidates.items()
    }
    issued = {
        label: np.array(
            [i for i, _ in evidence.issued(log, tenant=who.tenant, epoch=who.epoch)], np.uint32
        )
        for label, who in candidates.items()
    }
    best: Trace | None = None
    for model_id, tokenizer in tokenizers.items():
        encoded = tokenizer.encode_with_offsets(text)
        found = detect(encoded.ids, keys, issued=issued)
        result = _trace(found, encoded.offsets, candidates, log, model_id)
        if best is None or result.p_value < best.p_value:
            best = result
    if best is None:
        return Trace(verdict="no_trace", p_value=1.0, mode="blind", confidence=0.0)
    # Each tokeniser is one more chance to be wrong; the bound pays for it.
    return best if len(tokenizers) == 1 else _penalised(best, len(tokenizers))


def _trace(
    found: Detection,
    offsets: list[tuple[int, int]],
    candidates: Mapping[str, _Marked],
    log: sa.Engine,
    model_id: str,
) -> Trace:
    if found.verdict != "traced" or found.key_label is None or found.trace_id is None:
        return Trace(found.verdict, found.p_value, found.mode, found.confidence)
    who = candidates[found.key_label]
    requests = evidence.find_trace(log, trace_id=found.trace_id, tenant=who.tenant, epoch=who.epoch)
    return Trace(
        verdict="traced" if requests else "no_trace",
        p_value=found.p_value,
        mode=found.mode,
        confidence=found.confidence,
        trace_id=found.trace_id,
        request_ids=tuple(requests),
        tenant=who.tenant,
        epoch=who.epoch,
        model_id=model_id,
        start=offsets[found.start][0],
        end=offsets[found.end - 1][1],
    )


def _penalised(trace: Trace, tokenizers: int) -> Trace:
    return replace(trace, p_value=min(1.0, trace.p_value * tokenizers))
