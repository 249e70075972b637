"""What a certificate says, gathered from a run. Signs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from privacy.training import accountant, auditing, environment
from privacy.training.canaries import Canaries
from privacy.training.entries import Head
from privacy.training.fingerprints import Membership
from privacy.training.keystream import SOURCE
from privacy.training.mechanism import RELATION, Plan


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a run. charged, made: steps. weights: digest. seal_key: raw Ed25519."""

    run_id: str
    issued_s: int
    plan: Plan
    clip: float
    batch: int
    delta: float
    charged: int
    made: int
    dataset: str
    members: Membership = field(repr=False)
    ranks: int
    weights: str
    ledger: Head
    seal_key: bytes


def content(facts: Facts, *, audit: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the certificate's content, docs/formats/certificate-v1.md."""
    # Every step that was charged may have been seen, so all of them count.
    spent = accountant.spent(facts.plan.of(facts.charged), facts.delta)
    return {
        "run": facts.run_id,
        "issued_s": facts.issued_s,
        "mechanism": _mechanism(facts),
        "guarantee": {
            "epsilon": spent.certified,
            "delta": spent.delta,
            "relation": RELATION,
            "unit": "record",
            "accountant": accountant.accountant_name(),
            "epsilon_replace_one": spent.replace_one,
            "epsilon_rdp": spent.rdp,
        },
        "dataset": {
            "name": facts.dataset,
            "root": facts.members.root,
            "records": facts.members.records,
            "distinct": len(facts.members.fingerprints),
        },
        "environment": environment.current().plain(),
        "weights": facts.weights,
        "ledger": facts.ledger.plain(),
        "audit": dict(audit) if audit is not None else None,
        "seal_key": facts.seal_key.hex(),
    }


def own_audit(canaries: Canaries | None, plan: Plan, delta: float) -> dict[str, Any] | None:
    """Return what a run's own canaries showed, None if it had none."""
    if canaries is None:
        return None
    guesses = auditing.committed_guesses(plan, canaries=canaries.count, delta=delta)
    finding = auditing.judge(canaries.scores(), guesses=guesses, delta=delta, access="white-box")
    return {"of": "this run", "findings": [finding.plain()], "control": None}


def _mechanism(facts: Facts) -> dict[str, Any]:
    return {
        "event": facts.plan.of(facts.charged).event(),
        "noise_multiplier": facts.plan.noise_multiplier,
        "clip": facts.clip,
        "sampling": "poisson",
        "sampling_rate": facts.plan.sampling_rate,
        "expected_batch": facts.batch,
        "steps_planned": facts.plan.steps,
        "steps_charged": facts.charged,
        "steps_made": facts.made,
        "noise": SOURCE,
        "noise_shares": facts.ranks,
    }
