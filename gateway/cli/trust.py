"""What this home's own keys say of its log: checks that know every epoch of the checkpoint key."""

from audit import checkpoint
from audit.checkpoint import VerifierKey
from audit.errors import ProofInvalid
from audit.verify import LogReport, Proved, verify_log, verify_proof
from gateway.cli.session import Session


def verifier_key(session: Session) -> VerifierKey:
    """Return the key that an auditor verifies this deployment's checkpoints under."""
    return VerifierKey(session.settings.origin, session.keyring.public_key("checkpoint"))


def earlier_keys(session: Session) -> list[VerifierKey]:
    """Return the earlier epochs of that key which are still trusted, the newest first."""
    keys = session.keyring.public_keys("checkpoint")[1:]
    return [VerifierKey(session.settings.origin, key) for key in keys]


def verified_log(session: Session) -> LogReport:
    """Verify the whole log, also what was signed before the checkpoint key was rotated.

    Raises:
        LogTampered, CheckpointInvalid: It does not hold; the error names the entry.
        LogUnavailable: It cannot be read.
    """
    key, keyring = verifier_key(session), session.keyring
    # An old checkpoint may carry a key that was compromised or destroyed since: its root is
    # compared with the tree that the newest one signs, so its own signature adds nothing.
    report = verify_log(
        session.engine,
        origin=key.name,
        public_key=key.public_key,
        earlier=keyring.history("checkpoint"),
    )
    if report.note:
        trusted = keyring.public_keys("checkpoint")
        checkpoint.verify(report.note, origin=key.name, public_key=trusted[0], earlier=trusted[1:])
    return report


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
