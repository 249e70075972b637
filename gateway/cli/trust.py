"""What this home's own keys say of its log: checks that know every epoch of the checkpoint key."""

from audit import evidence
from audit.checkpoint import VerifierKey
from audit.errors import ProofInvalid
from audit.verify import LogReport, Proved, verify_proof
from gateway import report_making
from gateway.cli.output import progress
from gateway.cli.session import Session
from gateway.report_making import LogKeys


def verifier_key(session: Session) -> VerifierKey:
    """Return the key that an auditor verifies this deployment's checkpoints under."""
    return VerifierKey(session.settings.origin, session.keyring.public_key("checkpoint"))


def earlier_keys(session: Session) -> list[VerifierKey]:
    """Return the earlier epochs of that key which are still trusted, the newest first."""
    keys = session.keyring.public_keys("checkpoint")[1:]
    return [VerifierKey(session.settings.origin, key) for key in keys]


def log_keys(session: Session) -> LogKeys:
    """Return whose checkpoints count for this log."""
    keyring = session.keyring
    return LogKeys(
        session.settings.origin, keyring.public_keys("checkpoint"), keyring.history("checkpoint")
    )


def verified_log(session: Session) -> LogReport:
    """Verify the whole log, as `gateway.report_making.verified_log` does, by this home's keys."""
    with progress("Verifying entries", total=evidence.size(session.engine)) as told:
        return report_making.verified_log(session.engine, log_keys(session), told=told)


def verified_proof(session: Session, document: str | bytes) -> Proved:
    """Check a proof under the checkpoint key, in its active or an earlier trusted epoch.

    Raises:
        ProofInvalid: It does not prove what it claims under any of them.
    """
    key = verifier_key(session)
    for earlier in earlier_keys(session):
        try:
            return verify_proof(document, origin=key.name, public_key=earlier.public_key)
        except ProofInvalid:
            continue
    return verify_proof(document, origin=key.name, public_key=key.public_key)
