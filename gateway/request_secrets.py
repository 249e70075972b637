"""What one request is marked, recorded and receipted with: its ids, its streams and its keys."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.marking import ChoiceMark, fresh_marks, sampling_numbers, seeded_marks
from gateway.question import Question
from gateway.requestkeys import TenantKeys


@dataclass(frozen=True, slots=True)
class Secrets:
    """One request's. epoch: of the mark; audit_epoch: of the keys for digests and receipts."""

    epoch: int
    audit_epoch: int
    marks: list[ChoiceMark]
    mark_key: bytes = field(repr=False)
    audit_key: bytes = field(repr=False)
    fingerprint_key: bytes = field(default=b"", repr=False)


def drawn(
    question: Question, keys: TenantKeys, take: Callable[[int], bytes] = os.urandom
) -> Secrets:
    """Draw a request's ids, at random or from its seed, beside its tenant's keys.

    take: returns so many random bytes.
    """
    return Secrets(
        epoch=keys.epoch,
        audit_epoch=keys.audit_epoch,
        marks=_marks(question, keys, take),
        mark_key=keys.mark_key,
        audit_key=keys.audit_key,
        fingerprint_key=keys.fingerprint_key,
    )


def _marks(question: Question, keys: TenantKeys, take: Callable[[int], bytes]) -> list[ChoiceMark]:
    if question.seed is None:
        return fresh_marks(question.choices, take)
    return seeded_marks(
        question.choices,
        key=keys.seed_key,
        seed=question.seed,
        # A prompt that a remote tier encodes is known here by the request's bytes alone.
        prompt=question.prompt or list(hashlib.sha256(question.body).digest()),
        sampling=sampling_numbers(question),
    )
