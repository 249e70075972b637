"""What one request is marked, recorded and receipted with: its ids, its streams and its keys."""

from dataclasses import dataclass, field

from gateway.marking import (
    PURPOSE,
    ChoiceMark,
    fresh_marks,
    key_context,
    sampling_numbers,
    seed_key,
    seeded_marks,
)
from gateway.question import Question
from gateway.receipts import AUDIT_PURPOSE, receipt_key
from privacy.broker import BrokerClient


@dataclass(frozen=True, slots=True)
class Secrets:
    """One request's. epoch: of the mark; audit_epoch: of the keys for digests and receipts."""

    epoch: int
    audit_epoch: int
    marks: list[ChoiceMark]
    mark_key: bytes = field(repr=False)
    audit_key: bytes = field(repr=False)
    receipt_key: bytes = field(repr=False)


def derived(question: Question, keys: BrokerClient) -> Secrets:
    """Derive a request's keys, and draw its ids at random or from its seed.

    Raises:
        PrivacyError: The keys cannot be used.
    """
    tenant = question.principal.tenant
    epoch, audit_epoch = keys.active_epoch(PURPOSE), keys.active_epoch(AUDIT_PURPOSE)
    return Secrets(
        epoch=epoch,
        audit_epoch=audit_epoch,
        marks=_marks(question, keys, epoch),
        mark_key=keys.derive(PURPOSE, *key_context(tenant, epoch), epoch=epoch),
        audit_key=keys.derive(AUDIT_PURPOSE, tenant.encode(), epoch=audit_epoch),
        receipt_key=receipt_key(keys.derive, tenant, question.request_id, epoch=audit_epoch),
    )


def _marks(question: Question, keys: BrokerClient, epoch: int) -> list[ChoiceMark]:
    if question.seed is None:
        return fresh_marks(question.choices)
    return seeded_marks(
        question.choices,
        key=seed_key(keys.derive, question.principal.tenant, epoch),
        seed=question.seed,
        prompt=question.prompt,
        sampling=sampling_numbers(question),
    )
