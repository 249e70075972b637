"""What this home's own keys say of its log: checks that know every epoch of the checkpoint key."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from audit import evidence
from audit.checkpoint import VerifierKey
from audit.errors import CheckpointInvalid, ProofInvalid
from audit.verify import LogReport, Proved, verify_proof
from gateway import report_making
from gateway.cli.output import progress
from gateway.cli.session import Session, inspected
from gateway.errors import SettingsInvalid
from gateway.report_making import LogKeys


class Trust(TypedDict):
    """Whose checkpoints count, as the log's checks take it."""

    origin: str
    public_key: bytes
    earlier: Sequence[bytes]


def trusted(vkeys: Sequence[str] | None, home: Path | None) -> Trust:
    """Return whom a check trusts: verifier keys as they were published, or the home's own.

    Raises:
        SettingsInvalid: One is none, or they are of several logs.
        HomeMissing, HomeUnusable: None are given, and there is no home.
    """
    keys = _own_keys(home) if vkeys is None else _given_keys(vkeys)
    first, *earlier = keys
    return Trust(
        origin=first.name,
        public_key=first.public_key,
        earlier=[key.public_key for key in earlier],
    )


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


def _own_keys(home: Path | None) -> list[VerifierKey]:
    with inspected(home) as session:
        return [verifier_key(session), *earlier_keys(session)]


def _given_keys(texts: Sequence[str]) -> list[VerifierKey]:
    try:
        keys = [VerifierKey.decode(text) for text in texts]
    except CheckpointInvalid as error:
        raise SettingsInvalid(f"--vkey: {error}") from None
    if len({key.name for key in keys}) != 1:
        raise SettingsInvalid("--vkey: the keys are of different logs. Name those of one.")
    return keys
